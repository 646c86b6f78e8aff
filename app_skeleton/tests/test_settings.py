"""Settings and the instance folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app import settings
from app.factory import create_app

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


def test_secret_key_is_required(make_app):
    """Without SECRET_KEY nothing starts, and it says what to do."""
    with pytest.raises(RuntimeError, match=r"SECRET_KEY is not set.*\.env"):
        make_app(SECRET_KEY="")


def test_secret_key_is_long(make_app):
    """Nor with one that can be guessed."""
    with pytest.raises(RuntimeError, match=r"SECRET_KEY is too short.*32 or more.*\.env"):
        make_app(SECRET_KEY="x" * 31)
    make_app(SECRET_KEY="x" * 32)


def test_secret_key_from_environment(release, monkeypatch):
    """SECRET_KEY comes from the environment."""
    monkeypatch.setenv("SECRET_KEY", "given" * 8)
    assert create_app().config["SECRET_KEY"] == "given" * 8


def test_session_outlives_restart(make_app):
    """A cookie of one process is good for the next."""
    client = make_app().test_client()
    client.get("/")
    cookie = client.get_cookie("session").value
    later = make_app().test_client()
    later.set_cookie("session", cookie)
    assert '<dd id="visits">2</dd>' in later.get("/").text


def test_database_url(release, monkeypatch):
    """The data is in the instance folder unless DATABASE_URL says otherwise."""
    assert settings.read()["DATABASE_URL"] == f"sqlite:///{release}/instance/app.sqlite"
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/app")
    assert settings.read()["DATABASE_URL"] == "postgresql://db/app"


def test_instance_is_a_link(make_app, release, tmp_path):
    """The instance folder may be a link to data kept elsewhere."""
    (tmp_path / "data").mkdir()
    (release / "instance").symlink_to(tmp_path / "data")
    make_app()
    assert (release / "instance").is_symlink()


def test_instance_cannot_be_made(make_app, release, tmp_path):
    """A missing instance folder is no failure until something is kept there."""
    (release / "instance").symlink_to(tmp_path / "nowhere")
    assert "<h1>Hello</h1>" in shown(make_app())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_release_is_read_only(make_app, release):
    """A read-only release runs."""
    release.chmod(0o555)
    try:
        assert "<h1>Hello</h1>" in shown(make_app())
    finally:
        release.chmod(0o755)
    assert not (release / "instance").exists()


def test_wsgi_file(copied, tmp_path):
    """``wsgi.app`` of a copied release uses the copy's own files, whatever the directory."""
    top = copied
    (top / ".env").write_text(f"MESSAGE=Copied\nSECRET_KEY={32 * 'c'}\n")
    (tmp_path / "current").symlink_to(top)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'current')!r});"
        "import wsgi; print(wsgi.app.instance_path, wsgi.app.static_folder);"
        "print(wsgi.app.test_client().get('/').text)"
    )
    environment = {
        name: value for name, value in os.environ.items() if name not in settings.DEFAULTS
    }
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
    assert (top / "instance").is_dir()
