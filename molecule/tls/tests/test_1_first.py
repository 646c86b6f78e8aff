"""After one deploy to a bare host: every name is served as it is described."""

import json
import re

import pytest
from asking import recap
from conftest import FILES, UNIT
from cryptography import x509


def test_all_names_of_an_app_share_a_certificate_that_is_trusted(site):
    assert site.trusted("shop")
    assert site.trusted("www.shop")
    assert site.serial("shop") == site.serial("www.shop")
    assert site.names("shop") == {site.full("shop"), site.full("www.shop")}


def test_a_name_of_another_app_is_on_a_certificate_of_its_own(site):
    assert site.trusted("paper")
    assert site.names("paper") == {site.full("paper")}


def test_apps_answer_over_https(site):
    for name, path in [("shop", "/"), ("www.shop", "/"), ("shop", "/paper/"), ("paper", "/paper/"), ("blog", "/"),
                       ("bank", "/")]:  # fmt: skip
        status, headers, text = site.get(name, path)
        assert (status, text) == (200, "first"), name
        assert ("Strict-Transport-Security" in headers) == (name != "blog"), name


def test_plain_http_leads_to_https_where_there_is_a_certificate(site):
    for name in ("shop", "www.shop", "blog", "bank"):
        status, headers, _ = site.get(name, "/a?b=c", tls=False)
        assert (status, headers["Location"]) == (308, f"https://{site.full(name)}/a?b=c")
    assert site.get("unknown", tls=False)[0] == 200


def test_a_certificate_of_ones_own_is_served_as_it_is(site):
    given = x509.load_pem_x509_certificate((FILES / "own/bank.pem").read_bytes())
    assert site.serial("bank") == given.serial_number


def test_a_self_signed_certificate_is_for_its_name(site):
    assert not site.trusted("blog")
    assert site.names("blog") == {site.full("blog")}


def test_nobody_waits_for_a_certificate(site):
    assert (
        site.host.check_output("find /var/lib/hosted.flask/tls/pending /var/lib/hosted.flask/tls/failed -type f") == ""
    )


def test_private_keys_are_for_root_alone(site):
    keys = r"find /etc/hosted.flask -type f \( -name 'privkey*' -o -name '*key*.pem' -o -name private_key.json \)"
    found = site.host.check_output(keys).split()
    assert len(found) >= 7
    for path in found:
        file = site.host.file(path)
        assert (file.user, file.mode & 0o077) == ("root", 0), path
        assert site.host.run(f"su shop -c 'cat {path}'").rc != 0
        assert site.host.run(f"su www-data -s /bin/sh -c 'cat {path}'").rc != 0


@pytest.mark.usefixtures("once")
def test_a_key_is_in_no_output_and_in_no_other_file(site):
    run = site.play("provision", "--diff", "-vvv")
    assert run.returncode == 0, run.stdout + run.stderr
    lines = (FILES / "own/bank.key").read_text().split("\n")
    secret = next(line for line in lines if "-----" not in line)
    assert secret not in run.stdout + run.stderr
    search = f"grep -rlF -e {secret} /etc /var /home /opt /tmp /run --exclude-dir=proc 2>/dev/null || :"
    found = site.host.check_output(search).split()
    assert [re.sub(r"/[0-9a-f]{16}/", "/*/", path) for path in found] == [
        "/etc/hosted.flask/certificates/*/privkey.pem"
    ]


@pytest.mark.usefixtures("once")
def test_nothing_is_left_to_do(site):
    assert site.deploy() == 0
    assert site.deploy("--check") == 0
    run = site.play("provision", "--check")
    assert recap(run)[site.name]["changed"] == 0, run.stdout


@pytest.mark.usefixtures("once")
def test_status_asks_through_the_front(site, tmp_path):
    run = site.play("status", json=str(tmp_path / "status.json"))
    assert run.returncode == 0, run.stdout + run.stderr
    rows = json.loads((tmp_path / "status.json").read_text())
    assert {row["app"]: row["front"] for row in rows} == dict.fromkeys(["shop", "paper", "blog", "bank", "plain"], "ok")


@pytest.mark.usefixtures("once")
def test_a_deploy_says_https(site):
    said = site.play("deploy").stdout
    assert f"- https://{site.full('shop')}/\n" in said
    assert f"- https://{site.full('shop')}/paper/\n" in said
    assert "- http://127.0.0.1/\n" in said


def test_the_timer_runs_and_its_unit_has_nothing_to_do(site):
    timer = site.host.service("hosted-flask-tls.timer")
    assert timer.is_enabled
    assert timer.is_running
    code, said = site.renew()
    assert code == 0
    assert "nothing is due" in said
    exposure = site.host.check_output(f"systemd-analyze security {UNIT} | tail -n 1")
    assert float(re.search(r": ([0-9.]+)", exposure)[1]) <= 2.5


def test_certificates_of_others_are_not_ours(site):
    """What somebody has by certbot's own timer, that timer goes on with."""
    assert "No certificates found" in site.host.check_output("certbot certificates 2>&1")
