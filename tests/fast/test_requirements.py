"""What an app's requirements files become on the way to its venv."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.hosted.flask.plugins.plugin_utils.requirements import Requirements
from support import ROOT


def read(folder: Path, **files: str) -> Requirements:
    """Write the files, ``__`` in a name is a slash, and read requirements.txt."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Requirements.read(folder, "requirements.txt")


GOOD = {
    "plain": ({"requirements": "flask\n"}, "flask\n"),
    "comments_and_blank_lines_go": ({"requirements": "# x\n\nflask # web\n"}, "flask # web\n"),
    "hashes_stay": ({"requirements": "flask==3 \\\n    --hash=sha256:1\n"}, "flask==3 \\\n    --hash=sha256:1\n"),
    "nested": ({"requirements": "-r base.txt\nredis\n", "base": "flask\n"}, "flask\nredis\n"),
    "nested_long_form": ({"requirements": "--requirement=base.txt\n", "base": "flask\n"}, "flask\n"),
    "nested_counts_from_its_folder": (
        {"requirements": "-r d/a.txt\n", "d__a": "-r b.txt\n", "d__b": "flask\n"},
        "flask\n",
    ),
    "twice_is_no_circle": (
        {"requirements": "-r a.txt\n-r b.txt\n", "a": "-r b.txt\n", "b": "flask\n"},
        "flask\nflask\n",
    ),
    "url": ({"requirements": "x @ https://example.org/x.whl\n"}, "x @ https://example.org/x.whl\n"),
}


@pytest.mark.parametrize(("files", "text"), GOOD.values(), ids=GOOD)
def test_text(files: dict[str, str], text: str, tmp_path: Path) -> None:
    assert read(tmp_path, **files).text == text


BAD = {
    "editable": ({"requirements": "-e .\n"}, "'-e .'"),
    "editable_long": ({"requirements": "--editable ./lib\n"}, "'--editable ./lib'"),
    "folder": ({"requirements": "flask\n  ./lib\n"}, "'./lib'"),
    "folder_above": ({"requirements": "../lib\n"}, "'../lib'"),
    "file_url": ({"requirements": "file:///x.whl\n"}, "'file:///x.whl'"),
    "constraint": ({"requirements": "-c limits.txt\n"}, "'-c limits.txt'"),
    "in_a_nested_file": ({"requirements": "-r a.txt\n", "a": "-e .\n"}, "a.txt"),
    "nested_is_missing": ({"requirements": "-r gone.txt\n"}, "gone.txt"),
    "includes_itself": ({"requirements": "-r requirements.txt\n"}, "requirements.txt"),
    "circle": ({"requirements": "-r a.txt\n", "a": "-r b.txt\n", "b": "-r a.txt\n"}, "a.txt"),
}


@pytest.mark.parametrize(("files", "named"), BAD.values(), ids=BAD)
def test_refused_with_the_name_of_what_is_wrong(files: dict[str, str], named: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="by name or URL|chain of files") as error:
        read(tmp_path, **files)
    assert named in str(error.value)


def test_the_server_brings_its_own_packages(tmp_path: Path) -> None:
    expected = (ROOT / "roles/uwsgi/files/requirements.txt").read_text()
    assert read(tmp_path, requirements="flask\n").server == expected


@pytest.mark.parametrize("line", ["uwsgi==2.0.28", "uWSGI", "pyuwsgi>=2", "flask\nPyUWSGI==2.0.30 # own build"])
def test_an_app_may_choose_its_own_server_version(line: str, tmp_path: Path) -> None:
    assert read(tmp_path, requirements=f"{line}\n").server == ""


@pytest.mark.parametrize("line", ["uwsgitop", "flask-uwsgi-websocket", "# uwsgi", "x  # not uwsgi"])
def test_other_packages_are_no_choice_of_a_server(line: str, tmp_path: Path) -> None:
    assert read(tmp_path, requirements=f"{line}\n").server != ""
