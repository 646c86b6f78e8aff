"""Building an app's front end on the control node, once for each content. Runs on the control node only."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from ansible_collections.hosted.flask.plugins.module_utils.files import discard, sync
from ansible_collections.hosted.flask.plugins.plugin_utils.credentials import shown
from ansible_collections.hosted.flask.plugins.plugin_utils.running import TooMuch, run
from ansible_collections.hosted.flask.plugins.plugin_utils.source import content, is_file, leads_inside

# What a build makes of the folder, and what a tool keeps in it: no part of what it is made from.
NEVER = {"node_modules", ".git", ".DS_Store"}
MADE = "dist"
# Ends the path of a file that Vite named by its content, NAME-HASH.js with a hash of eight characters; not where these
# are a word, a capital one, a number or a word with a number, which a file that it only copied may end with.
HASHED = r"-(?![A-Z]?[a-z-]*[0-9]*\.)[A-Za-z0-9_-]{8}\.[A-Za-z0-9]+(\.(map|gz|br))?$"
LOCKS = ("package-lock.json", "npm-shrinkwrap.json")
COMMANDS = (
    ["npm", "ci", "--include=dev", "--no-audit", "--no-fund"],
    ["npm", "run", "build"],
)
# What `npm ci` says where node is not the one that a package wants: the package, what it wants, and what is there.
UNSUITED = re.compile(r"EBADENGINE +package: '(.+)@[^@']*',\n.*required: \{ (.*) \},\n.*current: \{ node: 'v?([^']+)'")
BUILDING = 900.0  # seconds for a command
# What a build gets of the environment: what Vite takes into what it makes, where npm and node find what they need...
GIVEN = re.compile(
    r"PATH|LANG|LC_\w+|TZ|TMPDIR|CI|SOURCE_DATE_EPOCH|VITE_\w+|NODE_\w+|SSL_CERT_(FILE|DIR)"
    r"|(?i:npm_config_\w+|(https?|all|no)_proxy)"
)
# ... and nothing that is a credential, or leads to one.
PRIVATE = re.compile(
    r"TOKEN|SECRET|PASS|CREDENTIAL|API_?KEY|PRIVATE|_AUTH|npm_config_(user|global)config", re.IGNORECASE
)
CACHE = ".npm"  # npm's own, in the folder of a front end's builds: its home goes with the build
KEEP = 5  # builds of one front end, the latest used ones
FRESH = 3600.0  # seconds for which a build is kept in any case: a deploy of another terminal may be about to ship it


class BuildError(Exception):
    """A front end could not be built; the text is for the user."""


class NotYet(Exception):
    """A front end is not built yet, and a check builds none."""


class Unsuited(Exception):
    """This machine has no npm, or not the one that a front end asks for; the text says which."""


def inputs(folder: Path, top: Path | None = None) -> list[str]:
    """Return the files that a front end is built from, as sorted paths relative to its ``folder``.

    Also those that git ignores: Vite reads ``.env.local``. Links are followed below ``top``, the app's source.
    """
    found = []
    for at, folders, names in os.walk(folder, followlinks=True):
        here = Path(at).relative_to(folder)
        folders[:] = [
            name
            for name in folders
            if name not in NEVER
            and here / name != Path(MADE)
            and not leads_back(Path(at, name), folder)
            and leads_inside(Path(at, name), top or folder)
        ]
        found += [str(here / name) for name in names if name not in NEVER]
    return sorted(path for path in found if is_file(top or folder, folder / path))


def leads_back(path: Path, top: Path) -> bool:
    """Whether a folder is a link to one that it lies in, at or below ``top``."""
    return path.is_symlink() and any(path.samefile(up) for up in path.parents if up.is_relative_to(top))


def digest_of(folder: Path, paths: list[str], top: Path | None = None) -> str:
    """Return a hash of all that a build depends on, but for the versions of node and npm."""
    digest = hashlib.sha256()
    for path in paths:
        data = content(top or folder, folder / path)
        mode = os.access(folder / path, os.X_OK)
        digest.update(f"{path}\0{int(mode)}\0{hashlib.sha256(data).hexdigest()}\n".encode())
    # Vite takes these from its environment into what it builds.
    given = sorted((key, value) for key, value in os.environ.items() if key.startswith("VITE_"))
    digest.update(json.dumps(given).encode())
    return digest.hexdigest()[:16]


def built(app: dict[str, Any], project: Path, check: bool = False) -> Path:
    """Return the folder that holds an app's built front end.

    It is built in a copy, below ``project/.cache/frontends``; two deploys that need the same build make it once.

    :raises BuildError: npm refuses it; the text ends with npm's own words.
    :raises NotYet: it is to be built, and this is a ``check``.
    :raises Unsuited: it was never built, and cannot be on this machine.
    """
    source = Path(app["folder"], app["frontend"])
    owner = shown(app["source"])["git"] if isinstance(app["source"], dict) else os.path.realpath(app["folder"])
    place = hashlib.sha256(json.dumps([owner, app["frontend"]]).encode()).hexdigest()[:16]
    cache = project / ".cache/frontends" / place
    top = Path(app["folder"])
    paths = inputs(source, top)
    result = cache / digest_of(source, paths, top)
    if used(result):
        return result
    if check:
        raise NotYet
    if not (shutil.which("npm") and shutil.which("node")):
        raise Unsuited("this machine has no npm")
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Freed by the kernel when its holder dies.
        if not used(result):
            for left in cache.glob("*.partial"):
                discard(left)
            partial, home = cache / f"{result.name}.partial", cache / "home.partial"
            try:
                home.mkdir(0o700)
                build(source, paths, partial, home, app)
                (partial / MADE).rename(result)
                os.utime(result)
                sync(cache)
            finally:
                discard(partial)
                discard(home)
            prune(cache)
    return result


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a build: without credentials, for npm runs what packages say.

    :param home: an empty folder. In the user's own lie keys of ssh, npm's and others' passwords, and sockets of agents.
    """
    given = {key: value for key, value in os.environ.items() if GIVEN.fullmatch(key) and not PRIVATE.search(key)}
    # In a new home npm would ask each time whether there is a newer one of it.
    own = {"npm_config_cache": str(home.with_name(CACHE)), "npm_config_update_notifier": "false"}
    return own | given | {"HOME": str(home)}


def used(result: Path) -> bool:
    """Whether a build is there; then it is noted that it was needed again."""
    try:
        os.utime(result)
    except FileNotFoundError:
        return False
    return True


def build(source: Path, paths: list[str], partial: Path, home: Path, app: dict[str, Any]) -> None:
    """Copy a front end's files and build it there, all of the result on the disk.

    :param home: of the build.
    :raises BuildError: see :func:`built`.
    """
    for path in paths:
        (partial / path).parent.mkdir(parents=True, exist_ok=True)
        (partial / path).write_bytes(content(Path(app["folder"]), source / path))
        (partial / path).chmod(0o755 if os.access(source / path, os.X_OK) else 0o644)
    for command in COMMANDS:
        try:
            done = run(
                command, BUILDING, cwd=partial, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, env=environment(home),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise BuildError(
                f"app {app['name']}: its front end in {source} is not built within {BUILDING:.0f} s"
            ) from None
        except TooMuch as why:
            raise BuildError(f"app {app['name']}: its front end in {source} does not build: {why}") from None
        if done.returncode:
            raise BuildError(
                f"app {app['name']}: its front end in {source} does not build, nothing was changed:"
                f" `{' '.join(command[: 3 if command[1] == 'run' else 2])}` ended with {done.returncode}."
                f" Its own output ends:\n{done.stdout.strip()[-6000:]}"
            )
        # npm only warns, and the build would end with a syntax error in somebody else's code.
        for name, required, current in UNSUITED.findall(done.stdout):
            if name == name_of(partial / "package.json"):
                raise Unsuited(f"its package.json asks for {required}, and this machine has node {current}")
    if not any(path.is_file() for path in (partial / MADE).rglob("*")):
        raise BuildError(
            f"app {app['name']}: its front end in {source} was built, but its {MADE} folder is empty or missing."
            f" `npm run build` has to write into {MADE}, as Vite does."
        )
    for at, _, files in os.walk(partial / MADE):
        for name in files:
            if not os.path.islink(os.path.join(at, name)):
                sync(Path(at, name))
        sync(Path(at))


def name_of(file: Path) -> Any:
    """Return the name that a package.json has; None where it has none or cannot be read."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found.get("name") if isinstance(found, dict) else None


def prune(cache: Path) -> None:
    """Delete the builds of a front end that nobody needed lately."""
    builds = [(path.stat().st_mtime, path) for path in cache.iterdir() if path.is_dir() and path.name != CACHE]
    for when, path in sorted(builds, reverse=True)[KEEP:]:
        if time.time() - when > FRESH:
            discard(path)


def files(result: Path) -> list[str]:
    """Return the files of a build, as sorted paths relative to it; links are followed where they stay inside."""
    top = result.resolve()
    found = [os.path.relpath(os.path.join(at, name), result) for at, _, names in os.walk(result) for name in names]
    return sorted(path for path in found if (file := (result / path).resolve()).is_file() and file.is_relative_to(top))
