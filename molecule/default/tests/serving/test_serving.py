"""The site serves: after a deploy, after a crash, after a reboot, each time without anybody's help."""

from asking import ask, pids, until


def test_page_comes_back_by_itself(host):
    """Two good answers from the same server process, so that it is not one that is about to end."""

    def serves():
        before = pids(host, "^basic_flask .*bin/uwsgi ")
        return ask(host).status == 200 and before and pids(host, "^basic_flask .*bin/uwsgi ") == before

    until(serves)


def test_message_is_on_the_page(host):
    assert "<h1>Hello from hosted.flask</h1>" in ask(host).text


def test_every_program_that_should_runs(host):
    """For its first second supervisord says that a program is starting, though it serves already."""

    def states():
        lines = host.run("su - basic_flask -c 'supervisorctl status'").stdout.splitlines()
        return [line.split()[:2] for line in lines]

    until(lambda: states() == [["basic_flask", "RUNNING"], ["basic_flask-socket", "RUNNING"]])


def test_one_server_with_its_workers_and_no_orphan(host):
    """A worker whose master was killed would hold the socket and spin."""
    until(lambda: len(pids(host, "^basic_flask .*bin/uwsgi ")) == 3)
    master, *workers = pids(host, "^basic_flask .*bin/uwsgi ")
    parents = [int(host.check_output(f"ps -o ppid= -p {pid}")) for pid in workers]
    assert parents == [master, master]


def test_one_supervisord(host):
    assert len(pids(host, "bin/supervisord ")) == 1
