"""Ends of certificates that are not the usual one; on one of the hosts."""

import time

import pytest
from asking import until
from changing import said
from conftest import acme

testinfra_hosts = ["ansible://hosted-test-tls"]
MADE = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -subj '/O=hosted.flask/CN=%s'"


@pytest.fixture(autouse=True)
def nothing_is_due(site):
    """Each test begins and ends with certificates that are good for long."""
    yield
    site.due(False)


def test_a_self_signed_certificate_is_renewed_before_its_end(site):
    name = site.full("blog")
    folder = f"/etc/hosted.flask/tls/{name}"
    make = MADE.replace("%s", name) + f" -addext subjectAltName=DNS:{name} -days 20"
    site.host.check_output(f"{make} -keyout {folder}/privkey.pem -out {folder}/fullchain.pem")
    site.host.check_output("nginx -t -q && systemctl reload nginx")
    site.until(lambda: site.certificate("blog").not_valid_after_utc.timestamp() < time.time() + 21 * 86400)
    code, words = site.renew()
    assert code == 0, words
    site.until(lambda: site.certificate("blog").not_valid_after_utc.timestamp() > time.time() + 300 * 86400)


def test_nginx_is_not_reloaded_with_a_configuration_that_it_refuses(site):
    """And as soon as it is right again the next run makes up for it, though nothing is due any more."""
    before = site.serial("shop")
    site.host.check_output("echo nonsense > /etc/nginx/conf.d/zz-broken.conf")
    try:
        site.due()
        code, words = site.renew()
        site.due(False)
    finally:
        site.host.check_output("rm /etc/nginx/conf.d/zz-broken.conf")
    assert code != 0
    assert "zz-broken.conf" in words
    assert site.get("shop")[0] == 200
    assert site.serial("shop") == before
    code, words = site.renew()
    assert code == 0, words
    site.until(lambda: site.serial("shop") != before)


def test_a_revoked_certificate_is_replaced(site):
    before = site.serial("paper")
    folder = "/etc/hosted.flask/certbot/acme.test_14000_dir"
    revoke = "certbot revoke --non-interactive --no-delete-after-revoke --reason keycompromise --cert-name paper"
    place = f"--config-dir {folder} --work-dir /tmp/revoke --logs-dir /tmp/revoke --server https://acme.test:14000/dir"
    site.host.check_output(f"REQUESTS_CA_BUNDLE=/etc/hosted.flask/acme-ca.pem {revoke} {place}")
    assert '"Revoked"' in acme(f"/cert-status-by-serial/{before:x}")
    run = site.play("provision", tls_renew=True)
    assert run.returncode == 0, said(run)
    site.until(lambda: site.serial("paper") != before)
    assert '"Valid"' in acme(f"/cert-status-by-serial/{site.serial('paper'):x}")
    assert site.trusted("paper")


def test_a_certificate_that_has_ended_is_replaced_by_the_next_deploy(site):
    short = {"tls_acme_directory": "https://acme.test:14002/dir"}
    kept = site.serial("shop")
    site.deploy(**short)
    site.until(lambda: site.serial("shop") != kept)
    first = site.certificate("shop")
    until(lambda: time.time() > first.not_valid_after_utc.timestamp() + 1)
    assert site.deploy(**short) > 0
    site.until(lambda: site.serial("shop") != first.serial_number)
    # Back at the directory from before, its certificate is still there and its account too.
    site.deploy()
    site.until(lambda: site.serial("shop") == kept)
