"""What can be done with the releases of one app on its host, run as the account that owns it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ansible_collections.hosted.flask.plugins.module_utils.answers import visible
from ansible_collections.hosted.flask.plugins.module_utils.files import discard, tail, text_of, write
from ansible_collections.hosted.flask.plugins.module_utils.homes import Home
from ansible_collections.hosted.flask.plugins.module_utils.processes import family, memory
from ansible_collections.hosted.flask.plugins.module_utils.programs import Refused
from ansible_collections.hosted.flask.plugins.module_utils.shipping import Shipment, prune, relink
from ansible_collections.hosted.flask.plugins.module_utils.switch import Switch
from ansible_collections.hosted.flask.plugins.module_utils.venvs import VenvError

Result = dict[str, Any]
FRONT = 10.0  # seconds for a front that was started or set up a moment ago


def deploy(home: Home, blobs: dict[str, bytes], check: bool) -> Result:
    """Bring an app to the release that its description asks for.

    :param blobs: file contents by their sha256; what an earlier release holds may be left out.
    :param check: change nothing, only tell.
    :returns: ``changed``, ``actions`` (what was or would be done), ``diff``, ``warnings``, and ``missing``
        (contents that must be sent before anything can be done).
    :raises Refused: see its text; visitors still get what they got before. Or the release is live, but the front does
        not lead to it.
    """
    shipment = Shipment(home, blobs)
    release, live, venv = shipment.release, home.live(), home.venv()
    unchanged = live == release and venv.ready and text_of(home.ini) == home.app["program"]
    if unchanged and not home.standby_ini.exists() and home.serves("live") == live:
        return front_again(home, release, check)
    actions = [f"release {live or 'none'} -> {release}"] if live != release else []
    actions += [f"build venv {venv.path.name}"] if not venv.ready else []
    actions += [f"restart {name}" for name in (home.programs.app, *home.programs.services)]
    result: Result = {"changed": True, "actions": actions, "diff": told(home, actions)}
    if check:
        return {**result, "diff": result["diff"] + shipment.diff(live, venv.resolve() if not venv.ready else None)}
    with home.lock():
        # Whoever had the lock before may have changed what there is.
        live, known, built = home.live(), home.sealed(release), venv.ready
        if missing := shipment.missing():
            return {"changed": True, "missing": missing}  # The rest is told when it is done.
        with recorded(home, "deploy", release) as switch:
            try:
                shipment.make_room()
                shipment.ship(venv)
                result["diff"] += shipment.diff(live, venv.packages() if not built else None)
                # The live release still serves.
                if live != release and (message := switch.run_hook("migrate")):
                    raise Refused(f"app {home.name}: release {release} is refused: {message}")
                switch.run()
            except (Refused, VenvError, OSError):
                if not known and home.live() != release and home.slot("standby") != release:
                    discard(home.releases / release)  # Kept, it would push out one that worked.
                raise
        prune(home, home.app["keep_releases"])
        prove_front(home, release, switch.warnings)
    return {**result, "warnings": switch.warnings}


def front_again(home: Home, release: str, check: bool) -> Result:
    """See that visitors get a release that is live and healthy, and start the app's own router anew where they do not.

    :returns: as :func:`deploy`.
    :raises Refused: the front answers something else.
    """
    router = home.programs.router
    result: Result = {"changed": False, "actions": [], "diff": []}
    # In check mode a front that is provisioned first has not been.
    if (check and not router) or by_front(home, release, FRONT)[0]:
        return result
    if router:
        actions = [f"restart {router}"]
        result = {"changed": True, "actions": actions, "diff": told(home, actions)}
    if not check:
        with home.lock():
            if router:
                home.programs.kill(router)  # Stopping gracefully waits for what hangs in it.
                home.programs.renew(router)
            prove_front(home, release)
    return result


def told(home: Home, actions: list[str]) -> list[dict[str, str]]:
    """Return what is done as --diff shows it, which is all that check mode prints without -v."""
    title = f"{home.name}: what is done"
    after = "".join(f"{action}\n" for action in actions)
    return [{"before_header": title, "after_header": title, "before": "", "after": after}]


@contextlib.contextmanager
def recorded(home: Home, action: str, release: str, **more: str) -> Iterator[Switch]:
    """Yield the switch of an app to a release, and write into its history what becomes of it.

    :param more: what the history says besides where it went well.
    :raises Refused: whatever went wrong, in words for the user.
    """
    begin, switch = time.monotonic(), Switch(home, release)
    try:
        yield switch
    except (Refused, VenvError, OSError) as error:
        with contextlib.suppress(OSError):  # The disk may be what is full.
            home.remember(action, release, begin, "refused")
        text = str(error)
        if isinstance(error, OSError):
            text = (
                f"app {home.name}: disk or permissions: {visible(str(error))}. Visitors still get what they got before."
            )
        raise Refused(text) from error
    home.remember(action, release, begin, "live", shown=round(switch.shown - begin, 2), **more)


def rollback(home: Home, wanted: str, check: bool) -> Result:
    """Bring an app back to a release that it had: code, venv and settings.

    :param wanted: its id; empty for the last good one.
    :returns: as :func:`deploy`, and ``release``.
    :raises Refused: there is none, or it is not fit any more.
    """
    live = home.live()
    kept = [release for release in home.good() if release != live]
    if not wanted and not kept:
        raise Refused(
            f"app {home.name}: no earlier good release is kept to go back to. Deploy an earlier version of its source;"
            " keep_releases says how many are kept."
        )
    release = wanted or kept[0]
    if not home.sealed(release):
        allowed = sorted(item.name for item in home.releases.glob("*[0-9a-f]") if item.name != live)
        raise Refused(f"app {home.name}: release {release!r} is not kept. Allowed: {', '.join(allowed) or 'none'}.")
    actions = [f"release {live} -> {release}"] if release != live else []
    result: Result = {"changed": release != live, "actions": actions, "release": release}
    if release == live:
        return result
    result["diff"] = told(home, actions)
    old, now = home.as_released(release), home.as_released(live) if live else home
    if (old.app["mount"], old.app["domains"]) != (now.app["mount"], now.app["domains"]):
        raise Refused(
            f"app {home.name}: release {release} answered at {place(old)}, the front knows {place(now)}."
            " Set mount and domains back in its description and deploy."
        )
    if check:
        return result
    with old.lock():
        with recorded(old, "rollback", release, **({"left": live} if live else {})) as switch:
            venv = old.venv()
            venv.build()
            relink(old.releases / release / ".hosted/venv", venv)
            switch.run()
        prune(old, old.app["keep_releases"])
        prove_front(old, release, switch.warnings)
    return {**result, "warnings": switch.warnings}


def place(home: Home) -> str:
    """Return where an app answers, for a message."""
    return f"mount {home.app['mount']}, domains {home.app['domains']}"


def prove_front(home: Home, release: str, warnings: Iterable[str] = ()) -> None:
    """See that visitors get a release; a front that was started or set up a moment ago gets some seconds.

    :param warnings: what else is to be told of the release.
    :raises Refused: the front answers something else.
    """
    router, deadline = home.programs.router, time.monotonic() + FRONT
    while True:
        # One answer may take as long as the release's own.
        reached, said = by_front(home, release, max(FRONT, home.app["health"]["timeout"]))
        if reached:
            return
        if time.monotonic() > deadline or (router and home.programs.ended(router)):
            break
        time.sleep(0.05)
    if router:
        log = home.log(router)
        what = (
            f"Is another process on that port? See below, and deploy again.\n{log} ends:\n{tail(log, 0, home.mask())}"
        )
    else:
        what = "Run playbooks/provision.yml, and read the front's log."
    refusal = (
        f"app {home.name}: release {release} is live, but visitors do not get it:"
        f" the front at {home.app['front']} {said}. {what}"
    )
    raise Refused("\n".join([*warnings, refusal]))


def by_front(home: Home, release: str, timeout: float) -> tuple[bool, str]:
    """Ask for an app through its front: whether it leads to a release, and what it answers.

    A front that lets not everybody in (maintenance, limits, or whom the app's own lines in it refuse) answers itself,
    and knows the app.
    """
    answer, served = home.front(timeout)
    closed = {"401", "403", "429"} | ({"503"} if home.closed.exists() else set())
    reached = served == release or (served is None and not home.programs.router and answer in closed)
    return reached, f"answers {answer} of release {served or 'none'}"


def restart(home: Home, check: bool) -> Result:
    """Restart an app and its services, its visitors meanwhile on a standby of the same release.

    :raises Refused: it is not there, or does not come up; visitors still get what they got before.
    """
    live = home.live()
    if live is None:
        raise Refused(f"app {home.name}: it was never deployed here. Deploy it first.")
    same = home.as_released(live)
    actions = [f"restart {name}" for name in (same.programs.app, *same.programs.services)]
    result: Result = {"changed": True, "actions": actions, "release": live, "diff": told(home, actions)}
    if check:
        return result
    with same.lock():
        with recorded(same, "restart", live) as switch:
            switch.run()
        prove_front(same, live, switch.warnings)
    return {**result, "warnings": switch.warnings}


def maintenance(home: Home, wanted: bool, check: bool) -> Result:
    """Close an app for visitors, or let them in again; its processes and releases go on.

    :raises Refused: nobody stands in front of it that could, or it is not there.
    """
    if home.app["router"]:
        raise Refused(
            f"app {home.name}: maintenance is the work of nginx, and on platform local there is none."
            " Allowed: apps of platform server."
        )
    if home.live() is None:
        raise Refused(f"app {home.name}: it was never deployed here. Deploy it first.")
    actions = [f"maintenance {'on' if wanted else 'off'}"] if home.closed.exists() != wanted else []
    result: Result = {"changed": bool(actions), "actions": actions, "release": home.live()}
    result["diff"] = told(home, actions) if actions else []
    if actions and not check:
        if wanted:
            write(home.closed, "", 0o640)
        else:
            discard(home.closed)
    return result


def status(home: Home) -> Result:
    """Tell how an app is doing; nothing is changed.

    :returns: ``changed`` and ``status``: ``app``, ``release`` (id), ``maintenance`` (whether visitors are kept out),
        ``since`` and ``by`` of the last change, ``commit``, ``programs`` (name to state), ``processes`` (a count),
        ``memory`` (bytes, PSS), ``health`` ("ok" or what is wrong), ``front`` (the same through the front) and
        ``history``, the last five entries, latest first.
    """
    live = home.live()
    description = home.read(live)
    here = home.as_released(live) if live and description else home
    programs = home.programs.all()
    pids = {pid for info in programs for pid in family(info["pid"])}
    history = home.history()
    came = [entry for entry in history if entry["release"] == live and entry["result"] == "live"]
    answer, served = here.front() if live else ("not deployed", None)
    health = here.serves("live") if live else None
    found = {
        "app": home.name,
        "release": live,
        "maintenance": home.closed.exists(),
        "since": came[-1]["time"] if came else None,
        "by": came[-1]["who"] if came else None,
        "commit": description.get("commit", ""),
        "programs": {info["name"]: info["statename"] for info in programs},
        "processes": len(pids),
        "memory": memory(pids),
        "health": "ok" if live and health == live else "no answer" if live else "not deployed",
        "front": "ok" if live and served == live else f"{answer}, release {served or 'none'}",
        "history": history[:-6:-1],
    }
    return {"changed": False, "status": found}


def absent(home: Home, purge: bool, check: bool) -> Result:
    """Remove an app: programs, files and logs. ``data/`` stays while it holds something, unless ``purge``.

    With it stays the app's key: who is logged in to what is kept there still is when the app comes back.

    :returns: as :func:`deploy`, and ``kept``, the data that stays.
    :raises Refused: somebody else works on it, or a program of it does not end; its files are still there.
    """
    # Its programs count too: where its files were deleted by hand they may still run.
    kept, rest = remains(home, purge)
    if not rest and (kept or not home.root.exists()) and not home.programs.all():
        return {"changed": False, "actions": [], "diff": [], **kept}
    actions = [f"remove {home.name}"]
    result: Result = {"changed": True, "actions": actions, "diff": told(home, actions)}
    if check:
        return {**result, **kept}
    home.clear_lock()
    with home.lock():
        # Without them nothing of it is started again, should supervisord itself start meanwhile.
        discard(home.ini)
        discard(home.standby_ini)
        home.programs.remove_all()
        kept, rest = remains(home, purge)  # Its last words, or whoever had the lock before, may have changed that.
        lock = home.root / ".lock"
        for item in rest:
            if item != lock:
                discard(item)
        discard(lock)  # Last: up to here nobody else begins.
        if not kept:
            with contextlib.suppress(OSError):  # Somebody began already.
                home.root.rmdir()
    return {**result, **kept}


def remains(home: Home, purge: bool) -> tuple[dict[str, str], list[Path]]:
    """Return what stays of an app when it is removed, as ``kept`` of its result, and the paths that go."""
    data, logs = home.root / "data", home.home / "logs"
    stays = not purge and data.is_dir() and any(data.iterdir())
    found = list(home.root.iterdir()) if home.root.exists() else []
    rest = [item for item in found if not stays or item not in (data, home.root / "env")]
    rest += [*logs.glob(f"{home.name}.log*"), *logs.glob(f"{home.name}-*.log*")]
    rest += [item for item in (home.ini, home.standby_ini) if item.exists()]
    return {"kept": str(data)} if stays else {}, rest
