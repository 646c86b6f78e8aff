"""The user and the password in a git source's URL: handed to git, and shown nowhere. Runs on the control node only.

git writes the URL that it is given into the clone's configuration and its messages, and everybody on the machine may
read a program's arguments. So it gets the URL without them, and asks a helper for them: where the server wants them,
for that server alone, also behind a redirect. The helper has them from its environment, which only its user may read.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ansible_collections.hosted.flask.plugins.module_utils.masking import without_credentials

# Where a clone has its commits' files: another name than that of earlier versions, whose trees nobody reads again.
TREES = "files"
# The password may have a slash or an @ that nobody quoted, the user may not.
URL = re.compile(r"(https?://)(?:([^/?#:@\s]*)(?::(.*))?@)?([^/?#@]+)((?:[/?#].*)?)", re.IGNORECASE)
# Its words are those of gitcredentials(7); printf is the shell's own and so no program with arguments.
HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n"'
    ' "$HOSTED_GIT_USERNAME" "$HOSTED_GIT_PASSWORD"; }; f'
)


def environment_for(url: str) -> tuple[str, dict[str, str]]:
    """Return a git URL without user and password, and what git's environment needs to have them all the same.

    Only the git that fetches needs it: no program that a source may name should see it.

    :raises ValueError: git cannot take them; the message does not show them.
    """
    found = URL.fullmatch(url)
    if not found or found[2] is None:
        return url, {}
    scheme, user, password, host, rest = found.groups()
    user, password = unquote(user), unquote(password or "")
    if re.search(r"[\r\n\0]", user + password):
        raise ValueError("a URL whose user and password are each on one line")
    settings = [
        # Those of the user would be told to keep them: `store` in a file, in the clear.
        ("credential.helper", ""),
        (f"credential.{scheme}{host}.helper", ""),
        (f"credential.{scheme}{host}.helper", HELPER),
        ("core.askPass", ""),
    ]
    env = {"GIT_CONFIG_COUNT": str(len(settings)), "GIT_ASKPASS": "", "SSH_ASKPASS": "", "GIT_TERMINAL_PROMPT": "0"}
    for number, (key, value) in enumerate(settings):
        env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return f"{scheme}{host}{rest}", env | {"HOSTED_GIT_USERNAME": user, "HOSTED_GIT_PASSWORD": password}


def shown(source: Any) -> Any:
    """Return an app's ``source`` as others may see it."""
    if isinstance(source, dict):
        return {key: without_credentials(value) if isinstance(value, str) else value for key, value in source.items()}
    return without_credentials(source) if isinstance(source, str) else source


def close(sources: Path) -> None:
    """Make the folder of the clones, which are nobody else's to read, and take out what earlier versions left there.

    They wrote credentials into it, and trees by way of an archive, whose links led anywhere.
    """
    sources.mkdir(parents=True, exist_ok=True)
    sources.chmod(0o700)
    for trees in sources.glob("*/trees"):
        shutil.rmtree(trees, ignore_errors=True)
    for file in (*sources.glob("*/config"), *sources.glob("*/FETCH_HEAD")):
        text = file.read_text(errors="surrogateescape")
        if (clean := re.sub(r"(?<=://)[^\s/@]+@", "", text)) != text:
            file.write_text(clean, errors="surrogateescape")
