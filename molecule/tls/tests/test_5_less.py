"""What nobody needs any more goes, and nothing else does."""

import ssl

import pytest
from changing import said

testinfra_hosts = ["ansible://hosted-test-tls"]
NOTHING = {"tls": "none"}


def served(site):
    """Return the names that have a certificate."""
    return set(site.host.check_output("ls /etc/hosted.flask/tls").split())


def test_an_app_without_tls_any_more(site):
    before = served(site)
    site.deploy(blog_more=NOTHING)
    assert served(site) == before - {site.full("blog")}
    assert site.get("blog", tls=False)[::2] == (200, "first")
    with pytest.raises(ssl.SSLError):
        site.certificate("blog")
    assert site.trusted("shop")
    assert site.deploy(blog_more=NOTHING) == 0


def test_a_removed_app(site):
    before, serial = served(site), site.serial("shop")
    run = site.play("remove", app="paper")
    assert run.returncode == 0, said(run)
    # The description has the blog's again, since the test before.
    assert served(site) == before - {site.full("paper")} | {site.full("blog")}
    folder = "/etc/hosted.flask/certbot/acme.test_14000_dir"
    assert site.host.check_output(f"ls {folder}/renewal") == "shop.conf"
    assert site.host.check_output(f"ls {folder}/archive") == "shop"
    assert site.serial("shop") == serial


def test_no_app_at_all(site):
    run = site.play("remove")
    assert run.returncode == 0, said(run)
    assert served(site) == set()
    assert site.host.check_output("find /etc/hosted.flask -name '*privkey*'") == ""
    assert not site.host.file("/etc/systemd/system/hosted-flask-tls.timer").exists
    assert site.host.run("systemctl is-active hosted-flask-tls.timer").stdout.strip() == "inactive"
    accounts = "/etc/hosted.flask/certbot/acme.test_14000_dir/accounts"
    assert site.host.check_output(f"find {accounts} -name private_key.json | wc -l") == "1", "the account is kept"


def test_the_way_back(site):
    assert site.deploy() > 0
    site.until(lambda: site.trusted("shop"))
    assert site.deploy() == 0
