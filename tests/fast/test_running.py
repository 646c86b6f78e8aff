"""A program that the control node runs ends with all that it has started: in time, too late, and when Ansible ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.hosted.flask.plugins.plugin_utils.running import TooMuch, run
from support import ROOT, until

# A program that starts another, which notes its pid and outlives it unless somebody ends it.
LEAVES = 'sh -c "echo \\$\\$ >{0}; exec sleep 300" & while [ ! -s {0} ]; do sleep 0.01; done; '


def gone(file: Path) -> bool:
    """Whether the process that noted its pid has ended."""
    try:
        os.kill(int(file.read_text()), 0)
    except ProcessLookupError:
        return True
    # A zombie has ended, too; who inherits it may take its time.
    status = Path("/proc", file.read_text().strip(), "stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_what_a_program_said_and_how_it_ended() -> None:
    done = run(["sh", "-c", "cat; echo x >&2; exit 3"], 60, b"in", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"in", b"x\n")
    assert run(["cat"], 60, stdout=subprocess.PIPE, text=True).stdout == "", "nobody types"


@pytest.mark.parametrize("size", [0, 1, 4096, 70_000, 3_000_000])
def test_input_of_any_size_is_given_while_output_is_read(size: int) -> None:
    done = run(["tee", "/dev/stderr"], 60, b"x" * size, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (len(done.stdout), len(done.stderr)) == (size, size)
    assert run(["true"], 60, b"x" * size, stdout=subprocess.PIPE).stdout == b"", "it does not read it"


def test_text_is_returned_whatever_it_is() -> None:
    assert run(["cat"], 60, "ä\n", stdout=subprocess.PIPE, text=True).stdout == "ä\n"
    said = run(["printf", r"\377x"], 60, stdout=subprocess.PIPE, text=True)
    assert (said.stdout, said.stderr) == ("\ufffdx", None)


@pytest.mark.parametrize("where", ["", " >&2"])
def test_a_program_that_prints_too_much_is_ended(where: str, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    command = LEAVES.format(pid) + f"exec cat /dev/zero{where}"
    with pytest.raises(TooMuch, match="sh printed more than 1000000 bytes"):
        run(["sh", "-c", command], 60, most=1_000_000, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until("what it left has ended", lambda: gone(pid), 10)


@pytest.mark.parametrize("rest", ["exit 0", "exit 1", "sleep 300"])
def test_nothing_is_left_of_a_program(rest: str, tmp_path: Path) -> None:
    pid, start = tmp_path / "pid", time.monotonic()
    command = ["sh", "-c", LEAVES.format(pid) + rest]
    if "sleep" in rest:
        with pytest.raises(subprocess.TimeoutExpired):
            run(command, 2, stdout=subprocess.PIPE)
    else:
        assert run(command, 60).returncode == int(rest[-1])
    assert time.monotonic() - start < 60
    until("what it left has ended", lambda: gone(pid), 10)


RUNS = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # Ignored by what a shell has put into the background.
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader([sys.argv[1]])
from ansible_collections.hosted.flask.plugins.plugin_utils.running import TooMuch, run
run(["sh", "-c", sys.argv[2]], 300)
"""
# As an ansible-playbook does: its worker has a process group of its own, and ends that.
WORKER = """
import os, signal
os.setpgid(0, 0)
def end(number, frame):
    signal.signal(number, signal.SIG_DFL)
    os.killpg(os.getpid(), number)
signal.signal(signal.SIGTERM, end)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("before", ["", WORKER])
def test_who_ends_the_run_ends_the_program(number: int, before: str, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    command = LEAVES.format(pid) + "sleep 300"
    words = [sys.executable, "-c", before + RUNS, str(ROOT / ".collections"), command]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        until("it runs", lambda: pid.exists() and pid.read_text())
        child.send_signal(number)
        assert child.wait(30) != 0
    until("what it left has ended", lambda: gone(pid), 10)


# The end comes when the program runs already, and Popen has not told so yet.
EARLY = """
import os, pathlib, signal, subprocess, time
class Popen(subprocess.Popen):
    def __init__(self, *words, **options):
        super().__init__(*words, **options)
        while not (pathlib.Path({pid!r}).exists() and pathlib.Path({pid!r}).read_text()):
            time.sleep(0.01)
        signal.raise_signal({number})
subprocess.Popen = Popen
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_end_while_a_program_is_started_ends_it(number: int, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    early = EARLY.format(pid=str(pid), number=int(number))
    script = RUNS.replace("\nrun(", f"{early}\nrun(")
    words = [sys.executable, "-c", script, str(ROOT / ".collections"), LEAVES.format(pid) + "sleep 300"]
    assert subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60).returncode != 0
    until("what it left has ended", lambda: gone(pid), 10)


def test_no_other_way_to_run_a_program_with_a_deadline() -> None:
    """subprocess ends the program alone, and not what it has started."""
    for file in [*ROOT.glob("plugins/plugin_utils/*.py"), *ROOT.glob("plugins/action/*.py")]:
        if file.name != "running.py":
            assert not re.search(r"subprocess\.(run|Popen|call|check_\w+)\(", file.read_text()), file
