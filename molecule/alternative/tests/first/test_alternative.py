"""Each setting that was changed took effect."""

import http.client
import json
import re
import time

import pytest
from asking import ask, pids, until

APP = "/home/keeper/apps/shop"
SECRETS = "quiet-[7b]"


def shop(host, path="/", **options):
    """Ask the app by its name, at its mount, on its port."""
    return ask(host, f"/the/shop{path}", **({"name": "shop.example", "port": 8080} | options))


def programs(host):
    """Return what the account's supervisord runs."""
    status = host.run("su - keeper -c 'supervisorctl status'").stdout.splitlines()
    return dict(line.split()[:2] for line in status)


def test_every_name_of_the_app_is_answered(host):
    assert shop(host).status == 200
    assert shop(host, name="www.shop.example").status == 200
    assert shop(host, name="SHOP.example:8080").status == 200


@pytest.mark.parametrize("name", ["", "other.example", "shop.example.org", "myshop.example"])
def test_other_names_are_not(host, name):
    """Where no app takes every name, who has none of them gets no answer at all."""
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        shop(host, name=name)


def test_only_the_mount_is_answered(host):
    assert ask(host, "/", name="shop.example", port=8080).status == 404
    assert ask(host, "/the/shopping", name="shop.example", port=8080).release is None


def test_settings_reach_the_app_as_they_were_written(host):
    assert json.loads(shop(host).text) == {
        "GREETING": 'It\'s "3 < 4", $HOME `id` \\ 100 % ünï',
        "FLAG": "true",
        "NUMBER": "7",
        "ROUND": "1",
        "API_KEY": "quiet-7f3a9c51e0",
        "PASSPHRASE": "quiet-b1 'd2' \"$e3\"",
        "PROXY_HOPS": "1",
        "python": [3, 13],
    }


def test_static_folder_is_served_by_the_front(host):
    answer = shop(host, "/assets/shop.css")
    assert (answer.status, answer.release, answer.text) == (200, None, "body { color: teal }\n")
    assert shop(host, "/static/shop.css").release


def test_what_was_built_is_served_by_the_front_and_kept(host):
    """And nothing of what it was built from is on the host."""
    answer = shop(host, "/front/assets/index-DiwrgTda.js")
    assert (answer.status, answer.release, answer.text) == (200, None, 'document.title = "built";\n')
    assert answer.headers["Content-Type"].endswith("/javascript")
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert shop(host, "/assets/shop.css").headers["Cache-Control"] == "no-cache"
    assert shop(host, "/front/assets/gone-DiwrgTda.js").release, "what is no file is the app's own business"
    found = host.check_output(f"cd {APP}/slots/live/front && find . -type f | sort").split()
    assert found == ["./dist/assets/index-DiwrgTda.js", "./dist/index.html"]


def test_processes_and_threads(host):
    servers = pids(host, "^keeper .*bin/uwsgi ")
    assert len(servers) == 1 + 3
    # One thread works; uWSGI's master has one more for its own signals.
    assert {host.check_output(f"ls /proc/{pid}/task | wc -l") for pid in servers[1:]} == {"1"}


def test_nobody_else_has_port_80(host):
    """What was there before stays there."""
    assert "http.server" in host.check_output("ps -o args= -p $(systemctl show -p MainPID --value other-site)")
    assert "Directory listing" in host.check_output(
        "python3 -c 'import urllib.request as u; print(u.urlopen(\"http://127.0.0.1/\").read().decode())'"
    )


def test_body_size(host):
    assert shop(host, "/size", method="POST", body=b"x" * 8000).text == "8000"
    assert shop(host, "/size", method="POST", body=b"x" * 9000).status == 413


def test_header_size(host):
    """More than the 16 KiB that are uWSGI's limit by default."""
    many = {f"X_Large_{number}": "x" * 6000 for number in range(4)}
    answer = shop(host, "/headers", **many)
    assert answer.status == 200
    assert int(answer.text) > 24000


def test_front_waits_no_longer_than_it_should(host):
    """It gives up first: from uWSGI, which ends the worker some seconds later, it would be a 502."""
    begin = time.monotonic()
    assert shop(host, "/slow/60.5").status == 504
    assert time.monotonic() - begin > 1.5


def test_stuck_request_loses_its_worker(host):
    before = pids(host, "^keeper .*bin/uwsgi ")
    shop(host, "/slow/60.5")
    until(lambda: set(before) - set(pids(host, "^keeper .*bin/uwsgi ")))
    until(lambda: len(pids(host, "^keeper .*bin/uwsgi ")) == 4)
    until(lambda: "HARAKIRI" in host.check_output("cat /home/keeper/logs/shop.log*"))


def test_listen_queue(host):
    assert re.search(rf"LISTEN +0 +2048 +{APP}/run/live.sock", host.check_output("ss -xl"))


def test_uwsgi_options(host):
    assert shop(host).headers["X-Served-By"] == "shop"


def test_packages(host):
    assert host.package("jq").is_installed


def test_log_is_rotated(host):
    for _ in range(4):
        assert shop(host, "/loud/64").text == "loud"
    until(lambda: host.file("/home/keeper/logs/shop.log.2").exists)
    assert not host.file("/home/keeper/logs/shop.log.3").exists
    assert host.file("/home/keeper/logs/shop.log.1").size < 140_000


def test_supervisords_times(host):
    ini = host.file("/home/keeper/etc/services.d/shop.ini").content_string
    assert "startsecs = 2\n" in ini
    assert "stopwaitsecs = 45\n" in ini
    stop = host.check_output("systemctl show -p TimeoutStopUSec --value supervisord@keeper")
    # systemd leaves room for three programs, asked one after another.
    assert stop == "2min 30s"


# --- what runs beside the site


def test_programs(host):
    assert programs(host) == {"shop": "RUNNING", "shop-heart": "RUNNING", "shop-socket": "RUNNING"}
    assert pids(host, "shop.heart") == pids(host, "^keeper .*shop.heart")


def test_service_beats(host):
    def beat():
        return json.loads(host.check_output(f"cat {APP}/data/beat.json"))

    first = beat()
    assert first["word"] == '100 % "quoted" true'
    until(lambda: beat()["time"] > first["time"])
    assert beat()["pid"] == first["pid"]


def test_service_that_dies_comes_back(host):
    before = pids(host, "^keeper .*shop.heart")
    host.check_output(f"kill -9 {before[0]}")
    until(lambda: pids(host, "^keeper .*shop.heart") not in ([], before))
    until(lambda: programs(host)["shop-heart"] == "RUNNING")


def test_migration_ran_once_as_the_account(host):
    release = host.check_output(f"readlink {APP}/slots/live").rpartition("/")[2]
    assert host.check_output(f"cat {APP}/data/migrations") == f"1 {release} keeper True"


# --- secrets


def test_secrets_are_in_no_file_but_the_releases_own(host):
    """Root looks, everywhere: so this is about backups and crashes too, not only about other accounts."""
    found = host.run(f"grep -rlsI '{SECRETS}' / --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev").stdout.split()
    assert found
    assert [path for path in found if not re.fullmatch(rf"{APP}/releases/[0-9a-f]+/\.hosted/env", path)] == []
    assert {host.file(path).mode for path in found} == {0o400}


def test_secrets_are_in_no_process_arguments(host):
    assert pids(host, "shop.heart")
    assert pids(host, SECRETS) == []


def test_secrets_are_not_in_the_journal(host):
    journal = host.check_output("journalctl --no-pager -q")
    assert "supervisord" in journal
    assert not re.search(SECRETS, journal)


def test_account_is_named_by_the_app(host):
    assert host.user("keeper").exists
    assert not host.user("shop").exists
