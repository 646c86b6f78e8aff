"""What goes wrong while certificates are ordered: said clearly, and the apps are served meanwhile."""

from changing import said
from conftest import on_acme_host, resolve

testinfra_hosts = ["ansible://hosted-test-tls"]


def waits(site, name):
    """See that a name without a certificate is served all the same."""
    assert not site.trusted(name)
    assert site.get(name)[::2] == (200, "first")
    assert site.get(name, tls=False)[::2] == (200, "first")
    assert "Strict-Transport-Security" not in site.get(name)[1]


def test_a_name_that_does_not_resolve(site):
    """The others get theirs; later it resolves, and the timer alone brings it a certificate."""
    names = [site.full("shop"), site.full("www.shop"), site.full("late")]
    resolve(site.full("late"))
    run = site.play("deploy", shop_more={"domains": names})
    words = said(run)
    assert run.returncode == 2, words
    assert f"tls: {names[2]} (app shop) got no certificate from https://acme.test:14000/dir. It said: " in words
    assert "could not resolve URL" in words
    assert "Let the name's A or AAAA record point at this host" in words
    assert f"tls: {names[0]}" not in words
    assert site.trusted("shop")
    assert site.trusted("www.shop")
    waits(site, "late")
    resolve(site.full("late"), site.address)
    code, words = site.renew()
    assert code == 0, words
    site.until(lambda: site.trusted("late"))
    assert site.names("late") == set(names)
    assert site.get("late", tls=False)[0] == 308
    assert site.deploy(shop_more={"domains": names}) > 0, "the host is looked after once more, and then left alone"
    assert site.deploy(shop_more={"domains": names}) == 0


def test_rate_limited(site):
    """Whoever has a certificate keeps it, and the limit is not asked for a second time."""
    before = site.serial("shop")
    run = site.play("deploy", tls_acme_directory="https://acme.test:14001/dir")
    words = said(run)
    assert run.returncode == 2, words
    assert f"tls: {site.full('shop')}, {site.full('www.shop')} (app shop) got no certificate" in words
    assert "rateLimited" in words
    assert "too many certificates (5) already issued for this exact set of identifiers" in words
    assert "Wait, and do not ask more often meanwhile" in words
    assert "It keeps the certificate that it has, until" in words
    code, words = site.renew()
    assert code == 1
    assert words.count("It is not asked again before") == 2
    on_acme_host("journalctl", "--sync")
    orders = on_acme_host("journalctl", "-o", "cat", "-u", "limited").count("asked for an order")
    assert orders == 2, "one for each of two certificates"
    assert site.serial("shop") == before
    assert site.trusted("shop")


def test_a_server_that_is_away(site):
    """A new name is served without a certificate until it is back, and one that is dropped is on none any more."""
    more = {"domains": [site.full("other")], "tls": "acme"}
    with site.away():
        run = site.play("deploy", blog_more=more)
        words = said(run)
        assert run.returncode == 2, words
        assert f"tls: {site.full('other')} (app blog) got no certificate" in words
        assert "Let this host reach tls_acme_directory" in words
        waits(site, "other")
        assert site.trusted("shop")
    code, words = site.renew()
    assert code == 0, words
    site.until(lambda: site.trusted("other"))
    site.until(lambda: site.names("shop") == {site.full("shop"), site.full("www.shop")})
    assert not site.host.file(f"/etc/hosted.flask/tls/{site.full('late')}").exists
    site.deploy()
    assert site.names("blog") == {site.full("blog")}
