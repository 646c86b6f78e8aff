"""Certificates: which domain gets which, what is refused, and what is done on a host, by the real openssl."""

from __future__ import annotations

import datetime
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.hosted.flask.plugins.action import preflight
from ansible_collections.hosted.flask.plugins.module_utils import certificates as made
from ansible_collections.hosted.flask.plugins.module_utils.certificates import Host, Plan
from ansible_collections.hosted.flask.plugins.module_utils.homes import Home
from ansible_collections.hosted.flask.plugins.modules import certificates as module
from ansible_collections.hosted.flask.plugins.plugin_utils import certificates
from ansible_collections.hosted.flask.plugins.plugin_utils.apps import Problems
from support import ROOT, completed, tree

BOTH = "certificate {certificate: FILE, key: FILE}"


def pair(folder: Path, *names: str, days: int = 90, subject: str = "/CN=test", more: str = "") -> dict[str, str]:
    """Make a certificate for names, and its key."""
    folder.mkdir(parents=True, exist_ok=True)
    make = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj {subject} -days {days}"
    alternative = ["-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)] if names else []
    files = ["-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
    subprocess.run([*make.split(), *alternative, *more.split(), *files], check=True, capture_output=True)
    return {"certificate": (folder / "fullchain.pem").read_text(), "key": (folder / "privkey.pem").read_text()}


# --- which domain gets which


def decide(*apps: dict[str, Any], own: tuple[str, ...] = ()) -> tuple[dict[str, str], list[str], dict[str, list[str]]]:
    """Return where the certificates of apps come from, what is refused, and which names share one of ACME."""
    problems = Problems("apps.yml")
    found = certificates.modes(list(apps), dict.fromkeys(own), problems)
    return found, problems.found, certificates.groups(list(apps), found)


def test_every_domain_has_the_mode_of_its_app() -> None:
    assert decide(
        completed("a", domains=["a.org", "www.a.org"], tls="acme"),
        completed("b", domains=["b.org"], tls="self_signed"),
        completed("c", domains=["c.org"]),
        completed("d", tls="self_signed"),
        completed("e", domains=["a.org", "e.org"], mount="/e", tls="acme"),
        completed("f", domains=["f.org"], tls="acme", state="absent"),
    ) == (
        {"a.org": "acme", "www.a.org": "acme", "b.org": "self_signed", "_": "self_signed", "e.org": "acme"},
        [],
        {"a": ["a.org", "www.a.org"], "e": ["e.org"]},
    )


def test_an_entry_of_ones_own_wins() -> None:
    apps = [completed("a", domains=["a.org", "b.org"], tls="acme"), completed("b", domains=["c.org"])]
    found, messages, shared = decide(*apps, own=("a.org", "c.org", "unused.org"))
    assert (found, messages) == ({"a.org": "own", "b.org": "acme", "c.org": "own"}, [])
    assert shared == {"a": ["b.org"]}


@pytest.mark.parametrize(
    ("apps", "said"),
    [
        ([completed("a", tls="acme")], "flask_apps (a).tls: 'acme' is refused. Allowed: acme for an app with domains"),
        (
            [completed("a", domains=["a.org"], tls="own")],
            "Allowed: own where tls_certificates has an entry for a.org: {a.org: {certificate: FILE, key: FILE}}",
        ),
        ([completed("a", tls="own")], "an entry for _ (every name)"),
        (
            [completed("a", domains=["a.org"], tls="acme"), completed("b", domains=["a.org"], mount="/b")],
            "flask_apps (b).tls: 'none' is refused. Allowed: acme like app a, which is on a.org too",
        ),
    ],
    ids=["acme_of_every_name", "own_without", "own_of_every_name_without", "two_minds"],
)
def test_what_does_not_fit_is_refused(apps: list[dict[str, Any]], said: str) -> None:
    _, [message], _ = decide(*apps)
    assert said in message
    assert message.endswith(" Fix it in apps.yml.")


# --- given certificates


def refused(domain: str, given: dict[str, str]) -> list[str]:
    """Return what is wrong with a pair."""
    problems = Problems("tls.yml")
    certificates.check(domain, given, f"tls_certificates.{domain}", problems)
    return problems.found


def test_a_certificate_that_fits_is_taken(tmp_path: Path) -> None:
    given = pair(tmp_path, "a.org", "*.b.org")
    for domain in ("a.org", "x.b.org", "_"):
        assert refused(domain, given) == []


def test_one_that_does_not_is_refused_without_a_word_of_its_key(tmp_path: Path) -> None:
    good, other = pair(tmp_path / "a", "a.org"), pair(tmp_path / "b", "*.b.org")
    locked = subprocess.run(
        ["openssl", "pkey", "-aes128", "-passout", "pass:quiet"], input=good["key"], capture_output=True, text=True
    ).stdout
    bare = pair(tmp_path / "c")
    for domain, given, key, allowed in [
        ("b.org", good, "certificate: 'a.org' ", "a certificate for b.org"),
        ("x.y.b.org", other, "certificate: '*.b.org' ", "a certificate for x.y.b.org"),
        ("a.org", bare, "certificate: 'no names' ", "a certificate for a.org"),
        ("a.org", {**good, "key": other["key"]}, "key: ", "the key of the certificate"),
        ("a.org", {**good, "key": locked}, "key: ", "ansible-vault can protect it instead"),
        ("a.org", {**good, "key": "nonsense"}, "key: ", "PEM text of the certificate's private key"),
        ("a.org", {**good, "certificate": "nonsense"}, "certificate: 'no certificate' ", "its chain"),
    ]:
        [message] = refused(domain, given)
        assert message.startswith(f"tls_certificates.{domain}.{key}"), message
        assert allowed in message
        assert message.endswith(" Fix it in tls.yml.")
        assert given["key"].splitlines()[-2:][0] not in message or given["key"] == "nonsense"


def test_one_that_has_ended_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = pair(tmp_path, "a.org", days=1)
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=2)
    clock = SimpleNamespace(datetime=SimpleNamespace(now=lambda zone: later), UTC=datetime.UTC)
    monkeypatch.setattr(certificates, "datetime", clock)
    [message] = refused("a.org", given)
    assert "certificate: 'ended on 2" in message
    assert "a certificate that is still good" in message


def test_texts_and_files_are_read(tmp_path: Path) -> None:
    given = pair(tmp_path / "tls", "a.org")
    loader = DataLoader()
    assert certificates.texts(given, tmp_path, loader) == given
    assert certificates.texts({**given, "key": "tls/privkey.pem"}, tmp_path, loader) == given
    for entry, part in [({**given, "key": "gone.pem"}, "key"), ({"certificate": "x"}, ""), ("x", "")]:
        with pytest.raises(ValueError, match="PEM text|certificate: FILE") as error:
            certificates.texts(entry, tmp_path, loader)
        assert error.value.args[0] == part


def test_where_people_find_an_app_and_the_deploy_asks_for_it() -> None:
    ports, found = {"http": 80, "https": 443}, {"accounts": {"shop": None}}
    for row, domains, url, front in [
        ({"domains": ["a.org"]}, {"a.org": "acme"}, "https://a.org/", "https://127.0.0.1:443"),
        ({"domains": ["a.org"], "mount": "/x"}, {}, "http://a.org/x/", "http://127.0.0.1:80"),
        ({}, {"_": "own"}, "https://web1/", "https://127.0.0.1:443"),
        ({"domains": ["b.org", "a.org"]}, {"a.org": "acme"}, "http://b.org/", "http://127.0.0.1:80"),
    ]:
        app = completed(**row)
        preflight.place(app, "server", found, Path("/"), ports, domains)
        assert (preflight.url(app, "server", {"inventory_hostname": "web1"}, ports, domains), app["front"]) == (
            url,
            front,
        )
    other = {"http": 8080, "https": 8443}
    assert preflight.url(completed(domains=["a.org"]), "server", {}, other, {"a.org": "own"}) == "https://a.org:8443/"


# --- an account at the issuer

HMAC_KEY = "-WNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
EAB = {"kid": "kid-1", "hmac_key": HMAC_KEY}


def preflight_action(variables: dict[str, Any]) -> tuple[preflight.ActionModule, dict[str, Any]]:
    """Return the action as far as it reads variables, and them."""
    action = preflight.ActionModule.__new__(preflight.ActionModule)
    action._templar = Templar(loader=DataLoader(), variables=variables)
    return action, variables


def test_an_account_that_can_be_written_down_is_taken() -> None:
    problems = Problems("tls.yml")
    for none in (None, {}):
        assert certificates.account(none, problems) == {}
    for given in (EAB, {"kid": "https://sectigo.test/a:b=c", "hmac_key": f"{HMAC_KEY[:-1]}="}):
        assert certificates.account(given, problems) == given
    assert certificates.account({"kid": 12, "hmac_key": f"{HMAC_KEY}\n"}, problems) == {**EAB, "kid": "12"}
    assert problems.found == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (HMAC_KEY, ["tls_acme_eab: 'what it is' is refused. Allowed: {kid: KEY_ID, hmac_key: KEY}, or {}"]),
        ([], ["tls_acme_eab: 'what it is' is refused"]),
        ({**EAB, "key": HMAC_KEY}, ["tls_acme_eab: 'what it is' is refused"]),
        ({"kid": "k"}, ["tls_acme_eab.hmac_key: not set is refused. Allowed: the HMAC key that the issuer gave you"]),
        ({"hmac_key": HMAC_KEY}, ["tls_acme_eab.kid: not set is refused. Allowed: the key id that the issuer gave"]),
        ({**EAB, "kid": "a #b"}, ["tls_acme_eab.kid: 'a #b' is refused"]),
        ({**EAB, "hmac_key": f"{HMAC_KEY}\nserver = x"}, ["tls_acme_eab.hmac_key: 'what it is' is refused"]),
        ({"kid": "", "hmac_key": HMAC_KEY[:12]}, ["tls_acme_eab.kid: ''", "tls_acme_eab.hmac_key: 'what it is'"]),
    ],
    ids=["text", "list", "another_part", "no_key", "no_id", "comment", "two_lines", "both"],
)
def test_an_account_that_is_none_is_refused_without_a_word_of_its_key(given: Any, said: list[str]) -> None:
    action, variables = preflight_action({"tls_acme_eab": given})
    found, messages = action._account(variables)
    assert found == {}
    assert len(messages) == len(said)
    for message, words in zip(messages, said, strict=True):
        assert message.startswith(words)
        assert message.endswith(" Fix it in tls_acme_eab, in inventory/group_vars.")
        assert HMAC_KEY[:12] not in message


def test_the_key_of_an_account_cannot_be_guessed_from_the_stamp_and_another_account_is_seen() -> None:
    stamps = []
    for given in (EAB, {**EAB, "hmac_key": HMAC_KEY[::-1]}, {**EAB, "kid": "kid-2"}, {}):
        action, variables = preflight_action({"tls_acme_eab": given})
        found, messages = action._account(variables)
        assert messages == []
        assert HMAC_KEY not in str(found)
        stamps.append(action._stamp([], variables, [{}, found]))
    assert stamps[0] == stamps[1]
    assert len(set(stamps)) == 3


# --- on a host


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that stands for a host's /; its certbot fails unless a test says otherwise."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
    monkeypatch.setattr(made, "reload_nginx", lambda: "")
    certbot(tmp_path, "echo it is not there; exit 1")
    return tmp_path / "root"


def certbot(folder: Path, script: str) -> None:
    """Let ``certbot`` be a script; what it was asked is in ``asked``."""
    file = folder / "bin/certbot"
    file.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n{script}\n')
    file.chmod(0o755)


def asked(root: Path) -> list[list[str]]:
    """Return the names of each order."""
    file = root.parent / "asked"
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.split(" -d ")[1:] for line in lines]


ACME = {"a.org": "acme", "b.org": "acme"}


def host(root: Path, check: bool = False, **domains: str) -> Host:
    """Return a host; the names of ACME share a certificate."""
    domains = {name.replace("_dot_", "."): mode for name, mode in domains.items()}
    names = [name for name, mode in domains.items() if mode == "acme"]
    plan = Plan(domains, {"shop": names} if names else {}, "https://acme.test/dir")
    return Host(plan, check, root)


def work(root: Path, check: bool = False, own: dict[str, dict[str, str]] | None = None, **domains: str) -> Host:
    """Do what a provisioning does: prepare, and then issue."""
    first, second = host(root, check, **domains), host(root, check, **domains)
    with first.lock():
        first.prepare(own or {})
        second.drop()
        second.issue()
    second.changes[:0] = first.changes
    return second


def test_nothing_is_left_to_do_after_the_first_run(root: Path, tmp_path: Path) -> None:
    own = {"o.org": pair(tmp_path / "own", "o.org")}
    domains = {"s.org": "self_signed", "o.org": "own", "_": "self_signed"}
    assert work(root, True, own, **domains).changes
    assert not root.exists(), "check mode writes nothing"
    assert work(root, False, own, **domains).changes
    before = tree(root)
    again = work(root, False, own, **domains)
    assert (again.changes, again.problems, tree(root)) == ([], [], before)
    assert work(root, True, own, **domains).changes == []
    assert {path.name for path in (root / "etc/hosted.flask/tls").iterdir()} == set(domains)
    for name in domains:
        folder = root / "etc/hosted.flask/tls" / name
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(folder / "fullchain.pem", folder / "privkey.pem")
        assert (folder / "privkey.pem").stat().st_mode & 0o777 == 0o600
    assert (root / "etc/hosted.flask/tls/o.org/privkey.pem").read_text() == own["o.org"]["key"]


def test_a_new_certificate_of_ones_own_replaces_the_old_one(root: Path, tmp_path: Path) -> None:
    work(root, own={"o.org": pair(tmp_path / "1", "o.org")}, **{"o.org": "own"})
    new = pair(tmp_path / "2", "o.org")
    changed = work(root, own={"o.org": new}, **{"o.org": "own"})
    assert changed.changes
    assert (root / "etc/hosted.flask/tls/o.org/fullchain.pem").read_text() == new["certificate"]
    assert len(list((root / "etc/hosted.flask/certificates").iterdir())) == 1
    assert "PRIVATE" not in changed.table()
    assert Host.remembered(root).plan == changed.plan


def test_a_name_waits_for_acme_with_a_placeholder(root: Path) -> None:
    found = work(root, **ACME)
    assert [path.name for path in sorted((root / "var/lib/hosted.flask/tls/pending").iterdir())] == sorted(ACME)
    assert found.current("a.org").made_here
    [message] = found.problems
    assert message.startswith("tls: a.org, b.org (app shop) got no certificate from https://acme.test/dir.")
    assert "error: it is not there" in message
    assert "served over plain HTTP too" in message
    assert host(root, **ACME).table().count("waits for ACME") == 2


ISSUES = """
while [ $# -gt 0 ]; do
    case $1 in -d) names=$names,DNS:$2 ;; --config-dir) dir=$2 ;; --cert-name) name=$2 ;; esac
    shift
done
case $names in *{refused}*) printf '{words}'; exit 1 ;; esac
[ -d $dir/live/$name ] && [ "$(cat $dir/live/$name/names)" = "$names" ] && exit 0
mkdir -p $dir/live/$name $dir/renewal; touch $dir/renewal/$name.conf; cd $dir/live/$name; echo "$names" > names
new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc"
openssl req -x509 $new -subj /CN=x -days 90 -keyout ca.key -out ca.pem 2>&-
openssl req $new -subj /CN=leaf -keyout privkey.pem -out csr 2>&-
echo "subjectAltName=${names#,}" > ext
openssl x509 -req -in csr -CA ca.pem -CAkey ca.key -days 90 -extfile ext -out fullchain.pem 2>&-
"""
DNS = """Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority reported these\
 problems:\\n  Domain: b.org\\n  Type:   dns\\n  Detail: no such name\\n     anywhere\\n\\nHint: none\\n"""


def issues(root: Path, refused: str = "nobody", words: str = "") -> None:
    """Let ACME issue what is ordered, unless a name is refused."""
    certbot(root.parent, ISSUES.replace("{refused}", refused).replace("{words}", words))


def test_what_acme_issues_is_served_and_nobody_waits(root: Path) -> None:
    issues(root)
    found = work(root, **ACME)
    assert found.problems == []
    assert list((root / "var/lib/hosted.flask/tls/pending").iterdir()) == []
    assert found.current("a.org").names == found.current("b.org").names == set(ACME)
    before = tree(root)
    assert work(root, **ACME).changes == []
    assert tree(root) == before
    assert work(root, True, **ACME).changes == []


def test_a_name_that_acme_refuses_does_not_hold_up_the_others(root: Path) -> None:
    issues(root, "b.org", DNS)
    found = work(root, **ACME)
    assert asked(root) == [["a.org", "b.org"], ["a.org"]]
    assert (found.current("a.org").made_here, found.current("b.org").made_here) == (False, True)
    assert [path.name for path in (root / "var/lib/hosted.flask/tls/pending").iterdir()] == ["b.org"]
    [message] = found.problems
    assert message.startswith(
        "tls: b.org (app shop) got no certificate from https://acme.test/dir. It said: dns: no such"
    )
    assert "no such name anywhere" in message
    assert "Let the name's A or AAAA record point at this host" in message


def test_a_name_that_fails_later_does_not_cost_it_the_certificate_that_is_good(root: Path) -> None:
    issues(root)
    work(root, **ACME)
    issues(root, "b.org", DNS)
    found = work(root, **ACME)
    assert asked(root)[1:] == [["a.org", "b.org"]]
    assert found.current("b.org").names == set(ACME)
    assert " It keeps the certificate that it has, until 2" in found.problems[0]
    assert list((root / "var/lib/hosted.flask/tls/pending").iterdir()) == []


def forced(root: Path, **domains: str) -> Host:
    """Do what ``tls_renew`` does."""
    found = host(root, **domains)
    with found.lock():
        found.issue(force=True)
    return found


def test_a_forced_order_replaces_a_revoked_certificate_though_one_of_its_names_fails(root: Path) -> None:
    issues(root)
    before = work(root, **ACME).current("a.org")
    issues(root, "b.org", DNS)
    found = forced(root, **ACME)
    assert asked(root)[1:] == [["a.org", "b.org"], ["a.org"]]
    assert found.current("a.org").folder != before.folder
    assert found.current("a.org").names == {"a.org"}
    assert found.current("b.org").folder == before.folder, "it has no other"


def test_what_is_said_of_a_certificate_that_has_ended_is_true(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is served over HTTPS alone; a new one beside it, that waits for its first, over plain HTTP too."""
    issues(root)
    work(root, **{"a.org": "acme"})
    certbot(root.parent, "echo it is not there; exit 1")
    later = time.time() + 100 * 86400
    monkeypatch.setattr(made.time, "time", lambda: later)
    one, two = work(root, **ACME).problems
    assert one.startswith("tls: a.org (app shop) got no certificate")
    assert "It is served over" not in one
    assert "Its certificate ended on " in one
    assert two.startswith("tls: b.org (app shop) got no certificate")
    assert "It is served over plain HTTP too" in two
    assert [path.name for path in (root / "var/lib/hosted.flask/tls/pending").iterdir()] == ["b.org"]


@pytest.mark.parametrize("force", [False, True])
def test_when_every_name_of_a_certificate_fails_nothing_more_is_ordered(force: bool, root: Path) -> None:
    issues(root)
    work(root, **{"b.org": "acme"})
    issues(root, "b.org", DNS)
    found = (forced if force else work)(root, **{"b.org": "acme"})
    assert asked(root)[1:] == [["b.org"]]
    assert "It said: dns: no such name" in found.problems[0]


def test_acme_is_asked_four_times_an_hour_at_most(root: Path) -> None:
    again = "; the next deploy tries again, and a timer twice a day."
    for _ in range(made.TRIES - 1):
        [message] = work(root, **{"a.org": "acme"}).problems
        assert "not asked again" not in message
        assert message.endswith(again)
    for _ in range(3):
        [message] = work(root, **{"a.org": "acme"}).problems
        assert "It is not asked again before" in message
        assert message.endswith("; then playbooks/provision.yml -e tls_renew=true asks at once.")
        assert again not in message
    assert len(asked(root)) == made.TRIES
    Host(Plan({"a.org": "acme"}, {"shop": ["a.org"]}, "https://other.test/dir"), root=root).issue()
    assert len(asked(root)) == made.TRIES + 1, "another directory has limits of its own"
    issues(root)
    assert work(root, **ACME).problems == [], "other names are another order"


def test_a_rate_limit_is_kept(root: Path) -> None:
    later = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() + 7200))
    words = (
        f"An unexpected error occurred:\\nurn:ietf:params:acme:error:rateLimited :: too many, retry after {later}\\n"
    )
    issues(root, "a.org", words)
    for _ in range(2):
        [message] = work(root, **{"a.org": "acme"}).problems
        assert f"It is not asked again before {later[:16]} UTC" in message
        assert message.endswith(" Wait, and do not ask more often meanwhile.")
    assert len(asked(root)) == 1


AWAY = "echo 'requests.exceptions.ConnectionError: HTTPSConnectionPool: refused'; exit 1"


def test_people_may_ask_once_more(root: Path) -> None:
    for _ in range(made.TRIES + 1):
        work(root, **ACME)
    assert len(asked(root)) == made.TRIES
    certbot(root.parent, AWAY)
    assert "away" in forced(root, **ACME).problems[0]
    assert len(asked(root)) == made.TRIES + 1
    issues(root)
    assert "not asked again" in work(root, **ACME).problems[0], "no one else may"
    assert forced(root, **ACME).problems == []


def test_people_too_keep_a_rate_limit_of_the_directory(root: Path) -> None:
    """Also when the directory was away for another order in between."""
    issues(root, "a.org", "urn:ietf:params:acme:error:rateLimited :: too many\\n")
    work(root, **{"a.org": "acme"})
    issues(root)
    [message] = forced(root, **{"a.org": "acme"}).problems
    assert "rateLimited" in message
    assert len(asked(root)) == 1
    certbot(root.parent, AWAY)
    both = Host(Plan(dict(ACME), {"blog": ["b.org"], "shop": ["a.org"]}, "https://acme.test/dir"), root=root)
    for force in (True, False):
        both.issue(force)
        assert ["rateLimited" in message for message in both.problems[-2:]] == [False, True]


def test_a_directory_that_is_away_is_not_one_that_refuses(root: Path) -> None:
    """Three times away and once refused is no reason to rest."""
    certbot(root.parent, AWAY)
    for _ in range(made.TRIES + 1):
        work(root, **ACME)
    certbot(root.parent, "echo it is not there; exit 1")
    for _ in range(made.TRIES):
        work(root, **ACME)
    assert len(asked(root)) == 2 * made.TRIES + 1
    work(root, **ACME)
    assert len(asked(root)) == 2 * made.TRIES + 1


def test_a_directory_that_is_away_is_asked_once(root: Path) -> None:
    certbot(root.parent, AWAY)
    plan = Plan(dict(ACME), {"shop": ["a.org"], "blog": ["b.org"]}, "https://acme.test/dir")
    found = Host(plan, root=root)
    with found.lock():
        found.issue()
    assert len(asked(root)) == 1
    assert len(found.problems) == 2
    assert all("Let this host reach tls_acme_directory" in message for message in found.problems)


def test_what_is_of_no_name_any_more_goes(root: Path) -> None:
    issues(root)
    work(root, **ACME, **{"s.org": "self_signed"})
    accounts = root / "etc/hosted.flask/certbot/acme.test_dir/accounts"
    accounts.mkdir()
    assert work(root, **{"s.org": "self_signed"}).changes
    assert [path.name for path in (root / "etc/hosted.flask/tls").iterdir()] == ["s.org"]
    assert len(list((root / "etc/hosted.flask/certificates").iterdir())) == 1
    assert not (accounts.parent / "live/shop").exists()
    assert not (accounts.parent / "renewal/shop.conf").exists()
    assert accounts.exists()
    assert work(root).changes
    assert not list(root.rglob("privkey.pem"))
    assert not (root / "var/lib/hosted.flask/tls/until").exists()
    assert not (root / "etc/hosted.flask/certificates.json").exists()


def test_neither_prepare_nor_the_timer_takes_a_name_away(root: Path) -> None:
    """The nginx that runs may still read it: a deploy may have ended in between."""
    work(root, **{"s.org": "self_signed", "t.org": "self_signed"})
    first = host(root, **{"t.org": "self_signed"})
    with first.lock():
        first.prepare({})
        first.issue()
    assert first.current("s.org")


def test_a_self_signed_certificate_is_made_anew_before_its_end(root: Path, tmp_path: Path) -> None:
    work(root, **{"s.org": "self_signed"})
    for days, renewed in [(made.RENEW_DAYS - 1, True), (made.RENEW_DAYS + 1, False)]:
        old = pair(tmp_path / str(days), "s.org", days=days, subject="/O=hosted.flask/CN=s.org")
        other = host(root, **{"s.org": "self_signed"})
        with other.lock():
            other.serve(["s.org"], old["certificate"], old["key"])
        assert bool(work(root, **{"s.org": "self_signed"}).changes) == renewed


def test_a_certificate_that_is_trusted_is_kept_until_acme_has_issued_one(root: Path) -> None:
    """Also where it was somebody's own before: visitors who know the name by HSTS must not meet a placeholder."""
    issues(root)
    issued = work(root, **{"a.org": "acme"}).current("a.org")
    own = dict(zip(("certificate", "key"), made.pair_of(issued), strict=True))
    work(root, own={"a.org": own}, **{"a.org": "own"})
    certbot(root.parent, "exit 1")
    found = work(root, **{"a.org": "acme"})
    assert not found.current("a.org").made_here
    assert not found.pending("a.org").exists()


def test_nginx_reads_what_it_could_not_read_before(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "reload_nginx", lambda: "tls: nginx refuses")
    assert work(root, **{"s.org": "self_signed"}).problems == ["tls: nginx refuses"]
    calls: list[str] = []
    monkeypatch.setattr(made, "reload_nginx", lambda: calls.append("reload") or "")
    again = work(root, **{"s.org": "self_signed"})
    assert (again.changes, again.problems, calls) == ([], [], ["reload"])
    work(root, **{"s.org": "self_signed"})
    assert calls == ["reload"]


def test_a_power_cut_in_the_middle_is_made_good(root: Path) -> None:
    """A pair that was not whole yet, a link that was not renamed yet, and a pair that is gone."""
    work(root, **{"s.org": "self_signed"})
    store = root / "etc/hosted.flask/certificates"
    (store / ".0123.partial").mkdir()
    (root / "etc/hosted.flask/tls/.s.org.partial").symlink_to("../certificates/gone")
    for path in store.glob("[0-9a-f]*/privkey.pem"):
        path.unlink()
    found = work(root, **{"s.org": "self_signed"})
    assert found.current("s.org").good("s.org")
    assert [path.name for path in (root / "etc/hosted.flask/tls").iterdir()] == ["s.org"]
    assert work(root, **{"s.org": "self_signed"}).changes == []


def test_the_timer_runs_it_with_the_standard_library_alone(root: Path, tmp_path: Path) -> None:
    found = host(root, **{"s.org": "self_signed"})
    with found.lock():
        found.keep_program()
        found.prepare({})
    program = root / "opt/hosted.flask/tls"
    assert sorted(path.name for path in program.iterdir()) == ["certificates.py", "files.py"]
    words = (program / "certificates.py").read_text()
    assert words == (ROOT / "plugins/module_utils/certificates.py").read_text()
    run = subprocess.run(
        ["/usr/bin/python3", "-EsB", str(program / "certificates.py"), "revoke"], capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (2, "usage: certificates.py renew\n")


def bound(root: Path, eab: dict[str, str], check: bool = False, **domains: str) -> Host:
    """Do what a provisioning does, with an account at the issuer."""
    first = host(root, check, **domains)
    with first.lock():
        first.prepare({}, eab)
        first.drop()
        first.issue()
    return first


def test_the_key_of_an_account_is_in_one_file_of_root_alone(root: Path) -> None:
    issues(root)
    found = bound(root, EAB, **ACME)
    assert "the account's key at the issuer" in found.changes
    [file] = [path for path in root.rglob("*") if path.is_file() and HMAC_KEY in path.read_text()]
    assert (file, file.stat().st_mode & 0o777) == (found.eab, 0o600)
    assert file.read_text() == f"eab-hmac-key = {HMAC_KEY}\neab-kid = kid-1\n"
    words = (root.parent / "asked").read_text()
    assert f" --config {file} -d a.org" in words
    assert HMAC_KEY not in words + str(found.changes) + found.table()
    assert bound(root, EAB, **ACME).changes == bound(root, EAB, True, **ACME).changes == []
    assert bound(root, {**EAB, "kid": "kid-2"}, True, **ACME).changes == ["the account's key at the issuer"]
    assert "kid-1" in file.read_text()


def test_the_timer_keeps_the_account_and_a_host_that_needs_none_does_not(root: Path) -> None:
    issues(root)
    file = bound(root, EAB, **ACME).eab
    timer = Host.remembered(root)
    with timer.lock():
        timer.prepare({})
        timer.issue(force=True)
    assert (root.parent / "asked").read_text().count(f"--config {file}") == 2
    assert bound(root, {}, **ACME).changes == ["the account's key at the issuer"]
    assert not file.exists()
    assert "--config " not in (root.parent / "asked").read_text().splitlines()[-1]
    for domains in ({"s.org": "self_signed"}, {}):
        bound(root, EAB, **ACME)
        assert file.exists()
        gone = host(root, **domains)
        with gone.lock():
            if domains:
                gone.prepare({}, EAB)
            gone.drop()
        assert not file.exists()


def test_the_module_shows_no_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even in its own arguments, which Ansible shows with -vvv; the id is no secret."""

    class Module(AnsibleModule):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            self.exit_json(said=f"{self.params['eab']}")

    monkeypatch.setattr(module, "AnsibleModule", Module)
    with patch_module_args({"verb": "prepare", "eab": EAB}), pytest.raises(SystemExit):
        module.main()
    said = json.loads(capsys.readouterr().out)
    assert HMAC_KEY not in str(said)
    assert said["invocation"]["module_args"]["eab"]["kid"] == "kid-1"
    assert "kid-1" in said["said"]


def test_an_account_that_the_issuer_refuses_is_told_as_such(root: Path) -> None:
    """As certbot 2.1 and 4.0 say it to pebble, without an account and with a wrong key."""
    certbot(root.parent, "echo 'Unable to register an account with ACME server. Server requires it.'; exit 1")
    [message] = work(root, **ACME).problems
    assert "It said: account: Unable to register" in message
    assert "Let tls_acme_eab have the key id and the HMAC key that the issuer gave you" in message
    log = root / made.LOGS / "letsencrypt.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    unauthorized = "urn:ietf:params:acme:error:unauthorized :: no :: external account binding JWS verification error"
    log.write_text(f"acme.messages.Error: {unauthorized}\n")
    assert host(root, **ACME).run_certbot("shop", ["a.org"], False) == {"": ("account", unauthorized)}
    limited = "urn:ietf:params:acme:error:rateLimited :: too many accounts"
    log.write_text(f"acme.messages.Error: {limited}\n")
    assert host(root, **ACME).run_certbot("shop", ["a.org"], False) == {"": ("rateLimited", limited)}


SAID = {
    "dns": (
        "  Domain: a.org\n  Type:   dns\n  Detail: DNS problem: NXDOMAIN looking up A for a.org\n\nHint: x",
        {"a.org": "dns"},
    ),
    "two": (
        "  Domain: a.org\n  Type:   connection\n  Detail: 1.2.3.4: Timeout\n\n  Domain: b.org\n"
        "  Type:   unauthorized\n  Detail: 404\n",
        {"a.org": "connection", "b.org": "unauthorized"},
    ),
    "rejected": (
        "Requesting a certificate for a.org and b.org\nAn unexpected error occurred:\n"
        'urn:ietf:params:acme:error:rejectedIdentifier :: refused :: Cannot issue for "b.org"',
        {"b.org": "rejectedIdentifier"},
    ),
    "limited": ("urn:ietf:params:acme:error:rateLimited :: too many for a.org", {"": "rateLimited"}),
    "away_4": ("An unexpected error occurred:\nValueError: Requesting acme.test/dir: Connection refused", {"": "away"}),
    "away": ("An unexpected error occurred:\nrequests.exceptions.ConnectTimeout: HTTPSConnectionPool", {"": "away"}),
    "else": ("Another instance of Certbot is already running.", {"": "error"}),
}


@pytest.mark.parametrize(("words", "kinds"), SAID.values(), ids=SAID)
def test_what_certbot_says_is_understood(words: str, kinds: dict[str, str], root: Path) -> None:
    (root.parent / "words").write_text(words)
    certbot(root.parent, f"cat {root.parent}/words; exit 1")
    found = host(root, **ACME).run_certbot("shop", ["a.org", "b.org"], False)
    assert {name: kind for name, (kind, _) in found.items()} == kinds


@pytest.mark.parametrize("said", ["AttributeError: can't set attribute", "too many"], ids=["debian_12", "debian_13"])
def test_what_certbot_hides_is_found_in_its_log(said: str, root: Path) -> None:
    certbot(root.parent, f"""echo "An unexpected error occurred:\n{said}"; exit 1""")
    assert host(root, **ACME).run_certbot("shop", ["a.org"], False)[""][0] == "error"
    log = root / made.LOGS / "letsencrypt.log"
    log.parent.mkdir(parents=True)
    lines = ["an older one", "urn:ietf:params:acme:error:rateLimited :: too many"]
    log.write_text("".join(f"acme.messages.Error: {line}\n" for line in lines))
    found = host(root, **ACME).run_certbot("shop", ["a.org"], False)
    assert found == {"": ("rateLimited", "urn:ietf:params:acme:error:rateLimited :: too many")}


def test_failures_are_kept_for_people_and_doctors(root: Path) -> None:
    work(root, **ACME)
    entry = json.loads((root / "var/lib/hosted.flask/tls/failed/shop.json").read_text())
    assert (entry["names"], entry["words"]) == (list(ACME), {"": ["error", "it is not there"]})
    issues(root)
    work(root, **ACME)
    assert list((root / "var/lib/hosted.flask/tls/failed").iterdir()) == []


def test_a_front_is_asked_over_tls_for_the_name(tmp_path: Path) -> None:
    """Whatever certificate it has: the host asks itself."""
    pair(tmp_path, "else.org")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "fullchain.pem", tmp_path / "privkey.pem")
    names: list[str] = []
    context.sni_callback = lambda _, name, __: names.append(name)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Release: r1\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    front = f"https://127.0.0.1:{listener.getsockname()[1]}"
    app = completed(domains=["a.org"]) | {"front": front, "supervisor_socket": "/nowhere"}
    assert Home(app).front() == ("200", "r1")
    assert names == ["a.org"]
    thread.join(5)
    listener.close()
