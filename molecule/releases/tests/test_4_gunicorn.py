"""The same with gunicorn: the server is a matter of the release, also for the front."""

import pytest
from asking import until
from changing import said, versions

GTHREAD = {"server": "gunicorn"}
GEVENT = {"server": "gunicorn", "server_options": {"worker_class": "gevent", "worker_connections": 50}}


def test_from_uwsgi_to_gunicorn_and_back_by_a_rollback(blog):
    blog.update()
    before = blog.release()
    assert "bin/uwsgi" in blog.host.check_output(f"ps -o args= -p {blog.servers()[0]}")
    with blog.visited() as visitors:
        _, release = blog.update(**GTHREAD)
        assert "gunicorn" in blog.host.check_output(f"ps -o args= -p {blog.servers()[0]}")
        blog.rests()
        assert blog.play("rollback").returncode == 0
        assert blog.release() == before
        assert "bin/uwsgi" in blog.host.check_output(f"ps -o args= -p {blog.servers()[0]}")
        assert blog.play("rollback", "-e", f"release={release}").returncode == 0
        assert blog.release() == release
        blog.rests()
    assert len(versions(visitors.report())) == 2


@pytest.mark.parametrize("server", [GTHREAD, GEVENT], ids=["gthread", "gevent"])
def test_gunicorn(blog, server):
    needs = {"requirements_txt": "flask\ngevent\n"} if server is GEVENT else {}
    with blog.visited() as visitors:
        for _ in range(2):
            version = blog.edit(**needs)
            release = blog.deploy(**server)
            assert blog.ask().text == version
        blog.rests()
        blog.edit("\nimport not_there\n", **needs)
        run = blog.play("deploy", **server)
        assert run.returncode != 0
        assert "ModuleNotFoundError: No module named 'not_there'" in said(run)
        assert blog.release() == release
        blog.rests()
        before = blog.servers()
        blog.account("supervisorctl restart blog")
        until(lambda: blog.servers() and not set(before) & set(blog.servers()))
        assert blog.release() == release
    assert len(versions(visitors.report())) >= 2
    config = blog.host.check_output(f"cat {blog.root}/slots/live/gunicorn.conf.py")
    assert ('worker_class = "gevent"' in config) is (server is GEVENT)
