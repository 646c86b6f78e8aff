"""Each verb, as root and as mallory's account alone, while mallory does what he can."""

import json

import pytest
from conftest import done, run, start

# Seconds: what looks has a minute for an app, what works has what is said here.
WORK = 90
BOUND = ["-e", f"flask_app_deadline={WORK}"]
OVER = 240  # for all else of a playbook, on a machine that does much else; what hangs would take an hour


@pytest.fixture(autouse=True)
def held(mallory):
    """Whatever mallory runs ends with the test."""
    yield
    mallory.end()


def test_an_interpreter_that_hangs_beside_processes_that_lie(mallory, alice, bob):
    mallory.kit("programs")
    mallory.kit("processes", background=True)
    versions = alice.edit(), bob.edit()
    others = [start("status"), start("status", alone=True)]
    found = run("deploy", "-e", '{"mallory_more": {"python": "/home/mallory/bin/hang"}}')
    for one in map(done, others):
        assert one.code == 0, one.text
    assert found.code != 0
    [message] = mallory.messages(found)
    assert "/home/mallory/bin/hang, which is no interpreter: it gave no answer within 20 s and was ended" in message
    assert (alice.ask().text, bob.ask().text) == versions
    assert found.seconds < 20 + OVER


def test_an_interpreter_that_lies(mallory):
    found = run("deploy", "--check", "-e", '{"mallory_more": {"python": "/home/mallory/bin/lines"}}')
    assert found.code != 0
    assert "something else than its version" in " ".join(mallory.messages(found))


def test_a_supervisord_that_hangs(mallory, alice, bob):
    mallory.kit("double", "hang", background=True)
    before = alice.ask().text, bob.ask().text
    looks = [start("status"), start("restart", *BOUND, alone=True)]
    runs = [run("maintenance", "-e", "state=on", "-e", "app=bob")]
    assert bob.ask().status == 503, runs[0].text
    runs += [run("maintenance", "-e", "state=off", "-e", "app=bob"), *map(done, looks)]
    assert bob.ask().status == 200, runs[1].text
    doctor = start("doctor")
    back = run("rollback", *BOUND)
    assert len(mallory.messages(back)) == 1, back.text
    assert not {alice.ask().text, bob.ask().text} & set(before), back.text
    for one in (*runs, back, done(doctor)):
        mallory.messages(one)
        assert one.seconds < WORK + OVER
    assert [one.code for one in runs[:3]] == [0, 0, 0], runs[2].text
    assert runs[3].code != 0


def test_a_supervisord_that_never_stops_a_program(mallory, alice, bob):
    mallory.kit("stop", background=True)
    mallory.kit("double", "stops", background=True)
    versions = alice.edit(), bob.edit()
    mallory.edit()
    found = run("deploy", *BOUND)
    assert found.code != 0
    assert len(mallory.messages(found)) == 1, found.text
    assert (alice.ask().text, bob.ask().text) == versions, found.text
    assert found.seconds < WORK + OVER


def test_files_of_all_kinds_everywhere(mallory, alice):
    mallory.kit("lay", "0")
    looks = [start("status"), start("deploy", *BOUND, alone=True)]
    version = alice.edit()
    found = run("deploy", *BOUND)
    status, own = map(done, looks)
    assert found.code != 0
    assert len(mallory.messages(found)) == 1, found.text
    assert alice.ask().text == version
    assert status.code == 0, status.text
    mallory.messages(status)
    mallory.messages(own)
    again = run("provision", "-e", "tls_renew=true")
    assert again.code == 0, again.text
    restarted = run("restart", *BOUND)
    assert len(mallory.messages(restarted)) == 1, restarted.text
    assert alice.ask().text == version


def test_a_removal_ends_and_leaves_the_others_alone(host, mallory, alice, bob):
    """Whatever he holds, and whatever his supervisord says: what he runs ends, and with his data his account goes."""
    # As role server makes accounts; one that an admin made stays open to who logs in to it.
    host.check_output("usermod --comment 'hosted.flask account' mallory")
    mallory.kit("hold", background=True)
    mallory.kit("double", "lie", background=True)
    assert host.run(f"ps --User {mallory.uid} --format args").stdout.count("kit.py") >= 2
    found = run("remove", "-e", "app=mallory", "-e", "purge=true", *BOUND)
    mallory.messages(found)
    assert found.code == 0, found.text
    left = f"ps --User {mallory.uid} --user {mallory.uid} --no-headers --format pid,args"
    assert host.run(left).stdout == "", found.text
    assert not host.user("mallory").exists, found.text
    assert not host.file("/etc/ssh/authorized_keys.d/mallory").exists
    assert not host.file("/home/mallory").exists
    assert (alice.ask().status, bob.ask().status) == (200, 200), found.text
    assert found.seconds < WORK + OVER


def test_roots_memory_stays_bounded(host, mallory):
    most = json.loads(host.check_output("cat /run/hostile/memory"))
    assert 0 < most["kib"] < 200 << 10, most
    assert len(mallory.met()) > 5
