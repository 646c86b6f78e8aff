"""Which files of a source folder travel to the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.hosted.flask.plugins.plugin_utils.source import collect, content


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


# --- what is read of a file


@pytest.mark.parametrize("swapped", ["d/x.txt", "d", "d/e"])
def test_what_is_put_into_the_way_after_the_look_is_not_followed(
    swapped: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As somebody does it who writes into the source meanwhile."""
    top, outside = tmp_path / "source", tmp_path / "outside"
    lay_out(top, {"d/x.txt": "mine", "d/e/x.txt": "mine"})
    lay_out(outside, {"x.txt": "secret", "e/x.txt": "secret"})
    file = "d/e/x.txt" if swapped == "d/e" else "d/x.txt"
    assert content(top, file) == b"mine"
    lstat = Path.lstat

    def swap(path: Path) -> os.stat_result:
        told = lstat(path)
        if path == top / file:
            (top / swapped).rename(tmp_path / "away")
            (top / swapped).symlink_to(outside / "x.txt" if swapped == file else outside)
        return told

    monkeypatch.setattr(Path, "lstat", swap)
    with pytest.raises(ValueError, match="cannot be read"):
        content(top, file)
    assert (tmp_path / "away").exists()


def test_links_inside_are_followed(tmp_path: Path) -> None:
    """Relative ones and others, of files and of folders, also where the source itself is behind one."""
    top = tmp_path / "source"
    lay_out(top, {"d/x.txt": "mine"})
    (top / "file.txt").symlink_to("d/x.txt")
    (top / "folder").symlink_to(top / "d")
    (tmp_path / "link").symlink_to(top)
    before = len(os.listdir("/proc/self/fd"))
    for start in (top, tmp_path / "link"):
        for name in ("d/x.txt", "file.txt", "folder/x.txt", "d/../d/x.txt", start / "d/x.txt"):
            assert content(start, name) == b"mine"
    with pytest.raises(ValueError, match="cannot be read"):
        content(top, "d/none.txt")
    assert len(os.listdir("/proc/self/fd")) == before
