"""Two servers as the open internet sees them."""

import contextlib
import http.client
import json
import re
import socket
import ssl
import subprocess
import time

import pytest
from asking import CHECKOUT, ask, until
from attacks import ATTACKS, OVER_TLS, Attack, judge, send

LOG = "/var/log/nginx/good.access.log"


def me(host) -> str:
    return host.ansible.get_variables()["inventory_hostname"]


def port(host, inside: int) -> int:
    pairs = [pair.split(":") for pair in host.ansible.get_variables()["test_publish"]]
    return {int(there): int(here) for here, there in pairs}[inside]


def good(host, path="/", **more):
    return ask(host, path, name="good.example", **more)


def context() -> ssl.SSLContext:
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def secure(host, path="/"):
    """Ask over TLS: status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port(host, 443), timeout=30)
    raw = socket.create_connection(("127.0.0.1", port(host, 443)), 30)
    connection.sock = context().wrap_socket(raw, server_hostname="secure.example")
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Host": "secure.example"})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def lines(host, app="good"):
    """Return what is in an app's log."""
    return [json.loads(line) for line in host.check_output(f"cat /var/log/nginx/{app}.access.log").splitlines()]


def by_ssh(host, command) -> subprocess.Popen:
    """Run a command over a connection of its own."""
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ControlPath=none"]
    options += ["IdentitiesOnly=yes", f"IdentityFile={CHECKOUT}/.cache/test-hosts/id_ed25519"]
    words = ["ssh", "-p", str(host.ansible.get_variables()["ansible_port"]), *(f"-o{option}" for option in options)]
    words += ["root@127.0.0.1", command]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def peer(host) -> str:
    """Return the address that the host sees this machine at; no local one, which would have no limits."""
    seen = json.loads(good(host).text)["REMOTE_ADDR"]
    assert not seen.startswith("127.")
    return seen


@pytest.fixture(scope="module")
def link(host):
    """Have a link to a file of the host in the static folder, as an account could."""
    static = "/home/good/apps/good/slots/current/static"
    # Root's own link the front would follow.
    host.check_output(f"ln -sfn /etc/passwd {static}/link && chown -h good: {static}/link")
    yield
    host.check_output(f"rm {static}/link")


# --- attacks


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_gets_through(host, peer, link, name):
    status, received = send(("127.0.0.1", port(host, 80)), ATTACKS[name])
    judge(name, status, received, peer)


@pytest.mark.parametrize("name", OVER_TLS)
def test_nothing_gets_through_over_tls(host, peer, name):
    attack = Attack(ATTACKS[name].raw.replace(b"good.example", b"secure.example"), ATTACKS[name].statuses)
    status, received = send(("127.0.0.1", port(host, 443)), attack, "secure.example")
    judge(name, status, received.replace(b"secure.example", b"good.example"), peer)


@pytest.mark.parametrize("part", ["headers", "body", "handshake"])
def test_who_is_slow_is_let_go_and_holds_nobody_up(host, part):
    """More of them than the app has threads; others are served, then and afterwards."""
    raw = b"GET / HTTP/1.1\r\nHost: good.example\r\nX-A: "
    if part == "body":
        raw = b"POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 100\r\n\r\nx"
    with contextlib.ExitStack() as stack:
        slow = []
        for _ in range(200):
            address = ("127.0.0.1", port(host, 443 if part == "handshake" else 80))
            slow.append(stack.enter_context(socket.create_connection(address, 10)))
            slow[-1].sendall(b"\x16" if part == "handshake" else raw)
        assert good(host).status == 200
        assert secure(host)[0] == 200
        for connection in slow:
            connection.settimeout(90)
            with contextlib.suppress(ConnectionResetError):
                received = connection.recv(1000)
                assert received == b"" or b" 408 " in received.split(b"\r\n")[0]
    assert good(host).status == 200


# An address, and a network of 64 bits of IPv6, that are not the host's; 198.51.100.3 is another visitor's.
NETWORK = """
ip netns add flood
ip link add flood0 type veth peer name flood1 netns flood
ip addr add 198.51.100.1/24 dev flood0
ip -6 addr add 2001:db8:5::1/64 dev flood0 nodad
ip link set flood0 up
ip -6 route add 2001:db8:6::/64 via 2001:db8:5::2 dev flood0
cd /
ip netns exec flood sh -ec '
ip link set lo up
ip addr add 198.51.100.2/24 dev flood1
ip addr add 198.51.100.3/24 dev flood1
ip -6 addr add 2001:db8:5::2/64 dev flood1 nodad
ip link set flood1 up
ip -6 route add local 2001:db8:6::/64 dev lo
'
"""
KINDS = ("half 10000 20000", "half 10000 40000", "idle 2000 10000", "slow 1000 15000")
INSIDE = "ip netns exec flood"
SIDES = {
    "address": f"{INSIDE} python3 /tmp/flood.py 198.51.100.1 80 10 198.51.100.2/32",
    "network": f"{INSIDE} python3 /tmp/flood.py 2001:db8:5::1 80 10 2001:db8:6::/64",
    "tenant": "setpriv --reuid=limited --regid=limited --init-groups python3 /tmp/flood.py 127.0.0.1 80 10 127.0.0.0/8",
}
# Says the longest wait, how often it asked, and the statuses.
VISITOR = """
import http.client, json, sys, time
found, longest, end = [], 0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    begin = time.monotonic()
    client = http.client.HTTPConnection("198.51.100.1", 80, timeout=20, source_address=("198.51.100.3", 0))
    client.request("GET", ("/", "/static/a.css")[len(found) % 2], headers={"Host": "good.example"})
    found.append(client.getresponse().status)
    client.close()
    longest = max(longest, time.monotonic() - begin)
    time.sleep(0.05)
print(json.dumps([longest, len(found), sorted(set(found))]))
"""


@pytest.fixture
def flooded(host):
    """Have what a flood comes from."""
    host.check_output("printf %s %s > /tmp/flood.py", "%s", (CHECKOUT / "tests/flood.py").read_text())
    host.check_output("printf %s %s > /tmp/visitor.py", "%s", VISITOR)
    host.check_output(f"chmod a+r /tmp/flood.py && set -e; {NETWORK}")
    yield
    host.check_output("ip netns delete flood; rm /tmp/flood.py /tmp/visitor.py")
    until(lambda: host.run("ip link show flood0").rc)


@pytest.mark.parametrize("side", SIDES)
def test_one_side_with_very_many_connections_holds_nobody_up(host, flooded, side):
    """Each is let go or refused; meanwhile others, and who comes by ssh, notice nothing."""
    if (side == "network") is me(host).endswith("-13"):
        pytest.skip("seen on the other host")
    with contextlib.ExitStack() as stack:
        # What they cost this machine is not the host's own work.
        floods = [stack.enter_context(by_ssh(host, f"nice -n 19 {SIDES[side]} {kind}")) for kind in KINDS]
        visitor = stack.enter_context(by_ssh(host, f"{INSIDE} python3 /tmp/visitor.py 9"))
        logins = []
        while visitor.poll() is None:
            begin = time.monotonic()
            with by_ssh(host, "true") as login:
                assert login.wait(30) == 0
            logins.append(time.monotonic() - begin)
        longest, count, statuses = json.loads(visitor.communicate()[0])
        said = [json.loads(run.communicate(timeout=60)[0]) for run in floods]
    assert (longest < 1, statuses) == (True, [200]), (longest, said)
    assert count > 30
    assert len(logins) > 2
    # It was one.
    begun = [told["begun"] for told in said]
    assert (sum(begun[:2]) >= 20_000, begun[2] >= 2000, begun[3] >= 1000) == (True, True, True), said
    until(lambda: good(host).status == 200)


# --- TLS


def test_plain_http_leads_to_https_where_there_is_tls(host):
    answer = ask(host, "/a?b", name="secure.example", method="POST", body="x")
    assert (answer.status, answer.headers["Location"]) == (308, "https://secure.example/a?b")
    assert good(host).status == 200
    status, headers, body = secure(host, "/a?b")
    assert (status, json.loads(body)["HTTP_X_FORWARDED_PROTO"]) == (200, "https")
    for path in ("/", "/static/a.css", "/static/.env", "/?status=500+No"):
        assert secure(host, path)[1]["Strict-Transport-Security"] == "max-age=63072000"
        assert good(host, path).headers["Strict-Transport-Security"] is None


def test_http2_is_spoken(host):
    client = context()
    client.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", port(host, 443)), 10) as raw:
        with client.wrap_socket(raw, server_hostname="secure.example") as secured:
            assert secured.selected_alpn_protocol() == "h2"


@pytest.mark.parametrize("name", ["good.example", "evil.example", None])
def test_a_name_without_a_certificate_gets_none(host, name):
    with socket.create_connection(("127.0.0.1", port(host, 443)), 10) as raw:
        with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
            context().wrap_socket(raw, server_hostname=name)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed(host, version):
    client, session = context(), None
    client.minimum_version = client.maximum_version = version
    for resumed in (False, True):
        with socket.create_connection(("127.0.0.1", port(host, 443)), 30) as raw:
            with client.wrap_socket(raw, server_hostname="secure.example", session=session) as secured:
                assert secured.session_reused is resumed
                # TLS 1.3 sends what the next one needs before the first answer.
                secured.sendall(b"GET / HTTP/1.1\r\nHost: secure.example\r\n\r\n")
                assert secured.recv(1000).startswith(b"HTTP/1.1 200 ")
                session = secured.session


# Of testssl.sh, with the severities that it gives them.
ACCEPTED = {
    # The test's own authority has neither a list of what it revoked nor a name that the world's DNS knows.
    "cert_ocspRevoked",
    "cert_crlDistributionPoints",
    "cert_revocation",
    "DNS_CAArecord",
    # Of testssl.sh's own openssl.
    "engine_problem",
    # Its client hangs up as soon as it is connected, now and then before TLS 1.3's ticket has reached it. Resumption
    # is a fact in testssl.sh, neither good nor bad, and test_a_session_is_resumed asks for it.
    "sessionresumption_ticket",
    "sessionresumption_ID",
}


def testssl(host):
    """Return what testssl.sh of the Debian 13 host, which gives grades, finds on this one, and what it printed."""
    report, address = f"/root/{me(host)}.json", host.check_output("hostname -I").split()[0]
    # It gives up on what a busy machine does not answer in a few seconds; without its connections there is no grade.
    patience = " ".join(f"{name}=60" for name in ("HEADER_MAXSLEEP", "MAX_WAITSOCK", "CCS_MAX_WAITSOCK"))
    patience += " MAX_OSSL_FAIL=20 MAX_SOCKET_FAIL=20 MAX_HEADER_FAIL=20"
    options = "--quiet --color 0 --warnings off --openssl-timeout 60 --connect-timeout 60 --add-ca /root/authority.pem"
    command = f"rm -f {report}; {patience} testssl {options} --jsonfile {report} --ip {address}"
    asker = [CHECKOUT / "tests/hosts", "podman", "exec", "hosted-test-front-13", "sh", "-c"]
    said = subprocess.run([*asker, f"{command} https://secure.example:443"], capture_output=True, text=True).stdout
    return json.loads(subprocess.check_output([*asker, f"cat {report}"])), said


def test_testssl_finds_nothing(host):
    """On the host with the older OpenSSL; the other one's gives the grades, and every test beside this asks both."""
    if me(host).endswith("-13"):
        pytest.skip("seen on the other host")
    # WARN is a check that it gave up, not a finding: then it is asked once more.
    for _ in range(3):
        found, said = testssl(host)
        found = [item for item in found if item["id"] not in ACCEPTED]
        if not [item for item in found if item["severity"] == "WARN"]:
            break
    assert [item for item in found if item["severity"] in ("MEDIUM", "HIGH", "CRITICAL", "WARN", "FATAL")] == [], said
    values = {item["id"]: item["finding"] for item in found}
    assert values["overall_grade"] in ("A", "A+"), said
    for version in ("SSLv2", "SSLv3", "TLS1", "TLS1_1"):
        assert "not offered" in values[version]
    assert values["TLS1_2"].startswith("offered")
    assert values["TLS1_3"].startswith("offered")


# --- what the front does for an app


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_text_is_compressed(host, coding):
    for path in ("/static/a.css", "/limited/?size=5000"):
        assert good(host, path, Accept_Encoding=coding).headers["Content-Encoding"] == coding
    for path in ("/limited/?size=5000&type=image/png", "/?size=5000"):
        assert good(host, path, Accept_Encoding=coding).headers["Content-Encoding"] is None


def test_an_upload_is_seen_before_it_is_whole(host):
    first = "/home/limited/apps/limited/data/first"
    host.check_output(f"rm -f {first}")
    with socket.create_connection(("127.0.0.1", port(host, 80)), 30) as client:
        client.sendall(b"POST /limited/?first=1 HTTP/1.1\r\nHost: good.example\r\nContent-Length: 6\r\n\r\nabc")
        until(lambda: host.check_output(f"cat {first}") == "abc")
        client.sendall(b"def")
        assert b" 200 " in client.recv(1000)


def test_limits_of_an_app(host):
    assert good(host, method="POST", body="x" * 20000).status == 200
    until(lambda: good(host, "/limited/").status == 200)
    assert good(host, "/limited/", method="POST", body="x" * 20000).status == 413
    assert 429 in [good(host, "/limited/").status for _ in range(60)]
    assert {good(host).status for _ in range(60)} == {200}
    until(lambda: good(host, "/limited/?wait=7").status == 504)


def test_passwords_are_tried_a_few_times(host):
    statuses = [good(host, "/login", method="POST", body="x").status for _ in range(30)]
    assert statuses[0] == 200
    assert statuses[-1] == 429
    assert good(host, "/login").status == 200


def test_who_opens_many_connections_is_limited(host):
    request = b"GET /limited/?wait=1.5 HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n"
    until(lambda: good(host, "/limited/").status == 200)
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(8):
            clients.append(stack.enter_context(socket.create_connection(("127.0.0.1", port(host, 80)), 30)))
            clients[-1].sendall(request)
        statuses = [client.recv(1000)[9:12] for client in clients]
    assert b"429" in statuses
    assert b"200" in statuses


# --- logs


def test_logs_are_json_and_rotated_and_nobody_elses(host):
    good(host, "/before?token=SECRET")
    until(lambda: any(line["path"] == "/before" for line in lines(host)))
    assert "SECRET" not in host.check_output(f"cat {LOG} /var/log/nginx/access.log")
    for path in (LOG, *(f"/var/log/nginx/{name}.log" for name in ("access", "error", "limited.access"))):
        assert host.check_output(f"stat -c '%a %U %G' {path}") == "640 www-data adm"
    assert host.run(f"setpriv --reuid=limited --regid=limited --init-groups cat {LOG}").rc != 0
    host.check_output("logrotate --force /etc/logrotate.d/nginx")
    # Again and again: what is answered before nginx has the new file open is in the earlier one.
    until(lambda: good(host, "/after") and any(line["path"] == "/after" for line in lines(host)))
    assert "/before" not in host.check_output(f"cat {LOG}")
    assert "/before" in host.check_output(f"cat {LOG}.1")
    assert host.check_output(f"stat -c '%a %U %G' {LOG}") == "640 www-data adm"


def test_a_line_of_the_log_has_the_id_that_the_app_was_told(host):
    told = json.loads(good(host, "/told", X_Request_ID="0" * 32).text)["HTTP_X_REQUEST_ID"]
    assert re.fullmatch("[0-9a-f]{32}", told)
    assert told != "0" * 32
    assert good(host, "/static/a.css").status == 200
    until(lambda: {(told, "/told"), ("", "/static/a.css")} <= {(line["id"], line["path"]) for line in lines(host)})


# --- what goes wrong


def test_an_app_that_is_away_has_a_page(host):
    host.check_output("systemctl stop supervisord@good")
    try:
        answer = good(host, "/x.css", method="POST", body="x")
        assert (answer.status, answer.headers["Retry-After"]) == (502, "10")
        assert answer.headers["Content-Type"] == "text/html"
        assert "<h1>Away for a moment</h1>" in answer.text
        assert json.loads(good(host, Accept="application/json").text)["status"] == 502
    finally:
        host.check_output("systemctl start supervisord@good")
    until(lambda: good(host).status == 200)
