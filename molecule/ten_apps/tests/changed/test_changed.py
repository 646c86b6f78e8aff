"""One app goes and another drops a domain, while visitors come: they take their own along and nothing else."""

import json
import re
from dataclasses import dataclass

import pytest
from asking import ask, pids, playbook, recap, until
from places import GONE, PLACES, places
from visitors import Client, Report, Visitors

AFTER = ("-e", json.dumps({"test_before": False}))
# Where a deploy writes; what apps and front log, and their sockets, is no question of it.
FOLDERS = "/home /etc /var/lib/hosted.flask /opt/hosted.flask /usr/local"
LISTED = rf"find {FOLDERS} -not -path '*/logs/*.log' -not -path '*/.cache/*' -printf '%p\t%y%m %u:%g %i %T@ %l\n'"


@dataclass(frozen=True)
class Host:
    """What there is on the host."""

    files: dict[str, str]
    logs: set[str]
    accounts: str
    units: set[str]
    processes: dict[str, list[int]]


def look(host) -> Host:
    """Return what there is."""
    listed = host.run(LISTED)
    assert listed.rc == 0, listed.stderr
    lines = listed.stdout.splitlines()
    units = host.check_output("systemctl list-units --all --plain --no-legend 'supervisord@*' | awk '{ print $1, $3 }'")
    server = r"^\w+ .*/apps/{}/(venvs/\w+/bin/|listen.py)"
    return Host(
        files=dict(line.split("\t", 1) for line in lines),
        logs=set(host.check_output("ls -d /home/*/logs/*").split()),
        accounts=host.check_output("cat /etc/passwd /etc/group"),
        units=set(units.splitlines()),
        processes={app: pids(host, server.format(app)) for app in PLACES}
        | {"supervisord": pids(host, "bin/supervisord "), "nginx": pids(host, "nginx: master")},
    )


@dataclass(frozen=True)
class Story:
    """What was seen before and after, what was said, and how visitors fared."""

    before: Host
    checked: Host
    after: Host
    told: str
    report: Report


@pytest.fixture(scope="module")
def story(host) -> Story:
    """Tell in check mode what will happen, then let it happen under visitors."""
    before = look(host)
    check = playbook("deploy.yml", "--check", "--diff", *AFTER)
    assert check.returncode == 0, check.stdout + check.stderr
    checked = look(host)
    clients = [
        Client(f"{app} {domain}", rate=8, path=path, host=domain, expect=re.escape(f"{app} at {path}"), timeout=20)
        for app, domain, path in places()
        if domain not in GONE
    ]
    with Visitors(8047, *clients, seconds=300) as visitors:
        until(lambda: visitors.report().total > 3 * len(clients))
        run = playbook("deploy.yml", *AFTER)
        count = visitors.report().total
        until(lambda: visitors.report().total > count + 3 * len(clients))
    assert run.returncode == 0, run.stdout + run.stderr
    return Story(before, checked, look(host), check.stdout, visitors.report())


def test_check_mode_told_it_and_changed_nothing(story):
    assert story.checked == story.before
    for word in ("dropped.example", "goes.example", "goes: what is done", "remove goes"):
        assert word in story.told
    assert not re.search(r"^\+\+\+ after: (one|two|deep|every|rest|drops)", story.told, re.MULTILINE)


def test_visitors_of_the_others_lost_nothing(story):
    assert story.report.lost == 0, story.report


def test_no_other_process_is_a_new_one(story):
    for app, found in story.before.processes.items():
        assert found, app
        assert story.after.processes[app] == ([] if app == "goes" else found), app


def test_files_that_went_are_their_own(story):
    gone = story.before.files.keys() - story.after.files.keys()
    own = re.compile(r"/home/pair/(apps/goes(/.*)?|etc/services.d/goes.ini)|/etc/.*/(goes|dropped)\..*")
    assert [path for path in gone if not own.fullmatch(path)] == []
    for domain in GONE:
        assert f"/etc/nginx/hosted.flask/{domain}.site.conf" in gone
    assert {"/home/pair/apps/goes", "/home/pair/etc/services.d/goes.ini"} <= gone
    assert story.before.logs - story.after.logs == {"/home/pair/logs/goes.log", "/home/pair/logs/goes-socket.log",
                                                    "/home/pair/logs/goes-idle.log"}  # fmt: skip


def test_nothing_of_them_is_left(host, story):
    left = [path for path in story.after.files if re.search(r"goes|dropped", path)]
    assert left == []
    assert "goes" not in host.check_output("nginx -T 2>/dev/null")
    assert "dropped.example" not in host.check_output("nginx -T 2>/dev/null")
    assert pids(host, "apps/goes/|goes-") == []


def test_files_that_changed_or_came_are_those_of_the_front(story):
    before, after = story.before.files, story.after.files
    assert [path for path in after.keys() - before.keys() if not path.startswith("/var/lib/hosted.flask/")] == []
    changed = [path for path in before.keys() & after.keys() if before[path] != after[path]]
    front = re.compile(
        r"/etc/nginx/hosted\.flask(/_\.site\.conf)?"  # the sites' folder, and the list of all upstreams
        r"|/var/lib/hosted\.flask(/stamp)?|/home/pair/(apps|etc/services\.d|logs)"
        r"|/home/\w+/apps/\w+/run"  # the proof of a check through the front lay there for a moment
    )
    assert [path for path in changed if not front.fullmatch(path)] == []
    assert (story.after.accounts, story.after.units) == (story.before.accounts, story.before.units)


@pytest.mark.parametrize(("app", "domain", "path"), places())
def test_places_are_as_before_but_for_what_went(host, story, app, domain, path):
    """Its names are names like any other now."""
    own = domain in GONE and path == "/"
    answer = ask(host, path, name=domain)
    assert (answer.status, answer.text) == (200, f"{'rest' if own else app} at {path}")


@pytest.mark.parametrize("words", [("--check",), ()], ids=["check mode", "second run"])
def test_nothing_is_left_to_do(story, words):
    run = playbook("playbooks/deploy.yml", *AFTER, *words, "--tags", "all,provision")
    assert run.returncode == 0, run.stdout + run.stderr
    assert recap(run)["hosted-test-ten-apps"]["changed"] == 0, run.stdout
