"""Take parts out of copies of the skeleton by the very commands of docs/skeleton.md: take_out.py FOLDER.

Makes FOLDER/without_<part> for each part, and FOLDER/without_all.
"""

import re
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"<!-- take out: (\w+) -->\n```console\n(.*?)```", re.DOTALL)


def commands() -> dict[str, str]:
    """Return the shell commands that take out each part, by the part's name."""
    text = (CHECKOUT / "docs/skeleton.md").read_text()
    return {part: re.sub(r"^\$ ", "", lines, flags=re.MULTILINE) for part, lines in BLOCK.findall(text)}


def copy(folder: Path) -> None:
    """Copy what git has of the skeleton."""
    folder.mkdir(parents=True)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=CHECKOUT / "app_skeleton", capture_output=True, check=True).stdout
    tar = ["tar", "--null", "--files-from=-", "--create", "--ignore-failed-read"]
    packed = subprocess.run(tar, cwd=CHECKOUT / "app_skeleton", input=files, capture_output=True, check=True).stdout
    subprocess.run(["tar", "--extract"], cwd=folder, input=packed, check=True)


def main(top: Path) -> None:
    """Make all copies below ``top``."""
    parts = commands()
    for name, taken in [*((part, [part]) for part in parts), ("all", list(parts))]:
        folder = top / f"without_{name}"
        copy(folder)
        for part in taken:
            before = (folder / "app/factory.py").read_text()
            subprocess.run(["sh", "-ec", parts[part]], cwd=folder, check=True)
            if (folder / "app/factory.py").read_text() == before:
                sys.exit(f"docs/skeleton.md: the line of {part} is not in app/factory.py")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
