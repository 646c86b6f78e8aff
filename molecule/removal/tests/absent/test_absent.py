"""After a deploy in which the state of two apps was absent: one has data, the other's account a file of its own."""

import pytest
from asking import ask, pids, remembered


def test_others_were_left_alone(host):
    for pattern in ("^stays .*", "^second .*"):
        assert remembered(host, pattern)
        assert pids(host, pattern) == remembered(host, pattern)


def test_others_serve(host):
    assert ask(host, "/stays/").release
    assert ask(host, "/second/").release


def test_no_process_of_it(host):
    assert remembered(host, "^goes .*bin/uwsgi ")
    assert pids(host, "bin/uwsgi .*goes|^goes .*bin/uwsgi") == []


def test_front_does_not_know_it(host):
    answer = ask(host, "/goes/", name="goes.example")
    assert (answer.status, answer.release) == (404, None)
    assert "goes" not in host.check_output("nginx -T 2>/dev/null")


def test_its_data_is_all_that_is_left_of_it(host):
    root = "/home/goes/apps/goes"
    found = host.check_output(f"find {root} -type f -o -type l").split()
    assert sorted(found) == [f"{root}/data/upload.txt", f"{root}/env"], "and the key of those who are logged in to it"
    assert host.check_output(f"cat {root}/data/upload.txt") == "precious"
    assert host.check_output(
        "ls -A /home/goes/etc/services.d /home/goes/logs | grep -v supervisord.log || :"
    ).split() == [
        "/home/goes/etc/services.d:",
        "/home/goes/logs:",
    ]


@pytest.mark.parametrize("account", ["goes", "leaves"])
def test_account_that_stays_is_closed(host, log_in, account):
    """By its own key it was logged in when its app went."""
    assert host.file(f"/home/{account}/.ssh/authorized_keys").exists
    assert log_in(account).returncode == 255
    assert pids(host, f"^{account} ") == []
    assert not host.file(f"/var/spool/cron/crontabs/{account}").exists
    uid = host.user(account).uid
    assert not host.file(f"/etc/systemd/system/user-{uid}.slice.d").exists


def test_home_with_a_file_of_its_own_stays(host):
    assert host.file("/home/leaves/dump.sql").content_string == "precious, too"
    assert host.check_output("ls -A /home/leaves/apps") == ""
