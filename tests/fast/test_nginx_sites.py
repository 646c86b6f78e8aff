"""The module that writes nginx's sites, against the real nginx with a folder of its own."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.hosted.flask.plugins.modules import nginx_sites
from support import NGINX, tool, tree

GOOD = "server { listen 127.0.0.1:8080; server_name %s; return 404; }\n"
BAD = "server { listen 127.0.0.1:8080; no_such_directive on; }\n"
CONF = NGINX + "    include {0}/conf.d/*.conf;\n}}\n"
RELOAD = "try-reload-or-restart nginx.service"
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """Return the folder that stands for /etc/nginx."""
    etc = tmp_path / "etc"
    (etc / "conf.d").mkdir(parents=True)
    return etc


@pytest.fixture
def run(tmp_path: Path, etc: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return what runs the module: its ``nginx`` is the real one, told to read the folder."""
    conf = tmp_path / "nginx.conf"
    conf.write_text(CONF.format(etc))
    wrapper = tmp_path / "bin/nginx"
    wrapper.parent.mkdir()
    called = tmp_path / "called"
    command = shlex.join([tool("nginx"), "-p", str(tmp_path), "-c", str(conf)])
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> {shlex.quote(str(called))}\nexec {command} "$@"\n')
    wrapper.chmod(0o755)
    systemctl = wrapper.with_name("systemctl")
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {shlex.quote(str(called))}\n')
    systemctl.chmod(0o755)
    monkeypatch.setattr(os, "defpath", f"{wrapper.parent}:{os.defpath}")
    monkeypatch.setattr(nginx_sites, "UNREAD", tmp_path / "state/unread")
    monkeypatch.setattr(nginx_sites, "LOG_OWNER", Path.home().owner())
    monkeypatch.setattr(nginx_sites, "LOG_GROUP", Path.home().group())

    def run_module(
        files: dict[str, str], *, check: bool = False, logs: list[str] | None = None, **optional: str
    ) -> dict[str, Any]:
        called.unlink(missing_ok=True)
        optional = {f"{app}.conf": app for app in optional}
        arguments = {
            "files": files,
            "optional": optional,
            "logs": logs or [],
            "folder": str(etc / "ours"),
            "include": str(etc / "conf.d/ours.conf"),
        }
        capsys.readouterr()
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit) as end:
            nginx_sites.main()
        answer = json.loads(capsys.readouterr().out)
        assert bool(end.value.code) == answer.get("failed", False)
        return answer | {"asked": called.read_text().split("\n")[:-1] if called.exists() else []}

    return run_module


def sites(etc: Path) -> dict[str, str]:
    """Return the files that are there, by their names."""
    return {path.name: path.read_text() for path in sorted((etc / "ours").iterdir())}


def test_sites_are_written_and_proven(run: Run, etc: Path) -> None:
    files = {"_.site.conf": GOOD % "_", "a.org.site.conf": GOOD % "a.org", "uwsgi.conf": "# parameters\n"}
    answer = run(files)
    assert answer["changed"]
    assert sites(etc) == files
    assert f"include {etc}/ours/*.site.conf;" in (etc / "conf.d/ours.conf").read_text()
    assert sorted(answer["files"]) == sorted(
        [*(str(etc / "ours" / name) for name in files), str(etc / "conf.d/ours.conf")]
    )
    assert answer["asked"] == ["-t -q", RELOAD]


def test_a_second_run_changes_nothing_and_asks_nobody(run: Run, etc: Path) -> None:
    run({"_.site.conf": GOOD % "_"})
    before = tree(etc)
    answer = run({"_.site.conf": GOOD % "_"})
    assert (answer["changed"], answer["files"], answer["diff"], answer["asked"]) == (False, [], [], [])
    assert tree(etc) == before


def test_a_bad_site_leaves_everything_as_it_was(run: Run, etc: Path) -> None:
    """The bad file, a good one beside it, and one that would have gone."""
    run({"_.site.conf": GOOD % "_", "b.site.conf": GOOD % "b"})
    before = {path: content[2] for path, content in tree(etc).items()}
    answer = run({"_.site.conf": BAD, "c.site.conf": GOOD % "c"})
    assert answer["failed"]
    assert "no_such_directive" in answer["msg"]
    assert "the earlier ones are back" in answer["msg"]
    assert {path: content[2] for path, content in tree(etc).items()} == before


def test_a_bad_first_site_is_taken_away_again(run: Run, etc: Path) -> None:
    assert run({"_.site.conf": BAD})["failed"]
    assert sites(etc) == {}
    assert list((etc / "conf.d").iterdir()) == []


def test_a_bad_site_can_be_corrected(run: Run, etc: Path) -> None:
    assert run({"_.site.conf": BAD})["failed"]
    assert run({"_.site.conf": GOOD % "_"})["changed"]
    assert sites(etc) == {"_.site.conf": GOOD % "_"}


def test_a_file_of_others_that_nginx_refuses_is_told(run: Run, etc: Path) -> None:
    (etc / "conf.d/other.conf").write_text("nonsense;\n")
    answer = run({"_.site.conf": GOOD % "_"})
    assert answer["failed"]
    assert "other.conf" in answer["msg"]
    assert (etc / "conf.d/other.conf").read_text() == "nonsense;\n"


def with_extras(**extras: str) -> dict[str, str]:
    """Return a site that reads some apps' own lines, and these."""
    inside = "".join(f"location /{app}/ {{ include %s/{app}.conf; }}\n" for app in extras)
    return {"_.site.conf": f"server {{ listen 127.0.0.1:8080;\n{inside}}}\n"} | {
        f"{app}.conf": text for app, text in extras.items()
    }


def given(etc: Path, **extras: str) -> dict[str, str]:
    files = with_extras(**extras)
    return files | {"_.site.conf": files["_.site.conf"].replace("%s", str(etc / "ours"))}


def test_lines_of_an_app_that_nginx_refuses_keep_nobody_else_back(run: Run, etc: Path) -> None:
    """The earlier ones stay, or none where there were none; what is wrong is said with the app's name."""
    run(given(etc, a="gzip on;\n", b="gzip on;\n"), a="", b="")
    files = given(etc, a="no_such_directive;\n", b="gzip off;\n", c="client_max_body_size elephants;\n")
    answer = run(files, a="", b="", c="")
    assert answer["changed"]
    assert sites(etc) == files | {"a.conf": "gzip on;\n", "c.conf": ""}
    assert sorted(answer["files"]) == [str(etc / "ours" / name) for name in ("_.site.conf", "b.conf", "c.conf")]
    first, second = answer["refused"]
    assert first.startswith("flask_apps (a).nginx_extra is refused by nginx: the earlier lines stay")
    assert "no_such_directive" in first
    assert second.startswith("flask_apps (c).nginx_extra is refused by nginx: it is left out")
    assert "a.conf:1" in first
    again = run(files, a="", b="", c="")
    assert (again["changed"], again["files"], len(again["refused"])) == (False, [], 2)


@pytest.mark.parametrize(
    "lines",
    ["add_header X $typo;", "limit_req zone=mine;", "access_log /no/such/folder/x;", "proxy_cache nowhere;"],
    ids=["variable", "zone", "file", "cache"],
)
@pytest.mark.parametrize("earlier", ["gzip on;\n", None], ids=["later", "first"])
def test_lines_whose_file_nginx_does_not_name_are_found(lines: str, earlier: str | None, run: Run, etc: Path) -> None:
    if earlier:
        run(given(etc, a="gzip on;\n", b=earlier), a="", b="")
    files = given(etc, a="gzip off;\n", b=f"{lines}\n", c="gzip off;\n")
    answer = run(files, a="", b="", c="")
    assert [message.partition(".")[0] for message in answer["refused"]] == ["flask_apps (b)"]
    assert sites(etc) == files | {"b.conf": earlier or ""}
    assert answer["asked"][-1] == RELOAD


def test_the_same_mistake_in_two_apps(run: Run, etc: Path) -> None:
    files = given(etc, a="add_header X $typo;\n", b="add_header X $typo;\n")
    assert len(run(files, a="", b="")["refused"]) == 2
    assert sites(etc) == files | {"a.conf": "", "b.conf": ""}


def test_lines_of_an_app_that_became_wrong_are_left_out(run: Run, etc: Path) -> None:
    """They did not change, what they are read in did."""
    files = given(etc, a="gzip on;\n")
    assert run(files, a="")["refused"] == []
    files["_.site.conf"] = files["_.site.conf"].replace("{ include", "{ gzip off; include")
    answer = run(files, a="")
    assert len(answer["refused"]) == 1
    assert sites(etc) == files | {"a.conf": ""}


def test_bad_lines_beside_a_bad_site_leave_everything_as_it_was(run: Run, etc: Path) -> None:
    run(given(etc, a="gzip on;\n"), a="")
    before = {path: content[2] for path, content in tree(etc).items()}
    answer = run(given(etc, a="no_such_directive;\n") | {"x.site.conf": BAD}, a="")
    assert answer["failed"]
    assert {path: content[2] for path, content in tree(etc).items()} == before


def test_what_was_wrong_before_is_told_apart(run: Run, etc: Path) -> None:
    run({"_.site.conf": GOOD % "_"})
    (etc / "conf.d/other.conf").write_text("nonsense;\n")
    assert "with and without our changes: see to the file that it names" in run({"_.site.conf": GOOD % "x"})["msg"]
    (etc / "conf.d/other.conf").unlink()
    again = run({"_.site.conf": GOOD % "_"})
    assert (again["changed"], again["asked"]) == (False, []), "it is as it was, and there is nothing to be read"


def test_stale_files_go_and_others_stay(run: Run, etc: Path) -> None:
    (etc / "conf.d/other.conf").write_text("# other\n")
    run({"a.site.conf": GOOD % "a", "b.site.conf": GOOD % "b"})
    (etc / "ours/.b.site.conf.partial").write_text("half")
    answer = run({"a.site.conf": GOOD % "a"})
    assert answer["changed"]
    assert sites(etc) == {"a.site.conf": GOOD % "a"}
    assert (etc / "conf.d/other.conf").read_text() == "# other\n"


@pytest.mark.parametrize("where", ["writing", "asking", "reloading"])
@pytest.mark.parametrize("text", [GOOD % "x", BAD], ids=["good", "bad"])
def test_what_an_interrupted_run_wrote_is_proved_and_read_by_the_next(
    where: str, text: str, run: Run, etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run({"_.site.conf": GOOD % "_"})

    def end(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        if where == "writing":
            put, calls = nginx_sites.put, iter(range(9))
            broken.setattr(nginx_sites, "put", lambda path, new: end() if next(calls) == 2 else put(path, new))
        elif where == "asking":
            broken.setattr(nginx_sites.Sites, "asked", end)
        else:
            broken.setattr(nginx_sites.Sites, "run", lambda _, *words: end() if words[0] == "systemctl" else "")
        with pytest.raises(KeyboardInterrupt):
            run({"_.site.conf": text, "a.site.conf": GOOD % "a"})
    again = run({"_.site.conf": text, "a.site.conf": GOOD % "a"})
    if text == BAD:
        assert "no_such_directive" in again["msg"]
        assert RELOAD not in again["asked"]
        again = run({"_.site.conf": GOOD % "_"})
    assert again["changed"]
    assert again["asked"][-1] == RELOAD
    again = run({"_.site.conf": sites(etc)["_.site.conf"], **({"a.site.conf": GOOD % "a"} if text != BAD else {})})
    assert (again["changed"], again["asked"]) == (False, [])


def test_a_full_disk_leaves_everything_as_it_was(run: Run, etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run({"_.site.conf": GOOD % "_"})
    before, put = tree(etc), nginx_sites.put

    def full(path: Path, text: str | None) -> None:
        if path.name == "b.site.conf":
            raise OSError(28, "No space left on device")
        put(path, text)

    with monkeypatch.context() as small:
        small.setattr(nginx_sites, "put", full)
        answer = run({"_.site.conf": GOOD % "x", "a.site.conf": GOOD % "a", "b.site.conf": GOOD % "b"})
    assert "cannot be written, the earlier ones are back" in answer["msg"]
    assert "No space left" in answer["msg"]
    assert {path: content[2] for path, content in tree(etc).items()} == {
        path: content[2] for path, content in before.items()
    }
    assert run({"_.site.conf": GOOD % "_"})["changed"] is False


def test_the_folder_is_not_for_other_accounts(run: Run, etc: Path) -> None:
    """One that an earlier version made for all neither."""
    files = {"_.site.conf": GOOD % "_"}
    run(files)
    assert oct((etc / "ours").stat().st_mode)[-3:] == "750"
    (etc / "ours").chmod(0o755)
    assert run(files, check=True)["files"] == [str(etc / "ours")]
    assert oct((etc / "ours").stat().st_mode)[-3:] == "755"
    assert run(files)["files"] == [str(etc / "ours")]
    assert oct((etc / "ours").stat().st_mode)[-3:] == "750"
    assert run(files)["changed"] is False


def test_logs_are_made_and_kept_from_others(run: Run, tmp_path: Path) -> None:
    logs = [str(tmp_path / "a.log"), str(tmp_path / "b.log")]
    files = {"_.site.conf": GOOD % "_"}
    run(files)
    Path(logs[0]).write_text("a line\n")
    Path(logs[0]).chmod(0o644)
    assert run(files, logs=logs, check=True)["files"] == logs
    assert not Path(logs[1]).exists()
    assert run(files, logs=logs)["files"] == logs
    assert [oct(Path(log).stat().st_mode)[-3:] for log in logs] == ["640", "640"]
    assert Path(logs[0]).read_text() == "a line\n"
    assert run(files, logs=logs)["changed"] is False


@pytest.mark.parametrize("files", [{"_.site.conf": GOOD % "x"}, {"_.site.conf": BAD}, {}], ids=["good", "bad", "none"])
def test_check_mode_writes_nothing_and_tells_what_it_would(files: dict[str, str], run: Run, etc: Path) -> None:
    run({"_.site.conf": GOOD % "_"})
    before = tree(etc)
    answer = run(files, check=True)
    assert answer["changed"]
    assert answer["files"] == [str(etc / "ours/_.site.conf")]
    assert answer["diff"][0]["before"] == GOOD % "_"
    assert answer["diff"][0]["after"] == files.get("_.site.conf", "")
    assert answer["asked"] == []
    assert tree(etc) == before


def test_check_mode_of_a_first_run(run: Run, etc: Path) -> None:
    assert run({"_.site.conf": GOOD % "_"}, check=True)["changed"]
    assert not (etc / "ours").exists()


def test_files_can_be_read_by_nginx_and_written_by_their_owner(run: Run, etc: Path) -> None:
    previous = os.umask(0o077)
    try:
        run({"_.site.conf": GOOD % "_"})
    finally:
        os.umask(previous)
    assert (etc / "ours/_.site.conf").stat().st_mode & 0o777 == 0o644
    assert (etc / "conf.d/ours.conf").stat().st_mode & 0o777 == 0o644
