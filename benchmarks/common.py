"""What the benchmarks share: commands with a log, the machine's state, hosts of their own, and the README's tables."""

import argparse
import contextlib
import fcntl
import json
import os
import platform
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
WORK = ROOT / ".cache" / "benchmarks"
README = HERE / "README.md"
TOOL = Path(sys.argv[0]).name

sys.path.insert(0, str(ROOT / "tests"))
from visitors import LOST, OK, Client, Visitors  # noqa: E402  it lies in tests/

QUIET = 0.10  # share of the machine's CPU time that may be in use for it to count as quiet
RATE = 50  # requests a second
TIMEOUT = 5  # seconds that a request may take
LONGEST = 120  # seconds that the requests of one redeploy may go on, whatever happens
LEAD, TAIL = 1, 2  # seconds of requests before the command, and after it is done and the new version was seen
LINK = 100  # a slow link's port is that of the host's sshd and so many more


class Failure(Exception):
    """Something that ends the benchmark, with a message for the person at the keyboard."""


def say(message):
    """Tell what is going on; stdout is kept for the table."""
    print(f"benchmarks/{TOOL}: {message}", file=sys.stderr, flush=True)


def run(log, *argv, **options):
    """Run a command that must succeed, all its output into a log; return its seconds.

    It has a session of its own, so that an interruption ends it with all that it started.
    """
    with open(WORK / f"{log}.log", "a") as out:
        print("$", shlex.join(map(str, argv)), file=out, flush=True)
        start = time.monotonic()
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, **options
        )
        try:
            code = process.wait()
        except BaseException:
            end(process)
            raise
        seconds = time.monotonic() - start
    if code:
        tail = (WORK / f"{log}.log").read_text(errors="replace").splitlines()[-30:]
        raise Failure(f"failed ({code}): {shlex.join(map(str, argv))}\n" + "\n".join(tail))
    return seconds


def end(process):
    """End a command's session, by force if it does not within 10 seconds."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


# --- the machine ----------------------------------------------------------------------------------


def busy(seconds=2):
    """Share of the machine's CPU time in use, looked at for some seconds."""

    def read():
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return fields[3] + fields[4], sum(fields)

    idle, total = read()
    time.sleep(seconds)
    idle_now, total_now = read()
    return 1 - (idle_now - idle) / max(1, total_now - total)


def settle(limit):
    """Wait for a quiet machine, at most ``limit`` seconds; return how busy it was in the end."""
    deadline = time.monotonic() + limit
    while (share := busy()) > QUIET and time.monotonic() < deadline:
        pass
    return share


def toolkit():
    """What is measured as ``ours``, as a state that an edit changes: it may provision the host anew."""
    folders = [ROOT / name for name in ("playbooks", "plugins", "roles")]
    files = [file for folder in folders for file in folder.rglob("*") if "__pycache__" not in file.parts]
    files += [ROOT / name for name in ("ansible.cfg", "deploy.yml", "requirements.txt")]
    return sorted((str(file), file.stat().st_mtime_ns) for file in files if file.is_file())


def versions():
    """Say on what the figures were taken."""
    core = subprocess.run(
        [ROOT / ".venv/bin/python", "-c", "import ansible.release as r; print(r.__version__)"],
        stdout=subprocess.PIPE, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({platform.machine()}), ansible-core {core},"
        f" Python {platform.python_version()}, hosts Debian 12."
    )


def quiet(shares, wait, before):
    """Say on how quiet a machine the commands began, and whether the toolkit is still as it was ``before``."""
    loud = [share for share in shares if share > QUIET]
    text = f"All {len(shares)} commands began on a quiet machine (busy at most {QUIET:.2f})."
    if loud:
        text = (
            f"**{len(loud)} of {len(shares)} commands began on a machine that was not quiet**: busy over {QUIET:.2f}"
            f" (up to {max(loud):.2f}) after waiting {wait:g} s. Figures of such a run are too high."
        )
    if toolkit() != before:
        text += "\n**The toolkit was edited during the measurement**: the figures of `ours` are of no use."
    return text


# --- the README's tables --------------------------------------------------------------------------


def spread(values, digits):
    """Return median (min-max) as a cell."""
    ends = f" ({min(values):.{digits}f}-{max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{statistics.median(values):.{digits}f}{ends}"


def markdown(lines):
    """Return rows, of which the first is the head, as a table."""
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in lines)


def write_table(name, text):
    """Put a table into the README, between the markers of its name."""
    block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    README.write_text(block.sub(lambda match: f"{match[1]}{text}{match[2]}", README.read_text()))


# --- the hosts ------------------------------------------------------------------------------------


class Host:
    """A fresh Debian host with a copy of the app beside it, and an ssh connection that stays open."""

    def __init__(self, name, ssh_port, http_port, sockets, delay=0):
        """Write what its commands need; nothing is started yet. ``delay`` is the link's round trip in milliseconds."""
        self.name = name
        self.host = f"hosted-test-bench-{name}"
        self.ssh_port, self.http_port, self.delay = ssh_port, http_port, delay
        self.link = None
        self.folder = WORK / name
        self.app = self.folder / "app"
        self.ssh = ("ssh", "-F", str(self.folder / "ssh_config"), self.host)
        self.version = "0"
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(HERE / "app", self.app, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        control = sockets / name
        key = subprocess.run([ROOT / "tests/hosts", "key"], stdout=subprocess.PIPE, text=True, check=True)
        # Its host key is new with every container.
        (self.folder / "ssh_config").write_text(
            f"Host {self.host}\n HostName 127.0.0.1\n Port {ssh_port + LINK if delay else ssh_port}\n User root\n"
            f" IdentityFile {key.stdout.strip()}\n IdentitiesOnly yes\n"
            " StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel ERROR\n"
            f" ControlMaster auto\n ControlPersist yes\n ControlPath {control}\n"
        )
        self.connection = {
            "ansible_user": "root",
            "ansible_ssh_common_args": f"-F {self.folder}/ssh_config -o ControlPath={control}",
        }

    def describe(self, **variables):
        """Write its inventory."""
        inventory = {"servers": {"hosts": {self.host: self.connection}, "vars": variables}}
        (self.folder / "hosts.yml").write_text(json.dumps(inventory, indent=2))

    def start(self):
        """Make its bare host and open the ssh connection that all its commands use."""
        ports = [f"--publish={self.ssh_port}:22", f"--publish={self.http_port}:80"]
        run("hosts", ROOT / "tests/hosts", "up", self.host, "12", *ports)
        if self.delay:
            argv = [sys.executable, HERE / "slow_link.py", self.ssh_port + LINK, self.ssh_port, self.delay]
            self.link = subprocess.Popen(map(str, argv), stdout=subprocess.PIPE, start_new_session=True)
            if not self.link.stdout.readline():
                raise Failure(f"no slow link on port {self.ssh_port + LINK}")
        run(self.name, *self.ssh, "true")

    def stop(self):
        """Close the connection and remove the host; each is fine if it is not there."""
        with contextlib.suppress(Failure):
            run(self.name, *self.ssh, "-O", "exit")
        if self.link:
            end(self.link)
        run("hosts", ROOT / "tests/hosts", "down", self.host)

    def playbook(self, file, *words, folder=ROOT, venv=".venv", **environment):
        """Run a playbook with its inventory; return the command's seconds."""
        path = f"{ROOT / venv}/bin:{os.environ['PATH']}"
        argv = [ROOT / venv / "bin/ansible-playbook", file, "-i", self.folder / "hosts.yml", *words]
        environment = {"ANSIBLE_NOCOLOR": "1", "PATH": path, **environment}
        return run(self.name, *argv, cwd=folder, env=os.environ | environment)

    def ours(self, file, *words, **environment):
        """Run a playbook of this checkout; return the command's seconds."""
        return self.playbook(file, *words, ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), **environment)

    def edit(self):
        """Change the one line of the app that a redeploy brings."""
        self.version = str(int(self.version) + 1)
        edit(self.app, self.version)


def edit(app, version):
    """Let a copy of the app be of another version."""
    file = app / "wsgi.py"
    file.write_text(re.sub(r'^VERSION = ".*"$', f'VERSION = "{version}"', file.read_text(), flags=re.M))


def redeploy(port, deploy, versions):
    """Deploy what was edited while visitors come, of each path of ``versions`` as many; return what they saw of it."""
    clients = [
        Client(path, path=path, rate=RATE / len(versions), expect="(?P<version>.*)", timeout=TIMEOUT)
        for path in versions
    ]
    with Visitors(port, *clients, seconds=LONGEST) as visitors:
        time.sleep(LEAD)
        begin = time.monotonic()
        seconds = deploy()
        deadline = begin + LONGEST - LEAD - TAIL
        seen = [visitors.seen(version, max(0, deadline - time.monotonic())) for version in versions.values()]
        time.sleep(TAIL)
    report = visitors.report()
    for path, version in versions.items():
        answers = [answer for answer in report.answers if answer.client == path and answer.outcome == OK]
        last = max(answers, key=lambda one: one.due).version if answers else None
        if last != version:
            raise Failure(f"{path}: version {version} is not what is served in the end, but {last}")
    return {
        "seen": max(seen) - begin,
        "command": seconds,
        "requests": report.total,
        "lost": report.lost,
        **{kind: report.outcomes[kind] for kind in LOST},
        "worst": 1000 * report.worst,
    }


# --- a benchmark's frame --------------------------------------------------------------------------


@contextlib.contextmanager
def prepared():
    """Let one benchmark of this checkout run, make what all need, and clean up whatever happens.

    Gives a folder for sockets (not below the checkout: a socket's name may have 102 bytes), and the stack of what
    is to be cleaned up.
    """
    WORK.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as cleanup:
        lock = cleanup.enter_context(open(WORK / "lock", "w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure("a benchmark runs already in this checkout") from None
        for log in WORK.glob("*.log"):
            log.unlink()
        run("hosts", "bin/venv", ".venv", "requirements.txt", cwd=ROOT)
        run("hosts", "bin/venv", ".venv-test", "requirements-dev.txt", cwd=ROOT)
        run("hosts", ROOT / "tests/hosts", "install")
        sockets = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        with contextlib.ExitStack() as hosts:
            try:
                yield sockets, hosts
            finally:
                # Once it cleans up, nothing more interrupts it.
                for one in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(one, signal.SIG_IGN)


def parser(text):
    """Return the command line that all have, to add to."""
    options = argparse.ArgumentParser(prog=f"benchmarks/{TOOL}", description=text.splitlines()[0])
    options.add_argument("--runs", type=int, default=5, help="redeploys of each kind (default: %(default)s)")
    options.add_argument(
        "--delay", type=float, default=0, metavar="MS", help="round trip of the link to the hosts (default: none)"
    )
    options.add_argument(
        "--wait", type=float, default=60, help="seconds to wait for a quiet machine (default: %(default)s)"
    )
    options.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    options.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    return options


def start(main):
    """Be a benchmark: a SIGTERM ends it as ^C does, and what fails is told in words."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"benchmarks/{TOOL}: {failure}")
    except KeyboardInterrupt:
        sys.exit(f"benchmarks/{TOOL}: interrupted")
