"""An app that fails and says its secrets as it does so, in all ways: they are in nothing that is printed or written."""

import io
import json
import os
import re
import shlex
import subprocess
import tarfile
import tempfile
import time
from base64 import b64decode
from contextlib import contextmanager
from pathlib import Path

import leaking
import pytest
from asking import CHECKOUT, playbook

SOON = {"health": {"path": "/status", "timeout": 6}}
HEALTH = """
@app.before_request
def away():
    if request.path == "/status":
        import leaking
        return leaking.leak(), 503
"""
# More of wsgi.py, more of the description, and a word of what is said; the last one is live, all others are refused.
FAILS = {
    "import": ("\nimport leaking\nraise RuntimeError(leaking.leak())\n", {}, "the program ended"),
    "health": (HEALTH, SOON, "it answered 503"),
    "migrate": ("", {"migrate": "python leaking.py"}, "it leaked and failed"),
    "before_switch": ("", {"before_switch": "python leaking.py"}, "it leaked and failed"),
    "after_switch": ("", {"after_switch": "python leaking.py"}, "it leaked and failed"),
}
# Runs beside: notes what it may read of processes, until its file is taken away.
SAMPLER = """
import os, sys, time
seen = set()
with open(sys.argv[1], "wb", buffering=0) as file:
    while os.path.exists(sys.argv[1]):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            for name in sys.argv[2:]:
                try:
                    with open(f"/proc/{pid}/{name}", "rb") as told:
                        data = told.read(1 << 20)
                except OSError:
                    continue
                if data and data not in seen:
                    seen.add(data)
                    file.write(data + b"\\n")
        time.sleep(0.01)
"""
OTHERS = ("hf-", "pytest-of-")  # folders of other tests
# The app's own: its settings, and what it says itself. Only the account and root may read them.
OWN = r"/home/shop/(apps/shop/(env|releases/[0-9a-f]*/\.hosted/env)|logs/shop[a-z-]*\.log(\.[0-9])?)"


@pytest.fixture(scope="module")
def secrets(host) -> dict[str, str]:
    """The app's secrets; one of them was made on the host."""
    kept = host.check_output("cat /home/shop/apps/shop/env")
    return {**leaking.made(time.time_ns()), "SECRET_KEY": dict([shlex.split(kept)[0].split("=", 1)])["SECRET_KEY"]}


@pytest.fixture(scope="module")
def pieces(secrets) -> dict[str, str]:
    """What nobody may find."""
    return leaking.pieces(secrets, {**leaking.made(1), "SECRET_KEY": "x" * 64})


@contextmanager
def sampled(host):
    """Yield a dict that gets what others read of processes meanwhile; on the host arguments as root, too."""
    texts = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        here = Path(folder, "seen")
        root = os.geteuid() == 0
        rights = {"user": "nobody", "group": "nogroup", "extra_groups": []} if root else {}
        what = ["cmdline", "environ"] if root else ["cmdline"]  # One's own environment may hold secrets.
        own = subprocess.Popen(["/usr/bin/python3", "-c", SAMPLER, str(here), *what], **rights)
        starts = {"root": "cmdline", "nobody": "cmdline environ"}
        for user, names in starts.items():
            rights = f"setpriv --reuid {user} --regid nogroup --clear-groups"
            words = f"{rights} /usr/bin/python3 -c {shlex.quote(SAMPLER)} /tmp/seen-by-{user} {names}"
            host.check_output(f"nohup {words} >/dev/null 2>&1 & sleep 1; test -e /tmp/seen-by-{user}")
        try:
            yield texts
        finally:
            texts["processes here"] = here.read_bytes().decode(errors="replace")
            here.unlink()
            for user in starts:
                texts[f"processes for {user}"] = read(host, f"cat /tmp/seen-by-{user}")
                host.check_output(f"rm /tmp/seen-by-{user}")
            own.wait(30)


def squeezed(text: str) -> str:
    """Return a text without what YAML breaks its lines with."""
    return re.sub(r"[\s\\]+", "", text)


def read(host, command: str) -> str:
    """Return what a command prints on the host, whatever that is."""
    done = host.run(command)
    assert done.rc == 0, done.stderr
    return done.stdout_bytes.decode(errors="replace")


def changed(host, mark: float) -> dict[str, str]:
    """Return all files that were written on the host since its mark, but for the app's own, and its journal."""
    folders = "/proc /sys /dev /run/systemd /run/udev /var/log/journal /run/log/journal"
    pruned = " -o ".join(f"-path {folder}" for folder in folders.split())
    find = (
        f"find / \\( {pruned} \\) -prune -o -type f -newer /var/tmp/mark -regextype egrep ! -regex {shlex.quote(OWN)}"
    )
    packed = host.check_output(f"{find} -print0 | tar --null -T - --ignore-failed-read -czf - 2>/dev/null | base64 -w0")
    texts = {}
    with tarfile.open(fileobj=io.BytesIO(b64decode(packed))) as tar:
        for member in tar:
            if member.isfile():
                texts[f"/{member.name}"] = tar.extractfile(member).read().decode(errors="replace")
    texts["the journal"] = read(host, f"journalctl --all -o export --since @{mark:.0f}")
    return texts


def written(mark: float, *folders: Path) -> dict[str, str]:
    """Return all files of this machine's folders that were written since then."""
    texts = {}
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            try:
                if path.is_file() and not path.is_symlink() and path.stat().st_mtime >= mark:
                    texts[str(path)] = path.read_bytes().decode(errors="replace")
            except OSError:  # Gone meanwhile.
                continue
    return texts


@pytest.mark.parametrize("name", FAILS)
def test_nothing_that_is_printed_or_written_has_a_secret(host, shop, secrets, pieces, tmp_path, name):
    code, more, words = FAILS[name]
    given = tmp_path / "secrets.json"
    own = {key: value for key, value in secrets.items() if key != "SECRET_KEY"}
    given.touch(0o600)
    given.write_text(json.dumps({"shop_more": {**more, "secrets": own}}))
    shop.edit(code, leaking_py=Path(leaking.__file__).read_text())
    host.check_output("touch /var/tmp/mark")
    mark = time.time() - 1
    options = ("-e", "app=shop", "-e", f"@{given}", "-vvv", "--diff")
    with sampled(host) as texts:
        run = playbook("playbooks/deploy.yml", *options, own=True)
        runs = {"deploy": run}
        if name == "after_switch":  # It is live.
            runs |= {verb: playbook(f"playbooks/{verb}.yml", *options) for verb in ("status", "doctor", "rollback")}
            runs["check"] = playbook("playbooks/deploy.yml", *options, "--check")
    assert (run.returncode == 0) == (name == "after_switch")
    assert squeezed(words) in squeezed(run.stdout), "it failed for another reason"
    assert "********" in run.stdout, "it said none at all"
    assert not any(done.returncode for verb, done in runs.items() if verb not in ("deploy", "doctor"))
    places = {verb: done.stdout + done.stderr for verb, done in runs.items()}
    assert "ansible-playbook" in texts["processes here"]
    assert "hosted-work-shop-" in texts["processes for root"]
    assert "/tmp/seen-by-nobody" in texts["processes for nobody"]
    places |= texts | changed(host, mark)
    assert "/home/shop/apps/shop/history.jsonl" in places
    given.unlink()
    temporary = [path for path in Path(tempfile.gettempdir()).iterdir() if not path.name.startswith(OTHERS)]
    places |= written(mark, CHECKOUT / ".cache", Path.home() / ".ansible", *temporary)
    leaks = {place: sorted(set(leaking.found(pieces, text).values())) for place, text in places.items()}
    assert {place: of for place, of in leaks.items() if of} == {}


def test_the_apps_own_files_are_nobody_elses(host):
    """They hold its secrets, or may."""
    own = host.check_output(f"find /home/shop -type f -regextype egrep -regex {shlex.quote(OWN)}").splitlines()
    assert len(own) >= 3
    for file in own:
        assert not host.run(f"setpriv --reuid nobody --regid nogroup --clear-groups cat {file}").stdout


def test_what_is_looked_for_is_found(secrets, pieces):
    """Each secret in each of its ways, also a part of it."""
    assert len(leaking.encodings("")) >= 20
    for secret in secrets.values():
        for way, text in leaking.encodings(secret).items():
            assert leaking.found(pieces, f"x{text}"), way
            if len(text) > 40:
                assert leaking.found(pieces, text[len(text) // 2 :]), way
    assert leaking.found(pieces, "-----BEGIN PRIVATE KEY----- of postgres://app:@db.example.org:5432/app") == {}
