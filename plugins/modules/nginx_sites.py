#!/usr/bin/python
"""Write the sites of nginx and put the earlier ones back when nginx refuses them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_sites
short_description: Write the sites of nginx and put the earlier ones back when nginx refuses them
description:
  - Owns one folder of configuration files and the line in C(conf.d) that includes its C(*.site.conf).
  - Files of the folder that are not named are removed. Only root and its group look into it.
  - An nginx that runs reads what it took. What a run that was interrupted wrote, the next one has it prove and read.
options:
  files:
    description: The texts of all files, by their names in C(folder), or of files elsewhere by their whole paths.
    type: dict
    required: true
  optional:
    description:
      - The apps whose own lines some of C(files) are, by the files' names.
      - If nginx refuses the whole because of such a file, only that file stays as it was before, or empty.
    type: dict
    default: {}
  logs:
    description: Files that nginx will log to, made before it makes them readable for all; C(www-data)'s, C(adm) reads.
    type: list
    elements: path
    default: []
  folder:
    description: The folder that holds them.
    type: path
    default: /etc/nginx/hosted.flask
  include:
    description: The file that makes nginx read the folder.
    type: path
    default: /etc/nginx/conf.d/hosted.flask.conf
attributes:
  check_mode: {support: full, description: Writes nothing and does not ask nginx.}
  diff_mode: {support: full, description: Shows each file.}
author: [hosted.flask developers]
"""
EXAMPLES = r"""
- name: Write the sites
  hosted.flask.nginx_sites:
    files:
      _.site.conf: "server { listen 80 default_server; return 404; }"
"""
RETURN = r"""
files:
  description: The paths that changed.
  type: list
  returned: success
refused:
  description: A message for each file of C(optional) that nginx refused; fail with them when all else is done.
  type: list
  returned: success
"""

import os
import re
import shutil
import stat
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosted.flask.plugins.module_utils.files import discard, put

# There as long as nginx may not have read what is written.
UNREAD = Path("/var/lib/hosted.flask/nginx.unread")
# What others serve and how is not for every account; nginx reads it as root.
FOLDER_MODE = 0o750
LOG_OWNER, LOG_GROUP, LOG_MODE = "www-data", "adm", 0o640


def kept(log: Path) -> bool:
    """Whether a log is there and nobody else's."""
    try:
        return (log.owner(), log.group(), stat.S_IMODE(log.stat().st_mode)) == (LOG_OWNER, LOG_GROUP, LOG_MODE)
    except (OSError, KeyError):
        return False


def keep(log: Path) -> None:
    """Make a log, or make it nobody else's."""
    os.close(os.open(log, os.O_CREAT | os.O_NOFOLLOW | os.O_WRONLY, LOG_MODE))
    shutil.chown(log, LOG_OWNER, LOG_GROUP)
    log.chmod(LOG_MODE)


def meaning(words: str) -> str:
    """Return what nginx said without the time and the process that it said it in."""
    return re.sub(r"(?m)^[0-9/]+ [0-9:]+ (\[\w+\]) [0-9#]+: ", r"\1 ", words)


class Sites:
    """What is to be written, and nginx's word on it."""

    def __init__(self, module: AnsibleModule) -> None:
        """Read what is there."""
        self.module = module
        self.folder = folder = Path(module.params["folder"])
        self.wanted: dict[Path, str] = {folder / name: text for name, text in module.params["files"].items()}
        header = "# Managed by Ansible, hosted.flask role nginx.\n"
        self.wanted[Path(module.params["include"])] = f"{header}include {folder}/*.site.conf;\n"
        present = {path for path in folder.iterdir()} if folder.is_dir() else set()
        self.before = {path: path.read_text() if path.is_file() else None for path in {*self.wanted, *present}}
        # What is written where it differs from before; nginx may have its say on it.
        self.texts = {path: self.wanted.get(path) for path in sorted(self.before)}
        self.extras = {folder / name: app for name, app in module.params["optional"].items()}
        self.logs = [log for log in map(Path, module.params["logs"]) if not kept(log)]
        self.open = [folder] if folder.is_dir() and stat.S_IMODE(folder.stat().st_mode) != FOLDER_MODE else []
        self.refused: list[str] = []

    def changes(self) -> dict[Path, str | None]:
        """Return the files that differ, and their texts."""
        return {path: text for path, text in self.texts.items() if text != self.before[path]}

    def diff(self) -> list[dict[str, str]]:
        """Return what changes."""
        paths = map(str, [*self.logs, *self.open])
        return [{"before_header": path, "after_header": path, "before": "", "after": ""} for path in paths] + [
            {
                "before_header": str(path),
                "after_header": str(path),
                "before": self.before[path] or "",
                "after": text or "",
            }
            for path, text in self.changes().items()
        ]

    def run(self, *command: str) -> str:
        """Run a command; return what it says if it fails."""
        code, out, words = self.module.run_command([*command], environ_update={"PATH": os.defpath + ":/usr/sbin:/sbin"})
        return ((words or out).strip() or f"{' '.join(command)} ended with {code}") if code else ""

    def asked(self) -> str:
        """Return what nginx says against the files as they are; empty where it takes them."""
        return self.run("nginx", "-t", "-q")

    def prove(self) -> str:
        """Write what differs and leave out the apps' own lines that nginx refuses; return what it says then."""
        for log in self.logs:
            keep(log)
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(FOLDER_MODE)
        for path, text in self.changes().items():
            put(path, text)
        while words := self.asked():
            bad = self.culprits(words)
            if not bad:
                return words
            for path in bad:
                self.withdraw(path)
                what = "the earlier lines stay" if self.texts[path] else "it is left out"
                self.refused.append(
                    f"flask_apps ({self.extras[path]}).nginx_extra is refused by nginx: {what}, all else is as"
                    f" described. Correct it and deploy again. nginx: {words}"
                )
        return ""

    def culprits(self, words: str) -> list[Path]:
        """Return the files with apps' own lines that nginx means."""
        there = [path for path in self.extras if self.texts.get(path)]
        # One at a time: it names the first that it does not take, or names none, as for an unknown variable.
        named = [path for path in there if f"{path}:" in words][:1]
        return named or next((bad for bad in [*([path] for path in there), there] if self.helps(bad, words)), [])

    def helps(self, bad: list[Path], words: str) -> bool:
        """Whether nginx no longer says these words when these files are as they were; changes nothing."""
        texts = dict(self.texts)
        for path in bad:
            self.withdraw(path)
        better = meaning(self.asked()) != meaning(words)
        self.texts = texts
        for path in bad:
            put(path, texts[path])
        return better

    def withdraw(self, path: Path) -> None:
        """Put an app's own lines back to what they were, or take them away if those are wrong by now."""
        changed = self.texts[path] == self.wanted[path] != self.before[path]
        self.texts[path] = (self.before[path] or "") if changed else ""
        put(path, self.texts[path])

    def back(self) -> None:
        """Put everything back."""
        for path, text in self.before.items():
            if (path.read_text() if path.is_file() else None) != text:
                put(path, text)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "dict", "required": True},
            "optional": {"type": "dict", "default": {}},
            "logs": {"type": "list", "elements": "path", "default": []},
            "folder": {"type": "path", "default": "/etc/nginx/hosted.flask"},
            "include": {"type": "path", "default": "/etc/nginx/conf.d/hosted.flask.conf"},
        },
        supports_check_mode=True,
    )
    sites = Sites(module)
    unread = UNREAD.exists()
    if (sites.changes() or sites.logs or sites.open or unread) and not module.check_mode:
        apply(sites, unread)
    files = [str(path) for path in [*sites.logs, *sites.open, *sites.changes()]]
    module.exit_json(changed=bool(files or unread), files=files, refused=sites.refused, diff=sites.diff())


def apply(sites: Sites, unread: bool) -> None:
    """Write, prove and let nginx read; fail with everything as it was."""
    put(UNREAD, "")
    try:
        words, why = sites.prove(), "nginx refuses the new sites, the earlier ones are back"
    except OSError as error:
        words, why = str(error), "the new sites cannot be written, the earlier ones are back"
    if words:
        diff = sites.diff()
        sites.back()
        if sites.asked():
            why = "nginx refuses its configuration, with and without our changes: see to the file that it names"
        # What it reads of ours is what it has read.
        if not unread:
            discard(UNREAD)
        sites.module.fail_json(msg="\n".join([f"{why}:\n{words}", *sites.refused]), diff=diff)
    # One that does not run reads them when it starts.
    if (sites.changes() or unread) and (words := sites.run("systemctl", "try-reload-or-restart", "nginx.service")):
        sites.module.fail_json(msg=f"nginx takes the new sites, but could not be reloaded: {words}", diff=sites.diff())
    discard(UNREAD)


if __name__ == "__main__":
    main()
