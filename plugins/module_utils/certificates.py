"""The certificates of a host's domains: made here, given, or issued by ACME; who has which one, and until when.

Module certificates works with it. Role tls also puts it on the host, beside files.py, where a timer runs it with the
standard library, openssl and certbot alone: ``certificates.py renew``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __package__:
    from ansible_collections.hosted.flask.plugins.module_utils import files
else:  # Run by its path.
    import files

LOGS = "var/log/hosted.flask/certbot"
MADE_HERE = "O = hosted.flask"  # in the subject, and in nobody else's
DAYS = 365  # that a self-signed certificate is good for
RENEW_DAYS = 30  # before its end
# Let's Encrypt takes five failures an hour for a name, and then none for an hour: one is left to people.
TRIES, PAUSE = 4, 3600
OPENSSL = """\
[req]
prompt = no
distinguished_name = subject
x509_extensions = extensions
[subject]
O = hosted.flask
CN = {common}
[extensions]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:{name}
"""
REPORTED = re.compile(r"^ *Domain: +(\S+)\n *Type: +(\S+)\n *Detail: +(.*(?:\n +\S.*)*)", re.MULTILINE)
NOISE = re.compile(
    r"Saving debug log|Ask for help|See the logfile|Requesting a certificate|Renewing an existing|Account registered"
    r"|Certificate not yet due|^[- ]*$|^Some challenges have failed|unrecoverable error"
)
ACME_ERROR = "urn:ietf:params:acme:error:"
# The last one is how certbot 4 says it.
AWAY = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|SSLError|Max retries|HTTPSConnectionPool|Requesting \S+: "
)
ABOUT_NAMES = {"caa", "dns", "malformed", "rejectedIdentifier", "unauthorized", "unsupportedIdentifier"}
AFTER = re.compile(r"retry after (\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)")
# What to do about it, by the kind that RFC 8555 gives an error.
ADVICE = {
    "dns": "Let the name's A or AAAA record point at this host",
    "connection": "Let port 80 of the name reach this host, through firewall and router too",
    "unauthorized": "Let the name's A and AAAA records point at this host and at no other",
    "caa": "Allow the issuer in the name's CAA record",
    "rejectedIdentifier": "Take the name out of the app's domains, or give it a certificate in tls_certificates",
    "rateLimited": "Wait, and do not ask more often meanwhile",
    "account": "Let tls_acme_eab have the key id and the HMAC key that the issuer gave you for an account",
    "away": "Let this host reach tls_acme_directory, and check tls_acme_ca if it has a CA of its own",
}


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What a certificate says; its key lies beside it."""

    folder: Path
    names: frozenset[str]
    subject: str
    issuer: str
    until: float

    @classmethod
    def read(cls, folder: Path) -> Certificate | None:
        """Return the one in ``fullchain.pem`` of a folder, None where there is none that can be read."""
        command = ["openssl", "x509", "-noout", "-subject", "-issuer", "-enddate", "-ext", "subjectAltName"]
        command += ["-nameopt", "oneline,utf8", "-in", str(folder / "fullchain.pem")]
        run = subprocess.run(command, capture_output=True, text=True, errors="replace")
        found = dict(re.findall(r"^(subject|issuer|notAfter)=(.*)", run.stdout, re.MULTILINE))
        if run.returncode or len(found) < 3 or not (folder / "privkey.pem").exists():
            return None
        return cls(
            folder.resolve(),
            frozenset(re.findall(r"DNS:([^\s,]+)", run.stdout)),
            found["subject"],
            found["issuer"],
            ssl.cert_time_to_seconds(found["notAfter"]),
        )

    @property
    def made_here(self) -> bool:
        """Whether it is one of ours, that no visitor trusts."""
        return MADE_HERE in self.subject and self.subject == self.issuer

    def covers(self, name: str) -> bool:
        """Whether it is for a name; one made here for every name is for ``_``."""
        wild = "*." + name.partition(".")[2]
        return name in self.names or wild in self.names or (name == "_" and self.made_here)

    def good(self, name: str, days: float = 0) -> bool:
        """Whether it is for a name, and for so many days to come."""
        return self.covers(name) and self.until > time.time() + days * 86400

    def __str__(self) -> str:
        """Tell what is public of it."""
        end = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.until))
        return f"{', '.join(sorted(self.names))} by {self.issuer}, until {end}, {self.folder.name}"


@dataclasses.dataclass
class Plan:
    """What a host is to have; the timer reads it from a file."""

    domains: dict[str, str] = dataclasses.field(default_factory=dict)  # mode by name; `_` is every other name
    groups: dict[str, list[str]] = dataclasses.field(default_factory=dict)  # names of an ACME certificate, by its name
    directory: str = ""
    email: str = ""
    ca: str = ""  # the file of a CA, where the directory's certificate needs one of its own


class Host:
    """The certificates of a host. ``changes`` are filled by what works on it; with ``check`` they are all that is."""

    def __init__(self, plan: Plan, check: bool = False, root: Path = Path("/")) -> None:
        """Know where everything is."""
        self.plan, self.check, self.root = plan, check, root
        self.served = root / "etc/hosted.flask/tls"
        self.store = root / "etc/hosted.flask/certificates"
        self.file = root / "etc/hosted.flask/certificates.json"
        # Read by certbot, so that the key is in no list of processes. It stays: the timer may have to register anew.
        self.eab = root / "etc/hosted.flask/acme-eab.ini"
        self.program = root / "opt/hosted.flask/tls"
        self.webroot = root / "var/lib/hosted.flask/acme"
        self.state = root / "var/lib/hosted.flask/tls"
        place = re.sub(r"[^A-Za-z0-9.-]+", "_", plan.directory.partition("//")[2]) or "none"
        # Accounts and certificates of one directory: those of a staging one are never taken for real ones.
        self.certbot = root / "etc/hosted.flask/certbot" / place
        self.unread = self.state / "unread"  # there while nginx has not read the files that changed
        self.changes: list[str] = []
        self.problems: list[str] = []

    @classmethod
    def remembered(cls, root: Path = Path("/")) -> Host:
        """Return the host with the plan that was kept on it."""
        host = cls(Plan(), root=root)
        return cls(Plan(**json.loads(host.file.read_text())), root=root)

    # --- what is there

    def current(self, name: str) -> Certificate | None:
        """Return what a name is served with."""
        return Certificate.read(self.served / name)

    def issued(self, group: str) -> Certificate | None:
        """Return the last certificate that ACME issued for a group."""
        return Certificate.read(self.certbot / "live" / group)

    def pending(self, name: str) -> Path:
        """Return the file that tells nginx that a name waits for its certificate."""
        return self.state / "pending" / name

    def table(self) -> str:
        """Return a line for each name, for people and diffs; nothing in it is secret."""
        names = sorted(path.name for path in self.served.iterdir()) if self.served.is_dir() else []
        waits = {name: ", waits for ACME" * self.pending(name).exists() for name in names}
        return "".join(f"{name}: {self.current(name) or 'broken'}{waits[name]}\n" for name in names)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Let one work at a time: a deploy, or the timer."""
        if self.check:
            yield
            return
        os.umask(0o022)  # nginx's workers pass through these.
        logs = (self.root / LOGS).parent
        for folder in (self.served, self.store, self.webroot, self.state / "pending", self.state / "failed", logs):
            folder.mkdir(parents=True, exist_ok=True)
        with open(self.state / ".lock", "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # --- what is done

    def keep_program(self) -> None:
        """Put this program where the timer runs it."""
        for module in (sys.modules[__name__], files):
            text = module.__loader__.get_source(module.__name__)
            file = self.program / f"{module.__name__.rpartition('.')[2]}.py"
            if (not file.exists() or file.read_text() != text) and self.note(str(file)):
                self.program.mkdir(parents=True, exist_ok=True)
                files.write(file, text, 0o644)

    def note(self, change: str) -> bool:
        """Note a change; whether it is to be made."""
        self.changes.append(change)
        return not self.check

    def keep_plan(self) -> None:
        """Keep the plan for the timer, as long as there is one."""
        if not self.plan.domains:
            if self.file.exists() and self.note("the plan"):
                files.discard(self.file)
            return
        text = json.dumps(dataclasses.asdict(self.plan), indent=1, sort_keys=True) + "\n"
        if (not self.file.exists() or self.file.read_text() != text) and self.note("the plan"):
            files.write(self.file, text, 0o644)

    def keep_eab(self, eab: dict[str, str]) -> None:
        """Keep for certbot what an issuer wants to see when an account is registered, if it does."""
        text = "".join(f"eab-{key.replace('_', '-')} = {value}\n" for key, value in sorted(eab.items()))
        text = text if self.plan.groups else ""
        if text != (self.eab.read_text() if self.eab.exists() else "") and self.note("the account's key at the issuer"):
            if text:
                files.write(self.eab, text, 0o600)
            else:
                files.discard(self.eab)

    def serve(self, names: list[str], chain: str, key: str) -> None:
        """Let names be served with a pair, both files in one step: a power cut leaves it or the one before."""
        digest = hashlib.sha256(chain.encode()).hexdigest()[:16]
        behind = [name for name in names if not self.points(name, digest)]
        if not behind or not self.note(f"{', '.join(behind)}: certificate {digest}"):
            return
        folder, partial = self.store / digest, self.store / f".{digest}.partial"
        if not (folder / "privkey.pem").exists():
            files.discard(partial)
            partial.mkdir(mode=0o755)
            files.write(partial / "privkey.pem", key, 0o600)
            files.write(partial / "fullchain.pem", chain, 0o644)
            partial.rename(folder)
            files.sync(self.store)
        self.unread.touch()
        for name in behind:
            files.point(self.served / name, f"../certificates/{digest}")

    def points(self, name: str, digest: str) -> bool:
        """Whether a name is served with a pair that is there."""
        link = self.served / name
        return link.is_symlink() and os.readlink(link).endswith(f"/{digest}") and (link / "privkey.pem").exists()

    def make(self, name: str) -> None:
        """Make a self-signed certificate."""
        if self.check:
            self.note(f"{name}: a self-signed certificate")
            return
        called = socket.gethostname() if name == "_" else name
        with tempfile.TemporaryDirectory() as folder:  # Of root alone, by its mode.
            conf, key, chain = (Path(folder) / file for file in ("openssl.cnf", "key", "chain"))
            conf.write_text(OPENSSL.format(common=called[:64], name=called))
            command = ["openssl", "req", "-x509", "-config", str(conf), "-days", str(DAYS), "-noenc"]
            command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", str(key)]
            subprocess.run([*command, "-out", str(chain)], check=True, capture_output=True)
            self.serve([name], chain.read_text(), key.read_text())

    def prepare(self, own: dict[str, dict[str, str]], eab: dict[str, str] | None = None) -> None:
        """Give each name something that nginx can be started with, and keep the plan.

        :param own: certificate and key of names whose mode is ``own``. The timer has none; it leaves them as they are.
        :param eab: ``kid`` and ``hmac_key`` of an account at the issuer, or nothing; None leaves that as it is.
        """
        if eab is not None:
            self.keep_eab(eab)
        for name, pair in own.items():
            self.serve([name], pair["certificate"], pair["key"])
        for name, mode in self.plan.domains.items():
            found = self.current(name)
            if mode == "self_signed" and not (found and found.made_here and found.good(name, RENEW_DAYS)):
                self.make(name)
            elif mode == "acme":
                self.prepare_acme(name, found)
        self.keep_plan()

    def prepare_acme(self, name: str, found: Certificate | None) -> None:
        """Serve a name with what ACME issued, or with what it has until ACME does."""
        group = next((group for group, names in self.plan.groups.items() if name in names), "")
        issued = self.issued(group)
        if issued and issued.covers(name):
            self.serve([name], *pair_of(issued))
        elif not (found and found.good(name)):
            self.make(name)
        found = self.current(name)
        waits = found is None or found.subject == found.issuer
        mark = self.pending(name)
        if mark.exists() != waits and self.note(f"{name}: {'waits' if waits else 'no longer waits'} for ACME"):
            if waits:
                mark.touch(0o644)
            else:
                files.discard(mark)

    def issue(self, force: bool = False) -> None:
        """Order what ACME has to issue, and let nginx read what has changed.

        :param force: order new certificates also where the old ones are good.
        """
        away = ""
        for group, names in self.plan.groups.items():
            if self.check:
                issued = self.issued(group)
                if force or not issued or issued.names != set(names) or not issued.good(names[0]):
                    self.note(f"{', '.join(names)}: order a certificate")
            elif not self.rests(group, names, force):
                away = self.order(group, names, force, away)
            for name in names:
                self.prepare_acme(name, self.current(name))
            if not self.check:
                self.tell(group, names)
        for name, mode in self.plan.domains.items():
            found = self.current(name)
            if mode == "own" and found and not found.good(name):
                end = time.strftime("%Y-%m-%d", time.gmtime(found.until))
                self.problems.append(f"tls: the certificate of {name} ended on {end}. Renew it in tls_certificates.")
        self.tidy()
        self.keep_plan()
        if self.unread.exists() and not self.check:
            if wrong := reload_nginx():
                self.problems.append(wrong)
            else:
                files.discard(self.unread)

    def order(self, group: str, names: list[str], force: bool, away: str) -> str:
        """Let certbot order a group's certificate where it is due, and remember what failed.

        :param away: why the directory cannot be reached at all, where that is known.
        :returns: the same, of now.
        """
        failed = {"": ("away", away)} if away else self.run_certbot(group, names, force)
        if not failed:
            files.discard(self.state / "failed" / f"{group}.json")
            return ""
        rest = [name for name in names if name not in failed]
        # The others go on without those that ACME refuses. A forced order may be about a certificate that was revoked.
        if rest and "" not in failed and (force or not self.keeps(group, rest)):
            failed |= self.run_certbot(group, rest, force)
        self.fail(group, names, failed)
        return next((words for kind, words in failed.values() if kind == "away"), "")

    def keeps(self, group: str, rest: list[str]) -> bool:
        """Whether the names that ACME does not refuse are on one certificate with the others, good for a while."""
        have = self.issued(group)
        return have is not None and set(rest) < have.names and have.good(rest[0], RENEW_DAYS / 4)

    def run_certbot(self, group: str, names: list[str], force: bool) -> dict[str, tuple[str, str]]:
        """Run certbot, which decides itself whether a certificate is due.

        :returns: for each name that failed, ``""`` where it is none in particular, the kind of error and ACME's words.
        """
        command = ["certbot", "certonly", "--non-interactive", "--agree-tos", "--webroot", "-w", str(self.webroot)]
        command += ["--cert-name", group, "--renew-with-new-domains", "--server", self.plan.directory]
        command += ["--force-renewal" if force else "--keep-until-expiring", "--config-dir", str(self.certbot)]
        command += ["--work-dir", str(self.state / "certbot"), "--logs-dir", str(self.root / LOGS)]
        command += ["--max-log-backups", "9", "--no-eff-email"]
        command += ["-m", self.plan.email] if self.plan.email else ["--register-unsafely-without-email"]
        command += ["--config", str(self.eab)] if self.eab.exists() else []
        for name in names:
            command += ["-d", name]
        environment = dict(os.environ)
        if self.plan.ca:
            environment["REQUESTS_CA_BUNDLE"] = self.plan.ca
        run = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=environment,
        )  # fmt: skip
        if run.returncode == 0:
            return {}
        found = {name: (kind, " ".join(words.split())) for name, kind, words in REPORTED.findall(run.stdout)}
        found = found or reason(self.unmasked(run.stdout), names)
        if "Unable to register an account" in run.stdout:
            # It is about no name, and what ACME calls unauthorized here is the account.
            kind, words = next(iter(found.values()))
            found = {"": ("account" if kind in {"error", "malformed", "unauthorized"} else kind, words)}
        return found

    def unmasked(self, said: str) -> str:
        """Return what certbot said of an error, as ACME said it.

        Newer ones leave the kind out, and Debian 12's hides it all behind an error of its own (certbot's issue 9539);
        the log of each run has it.
        """
        log = self.root / LOGS / "letsencrypt.log"
        if ACME_ERROR in said or AWAY.search(said) or not log.exists():
            return said
        found = re.findall(r"^acme\.messages\.Error: (.*)", log.read_text(errors="replace"), re.MULTILINE)
        return found[-1] if found else said

    def rests(self, group: str, names: list[str], force: bool) -> bool:
        """Whether a group failed so often of late that the directory must not be asked once more.

        People who force an order may have mended what was wrong; a limit of the directory's own holds for them too.
        """
        last = self.failures(group, names)
        if not last or time.time() >= last["until"]:
            return False
        return not force or any(kind == "rateLimited" for kind, _ in last["words"].values())

    def failures(self, group: str, names: list[str]) -> dict[str, Any]:
        """Return what is known of a group's last failures, if they were of these names and this directory."""
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((self.state / "failed" / f"{group}.json").read_text())
            if (found.get("directory"), found.get("names")) == (self.plan.directory, names):
                return found
        return {}

    def fail(self, group: str, names: list[str], failed: dict[str, tuple[str, str]]) -> None:
        """Remember a failure."""
        now = time.time()
        times = [at for at in self.failures(group, names).get("times", []) if at > now - PAUSE]
        # Nobody counts how often a server that is away was asked.
        if {kind for kind, _ in failed.values()} != {"away"}:
            times.append(now)
        until = times[0] + PAUSE if len(times) >= TRIES else now
        for kind, words in failed.values():
            if kind == "rateLimited":
                until = max(until, moment(words) or now + PAUSE)
        entry = {"directory": self.plan.directory, "names": names, "times": times, "until": until, "words": failed}
        files.write(self.state / "failed" / f"{group}.json", json.dumps(entry, indent=1) + "\n", 0o644)

    def tell(self, group: str, names: list[str]) -> None:
        """Tell of a group's last failures: which name, in ACME's words, what is served meanwhile, what to do."""
        last = self.failures(group, names)
        for about, (kind, words) in last.get("words", {}).items():
            said = f"{kind}: {words.rstrip('. ')}."
            # Some issuers call it a failed connection when a name does not resolve.
            unknown = kind == "connection" and "resolve" in words
            advice = ADVICE.get("dns" if unknown else kind, f"See /{LOGS}/letsencrypt.log on the host")
            if time.time() >= last["until"]:
                advice += "; the next deploy tries again, and a timer twice a day"
            else:
                until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(last["until"]))
                said += f" It is not asked again before {until}."
                if not self.rests(group, names, force=True):
                    advice += "; then playbooks/provision.yml -e tls_renew=true asks at once"
            served: dict[str, list[str]] = {}
            for name in [about] if about else names:
                served.setdefault(self.meanwhile(name), []).append(name)
            for meanwhile, those in served.items():
                self.problems.append(
                    f"tls: {', '.join(those)} (app {group}) got no certificate from {self.plan.directory}."
                    f" It said: {said} {meanwhile}. {advice}."
                )

    def meanwhile(self, name: str) -> str:
        """Return how a name that got no certificate is served."""
        found = self.current(name)
        if found is None or self.pending(name).exists():
            return "It is served over plain HTTP too, and over HTTPS with a certificate that no browser trusts"
        end = time.strftime("%Y-%m-%d", time.gmtime(found.until))
        if found.good(name):
            return f"It keeps the certificate that it has, until {end}"
        return f"Its certificate ended on {end}: browsers refuse it, and plain HTTP leads there"

    def drop(self) -> None:
        """Take away what is of no name any more; only when nginx no longer reads it, so it is not for the timer."""
        served = {path.name for path in self.served.iterdir()} if self.served.is_dir() else set()
        for name in sorted(served - set(self.plan.domains)):
            if self.note(f"{name}: nothing any more"):
                files.discard(self.served / name)
        acme = {name for name, mode in self.plan.domains.items() if mode == "acme"}
        left = [path for path in (self.state / "pending").glob("*") if path.name not in acme]
        left += [path for path in (self.state / "failed").glob("*") if path.stem not in self.plan.groups]
        if not self.plan.groups and self.eab.exists() and self.note("the account's key at the issuer"):
            files.discard(self.eab)
        lineages = {path.stem for path in self.certbot.parent.glob("*/renewal/*.conf")}
        for group in sorted(lineages - set(self.plan.groups)):
            if self.note(f"{group}: no certificate of ACME any more"):
                for base in self.certbot.parent.glob("*"):
                    left += [base / "renewal" / f"{group}.conf", base / "live" / group, base / "archive" / group]
        for path in left if not self.check else []:
            files.discard(path)

    def tidy(self) -> None:
        """Delete what was replaced, and keep when the first certificate ends."""
        if self.check:
            return
        used = {os.path.basename(os.readlink(path)) for path in self.served.glob("*") if path.is_symlink()}
        for path in self.store.glob("*"):
            if path.name not in used:
                files.discard(path)
        ends = [found.until for name in self.plan.domains if (found := self.current(name))]
        # Read by hosted.flask.preflight: after that moment a deploy looks after the host again.
        end, text = self.state / "until", f"{min(ends, default=0):.0f}\n"
        if not ends:
            files.discard(end)
        elif not end.exists() or end.read_text() != text:
            files.write(end, text, 0o644)


def pair_of(found: Certificate) -> tuple[str, str]:
    """Return the texts of a certificate with its chain, and of its key."""
    return (found.folder / "fullchain.pem").read_text(), (found.folder / "privkey.pem").read_text()


def reason(said: str, names: list[str]) -> dict[str, tuple[str, str]]:
    """Return the kind of an error and what was said of it, by the names that it is about, or by ``""``."""
    lines = [line for line in said.splitlines() if not NOISE.search(line)]
    words = " ".join(" ".join(lines).split()).removeprefix("An unexpected error occurred: ")
    kind = re.search(ACME_ERROR + r"(\w+)", words)
    if kind:
        about = [name for name in names if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", words)]
        return dict.fromkeys(about if kind[1] in ABOUT_NAMES else [""], (kind[1], words)) or {"": (kind[1], words)}
    return {"": ("away" if AWAY.search(words) else "error", words)}


def moment(words: str) -> float | None:
    """Return the moment after which ACME may be asked again, where it says one."""
    found = AFTER.search(words)
    if not found:
        return None
    return datetime.datetime.fromisoformat(f"{found[1]}T{found[2]}+00:00").timestamp()


def reload_nginx() -> str:
    """Let a running nginx read its files again, but only if it accepts them; return what is wrong with them."""
    path = {**os.environ, "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin"}
    if subprocess.run(["systemctl", "is-active", "--quiet", "nginx.service"]).returncode:
        return ""
    for command in (["nginx", "-t", "-q"], ["systemctl", "reload", "nginx.service"]):
        run = subprocess.run(command, env=path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if run.returncode:
            return f"tls: nginx does not read the new certificates, {' '.join(command)} said: {run.stdout.strip()}"
    return ""


def main() -> int:
    """Renew what is due, for the timer; the exit code tells whether all is well."""
    if sys.argv[1:] != ["renew"]:
        print("usage: certificates.py renew", file=sys.stderr)
        return 2
    host = Host.remembered()
    with host.lock():
        host.prepare({})
        host.issue()
    print("\n".join([*host.changes, *host.problems]) or "nothing is due")
    return 1 if host.problems else 0


if __name__ == "__main__":
    sys.exit(main())
