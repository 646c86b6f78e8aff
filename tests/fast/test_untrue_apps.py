"""What an account's process may answer beside an honest one's: the way from it to the control node, whole.

From a good answer each key is taken out, and each value is put in the place of which is none or too much. What the
honest app answered comes through each time, and the message names the other.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.hosted.flask.plugins.callback import visible
from ansible_collections.hosted.flask.plugins.module_utils import answers, confined, doctor, work
from ansible_collections.hosted.flask.plugins.plugin_utils import remote
from support import completed

MIB = 1 << 20
# Where hundreds of answers are tried all limits are this much lower.
LESS = 128
UNIT = MIB // LESS
DIGESTS = ["ab" * 32, "cd" * 32]
SHOP = completed(manifest=[["tool", 0o400, digest] for digest in DIGESTS])
DIFF = {"before_header": "x", "after_header": "x", "before": "a", "after": "b"}
ENTRY = {"time": "t", "who": "w", "action": "deploy", "release": "0", "commit": "c", "seconds": 1.5, "result": "live"}
STATUS = {
    "app": "mallory", "release": "0123456789ab", "health": "ok", "front": "ok", "maintenance": False, "since": "t",
    "by": "w", "commit": "c", "programs": {"mallory": "RUNNING"}, "processes": 3, "memory": 4,
    "history": [{**ENTRY, "shown": 1, "left": "0"}],
}  # fmt: skip
FINDING = {"level": "error", "check": "disk", "what": "full", "do": "clear it"}
# Good answers, by their verbs; together they have each key that there is.
GOOD: dict[str, list[dict[str, Any]]] = {
    "deploy": [
        {"changed": True, "actions": ["a"], "diff": [DIFF], "warnings": ["w"], "release": "0123456789ab"},
        {"changed": True, "missing": DIGESTS},
        {"changed": False, "failed": True, "msg": "app mallory: no"},
        {"changed": True, "actions": ["remove mallory"], "kept": "/home/mallory/apps/mallory/data"},
    ],
    "status": [{"changed": False, "status": STATUS}],
    "examine": [
        {"changed": False, "examined": {"findings": [FINDING], "checked": ["disk"], "skipped": {"dns": "why"}}},
        {"changed": False, "failed": True, "msg": "app mallory: no"},
    ],
}
HONEST: dict[str, dict[str, Any]] = {
    "deploy": {"changed": True, "actions": ["release none -> 0123456789ab"], "release": "0123456789ab"},
    "status": {"changed": False, "status": {**STATUS, "app": "alice"}},
    "examine": {"changed": False, "examined": {"findings": [], "checked": ["disk"], "skipped": {}}},
}
# What takes the place of a value: of another type, unknown, too much at once, and what grows when it is made visible.
WRONG: dict[str, Any] = {
    "null": None,
    "number": 7.5,
    "huge": 1 << 70,
    "long": "x" * (3 * UNIT),
    "longer": "x" * (5 * UNIT),
    "deletes": "\x7f" * UNIT,
    "tags": "\U000e0041" * UNIT,
    "quotes": "\x7f\"\\" * (UNIT // 2),
    "many": ["\x7f" * 1000] * (UNIT // 1000 + 1),
    "digest": ["ef" * 32],
    "keys": {"\x7f" * 900 + str(number): "x" for number in range(UNIT // 900 + 1)},
    "command": {"add_host": {"host_name": "x"}},
}  # fmt: skip


def changes(value: Any, at: str = "") -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Yield each change of a good answer with a name: what it makes of the answer."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{at}.{key} taken out", partial(without, key)
            yield from ((name, partial(changed, key, change)) for name, change in changes(item, f"{at}.{key}"))
        yield f"{at} one key more", lambda found: {**found, "ansible_facts": {}}
    elif isinstance(value, list):
        yield from ((name, partial(changed, 0, change)) for name, change in changes(value[0], f"{at}[0]"))
        yield f"{at} very often", lambda found: found * (5 * UNIT // len(json.dumps(found)))
    if at:
        yield from ((f"{at} {kind}", partial(lambda wrong, _: wrong, wrong)) for kind, wrong in WRONG.items())


def without(key: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return a dict without a key."""
    return {name: item for name, item in found.items() if name != key}


def changed(key: Any, change: Callable[[Any], Any], found: Any) -> Any:
    """Return a dict or a list with one item changed."""
    found = copy.copy(found)
    found[key] = change(found[key])
    return found


def take(verb: str, said: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the control node takes from a host on which the processes of apps say this."""

    def each(_: Any, __: int, limit: int, ___: Any) -> dict[str, Any]:
        return {
            name: text if len(text) <= limit else confined.Unanswered("it said more") for name, text in said.items()
        }

    monkeypatch.setattr(confined, "each", each)
    monkeypatch.setattr(work, "without_account", lambda *_: None)
    monkeypatch.setattr(doctor, "addresses", list)
    monkeypatch.setattr(remote, "modules", lambda _: {})  # Nothing is sent.
    module = doctor if verb == "examine" else work
    apps = [{**SHOP, "name": name, "account": name} for name in said]
    call = {"verb": verb, "apps": apps, "check": False, "who": "me", "wait": 0, "deadline": 60, "secrets": {}}
    call |= {"platform": "local", "ports": [], "tls": {}, "folders": []}

    class Action:
        """The way to the host."""

        _templar = Templar(loader=DataLoader())

        def _low_level_execute_command(self, *_: Any, **__: Any) -> dict[str, Any]:
            return {"rc": 0, "stdout": json.dumps(module.main(copy.deepcopy(call), b"")), "stderr": ""}

    shape = answers.DOCTOR if verb == "examine" else answers.WORK
    host = {"ansible_python_interpreter": "/usr/bin/python3"}
    result = remote.run(Action(), module.__name__.rpartition(".")[2], call, b"", host, [], shape)  # type: ignore[arg-type]
    assert result.keys() >= {"apps"}, result["msg"][:2000]
    for app in apps if verb != "examine" else ():
        answers.see(result["apps"][app["name"]], app)  # As action/release.py does.
    return result


def told(verb: str, result: dict[str, Any]) -> str:
    """Return what is said of mallory's app where its answer was refused, empty where it was taken."""
    of = result["apps"]["mallory"]
    if verb == "status":
        return of["status"]["health"] if of["status"].keys() == {"app", "release", "health"} else ""
    if verb == "examine":
        return of["findings"][0]["what"] if not of["checked"] and of["findings"] else ""
    assert ("msg" in result) == bool(of.get("failed"))
    return of["msg"] if of.get("failed") else ""


@pytest.mark.parametrize(("verb", "good"), [(verb, good) for verb, each in GOOD.items() for good in each])
def test_one_untrue_answer_is_told_and_the_honest_one_is_taken(
    verb: str, good: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LIMIT", "BESIDES", "MESSAGE", "MESSAGES"):
        monkeypatch.setattr(answers, name, getattr(answers, name) // LESS)
    honest = json.dumps(HONEST[verb]).encode()
    expected = take(verb, {"alice": honest}, monkeypatch)["apps"]["alice"]
    accepted = set()
    for name, change in changes(good):
        wrong = json.dumps(change(good), ensure_ascii=False).encode()
        result = take(verb, {"mallory": wrong, "alice": honest}, monkeypatch)
        assert result["apps"]["alice"] == expected, name
        said = told(verb, result)
        assert len(said) < answers.MESSAGE + 22_000, name  # Of what it said 2000 characters are shown
        if not said:
            accepted.add(name)
            continue
        assert said.startswith("app mallory: "), (name, said[:300])
        # A message may be whatever it is, but not of any length.
        assert "the rights of account mallory: " in said or name.startswith(".msg "), (name, said[:300])
    needed = {"changed", "msg" if "failed" in good else {"status": "status", "examine": "examined"}.get(verb)}
    assert not accepted & {f".{key} taken out" for key in needed}
    too_much = (" huge", " longer", " deletes", " tags", " quotes", " command", " very often", " one key more")
    assert not [name for name in accepted if name.endswith(too_much) and not name.startswith(".msg")]
    assert ".missing digest" not in accepted
    assert len(accepted) < 60, accepted


@pytest.mark.parametrize("verb", GOOD)
@pytest.mark.parametrize("filling", ["x", "\x7f", "\u65e5", "\U0001f600"], ids=ascii)
def test_answers_as_large_as_they_may_be_fit_into_one(verb: str, filling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of several, with a message that is told once more."""
    honest = json.dumps(HONEST[verb]).encode()
    largest = {"changed": False, "failed": True, "msg": filling * answers.MESSAGE, "warnings": []}
    encoded = len(json.dumps(answers.visible(filling))) - 2
    largest["warnings"] = [filling * ((answers.LIMIT - MIB) // encoded)]
    names = ("mallory", "blog", "shop")
    said = {**dict.fromkeys(names, json.dumps(largest, ensure_ascii=False).encode()), "alice": honest}
    result = take(verb, said, monkeypatch)
    assert result["apps"]["alice"] == take(verb, {"alice": honest}, monkeypatch)["apps"]["alice"]
    if verb == "deploy":
        assert [f"app {name}: " in result["msg"] for name in names] == [True] * 3
        assert len(result["msg"]) < visible.LONGEST, "all that is printed of one message"


def test_a_message_that_lies_about_others_is_still_its_own_apps() -> None:
    said = json.dumps({"changed": False, "failed": True, "msg": "app alice: her data is gone"}).encode()
    assert work.taken(completed("mallory"), said, "deploy")["msg"] == "app mallory: app alice: her data is gone"


def test_of_a_long_message_of_our_own_the_end_is_kept_without_its_secrets() -> None:
    """What supervisord says, 4 MiB at the most, stands in it."""
    text = "app shop: supervisord refuses: " + "\x7f" * MIB + "dear secret, the end"

    def refuse(*_: Any) -> dict[str, Any]:
        return work.failure(text)

    app = completed("shop", home="/nowhere", supervisor_socket="/s", secrets={"A": "dear secret"})
    said = work.answer(refuse, app, {}, {})["msg"]
    assert said.startswith("app shop: ... ")
    assert said.endswith("\\x7f********, the end")
    assert len(said) < answers.MESSAGE + 100
