"""What an app's requirements files become on the way to its venv."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.hosted.flask.plugins.plugin_utils.requirements import Requirements, addressed, packages
from support import ROOT


def read(folder: Path, server: str = "uwsgi", **files: str) -> Requirements:
    """Write the files, ``__`` in a name is a slash, and read requirements.txt for an app on ``server``."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Requirements.read(folder, "requirements.txt", server)


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
} | {
    f"as_people_write_it_{number}": ({"requirements": f"{line}\n"}, f"{line}\n")
    for number, line in enumerate(
        (
            "Flask>=2,<4", "flask ~= 3.0", "flask !=3.1 ; python_version < '3.13'", "flask(>=2)", "flask ==3.1.* # why",
            "zope.interface", "flask[async]", "flask [async, dotenv] >=3", "flask;sys_platform=='linux'", "flask===3.1",
            "x[y]@https://example.org/x.tar.gz#sha256=1", "x @ git+https://example.org/x@v1#subdirectory=lib",
            "git+ssh://git@example.org/x.git#egg=x", "https://example.org/x.whl", "--index-url https://example.org/a",
            "-i https://example.org/a", "--extra-index-url=https://example.org/a", "--pre", "--no-binary :all:",
            "--only-binary=flask", "--trusted-host example.org", "flask --hash=sha256:1", "flask  --hash=sha256:1",
            "  flask", "--require-hashes", "x @ HTTPS://example.org/x.whl", "svn+https://example.org/x#egg=x",
        )
    )
}  # fmt: skip


@pytest.mark.parametrize(("files", "text"), GOOD.values(), ids=GOOD)
def test_text(files: dict[str, str], text: str, tmp_path: Path) -> None:
    assert read(tmp_path, **files).text == text


BAD = (
    {
        "editable": ({"requirements": "-e .\n"}, "'-e .'"),
        "editable_long": ({"requirements": "--editable ./lib\n"}, "'--editable ./lib'"),
        "folder": ({"requirements": "flask\n  ./lib\n"}, "'./lib'"),
        "folder_above": ({"requirements": "../lib\n"}, "'../lib'"),
        "file_url": ({"requirements": "file:///x.whl\n"}, "'file:///x.whl'"),
        "constraint": ({"requirements": "-c limits.txt\n"}, "'-c limits.txt'"),
        "in_a_nested_file": ({"requirements": "-r a.txt\n", "a": "-e .\n"}, "a.txt"),
        "nested_is_missing": ({"requirements": "-r gone.txt\n"}, "gone.txt"),
        "includes_itself": ({"requirements": "-r requirements.txt\n"}, "requirements.txt"),
        "index_in_a_folder": ({"requirements": "--index-url simple/\n"}, "simple/"),
        "index_by_a_file": ({"requirements": "--extra-index-url=file:///x\n"}, "file:///x"),
        "index_above": ({"requirements": "-i ../x\n"}, "../x"),
    }
    | {
        f"folder_{number}": ({"requirements": f"{line}\n"}, line.split(" \\")[0])
        for number, line in enumerate(
            (
                "x @ foo/../../../home/x",
                "x@foo/bar",
                "x @ foo",
                "x[y] @ ../z",
                "x @ %2e%2e/z",
                "x @ git+file:///x",
                "x @ \\\n  foo/../z",
                "foo[x]/../z",
                "foo/../z",
                "'foo'/x",
                '"../x"',
                "$HOME/x",
                "x @ C:/x",
                "x @ hg+../y",
                "x @ ftp://../y",
                "\u0660/x",
                "[x]/y",
                "x y/z",
            )
        )
    }
    | {
        "circle": ({"requirements": "-r a.txt\n", "a": "-r b.txt\n", "b": "-r a.txt\n"}, "a.txt"),
    }
)


@pytest.mark.parametrize(("files", "named"), BAD.values(), ids=BAD)
def test_refused_with_the_name_of_what_is_wrong(files: dict[str, str], named: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="by name or URL|chain of files") as error:
        read(tmp_path, **files)
    assert named in str(error.value)


@pytest.mark.parametrize(
    ("text", "is_addressed"),
    [
        ("flask\n", False),
        ("--index-url https://example.org/simple\nflask # https://example.org\n# x @ https://example.org\n", False),
        ("x @ https://example.org/x.whl\n", True),
        ("flask\n  git+ssh://git@example.org/x.git\n", True),
        ("x @ \\\n  git+https://example.org/x#subdirectory=../..\n", True),
    ],
)
def test_packages_at_an_address_of_their_own(text: str, is_addressed: bool) -> None:
    assert addressed(text) is is_addressed


@pytest.mark.parametrize("server", ["uwsgi", "gunicorn"])
def test_the_server_brings_its_own_packages(server: str, tmp_path: Path) -> None:
    expected = (ROOT / f"roles/{server}/files/requirements.txt").read_text()
    assert read(tmp_path, server, requirements="flask\n").server == expected


@pytest.mark.parametrize(
    ("server", "line"),
    [
        ("uwsgi", "uwsgi==2.0.28"),
        ("uwsgi", "uWSGI"),
        ("uwsgi", "pyuwsgi>=2"),
        ("uwsgi", "flask\nPyUWSGI==2.0.30 # own build"),
        ("gunicorn", "Gunicorn[gevent]"),
        ("gunicorn", "-r base.txt"),
    ],
)
def test_an_app_may_choose_its_own_server_version(server: str, line: str, tmp_path: Path) -> None:
    assert read(tmp_path, server, requirements=f"{line}\n", base="gunicorn>=23\n").server == ""


@pytest.mark.parametrize(
    ("server", "line"),
    [
        ("uwsgi", "uwsgitop"),
        ("uwsgi", "flask-uwsgi-websocket"),
        ("uwsgi", "# uwsgi"),
        ("uwsgi", "x  # not uwsgi"),
        ("uwsgi", "gunicorn"),
        ("gunicorn", "uwsgi"),
        ("gunicorn", "gunicorn-thrift"),
        ("gunicorn", "flask==3 \\\n    --hash=sha256:1"),
    ],
)
def test_other_packages_are_no_choice_of_a_server(server: str, line: str, tmp_path: Path) -> None:
    assert read(tmp_path, server, requirements=f"{line}\n").server != ""


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", set()),
        ("flask\n", {"flask"}),
        ("Flask_Login==1\n  Redis>=5 ; python_version > '3'\n", {"flask-login", "redis"}),
        ("gunicorn[gevent]==23 # web\n", {"gunicorn"}),
        ("x @ https://example.org/y.whl\n", {"x"}),
        ("# flask\n--index-url https://example.org\n-r other.txt\n", set()),
        ("flask==3 \\\n    --hash=sha256:1\nredis\n", {"flask", "redis"}),
    ],
)
def test_names_of_packages(text: str, names: set[str]) -> None:
    """Case and underscores are no difference, as for an index."""
    assert packages(text) == names
