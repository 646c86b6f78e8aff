"""Run ansible-playbook without starting Ansible anew each time: a third of a deploy's processor time is its start.

    done = warm.playbook(["deploy.yml", "-i", "inventory"], cwd=folder)

A process that has imported Ansible is kept for each configuration (Ansible reads that as it is imported). It forks for
each run, and the fork does what the command does, with its own arguments, folder and environment. Only the command line
that others see in /proc is not that of the command.
"""

from __future__ import annotations

import array
import atexit
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path

BYTES = 1 << 20  # of one order
# What every run needs; the last one reads two thousand lines of YAML.
IMPORTED = (
    "ansible.cli.playbook",
    "ansible.executor.module_common",
    "ansible.plugins.action.normal",
    "ansible.plugins.connection.ssh",
    "ansible.plugins.strategy.linear",
    "ansible_collections.ansible.builtin",
)
_kept: dict[str, tuple[subprocess.Popen, Path]] = {}
_lock = threading.Lock()


def playbook(words: Sequence[str], cwd: str | Path = ".") -> subprocess.CompletedProcess:
    """Run ``ansible-playbook`` with these words, as :func:`subprocess.run` would with its output captured as text.

    :param cwd: the folder that the command is run in.
    """
    address = _warm()
    order = {"words": list(words), "cwd": os.path.abspath(cwd), "environment": dict(os.environ)}
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
    ):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BYTES)
        connection.connect(str(address))
        files = array.array("i", [out.fileno(), err.fileno()])
        connection.sendmsg([json.dumps(order).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        code = int(connection.recv(100) or -signal.SIGKILL)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return subprocess.CompletedProcess(["ansible-playbook", *words], code, *texts)


def _warm() -> Path:
    """Return the socket of the process that has this configuration; it is started by the first who asks."""
    settings = {key: text for key, text in os.environ.items() if key.startswith("ANSIBLE_") or key == "HOME"}
    if "ANSIBLE_CONFIG" not in settings:
        raise ValueError("ANSIBLE_CONFIG is not set: the folder would decide which settings there are")
    key = json.dumps(settings, sort_keys=True)
    with _lock:
        if key not in _kept:
            address = Path(tempfile.mkdtemp(prefix="hf-warm-")) / "socket"
            # It ends as soon as its standard input does, and so with us.
            process = subprocess.Popen(
                [sys.executable, __file__, str(address)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            if process.stdout.read(1) != b"+":
                raise RuntimeError(f"the process that keeps Ansible warm ended with {process.wait()}")
            _kept[key] = process, address
            atexit.register(_end, process, address)
        return _kept[key][1]


def _end(process: subprocess.Popen, address: Path) -> None:
    process.stdin.close()
    process.wait(30)
    process.stdout.close()
    address.unlink(missing_ok=True)
    address.parent.rmdir()


# --- the process that is kept ---------------------------------------------------------------------


def keep(address: str) -> None:
    """Listen until standard input ends; each order is another process's."""
    for name in IMPORTED[:-1]:
        importlib.import_module(name)
    # From now on collections can be imported.
    importlib.import_module("ansible.plugins.loader").init_plugin_loader()
    importlib.import_module(IMPORTED[-1])
    # Each run forks many workers, which then leave what is there in memory that is shared.
    gc.freeze()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        os.write(1, b"+")
        while True:
            ready, _, _ = select.select([0, listener], [], [])
            if 0 in ready:
                return
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                watch(connection)
            connection.close()


def watch(connection: socket.socket) -> None:
    """Run one order, and answer with its exit code; it ends if nobody waits for that any more."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BYTES)
    text, ancillary, _, _ = connection.recvmsg(BYTES, socket.CMSG_SPACE(2 * array.array("i").itemsize))
    files = array.array("i", ancillary[0][2])
    pid = os.fork()
    if pid == 0:
        connection.close()
        run(json.loads(text), *files)
    handle = os.pidfd_open(pid)
    ready, _, _ = select.select([connection, handle], [], [])
    if handle not in ready:
        os.kill(pid, signal.SIGTERM)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        connection.send(str(code).encode())
    except OSError:
        pass
    os._exit(0)


def run(order: dict, out: int, err: int) -> None:
    """Be the command."""
    from ansible import constants
    from ansible.cli.playbook import PlaybookCLI

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["cwd"])
    # Made as Ansible is imported, and removed at its end: each run has its own.
    atexit._clear()
    constants.DEFAULT_LOCAL_TMP = tempfile.mkdtemp(prefix="run-", dir=constants.DEFAULT_LOCAL_TMP)
    atexit.register(shutil.rmtree, constants.DEFAULT_LOCAL_TMP, ignore_errors=True)
    warnings.filterwarnings("ignore", "AnsibleCollectionFinder has already been configured")
    sys.argv = ["ansible-playbook", *order["words"]]
    PlaybookCLI.cli_executor(sys.argv)


if __name__ == "__main__":
    keep(sys.argv[1])
