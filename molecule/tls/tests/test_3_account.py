"""An issuer that registers only whom it knows already (External Account Binding); on one of the hosts."""

import json

from changing import said

testinfra_hosts = ["ansible://hosted-test-tls-13"]
# As in prepare.yml. One of 64 keys begins like an option.
HMAC_KEY = "-WNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
DIRECTORY = {"tls_acme_directory": "https://acme.test:14003/dir"}
FILE = "/etc/hosted.flask/acme-eab.ini"


def test_an_account_at_the_issuer(site, tmp_path):
    """Without one it is told what is missing; its key is in one file, by which the timer registers anew too."""
    kept = site.serial("shop")
    run = site.play("deploy", **DIRECTORY)
    words = said(run)
    assert run.returncode == 2, words
    assert f"tls: {site.full('shop')}, {site.full('www.shop')} (app shop) got no certificate" in words
    assert "Server requires external account binding" in words
    assert "Let tls_acme_eab have the key id and the HMAC key that the issuer gave you" in words
    assert site.serial("shop") == kept

    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({"tls_acme_eab": {"kid": "customer-1", "hmac_key": HMAC_KEY}}))
    run = site.play("deploy", "-e", f"@{secret}", "--diff", "-vvv", **DIRECTORY)
    assert run.returncode == 0, said(run)
    site.until(lambda: site.serial("shop") != kept)
    assert HMAC_KEY not in run.stdout + run.stderr
    search = f"grep -rlF -e {HMAC_KEY} /etc /var /home /opt /tmp /run --exclude-dir=proc 2>/dev/null || :"
    assert site.host.check_output(search).split() == [FILE]
    assert HMAC_KEY not in site.host.check_output("journalctl --sync; journalctl -o cat")
    assert (site.host.file(FILE).user, site.host.file(FILE).mode) == ("root", 0o600)
    assert site.deploy("-e", f"@{secret}", **DIRECTORY) == 0

    first = site.serial("shop")
    site.host.check_output("rm -r /etc/hosted.flask/certbot/acme.test_14003_dir/accounts")
    site.due()
    try:
        code, words = site.renew()
    finally:
        site.due(False)
    assert code == 0, words
    site.until(lambda: site.serial("shop") != first)

    # Back at the directory from before, its certificate is still there, and nobody needs the key any more.
    site.deploy()
    site.until(lambda: site.serial("shop") == kept)
    assert not site.host.file(FILE).exists
