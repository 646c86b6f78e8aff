"""Virtual environments that are built once for one content and never changed afterwards."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ansible_collections.hosted.flask.plugins.module_utils.files import discard, write

# Where role server puts uv on own servers; elsewhere it is on the PATH or beside Ansible's own Python.
UV_PLACES = ("/opt/hosted.flask/uv/bin/uv", str(Path(sys.executable).with_name("uv")))


class VenvError(Exception):
    """A venv could not be built; the text is for the user."""


class Venv:
    """One venv, named by a hash of all that it is made of."""

    def __init__(self, folder: Path, requirements: list[str], python: str) -> None:
        """Describe a venv.

        :param folder: the folder that holds the venvs.
        :param requirements: the texts of requirements files, installed together.
        :param python: the interpreter, a name on the PATH or an absolute path.
        :raises VenvError: there is no such interpreter.
        """
        found = shutil.which(python)
        if found is None:
            raise VenvError(f"python: {python!r} is not on this host")
        self.interpreter = os.path.realpath(found)
        self.requirements = [text for text in requirements if text.strip()]
        digest = hashlib.sha256("\0".join([self.interpreter, *self.requirements]).encode()).hexdigest()
        self.path = folder / digest[:12]
        self.sealed = self.path / ".complete"

    @property
    def ready(self) -> bool:
        """Whether it is whole and its interpreter still there (an upgrade of the host may take it away)."""
        return self.sealed.exists() and (self.path / "bin/python").exists()

    def packages(self) -> list[str]:
        """Return what is installed in it, as ``name==version``."""
        return installed(self.path)

    def resolve(self) -> list[str]:
        """Return what would be installed in it, as ``name==version``, without building it.

        Where uv or the package index is not at hand: the requirements as they are written.
        """
        uv = find_uv()
        text = "\n".join(self.requirements)
        if uv:
            words = ["--quiet", "--no-header", "--no-annotate", "--python", self.interpreter]
            run = subprocess.run(
                [uv, "pip", "compile", *words, "-"], input=text, capture_output=True, text=True, env=environment()
            )
            if run.returncode == 0:
                return sorted(run.stdout.split("\n")[:-1])
        return [line for line in text.splitlines() if not line.lstrip().startswith(("#", "--hash"))]

    def build(self) -> None:
        """Build the venv unless it is ready; what an interrupted build left is taken away first.

        :raises VenvError: the packages cannot be installed; the text ends with the installer's own words.
        """
        if self.ready:
            return
        discard(self.path)
        self.path.mkdir(parents=True)
        uv = find_uv()
        try:
            files = []
            for number, text in enumerate(self.requirements):
                file = self.path / f"requirements-{number}.txt"
                file.write_text(text)
                files.append(str(file))
            try:
                self.install(uv, files)
                whole = not uv or not damaged(self.path)
            except VenvError as error:
                if not uv or "Failed to install" not in str(error):
                    raise
                whole = False
            if not whole:  # After a power cut uv's cache may hold empty files.
                self.install(uv, files, "--no-cache", "--reinstall")
            # The seal must not outlive what it vouches for: a power cut takes what is not on the disk.
            call(["sync", "--file-system", str(self.path)])
            write(self.sealed, "", 0o644)
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def install(self, uv: str | None, files: list[str], *options: str) -> None:
        """Make the venv at its path and install the requirements ``files``, by uv with its ``options`` or by pip."""
        python = str(self.path / "bin/python")
        if uv:
            # The folder exists already, with the requirements in it: not a reason to ask or to refuse.
            call([uv, "venv", "--quiet", "--allow-existing", "--python", self.interpreter, str(self.path)])
            words = [word for file in files for word in ("-r", file)]
            if files:
                # Compiled now: nothing is written into it afterwards, and the first start is as fast as the next.
                call([uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *options, *words])
            return
        call([self.interpreter, "-m", "venv", str(self.path)])
        for file in files:  # One by one: pip wants hashes on every line of a run or on none.
            call([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", file])


def find_uv() -> str | None:
    """Return the path of uv, None where there is none."""
    return next((place for place in UV_PLACES if os.access(place, os.X_OK)), None) or shutil.which("uv")


def installed(venv: Path) -> list[str]:
    """Return the packages in a venv as ``name==version``."""
    found = [item.name.removesuffix(".dist-info") for item in venv.glob("lib/python*/site-packages/*.dist-info")]
    return sorted("==".join(name.lower().replace("_", "-").rsplit("-", 1)) for name in found)


def damaged(venv: Path) -> bool:
    """Whether a file in a venv is not as large as its package says."""
    for record in venv.glob("lib/python*/site-packages/*.dist-info/RECORD"):
        try:
            with open(record, newline="") as file:
                for path, _, size in (row for row in csv.reader(file) if len(row) == 3):
                    if size and not is_size(record.parents[1] / path, int(size)):
                        return True
        except (csv.Error, ValueError):  # Whoever wrote the package wrote it.
            return True
    return False


def is_size(path: Path, size: int) -> bool:
    """Whether a file is there and has a size in bytes."""
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def environment() -> dict[str, str]:
    """Return the environment for uv: it trusts a list of its own, a host behind a proxy has more in the system's."""
    trust = {"UV_SYSTEM_CERTS": "1"} if os.path.exists("/etc/ssl/certs/ca-certificates.crt") else {}
    return {**trust, **os.environ}


def call(command: list[str]) -> None:
    """Run ``command`` and raise VenvError with its own words when it fails."""
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment())
    if run.returncode:
        words = (run.stderr.strip() or run.stdout.strip())[-4000:]
        raise VenvError(f"{os.path.basename(command[0])} {command[1]} failed:\n{words}")
