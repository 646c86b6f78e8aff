#!/usr/bin/python
"""Open the homes of accounts to the account and, for passing through, to the front."""

from __future__ import annotations

DOCUMENTATION = r"""
module: account_homes
short_description: Open the homes of accounts to the account and, for passing through, to the front
description:
  - A home and its folder C(apps) are the account's; the front's group may pass through both and list neither.
  - What is made below C(apps) inherits that group.
  - Never follows a link that the account could have made, and gives it nothing that is somebody else's. An account
    whose C(apps) is such a thing is passed over with a warning; the others are not kept waiting for it.
options:
  homes:
    description: The home of each account.
    type: dict
    required: true
  group:
    description: The front's group.
    type: str
    default: www-data
attributes:
  check_mode: {support: full, description: Changes nothing. An account that is still to be made counts as a change.}
  diff_mode: {support: full, description: Shows owner and mode of each folder.}
author: [hosted.flask developers]
"""
EXAMPLES = r"""
- name: Open the home of account shop
  hosted.flask.account_homes:
    homes: {shop: /home/shop}
"""
RETURN = r"""
folders:
  description: The folders that changed.
  type: list
  returned: success
refused:
  description: Why an account was passed over, by its name.
  type: dict
  returned: success
"""

import errno
import grp
import os
import pwd
import stat
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

HOME, APPS = 0o710, 0o2710


def said(status: os.stat_result | None) -> str:
    """Return a folder's owner, group and mode for a diff, empty where there is none."""
    return f"{status.st_uid}:{status.st_gid} {stat.S_IMODE(status.st_mode):04o}\n" if status else ""


class Folder:
    """A folder as it is and as it should be, held open: what is looked at is what is changed."""

    def __init__(self, path: Path, owner: int, group: int, mode: int, parent: int | None = None) -> None:
        """Open it if it is there.

        :param parent: the open folder that it is in, which its owner may change: no link is followed in there.
        :raises OSError: it is no folder, or a link where none is followed.
        """
        self.path, self.owner, self.group, self.mode, self.parent = path, owner, group, mode, parent
        self.handle = self._open()
        self.before = None if self.handle is None else os.fstat(self.handle)
        self.after = f"{owner}:{group} {mode:04o}\n"

    def _open(self) -> int | None:
        follow = os.O_NOFOLLOW if self.parent is not None else 0
        try:
            return os.open(self._name(), os.O_RDONLY | os.O_DIRECTORY | follow, dir_fd=self.parent)
        except FileNotFoundError:
            return None

    def _name(self) -> str:
        return str(self.path) if self.parent is None else self.path.name

    def changed(self) -> bool:
        """Whether it is not yet as it should be."""
        return said(self.before) != self.after

    def diff(self) -> dict[str, str]:
        """Return what changes."""
        header = str(self.path)
        return {"before_header": header, "after_header": header, "before": said(self.before), "after": self.after}

    def put(self) -> None:
        """Make it as it should be."""
        if self.handle is None:
            if self.parent is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                os.mkdir(self._name(), 0o700)
            else:
                # As the account: it could put something of root's in the place of what root just made.
                os.seteuid(self.owner)
                try:
                    os.mkdir(self._name(), 0o700, dir_fd=self.parent)
                finally:
                    os.seteuid(0 if os.getuid() == 0 else self.owner)
            self.handle = self._open()
            if self.handle is None:
                raise FileNotFoundError(errno.ENOENT, "it is gone again", self._name())
        # It can rename, and so bring here, what others have in its home.
        if self.parent is not None and os.fstat(self.handle).st_uid != self.owner:
            raise PermissionError(errno.EPERM, "it belongs to somebody else", self._name())
        # In this order: a new owner takes the bit away by which folders below inherit the group.
        os.fchown(self.handle, self.owner, self.group)
        os.fchmod(self.handle, self.mode)

    def close(self) -> None:
        """Let go of it."""
        if self.handle is not None:
            os.close(self.handle)


def open_home(module: AnsibleModule, account: str, home: Path, group: int) -> list[dict[str, str]]:
    """Do one account; return what changes.

    :raises OSError: one of its folders cannot be made or changed.
    """
    try:
        owner = pwd.getpwnam(account).pw_uid
    except KeyError:
        if not module.check_mode:
            module.fail_json(msg=f"account {account} is not there: make it before its home is opened.")
        return [{"before_header": str(home), "after_header": str(home), "before": "", "after": f"{account}\n"}]
    folders = [Folder(home, owner, group, HOME)]
    try:
        if folders[0].changed() and not module.check_mode:
            folders[0].put()
        if folders[0].handle is not None:
            folders.append(Folder(home / "apps", owner, group, APPS, folders[0].handle))
            if folders[1].changed() and not module.check_mode:
                folders[1].put()
        return [folder.diff() for folder in folders if folder.changed()]
    finally:
        for folder in folders:
            folder.close()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "homes": {"type": "dict", "required": True},
            "group": {"type": "str", "default": "www-data"},
        },
        supports_check_mode=True,
    )
    group = grp.getgrnam(module.params["group"]).gr_gid
    diff: list[dict[str, str]] = []
    refused = {}
    for account, home in module.params["homes"].items():
        try:
            diff += open_home(module, account, Path(home), group)
        except OSError as error:
            refused[account] = (
                f"home of account {account}: {Path(home) / (error.filename or '')}: {error.strerror}."
                f" Allowed: {home} and {home}/apps as folders of its own, apps not as a link."
                " Move what is in the way on the host, then run it again."
            )
    folders = [change["after_header"] for change in diff]
    for why in refused.values():
        module.warn(why)
    module.exit_json(changed=bool(diff), folders=folders, refused=refused, diff=diff)


if __name__ == "__main__":
    main()
