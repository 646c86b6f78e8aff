"""Laying a release out beside the others: what it needs, its venv, its files, its seal; and clearing old ones away."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

from ansible_collections.hosted.flask.plugins.module_utils.files import (
    decode,
    discard,
    point,
    sync,
    text_of,
    write,
)
from ansible_collections.hosted.flask.plugins.module_utils.homes import Home
from ansible_collections.hosted.flask.plugins.module_utils.programs import Refused
from ansible_collections.hosted.flask.plugins.module_utils.venvs import Venv, installed

# What a release knows of itself, so that it can be started again later without its description.
DESCRIBED = (
    "manifest", "generated", "variables", "module", "server", "mount", "domains", "health", "services", "migrate",
    "before_switch", "after_switch", "program", "standby_program", "python", "requirements_text", "server_text",
    "router", "commit",
)  # fmt: skip


class Shipment:
    """The contents of one release on their way to a host."""

    def __init__(self, home: Home, blobs: dict[str, bytes]) -> None:
        """Prepare the shipment of the app in ``home``.

        :param home: its description has ``release`` (the id), ``manifest`` ([path, mode, sha256] of each file),
            ``generated`` (texts by path), ``variables``, ``secrets`` and what is in ``DESCRIBED`` besides.
        :param blobs: file contents by their sha256; what an earlier release holds may be left out.
        """
        self.home, self.app, self.blobs = home, home.app, blobs
        self.release: str = home.app["release"]
        self.folder = home.releases / self.release

    # --- what would change

    def diff(self, live: str | None, packages: list[str] | None) -> list[dict[str, str]]:
        """Return what differs between the live release and this one, never a secret.

        :param packages: what a new venv has or would have, None where the venv is there already.
        """
        old = self.home.read(live)
        parts: list[tuple[str, str, str]] = []
        if live != self.release:
            before = {path: digest for path, _, digest in old.get("manifest", [])}
            after = {path: digest for path, _, digest in self.app["manifest"]}
            for path in sorted(before.keys() | after.keys()):
                if before.get(path) != after.get(path):
                    source = self.home.releases / (live or "") / path if path in before else None
                    parts.append((path, text_of(source), self.text(after.get(path)) if path in after else ""))
            texts, new = old.get("generated", {}), self.app["generated"]
            parts += [(path, texts.get(path, ""), new.get(path, "")) for path in sorted(texts.keys() | new.keys())]
            parts.append(("environment", lines(old.get("variables", {})), lines(self.app["variables"])))
            known, own = text_of(self.home.releases / (live or "") / ".hosted/env"), self.app["secrets"]
            named = [key if setting(key, value) in known else f"{key} (changed)" for key, value in own.items()]
            parts.append(("secrets (names only)", words(old.get("secrets", [])), words(named)))
        if packages is not None:
            current = installed(self.home.slots / "live/.hosted/venv") if live else []
            parts.append(("packages", words(current), words(packages)))
        parts.append((f"services.d/{self.home.ini.name}", text_of(self.home.ini), self.app["program"]))
        return [self.part(*part) for part in parts if part[1] != part[2]]

    def part(self, title: str, before: str, after: str) -> dict[str, str]:
        """Return one comparison as Ansible shows it."""
        title = f"{self.home.name}: {title}"
        if Path(title).name.startswith(".env"):
            before, after = "(not shown)\n", "(not shown, changed)\n"
        return {"before_header": title, "after_header": title, "before": before, "after": after}

    def text(self, digest: str | None) -> str:
        """Return the text that was sent for a digest, or a word for what is not text or was not sent."""
        data = self.blobs.get(digest or "")
        return f"(content {digest})\n" if data is None else decode(data)

    # --- ship and seal

    def known(self) -> dict[tuple[str, int], Path]:
        """Return where each content of the sealed releases lies, by its digest and mode."""
        found = {}
        for release in self.home.releases.glob("*") if self.home.releases.is_dir() else ():
            for path, mode, digest in self.home.read(release.name).get("manifest", []):
                found[digest, mode] = release / path
        return found

    def missing(self) -> list[str]:
        """Return the digests that neither the sent contents nor, with the same mode, an earlier release has."""
        if self.home.sealed(self.release):
            return []
        known = self.known()
        wanted = {digest for _, mode, digest in self.app["manifest"] if (digest, mode) not in known}
        return sorted(wanted - self.blobs.keys())

    def make_room(self) -> None:
        """Make the app's folders and check that the disk has room for what comes.

        :raises Refused: it has not.
        """
        home = self.home
        data = home.root / "data"
        services = home.ini.parent
        # To where the front reads a file or connects its group may pass, and look around nowhere. Not by chmod: that
        # would take the inheritance of the group away, which is not the account's.
        for folder in (home.root, home.releases, home.slots, home.run):
            folder.mkdir(0o710, parents=True, exist_ok=True)
        for folder in (services, home.home / "logs", home.root / "venvs", data):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        needed = sum(map(len, self.blobs.values())) + (16 << 20)
        free = os.statvfs(home.root).f_bavail * os.statvfs(home.root).f_frsize
        if free < needed:
            raise Refused(f"disk: {free >> 20} MiB are free in {home.root}, {needed >> 20} MiB are needed")
        home.keep_key()

    def ship(self, venv: Venv) -> None:
        """Build the venv, lay the release out beside the others and seal it by its rename."""
        venv.build()
        if self.app["router"]:
            router = Venv(self.home.root / "venvs", [self.app["router_text"]], self.app["python"])
            router.build()
            point(self.home.root / "venvs/http", router.path.name)
        if self.home.sealed(self.release):
            relink(self.folder / ".hosted/venv", venv)
            return
        partial = self.folder.with_name(f"{self.release}.partial")
        discard(partial)
        try:
            partial.mkdir()
            self.lay_out(partial, venv)
            self.seal(partial)
        except OSError:
            discard(partial)  # On a full disk every byte is wanted.
            raise

    def lay_out(self, partial: Path, venv: Venv) -> None:
        """Write all files of the release."""
        known = self.known()
        for path, mode, digest in self.app["manifest"]:
            target = partial / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if (digest, mode) in known:
                os.link(known[digest, mode], target)
            else:
                write(target, self.blobs[digest], mode & ~0o222, name_too=False)
        for path, text in self.app["generated"].items():
            target = partial / path
            target.parent.mkdir(exist_ok=True)
            discard(target)
            write(target, text, 0o500 if path.endswith("start") else 0o400, name_too=False)
        variables = {**self.app["variables"], **self.app["secrets"]}
        settings = "".join(setting(key, value) for key, value in sorted(variables.items()))
        write(partial / ".hosted/env", settings, 0o400, name_too=False)
        (partial / ".hosted/venv").symlink_to(Path("../../../venvs") / venv.path.name)
        discard(partial / "instance")
        (partial / "instance").symlink_to("../../data")
        description: dict[str, Any] = {key: self.app[key] for key in DESCRIBED}
        description["secrets"] = sorted(self.app["secrets"])
        write(partial / "release.json", json.dumps(description, indent=1) + "\n", 0o400, name_too=False)

    def seal(self, partial: Path) -> None:
        """Close the release to writing and give it its name, all of it on the disk before."""
        static = tuple(f"{folder.strip('/')}/" for folder in self.app["static"].values())
        for folder, _, _ in os.walk(partial, topdown=False):
            sync(Path(folder))
            shown = f"{os.path.relpath(folder, partial)}/".startswith(static) if static else False
            # The front's group may pass, and list only what is static.
            os.chmod(folder, os.stat(folder).st_mode & 0o2000 | (0o550 if shown else 0o510))
        os.chmod(partial, 0o710)
        partial.rename(self.folder)
        os.chmod(self.folder, 0o510)
        sync(self.home.releases)


def prune(home: Home, keep: int) -> None:
    """Delete what no kept release needs: old releases, interrupted ones, and venvs."""
    live = home.releases / (home.live() or "none")
    os.utime(live)
    sealed = [item for item in home.releases.iterdir() if home.sealed(item.name) and item.suffix != ".partial"]
    others = sorted((item for item in sealed if item != live), key=lambda item: item.stat().st_mtime, reverse=True)
    kept = [live, *others[: keep - 1]]
    for item in home.releases.iterdir():
        if item not in kept:
            discard(item)
    needed = {os.path.basename(os.readlink(item / ".hosted/venv")) for item in kept}
    http = home.root / "venvs/http"
    needed |= {"http", os.readlink(http)} if http.is_symlink() else set()
    for item in (home.root / "venvs").iterdir():
        if item.name not in needed:
            discard(item)


def relink(link: Path, venv: Venv) -> None:
    """Let a sealed release use another venv of the same packages: its own interpreter went away."""
    if os.path.basename(os.readlink(link)) != venv.path.name:
        os.chmod(link.parent, 0o710)
        point(link, f"../../../venvs/{venv.path.name}")
        os.chmod(link.parent, 0o510)


def setting(key: str, value: Any) -> str:
    """Return the line of a release's environment that sets one variable."""
    return f"{key}={shlex.quote(str(value))}\n"


def lines(variables: dict[str, Any]) -> str:
    """Return variables as lines of a diff."""
    return "".join(f"{key}={value}\n" for key, value in sorted(variables.items()))


def words(items: Any) -> str:
    """Return words as lines of a diff."""
    return "".join(f"{item}\n" for item in sorted(items))
