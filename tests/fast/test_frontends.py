"""An app's front end is built here, once for each content, by the real npm; what was built is what a release gets."""

from __future__ import annotations

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.hosted.flask.plugins.action import preflight, release
from ansible_collections.hosted.flask.plugins.plugin_utils import apps, frontends
from support import ROOT, completed, tool

# Notes each build beside the source, and that it has its own folder to itself.
BUILD = """\
import fs from "node:fs";

fs.appendFileSync(process.env.VITE_BUILDS, process.cwd() + "\\n");
const text = fs.readFileSync("src/main.js", "utf8");
if (text.includes("broken")) {
  console.log("src/main.js: this is broken");
  process.exit(7);
}
fs.writeFileSync("left.txt", "");
if (!text.includes("nothing")) {
  fs.mkdirSync("dist/assets", { recursive: true });
  fs.writeFileSync("dist/index.html", "<script src=assets/main.js></script>\\n");
  fs.writeFileSync("dist/assets/main.js", text + (process.env.VITE_SAYS ?? ""));
}
"""
PACKAGE = {"name": "front", "version": "1.0.0", "private": True, "type": "module"}
FILES = {
    "wsgi.py": "app = 1\n",
    "requirements.txt": "flask\n",
    ".gitignore": "dist/\nnode_modules/\n",
    "frontend/package.json": json.dumps({**PACKAGE, "scripts": {"build": "node build.mjs"}}),
    "frontend/package-lock.json": json.dumps({**PACKAGE, "lockfileVersion": 3, "packages": {"": PACKAGE}}),
    "frontend/build.mjs": BUILD,
    "frontend/src/main.js": "hello();\n",
    "frontend/dist/old.js": "made by hand",
    "frontend/node_modules/big/index.js": "",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the source of an app with a front end, in a project; builds are noted in ``builds`` beside it."""
    assert tool("npm")
    for name, text in FILES.items():
        path = tmp_path / "app" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv("VITE_BUILDS", str(tmp_path / "builds"))
    return tmp_path / "app"


def builds(folder: Path) -> list[str]:
    """Return the folders that were built in."""
    file = folder.parent / "builds"
    return file.read_text().splitlines() if file.exists() else []


def app(folder: Path, **row: Any) -> dict[str, Any]:
    """Return an app of this source as the preflight action has it when it builds."""
    return completed(**{"folder": str(folder), "source": "app", "frontend": "frontend", **row})


def without_npm(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have no npm, though all else that is asked for."""
    monkeypatch.setenv("PATH", str(folder.parent))


def shipped(row: dict[str, Any]) -> dict[str, str]:
    """Return what a release of the app holds."""
    return {path: file.read_text() for path, file in release.shipped(row)}


def content(folder: Path) -> dict[str, tuple[int, str]]:
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_text()) for p in folder.rglob("*") if p.is_file()}


def test_what_was_built_is_shipped_and_nothing_else_of_the_folder(folder: Path) -> None:
    """Though git ignores it; the user's own folder is not written to."""
    before, row = content(folder), app(folder)
    assert preflight.build_frontends([row], folder.parent) == []
    assert shipped(row) == {
        ".gitignore": FILES[".gitignore"],
        "frontend/dist/assets/main.js": "hello();\n",
        "frontend/dist/index.html": "<script src=assets/main.js></script>\n",
        "requirements.txt": "flask\n",
        "wsgi.py": "app = 1\n",
    }
    assert content(folder) == before
    [place] = builds(folder)
    assert not Path(place).exists(), "the copy is gone"
    assert Path(row["frontend_built"]).is_relative_to(folder.parent / ".cache")


def test_the_cache_lies_where_git_does_not_look() -> None:
    run = subprocess.run(["git", "-C", str(ROOT), "check-ignore", "-q", ".cache/frontends/x"])
    assert run.returncode == 0


def test_the_same_again_starts_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it need npm; what is no part of the build may change."""
    first = frontends.built(app(folder), folder.parent)
    (folder / "wsgi.py").write_text("app = 2\n")
    (folder / "frontend/dist/old.js").write_text("made by hand again")
    (folder / "frontend/node_modules/big/index.js").write_text("x")
    without_npm(monkeypatch, folder)
    monkeypatch.delattr(subprocess, "run")
    monkeypatch.delattr(subprocess, "Popen")
    assert frontends.built(app(folder), folder.parent) == first
    assert len(builds(folder)) == 1


CHANGES = {
    "source": ("src/main.js", "bye();\n"),
    "lock": ("package-lock.json", FILES["frontend/package-lock.json"] + "\n"),
    "new": ("public/robots.txt", ""),
    "ignored_by_git": (".env.local", "VITE_A=1\n"),
    "deeper_dist": ("src/dist/a.js", ""),
}


@pytest.mark.parametrize(("name", "text"), CHANGES.values(), ids=CHANGES)
def test_another_content_is_another_build(name: str, text: str, folder: Path) -> None:
    source = folder / "frontend"
    before = frontends.digest_of(source, frontends.inputs(source))
    (source / name).parent.mkdir(parents=True, exist_ok=True)
    (source / name).write_text(text)
    assert frontends.digest_of(source, frontends.inputs(source)) != before


def test_what_vite_takes_from_the_environment_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = frontends.built(app(folder), folder.parent)
    monkeypatch.setenv("VITE_SAYS", "x")
    second = frontends.built(app(folder), folder.parent)
    assert first != second
    assert [(path / "assets/main.js").read_text() for path in (first, second)] == ["hello();\n", "hello();\nx"]


LOOKS = """\
import fs from "node:fs";
import os from "node:os";

fs.writeFileSync(os.homedir() + "/.npmrc", "registry=http://127.0.0.1:1/\\n");
fs.mkdirSync("dist");
const found = { env: process.env, home: os.homedir(), cache: fs.existsSync(process.env.npm_config_cache) };
fs.writeFileSync("dist/index.html", JSON.stringify(found));
"""
PRIVATE = {
    "AWS_SECRET_ACCESS_KEY": "x", "SSH_AUTH_SOCK": "/x", "DATABASE_URL": "postgres://u:p@h/x", "NODE_AUTH_TOKEN": "x",
    "npm_config__auth": "x", "NPM_CONFIG_USERCONFIG": "/x/npmrc", "XDG_CONFIG_HOME": "/x", "XDG_RUNTIME_DIR": "/x",
    "DBUS_SESSION_BUS_ADDRESS": "unix:path=/x", "KUBECONFIG": "/x", "ANSIBLE_VAULT_PASSWORD_FILE": "/x",
}  # fmt: skip


def test_a_build_has_a_home_of_its_own_and_no_credentials(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the user's home nothing is read or written, and of the build's own nothing is left."""
    (folder / "frontend/build.mjs").write_text(LOOKS)
    own = folder.parent / "home"
    own.mkdir()
    (own / ".npmrc").write_text("script-shell=/nowhere/sh\n")
    for name, value in {**PRIVATE, "HOME": str(own), "LANG": "C.UTF-8", "VITE_SAYS": "x"}.items():
        monkeypatch.setenv(name, value)
    for text in ("one();\n", "two();\n"):
        (folder / "frontend/src/main.js").write_text(text)
        result = frontends.built(app(folder), folder.parent)
        found = json.loads((result / "index.html").read_text())
        home = Path(found["home"])
        assert home.is_relative_to(folder.parent / ".cache/frontends")
        assert found["env"]["HOME"] == str(home)
        assert not home.exists()
        assert found["cache"]
        assert {name.lower() for name in PRIVATE} & {name.lower() for name in found["env"]} <= {"npm_config_userconfig"}
        assert found["env"].get("npm_config_userconfig") == str(home / ".npmrc"), "npm says so itself"
        assert (found["env"]["LANG"], found["env"]["VITE_SAYS"]) == ("C.UTF-8", "x")
        assert [path.name for path in own.iterdir()] == [".npmrc"]


def test_the_name_of_a_build_tells_nothing_of_a_password(folder: Path) -> None:
    """Others may read it, and a hash of a short one is soon guessed."""
    url = "https://{}git.example.org/x.git"
    places = {
        frontends.built(app(folder, source={"git": url.format(user), "version": "main"}), folder.parent).parent
        for user in ("me:one@", "me:two@", "three@")
    }
    assert len(places) == 1
    assert len(builds(folder)) == 1


def test_links_are_followed_and_circles_end(folder: Path) -> None:
    source = folder / "frontend"
    (folder / "shared.js").write_text("shared")
    (source / "src/shared.js").symlink_to("../../shared.js")
    (source / "src/up").symlink_to("..")
    (source / "src/gone").symlink_to("nowhere")
    found = frontends.inputs(source, folder)
    assert "src/shared.js" in found
    assert [path for path in found if "up" in path or "gone" in path] == []
    assert frontends.built(app(folder), folder.parent)


def test_without_npm_the_app_goes_on_without_it_and_that_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_npm(monkeypatch, folder)
    row = app(folder)
    [warning] = preflight.build_frontends([row, app(folder, frontend=""), app(folder, state="absent")], folder.parent)
    assert "app shop is deployed without its front end (frontend)" in warning
    assert "apt-get install nodejs npm" in warning
    assert "\n" not in warning
    assert [path for path in shipped(row) if path.startswith("frontend")] == []


def test_an_old_node_is_as_good_as_none(folder: Path) -> None:
    package = json.loads(FILES["frontend/package.json"])
    (folder / "frontend/package.json").write_text(json.dumps({**package, "engines": {"node": ">=99"}}))
    lock = json.loads(FILES["frontend/package-lock.json"])
    lock["packages"][""]["engines"] = {"node": ">=99"}
    (folder / "frontend/package-lock.json").write_text(json.dumps(lock))
    row = app(folder)
    [warning] = preflight.build_frontends([row], folder.parent)
    assert "its package.json asks for node: '>=99', and this machine has node " in warning
    assert builds(folder) == []
    assert [path for path in shipped(row) if path.startswith("frontend")] == []


def test_what_does_not_build_stops_with_npms_own_words(folder: Path) -> None:
    """And again at the next try: nothing half done is taken for a build."""
    (folder / "frontend/src/main.js").write_text("broken")
    for _ in range(2):
        with pytest.raises(AnsibleActionFail) as error:
            preflight.build_frontends([app(folder)], folder.parent)
        message = str(error.value)
        assert "app shop: its front end in " in message
        assert "`npm run build` ended with 7" in message
        assert "src/main.js: this is broken" in message
    assert len(builds(folder)) == 2
    assert [path for path in (folder.parent / ".cache").rglob("*.partial")] == []


def test_a_lock_that_does_not_fit_is_told_by_npm(folder: Path) -> None:
    wrong = {**PACKAGE, "dependencies": {"nowhere": "1.0.0"}, "scripts": {"build": "true"}}
    (folder / "frontend/package.json").write_text(json.dumps(wrong))
    with pytest.raises(AnsibleActionFail, match="`npm ci` ended with 1") as error:
        preflight.build_frontends([app(folder)], folder.parent)
    assert "nowhere" in str(error.value)


def test_a_build_that_makes_nothing_is_refused(folder: Path) -> None:
    (folder / "frontend/src/main.js").write_text("nothing")
    with pytest.raises(AnsibleActionFail, match="its dist folder is empty or missing"):
        preflight.build_frontends([app(folder)], folder.parent)


def test_two_deploys_at_once_build_it_once(folder: Path) -> None:
    """What a killed one left is no hindrance."""
    first = frontends.built(app(folder), folder.parent)
    (folder / "frontend/src/main.js").write_text("two();\n")
    source = folder / "frontend"
    left = first.with_name(f"{frontends.digest_of(source, frontends.inputs(source))}.partial")
    (left / "dist").mkdir(parents=True)
    (left / "dist/half.js").touch()
    with ThreadPoolExecutor(4) as pool:
        results = set(pool.map(lambda _: frontends.built(app(folder), folder.parent), range(4)))
    [result] = results
    assert frontends.files(result) == ["assets/main.js", "index.html"]
    assert len(builds(folder)) == 2


def test_old_builds_go_unless_they_were_needed_lately(folder: Path) -> None:
    first = frontends.built(app(folder), folder.parent)
    now = time.time()
    for number in range(6):
        other = first.with_name(f"{number:016x}")
        other.mkdir()
        age = frontends.FRESH * (2 if number < 4 else 0.5)
        os.utime(other, (now - age - number, now - age - number))
    (folder / "frontend/src/main.js").write_text("two();\n")
    second = frontends.built(app(folder), folder.parent)
    left = {path.name for path in first.parent.iterdir() if path.is_dir() and path.name != frontends.CACHE}
    assert left == {first.name, second.name, f"{4:016x}", f"{5:016x}", f"{0:016x}"}


def test_a_git_source_builds_once_for_all_its_versions(folder: Path, tmp_path: Path) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "1")
    git("tag", "v1")
    (folder / "wsgi.py").write_text("app = 2\n")
    git("commit", "-qam", "2")
    found = []
    for version in ("v1", "main"):
        row = {"name": "shop", "source": {"git": str(folder), "version": version}, "frontend": "frontend/"}
        given = {"platform": "server", "defaults": {}, "project": tmp_path, "where": "apps.yml"}
        [done], problems = apps.complete([row], **given)
        assert problems == []
        found.append(frontends.built(done, tmp_path))
    assert found[0] == found[1]
    assert len(builds(folder)) == 1


def test_the_release_changes_with_what_was_built_alone(folder: Path) -> None:
    """Its id is a hash of what is shipped, not of what that was made from."""

    def name() -> str:
        row = app(folder, requirements_text="", server_requirements_text="", commit="", supervisor_socket="", front="")
        preflight.build_frontends([row], folder.parent)
        programs = {"app": "", "standby": ""}
        return release.ActionModule._prepare(SimpleNamespace(), row, {}, programs, {}, {})["release"]  # type: ignore[arg-type]

    first = name()
    (folder / "frontend/README.md").write_text("how to\n")
    assert name() == first
    (folder / "frontend/src/main.js").write_text("two();\n")
    assert name() != first
