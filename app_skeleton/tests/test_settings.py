"""Settings, the saved secret key and the instance folder."""

import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app import settings

HERE = Path(__file__).resolve().parent.parent


def shown(app):
    """Return the first page of ``app``."""
    return app.test_client().get("/").text


def test_message_from_environment(make_app, monkeypatch):
    """MESSAGE comes from the environment."""
    monkeypatch.setenv("MESSAGE", "From outside")
    assert "<h1>From outside</h1>" in shown(make_app())


def test_message_from_dotenv(make_app, release):
    """MESSAGE comes from .env, and .env leaves the environment alone."""
    (release / ".env").write_text("MESSAGE='Grüße aus .env'\nOTHER=1\n", encoding="utf-8")
    app = make_app()
    assert "<h1>Grüße aus .env</h1>" in shown(app)
    assert "MESSAGE" not in os.environ
    assert "OTHER" not in app.config


def test_precedence(make_app, release, monkeypatch):
    """The factory's argument wins over the environment, which wins over .env."""
    (release / ".env").write_text("MESSAGE=dotenv\n")
    monkeypatch.setenv("MESSAGE", "real")
    assert "<h1>real</h1>" in shown(make_app())
    assert "<h1>given</h1>" in shown(make_app(MESSAGE="given"))
    monkeypatch.setenv("MESSAGE", "")
    assert "<h1></h1>" in shown(make_app())


@pytest.mark.parametrize("value", ["", "two", "-1", "1.5", "1_0", "²", "None"])
def test_bad_proxy_hops(make_app, monkeypatch, value):
    """A bad PROXY_HOPS stops the start and says why."""
    monkeypatch.setenv("PROXY_HOPS", value)
    with pytest.raises(ValueError, match=f"PROXY_HOPS must be a whole number.*{value!r}"):
        make_app()


def test_bad_proxy_hops_in_dotenv(make_app, release):
    """A PROXY_HOPS without a value in .env is bad too."""
    (release / ".env").write_text("PROXY_HOPS\n")
    with pytest.raises(ValueError, match="PROXY_HOPS"):
        make_app()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_secret_key_is_kept(make_app, release, umask):
    """Without SECRET_KEY one key is made, private, and used from then on."""
    old = os.umask(umask)
    try:
        first = make_app().config["SECRET_KEY"]
    finally:
        os.umask(old)
    path = release / "instance" / "secret_key"
    assert len(first) == 64
    assert path.read_text().strip() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(release / "instance") == ["secret_key"]
    assert make_app().config["SECRET_KEY"] == first


def test_session_outlives_restart(make_app):
    """A cookie of one process is good for the next."""
    client = make_app().test_client()
    client.get("/")
    cookie = client.get_cookie("session").value
    later = make_app().test_client()
    later.set_cookie("session", cookie)
    assert '<dd id="visits">2</dd>' in later.get("/").text


def test_secret_key_from_environment(make_app, release, monkeypatch):
    """With SECRET_KEY set, no key is made."""
    monkeypatch.setenv("SECRET_KEY", "given")
    assert make_app().config["SECRET_KEY"] == "given"
    assert os.listdir(release / "instance") == []


def test_secret_key_made_once(tmp_path):
    """Those starting together agree on one key."""
    count = 16
    barrier = threading.Barrier(count)
    keys = []

    def start():
        barrier.wait()
        keys.append(settings.saved_secret_key(tmp_path))

    threads = [threading.Thread(target=start) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == count
    assert set(keys) == {(tmp_path / "secret_key").read_text().strip()}
    assert os.listdir(tmp_path) == ["secret_key"]


def test_secret_key_lost_race(tmp_path, monkeypatch):
    """A key which appears meanwhile is used, not replaced."""
    (tmp_path / "secret_key").write_text("theirs\n")
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert settings.saved_secret_key(tmp_path) == "theirs"
    assert os.listdir(tmp_path) == ["secret_key"]


def test_empty_secret_key_file(make_app, release):
    """An empty key file is refused: Flask would run without sessions."""
    (release / "instance").mkdir()
    (release / "instance" / "secret_key").touch()
    with pytest.raises(RuntimeError, match="remove the empty file"):
        make_app()


def test_instance_is_a_link(make_app, release, tmp_path):
    """The instance folder may be a link to data kept elsewhere."""
    (tmp_path / "data").mkdir()
    (release / "instance").symlink_to(tmp_path / "data")
    make_app()
    assert (release / "instance").is_symlink()
    assert os.listdir(tmp_path / "data") == ["secret_key"]


def test_instance_cannot_be_made(make_app, release, tmp_path):
    """A missing instance folder is no failure unless the key must be kept there."""
    (release / "instance").symlink_to(tmp_path / "nowhere")
    assert "<h1>Hello</h1>" in shown(make_app(SECRET_KEY="given"))
    with pytest.raises(RuntimeError, match="Set SECRET_KEY"):
        make_app()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_release_is_read_only(make_app, release):
    """A read-only release runs."""
    release.chmod(0o555)
    try:
        assert "<h1>Hello</h1>" in shown(make_app(SECRET_KEY="given"))
    finally:
        release.chmod(0o755)
    assert not (release / "instance").exists()


def test_wsgi_file(tmp_path):
    """``wsgi.app`` of a copied release uses the copy's own files, whatever the directory."""
    top = tmp_path / "release"
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(HERE / "app", top / "app", ignore=skip)
    shutil.copy(HERE / "wsgi.py", top)
    (top / ".env").write_text("MESSAGE=Copied\n")
    (tmp_path / "current").symlink_to(top)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'current')!r});"
        "import wsgi; print(wsgi.app.instance_path, wsgi.app.static_folder);"
        "print(wsgi.app.test_client().get('/').text)"
    )
    hidden = ("MESSAGE", "SECRET_KEY", "PROXY_HOPS")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    top = top.resolve()
    assert ran.stdout.splitlines()[0] == f"{top / 'instance'} {top / 'static'}"
    assert "<h1>Copied</h1>" in ran.stdout
    assert (top / "instance" / "secret_key").exists()
