"""A git source behind a password: a real server, a real playbook, and nobody else ever sees the password."""

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from ansible_collections.hosted.flask.plugins.module_utils.masking import MASKED
from ansible_collections.hosted.flask.plugins.plugin_utils import apps
from support import BIN, ROOT, tool

PASSWORD = "pA55/w:rd é-Tq7Lm2Xv9Zk"
IDENTITY = ["-c", "user.name=t", "-c", "user.email=t@example.org"]


class Backend(http.server.BaseHTTPRequestHandler):
    """Hands requests on to git's own server, where user and password are right."""

    protocol_version = "HTTP/1.0"
    server: Server

    def do_GET(self) -> None:
        """Answer."""
        wanted = f"Basic {base64.b64encode(f'me:{PASSWORD}'.encode()).decode()}"
        self.server.seen.append(self.headers.get("Authorization", ""))
        self.server.arguments |= arguments()  # Of git and whoever started it: they wait for the answer.
        if self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        env = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(self.server.root), "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command, "REMOTE_USER": "me",
            "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""), "GIT_CONFIG_GLOBAL": "/dev/null",
        }  # fmt: skip
        out = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True, check=True).stdout
        head, _, content = out.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(lines.pop("Status", "200").split()[0]))
        for key, value in lines.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    """A server of repositories below ``root``.

    ``seen`` has what was given for each request, and ``arguments`` those of all processes meanwhile.
    """

    root: Path
    seen: list[str]
    arguments: set[bytes]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Serve one repository, shop.git."""
    source = tmp_path / "work"
    source.mkdir()
    for name, text in {"wsgi.py": "app = 1\n", "requirements.txt": "flask\n"}.items():
        (source / name).write_text(text)
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(source), *IDENTITY, *words], check=True, capture_output=True)
    bare = tmp_path / "served/shop.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(source), str(bare)], check=True, capture_output=True)
    with Server(("127.0.0.1", 0), Backend) as serving:
        serving.root, serving.seen, serving.arguments = bare.parent, [], set()
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving
        serving.shutdown()


def arguments() -> set[bytes]:
    """Return the arguments of all processes, which everybody may read."""
    seen = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            seen.add(Path("/proc", pid, "cmdline").read_bytes())
    return seen


def forms() -> list[str]:
    """Return what nobody may see: the password and parts of it, as they are and in the ways that git and HTTP have."""
    basic = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    return [PASSWORD, quote(PASSWORD, safe=""), quote(PASSWORD), basic, "Tq7Lm2Xv9Zk", PASSWORD.encode().hex(),
            *(base64.b64encode(b"x" * pad + b"Tq7Lm2Xv9Zk").decode()[2:-4] for pad in range(3))]  # fmt: skip


def leaks(text: str) -> list[str]:
    """Return what of the password is in a text."""
    return [form for form in forms() if form in text]


PLAYBOOK = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - hosted.flask.preflight: {apps: "{{ flask_apps }}", platform: local, project: "{{ project }}"}
      register: told
    - ansible.builtin.debug: {var: told}
"""


def play(project: Path, url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the preflight as a playbook does, for an app of this URL; the inventory is its user's own."""
    (project / "play.yml").write_text(PLAYBOOK)
    given = project / "vars.yml"
    given.touch(0o600)
    rows = [{"name": "shop", "source": {"git": url, "version": "main"}, "port": 18099}]
    given.write_text(yaml.safe_dump({"project": str(project), "flask_apps": rows}))
    given.chmod(0o600)
    env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_LOCAL_TEMP": str(project / "tmp")}
    env |= {"GIT_TRACE": "1", "GIT_TRACE_CURL": "1", "GIT_CURL_VERBOSE": "1"}
    env["ANSIBLE_COLLECTIONS_PATH"] = str(ROOT / ".collections")
    command = [BIN / "ansible-playbook", "-i", "localhost,", "-e", f"@{given}", str(project / "play.yml"), *words]
    return subprocess.run(command, env=env, cwd=project, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_nobody_sees_the_password_of_a_git_source(right: bool, server: Server, short: Path) -> None:
    """Right or wrong: of the wrong one git speaks."""
    assert tool("git")
    project = short / "project"
    project.mkdir()
    word = quote(PASSWORD, safe="")
    url = f"http://{'me' if right else 'you'}:{word}@127.0.0.1:{server.server_port}/shop.git"
    run = play(project, url, "-vvv", "--diff")
    said = run.stdout + run.stderr
    assert any(server.seen), "nothing was asked with a password"
    assert leaks(said) == []
    assert (run.returncode == 0) == right, said
    if right:
        assert f"http://{MASKED}@127.0.0.1" in said
        assert "commit: " in said
    else:
        assert "a repository and a version that git can fetch" in said
    for program in (b"ansible-playbook", b"git\0", b"remote-http"):
        assert any(program in words for words in server.arguments), program
    assert [words for words in server.arguments if leaks(words.decode(errors="replace"))] == []
    cached = [path for path in project.rglob("*") if path.name != "vars.yml" and path.is_file()]
    assert [path for path in cached if leaks(path.read_bytes().decode(errors="replace"))] == []
    assert len(cached) > 1 or not right
    assert (project / ".cache/sources").stat().st_mode & 0o777 == 0o700


def test_the_app_of_a_source_behind_a_password_goes_on_without_it(server: Server, tmp_path: Path) -> None:
    """What others get of the app has the URL without it, and the next deploy fetches again."""
    word = quote(PASSWORD, safe="")
    url = f"http://me:{word}@127.0.0.1:{server.server_port}/shop.git"
    rows = [{"name": "shop", "source": {"git": url, "version": "main"}}]
    folders = set()
    for _ in range(2):
        server.seen.clear()
        [app], problems = apps.complete(rows, platform="server", defaults={}, project=tmp_path / "p", where="apps.yml")
        assert problems == []
        assert any(server.seen)
        assert leaks(str(app)) == []
        assert app["source"] == {"git": f"http://{MASKED}@127.0.0.1:{server.server_port}/shop.git", "version": "main"}
        folders.add(app["folder"])
    [folder] = folders
    assert (Path(folder) / "wsgi.py").read_text() == "app = 1\n"


@pytest.mark.parametrize(
    "rows",
    [
        {"name": "shop", "secrets": {"A": PASSWORD}},
        [["name", {"secrets": {"A": PASSWORD}}]],
        [{"name": "shop", "secrets": [PASSWORD]}],
        [{"name": "shop", "secret": {"A": PASSWORD}}],
        [{"name": "shop", "environment": f"A=https://me:{quote(PASSWORD, safe='')}@example.org/"}],
        [{"name": "shop", "source": {"git": f"https://me:{quote(PASSWORD, safe='')}@example.org/", "verison": "x"}}],
        [{"name": "shop", "source": [f"https://{quote(PASSWORD, safe='')}@example.org/"]}],
        [{"name": "shop", "source": {"git": f"https://me:{PASSWORD.replace(' ', '')}@example.org/", "verison": "x"}}],
    ],
)
def test_a_refusal_of_what_is_written_wrongly_shows_no_secret(rows: object, tmp_path: Path) -> None:
    """The message names the key; the value is shown without what stands in it."""
    _, problems = apps.complete(rows, platform="local", defaults={}, project=tmp_path, where="apps.yml")
    assert problems
    assert leaks(str(problems)) == []
