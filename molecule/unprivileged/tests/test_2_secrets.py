"""Secrets from a vault are known to their app and to nobody else, on the way there and afterwards."""

import json
import os
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

import pytest
from asking import CHECKOUT, playbook
from changing import changed, said

ROOMS = [Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]), CHECKOUT / ".cache", Path.home() / ".ansible", Path("/tmp")]
TELLS = """
from flask import abort

@app.get("/knows/<digest>")
def knows(digest):
    import hashlib
    import os

    return str(hashlib.sha256(os.environ["TOKEN"].encode()).hexdigest() == digest)
"""


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Return a folder with the password of a vault."""
    folder = tmp_path_factory.mktemp("vault")
    (folder / "password").write_text(token_hex(16))
    return folder


class Vault:
    """A vault that holds one secret for the shop."""

    def __init__(self, folder, name):
        self.secret = token_hex(20)
        self.words = ["-e", f"@{folder}/{name}.yml", "--vault-password-file", str(folder / "password")]
        plain = json.dumps({"vault_shop": {"TOKEN": self.secret}}).encode()
        encrypt = ["ansible-vault", "encrypt", "--vault-password-file", str(folder / "password"), "--output"]
        subprocess.run([*encrypt, str(folder / f"{name}.yml"), "-"], input=plain, check=True, capture_output=True)
        assert self.secret not in (folder / f"{name}.yml").read_text()

    def deploy(self, shop, *words):
        return shop.play("deploy", *self.words, *words, secrets="{{ vault_shop }}")

    def known(self, shop):
        from hashlib import sha256

        return shop.ask(f"/knows/{sha256(self.secret.encode()).hexdigest()}").text == "True"


@contextmanager
def watched(secret, seen):
    """See every command line and every environment that the whole machine, its containers included, shows meanwhile."""
    done = threading.Event()

    def watch():
        while not done.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = path.read_bytes()
                except OSError:
                    continue
                seen["looked"] = seen.get("looked", 0) + 1
                if secret.encode() in line:
                    seen["found"] = line
            time.sleep(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def holders(host, text):
    """Return the files of the host that hold a text, with their modes and owners."""
    host.run("umask 077; printf %s > /root/needle", text)
    found = host.run("grep -rlIaFf /root/needle / --exclude-dir=proc --exclude-dir=sys --exclude=needle 2>/dev/null")
    host.run("rm /root/needle")
    paths = found.stdout.splitlines()
    return {path: (host.file(path).user, oct(host.file(path).mode)) for path in paths}


def test_a_search_finds_what_is_there(host):
    """The same search, of what everybody may know."""
    assert any(path.startswith("/home/shop/") for path in holders(host, "def slow(seconds)"))


def test_a_deploy_tells_nobody(host, shop, room, monkeypatch):
    monkeypatch.setenv("ANSIBLE_LOG_PATH", str(room / "ansible.log"))
    vault, seen = Vault(room, "first"), {}
    shop.edit(TELLS)
    with watched(vault.secret, seen):
        run = vault.deploy(shop, "--diff", "-vvvv")
    assert run.returncode == 0, run.stdout + run.stderr
    assert vault.known(shop)
    assert len(run.stdout) > 5000
    assert vault.secret not in run.stdout + run.stderr + (room / "ansible.log").read_text()
    assert seen["looked"] > 1000
    assert "found" not in seen
    on_host = holders(host, vault.secret)
    assert on_host
    for path, (user, mode) in on_host.items():
        assert path.startswith("/home/shop/apps/shop/releases/"), path
        assert (user, mode) in [("shop", "0o400"), ("shop", "0o600")], path
    for journal in ("journalctl --no-pager -q", f"cat {shop.root}/history.jsonl", "cat /home/shop/logs/*.log"):
        assert vault.secret not in host.check_output(journal)
    here = ["grep", "-rlaF", "--exclude-dir=test", "-f", "-", *(str(path) for path in ROOMS if path.exists())]
    found = subprocess.run(here, input=vault.secret, capture_output=True, text=True)
    assert found.stdout.split() == []


@pytest.mark.parametrize("fault", ["raise RuntimeError(os.environ['TOKEN'])", "print(os.environ['TOKEN']); app = None"])
def test_a_release_that_prints_its_secret_as_it_fails_shows_stars(shop, room, fault):
    vault = Vault(room, "failing")
    shop.edit(f"import os\n{fault}\n")
    run = vault.deploy(shop, "--diff", "-vvv")
    assert run.returncode != 0
    assert vault.secret not in run.stdout + run.stderr
    assert "********" in said(run)


def test_a_rollback_that_fails_shows_stars_too(shop, room):
    """It is sent no secret that could be taken out: the host knows them."""
    vault = Vault(room, "gone")
    fails = (
        "import os, pathlib\nif pathlib.Path('instance/fail').exists():\n    raise RuntimeError(os.environ['TOKEN'])\n"
    )
    shop.edit(fails)
    assert changed(vault.deploy(shop)) == 1
    shop.update()
    shop.account(f"touch {shop.root}/data/fail")
    run = shop.play("rollback", "-vvv")
    shop.account(f"rm {shop.root}/data/fail")
    assert run.returncode != 0
    assert "RuntimeError: ********" in said(run)
    assert vault.secret not in run.stdout + run.stderr


def test_a_wrong_secret_is_refused_without_its_value(shop, room):
    secret = token_hex(20)
    run = shop.play("deploy", secrets={"TOKEN": [secret]})
    assert run.returncode != 0
    assert "secrets.TOKEN: (not shown) is refused" in said(run)
    assert secret not in run.stdout + run.stderr


def test_rotating_a_secret_is_a_release_and_the_way_back_brings_the_old_one(host, shop, room):
    old, new = Vault(room, "old"), Vault(room, "new")
    shop.edit(TELLS)
    assert changed(old.deploy(shop)) == 1
    before = shop.release()
    assert old.known(shop)
    with shop.visited():
        assert changed(new.deploy(shop)) == 1
    assert new.known(shop)
    assert not old.known(shop)
    assert shop.release() != before
    assert changed(new.deploy(shop)) == 0
    check = old.deploy(shop, "--check", "--diff")
    assert "+TOKEN (changed)" in check.stdout
    assert not [vault for vault in (old, new) if vault.secret in check.stdout]
    assert changed(shop.play("rollback")) == 1
    assert old.known(shop)


def test_nobody_but_the_account_reads_them(host, shop, room):
    vault = Vault(room, "last")
    shop.edit(TELLS)
    assert changed(vault.deploy(shop)) == 1
    for path in holders(host, vault.secret):
        for account in ("blog", "www-data", "nobody"):
            assert host.run(f"runuser -u {account} -- cat %s", path).rc != 0
        assert vault.secret in host.check_output("runuser -u shop -- cat %s", path)


def test_root_deploys_them_as_silently(host, shop, room):
    vault, seen = Vault(room, "root"), {}
    words = super(type(shop), shop).words(secrets="{{ vault_shop }}")
    with watched(vault.secret, seen):
        run = playbook("deploy.yml", *words, *vault.words, "--diff", "-vvvv", own=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert vault.secret not in run.stdout + run.stderr
    assert "found" not in seen
    assert vault.known(shop)
