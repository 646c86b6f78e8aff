"""Which files of a source folder travel to the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.hosted.flask.plugins.plugin_utils.source import collect


def lay_out(folder: Path, files: dict[str, str]) -> None:
    """Write files by their paths below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


CASES = {
    "all_files_sorted": (
        {"b.py": "", "a/z.py": "", "a/b.py": "", ".flaskenv": ""},
        [".flaskenv", "a/b.py", "a/z.py", "b.py"],
    ),
    "gitignore": (
        {".gitignore": "*.log\n/top.txt\n", "x.log": "", "top.txt": "", "d/top.txt": "", "d/y.log": ""},
        [".gitignore", "d/top.txt"],
    ),
    "negation": ({".gitignore": "*.log\n!keep.log\n", "x.log": "", "keep.log": ""}, [".gitignore", "keep.log"]),
    "folder_pattern_leaves_files": (
        {".gitignore": "build/\n", "build/x": "", "d/build": ""},
        [".gitignore", "d/build"],
    ),
    "nested_gitignore_counts_from_its_folder": (
        {"d/.gitignore": "/secret.txt\n", "d/secret.txt": "", "secret.txt": "", "d/e/secret.txt": ""},
        ["d/.gitignore", "d/e/secret.txt", "secret.txt"],
    ),
    "deployignore": ({".deployignore": "docs/\n", "docs/a.md": "", "a.py": ""}, [".deployignore", "a.py"]),
    "deployignore_of_a_folder": ({"d/.deployignore": "x\n", "d/x": "", "x": ""}, ["d/.deployignore", "x"]),
    "comment_and_blank_lines": ({".gitignore": "# x.py\n\n", "x.py": ""}, [".gitignore", "x.py"]),
    "names_with_spaces_and_unicode": ({"a b/c d.txt": "", "ü/ß.txt": ""}, ["a b/c d.txt", "ü/ß.txt"]),
    "nothing": ({}, []),
}


@pytest.mark.parametrize(("files", "expected"), CASES.values(), ids=CASES)
def test_collect(files: dict[str, str], expected: list[str], tmp_path: Path) -> None:
    lay_out(tmp_path, files)
    assert collect(tmp_path) == expected


NEVER = [
    ".git/config",
    ".venv/bin/python",
    "venv/pyvenv.cfg",
    "__pycache__/a.pyc",
    "b.pyc",
    "instance/db.sqlite",
    "node_modules/x/y.js",
    ".pytest_cache/v",
    ".ruff_cache/v",
    ".mypy_cache/v",
    ".hg/x",
    ".svn/x",
    ".DS_Store",
]


@pytest.mark.parametrize("below", ["", "sub/folder/"], ids=["top", "deeper"])
@pytest.mark.parametrize("path", NEVER)
def test_never_shipped(path: str, below: str, tmp_path: Path) -> None:
    """Neither at the top nor deeper, and a .gitignore that asks for it changes nothing below a folder."""
    lay_out(tmp_path, {f"{below}{path}": "", f"{below}app.py": ""})
    assert collect(tmp_path) == [f"{below}app.py"]


def test_symlinks_that_stay_inside_are_followed(tmp_path: Path) -> None:
    lay_out(tmp_path, {"real/a.txt": "a", "b.txt": "b"})
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "real/up.txt").symlink_to("../b.txt")
    (tmp_path / "absolute.txt").symlink_to(tmp_path / "b.txt")
    assert collect(tmp_path) == ["absolute.txt", "b.txt", "folder/a.txt", "folder/up.txt", "real/a.txt", "real/up.txt"]


def test_symlinks_that_leave_the_source_are_not_shipped(tmp_path: Path) -> None:
    lay_out(tmp_path, {"outside/secret": "s", "src/a.py": ""})
    source = tmp_path / "src"
    (source / "folder").symlink_to("../outside")
    (source / "file").symlink_to(tmp_path / "outside/secret")
    (source / "system").symlink_to("/etc")
    (source / "broken").symlink_to("missing")
    assert collect(source) == ["a.py"]


def test_a_source_that_is_a_symlink_itself(tmp_path: Path) -> None:
    lay_out(tmp_path, {"real/a.py": "", "real/b.py": ""})
    (tmp_path / "real/c.py").symlink_to("b.py")
    (tmp_path / "source").symlink_to("real")
    assert collect(tmp_path / "source") == ["a.py", "b.py", "c.py"]


def test_symlinks_in_a_circle_end(tmp_path: Path) -> None:
    lay_out(tmp_path, {"a/x.py": "", "b/y.py": ""})
    (tmp_path / "a/self").symlink_to(".")
    (tmp_path / "a/top").symlink_to("..")
    assert collect(tmp_path) == ["a/x.py", "b/y.py"]


def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    lay_out(tmp_path, {"a.py": ""})
    assert collect(tmp_path) == ["a.py"]
