"""After one app was removed by its name; its account had no other, and no data, and was logged in."""

from asking import ask, pids, playbook, recap, remembered


def test_it_left_nothing(host):
    assert pids(host, "^second ") == []
    assert not host.user("second").exists
    assert not host.file("/home/second").exists
    assert host.run("ls -d /var/lib/hosted.flask/tmp/*-second").stdout == ""
    assert host.file("/etc/passwd").exists
    assert ask(host, "/second/").status == 404


def test_other_was_left_alone(host):
    assert ask(host, "/stays/").release
    assert pids(host, "^stays .*") == remembered(host, "^stays .*")


def test_what_the_absent_ones_keep_is_still_there(host):
    assert host.file("/home/goes/apps/goes/data/upload.txt").content_string == "precious"
    assert host.file("/home/leaves/dump.sql").content_string == "precious, too"


def test_second_time_has_nothing_to_do(host):
    run = playbook("playbooks/remove.yml", "-e", "app=second", "-e", "test_goes=absent")
    assert run.returncode == 0, run.stdout
    assert recap(run)["hosted-test-removal"]["changed"] == 0, run.stdout
