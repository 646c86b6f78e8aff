"""After supervisord was killed with no warning, its programs left without it, and a deploy."""

from asking import PROJECT


def test_all_programs_run_again(host):
    status = host.run("%s/.hosted/bin/supervisorctl status", str(PROJECT)).stdout.splitlines()
    assert [line.split()[:2] for line in status] == [
        ["basic_flask", "RUNNING"],
        ["basic_flask-http", "RUNNING"],
        ["basic_flask-socket", "RUNNING"],
        ["mounted", "RUNNING"],
        ["mounted-http", "RUNNING"],
        ["mounted-socket", "RUNNING"],
    ]


def test_no_process_is_left_over(host):
    """All there is descends from the new supervisord."""
    root = int((PROJECT / ".hosted/run/supervisord.pid").read_text())
    rows = [row.split(None, 2) for row in host.check_output("ps axwwo pid,ppid,args --no-headers").splitlines()]
    parents = {int(pid): int(parent) for pid, parent, _ in rows}
    ours = {int(pid) for pid, _, words in rows if f"{PROJECT}/.hosted/" in words}
    assert root in ours
    assert {pid for pid in ours if pid != root and parents[pid] not in ours} == set()
