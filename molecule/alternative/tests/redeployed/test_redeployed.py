"""After three releases."""

import json

from asking import ask, until

APP = "/home/keeper/apps/shop"


def test_new_release_has_the_new_settings(host):
    answer = ask(host, "/the/shop/", name="shop.example", port=8080)
    assert json.loads(answer.text)["ROUND"] == "3"
    assert answer.release == host.check_output(f"readlink {APP}/slots/live").rpartition("/")[2]


def test_as_many_releases_are_kept_as_should(host):
    assert len(host.check_output(f"ls {APP}/releases").split()) == 2


def test_they_share_one_venv(host):
    assert len(host.check_output(f"ls {APP}/venvs").split()) == 1


def test_each_release_was_migrated_once(host):
    rows = host.check_output(f"cat {APP}/data/migrations").splitlines()
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]


def test_service_is_of_the_new_release(host):
    until(lambda: json.loads(host.check_output(f"cat {APP}/data/beat.json"))["round"] == "3")


def test_history_knows_all(host):
    rows = [json.loads(line) for line in host.check_output(f"cat {APP}/history.jsonl").splitlines()]
    assert [row["result"] for row in rows] == ["live"] * 3
    assert len({row["release"] for row in rows}) == 3
