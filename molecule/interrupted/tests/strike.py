"""Runs on a host beside a deploy: waits for a moment of it, and strikes within a few milliseconds.

strike.py APP MOMENT ACTION
"""

import os
import pwd
import re
import signal
import socket
import sys
import time
import xmlrpc.client
from http.client import HTTPConnection
from pathlib import Path

app, moment, action = sys.argv[1:]
root = Path(f"/home/{app}/apps/{app}")
uid = pwd.getpwnam(app).pw_uid
deadline = time.monotonic() + 60


def running():
    """Return pid, account and words of each process."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace").split("\0")
            yield int(folder.name), folder.stat().st_uid, words
        except OSError:
            continue


def modules(account=None):
    """Return the pids of what Ansible runs here: Python that reads what to do from the connection."""
    return [
        pid
        for pid, user, words in running()
        if re.fullmatch(r"/usr/bin/python3[.\d]*", words[0])
        and (len(words) == 1 or words[1] == "-Ic")
        and account in (None, user)
    ]


class Transport(xmlrpc.client.Transport):
    """To the account's supervisord."""

    def make_connection(self, host):
        """Connect to its socket."""
        connection = HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(f"/run/supervisord/{app}/supervisor.sock")
        return connection


def live():
    """Return what supervisord says of the live program."""
    api = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=Transport())
    return api.supervisor.getProcessInfo(app)


def shown():
    """Whether visitors are on the standby."""
    return os.readlink(root / "run/current.sock") == "standby.sock"


def sleeps():
    """Whether one of the app's hooks does."""
    return any(user == uid and words[0] == "sleep" for _, user, words in running())


def builds():
    """Whether a venv is there that is not whole."""
    return any(not (venv / ".complete").exists() for venv in (root / "venvs").iterdir() if venv.is_dir())


def wait(true, every=0.005):
    """Return as soon as something is true."""
    while not true():
        if time.monotonic() > deadline:
            sys.exit(f"{moment} never came")
        time.sleep(every)


begin = time.monotonic()
if moment == "end":
    wait(lambda: modules(uid))
    begin = time.monotonic()
    wait(lambda: not modules(uid))
elif moment == "sleeps":
    wait(sleeps)
elif moment == "builds":
    wait(builds)
elif moment == "shown":
    wait(shown)
elif moment == "STOPPING":
    wait(shown)
    # It may be short: what follows is right too.
    wait(lambda: live()["statename"] != "RUNNING")
elif moment == "STOPPED":
    # Its next process is there within 10 ms: to ask supervisord would often be too late.
    wait(shown)
    process = Path(f"/proc/{live()['pid']}")
    wait(lambda: not process.exists(), every=0.001)
else:
    wait(lambda: modules(uid))
    time.sleep(float(moment))
if action == "modules":
    # All of them before any notices that another one is gone.
    pids = modules()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    print(len(pids))
elif action == "supervisord":
    pids = [pid for pid, user, words in running() if user == uid and "/usr/bin/supervisord" in words]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    print(len(pids))
else:
    print(time.monotonic() - begin)
