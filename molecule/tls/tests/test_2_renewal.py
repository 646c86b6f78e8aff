"""Certificates come to their end, and visitors do not notice."""

import pytest
from asking import until
from conftest import UNIT
from visitors import Client, Visitors


@pytest.fixture(autouse=True)
def nothing_is_due(site):
    """Each test begins and ends with certificates that are good for long."""
    yield
    site.due(False)


def test_renewals_lose_no_request(site):
    clients = (
        Client("new connections", rate=30, host=site.full("shop"), expect="first", tls=True, timeout=30),
        Client("kept connections", rate=30, keep_alive=True, host=site.full("shop"), expect="first", tls=True,
               timeout=30),
    )  # fmt: skip
    serials = [site.serial("shop")]
    with Visitors(site.ports[443], *clients, seconds=300) as visitors:
        until(lambda: visitors.report().total > 100)
        for _ in range(3):
            site.due()
            code, words = site.renew()
            assert code == 0, words
            site.until(lambda: site.serial("shop") != serials[-1])
            serials.append(site.serial("shop"))
        seen = visitors.report().total
        until(lambda: visitors.report().total > seen + 100)
    report = visitors.report()
    print(report)
    assert report.lost == 0, report
    assert len(set(serials)) == 4
    assert site.trusted("shop")
    assert site.trusted("www.shop")


def test_a_failing_renewal_is_seen_and_the_old_certificate_is_served(site):
    before = site.serial("shop")
    site.due()
    with site.away():
        code, words = site.renew()
        assert code != 0
        assert site.host.run(f"systemctl is-failed {UNIT}").stdout.strip() == "failed"
        assert site.full("shop") in words
        assert "got no certificate from https://acme.test:14000/dir" in words
        assert "away" in words
        assert "It keeps the certificate that it has, until" in words
    assert site.serial("shop") == before
    code, words = site.renew()
    assert code == 0, words
    assert site.host.run(f"systemctl is-failed {UNIT}").stdout.strip() == "inactive"
    site.until(lambda: site.serial("shop") != before)
