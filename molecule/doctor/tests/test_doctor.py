"""Each thing that the doctor finds is broken for real, found with its advice and nothing else with it, and mended."""

import re
from dataclasses import dataclass

import pytest
from asking import ask, until

SHOP, BLOG = "/home/shop/apps/shop", "/home/blog/apps/blog"
ERROR, WARNING = "error", "warning"
HERE = "127.0.0.1"
# What a file of services.d looks like to somebody who adds a program by hand.
PROGRAM = "printf '[program:shop-more]\\ncommand = sleep infinity\\n' > /home/shop/etc/services.d/more.ini"
# A package whose update is in a list of Debian's security archive, as apt sees it.
LISTENS = " && timeout 60 sh -c 'until ss -Hltn sport = :{} | grep -q .; do sleep .1; done'"
UPDATE = r"""
mkdir -p /srv/updates/package/DEBIAN && cd /srv/updates
for version in 2 1; do
printf 'Package: leaky\nVersion: %s\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n' $version \
  > package/DEBIAN/control
dpkg-deb --build package leaky_$version.deb
done
apt-get install -o DPkg::Lock::Timeout=300 -qq ./leaky_1.deb
rm leaky_1.deb
{ dpkg-deb --field leaky_2.deb; echo 'Filename: ./leaky_2.deb'; echo "Size: $(stat -c %s leaky_2.deb)"
  echo "SHA256: $(sha256sum leaky_2.deb | cut -d ' ' -f 1)"; } > Packages
{ printf 'Origin: Debian\nLabel: Debian-Security\nSuite: stable-security\nCodename: bookworm-security\nVersion: 12\n'
  echo "Date: $(date -Ru)"; echo SHA256:
  echo " $(sha256sum Packages | cut -d ' ' -f 1) $(stat -c %s Packages) Packages"; } > Release
echo 'deb [trusted=yes] file:/srv/updates ./' > /etc/apt/sources.list.d/updates.list
apt-get update -o Dir::Etc::sourcelist=sources.list.d/updates.list -o Dir::Etc::sourceparts=- \
  -o APT::Get::List-Cleanup=0
"""
# A package that is installed although what it needs is not there: apt plans no upgrade of any other then.
NEEDY = r"""
mkdir -p /srv/needy/DEBIAN && cd /srv
{ printf 'Package: needy\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\n'
  printf 'Depends: nowhere\nDescription: x\n'; } > needy/DEBIAN/control
dpkg-deb --build needy && { dpkg --install --force-depends needy.deb || true; }
"""


@dataclass
class Case:
    """A thing that is wrong."""

    harm: str
    mend: str
    found: set[tuple[str, str, str]]
    what: str
    do: str
    words: tuple[str, ...] = ()
    address: str | None = HERE


CASES = {
    "a domain that does not resolve": Case(
        "", "", {(ERROR, "shop", "dns")}, "shop.example has no address", "Add an A or AAAA record", address=None
    ),
    "a domain that points elsewhere": Case(
        "", "", {(WARNING, "shop", "dns")}, "points to 192.0.2.7", "Correct its A and AAAA records", address="192.0.2.7"
    ),
    "a service that was stopped": Case(
        "su - shop -c 'supervisorctl stop shop-idle'",
        "su - shop -c 'supervisorctl start shop-idle'",
        {(ERROR, "shop", "programs")},
        "program shop-idle is STOPPED",
        "sudo -iu shop supervisorctl start shop-idle",
    ),
    "an app that was stopped": Case(
        "su - blog -c 'supervisorctl stop blog'",
        "su - blog -c 'supervisorctl start blog'",
        {(ERROR, "blog", "programs"), (ERROR, "blog", "release")},
        "program blog is STOPPED",
        "sudo -iu blog supervisorctl start blog",
    ),
    "a program that does not start": Case(
        f"{PROGRAM} && cd /home/shop/etc/services.d && cp shop.ini /var/tmp"
        # What ended at once may be seen a second later, when supervisord would take it for started.
        " && sed -i 's/^command = .* run .*/command = false/; s/^startsecs.*/startsecs = 30/;"
        " s/^startretries.*/startretries = 0/' shop.ini"
        " && su - shop -c 'supervisorctl update shop-idle' || true; rm /home/shop/etc/services.d/more.ini",
        "cp /var/tmp/shop.ini /home/shop/etc/services.d/ && su - shop -c 'supervisorctl update'",
        {(ERROR, "shop", "programs")},
        "program shop-idle is FATAL: Exited too quickly",
        "sudo -iu shop supervisorctl tail shop-idle",
    ),
    "a file of services.d that was not read": Case(
        f"{PROGRAM}",
        "rm /home/shop/etc/services.d/more.ini",
        {(ERROR, "shop", "programs")},
        "program shop-more is in services.d, but not added",
        "sudo -iu shop supervisorctl update",
    ),
    "a file of services.d that was changed": Case(
        "sed -i.before 's/^stopwaitsecs.*/stopwaitsecs = 7/' /home/blog/etc/services.d/blog.ini",
        "mv /home/blog/etc/services.d/blog.ini.before /home/blog/etc/services.d/blog.ini",
        {(ERROR, "blog", "programs")},
        "program blog runs with other settings than in services.d",
        "sudo -iu blog supervisorctl update",
    ),
    "a file of services.d that is gone": Case(
        f"{PROGRAM} && su - shop -c 'supervisorctl update' && rm /home/shop/etc/services.d/more.ini",
        "su - shop -c 'supervisorctl update'",
        {(ERROR, "shop", "programs")},
        "program shop-more runs without a file",
        "sudo -iu shop supervisorctl update",
    ),
    "a file of services.d that cannot be read": Case(
        "echo nonsense > /home/blog/etc/services.d/bad.ini",
        "rm /home/blog/etc/services.d/bad.ini",
        {(ERROR, "blog", "programs")},
        "bad.ini",
        "Correct the file",
    ),
    "a supervisord that does not run": Case(
        "systemctl stop supervisord@blog",
        "systemctl start supervisord@blog",
        {(ERROR, "blog", "programs"), (ERROR, "blog", "release")},
        "supervisord does not answer at /run/supervisord/blog/supervisor.sock",
        "systemctl restart supervisord@blog",
    ),
    "a slot of another release": Case(
        f"cd {BLOG}/releases && cp -a $(basename $(readlink ../slots/live)) 000000000000"
        " && cp -a --no-dereference ../slots/live /var/tmp/live && ln -sfn ../releases/000000000000 ../slots/live",
        f"mv -T /var/tmp/live {BLOG}/slots/live && rm -r {BLOG}/releases/000000000000",
        {(ERROR, "blog", "release")},
        "slots/live names release 000000000000, but its program serves",
        "sudo -iu blog supervisorctl restart blog",
    ),
    "a release that is not whole": Case(
        f"cp -a --no-dereference {BLOG}/slots/live /var/tmp/live && cp -a {BLOG}/slots/live/ {BLOG}/releases/1"
        f" && rm {BLOG}/releases/1/release.json && ln -sfn ../releases/1 {BLOG}/slots/live",
        f"mv -T /var/tmp/live {BLOG}/slots/live && rm -r {BLOG}/releases/1",
        {(ERROR, "blog", "release")},
        "slots/live names release 1, which is not whole",
        "bin/deploy -e app=blog",
    ),
    "an app that was never deployed": Case(
        f"mv {BLOG}/slots/live {BLOG}/slots/away",
        f"mv {BLOG}/slots/away {BLOG}/slots/live",
        {(ERROR, "blog", "release")},
        "never deployed",
        "bin/deploy -e app=blog",
    ),
    "a front that serves something else": Case(
        "cd /etc/nginx/hosted.flask && grep -l 'uwsgi_pass hosted_flask_blog;' * > /var/tmp/files"
        " && xargs sed -i.before 's/uwsgi_pass hosted_flask_blog;/uwsgi_pass hosted_flask_shop;/' < /var/tmp/files"
        " && systemctl reload nginx",
        "cd /etc/nginx/hosted.flask && for file in *.before; do mv $file ${file%.before}; done; systemctl reload nginx",
        {(ERROR, "blog", "release")},
        "the front at http://127.0.0.1:80 answers 421, release ",
        "playbooks/provision.yml",
    ),
    "maintenance that is still on": Case(
        f"touch {BLOG}/run/maintenance",
        f"rm {BLOG}/run/maintenance",
        {(WARNING, "blog", "release")},
        "it is in maintenance",
        "playbooks/maintenance.yml -e app=blog -e state=off",
    ),
    "nginx that does not run": Case(
        "systemctl stop nginx",
        "systemctl start nginx",
        {(ERROR, "", "ports"), (ERROR, "shop", "release"), (ERROR, "blog", "release")},
        "nobody listens on port 80",
        "systemctl start nginx",
    ),
    "somebody else on the front's port": Case(
        "systemctl stop nginx && systemd-run --unit=other python3 -m http.server 80"
        + LISTENS.format(80),
        "systemctl stop other && systemctl start nginx",
        {(ERROR, "", "ports"), (ERROR, "shop", "release"), (ERROR, "blog", "release")},
        "uid 0) listens on port 80 instead of nginx",
        "Stop it for good",
    ),
    "a firewall that somebody flushed": Case(
        "nft delete table inet hosted_flask",
        "systemctl reload-or-restart hosted-firewall.service",
        {(ERROR, "", "firewall")},
        "the firewall is off",
        "playbooks/provision.yml",
    ),
    "a configuration that nginx refuses": Case(
        "echo nonsense > /etc/nginx/conf.d/bad.conf",
        "rm /etc/nginx/conf.d/bad.conf",
        {(ERROR, "", "nginx")},
        "/etc/nginx/conf.d/bad.conf",
        "correct the file",
    ),
    "a unit that has failed": Case(
        "systemd-run --unit=broken --wait false || true",
        "systemctl reset-failed broken",
        {(ERROR, "", "units")},
        "unit broken.service has failed",
        "journalctl -u broken.service",
    ),
    "what an interrupted deploy left": Case(
        f"printf '[program:blog-standby]\\ncommand = false\\n' > /home/blog/etc/services.d/blog-standby.ini"
        f" && mkdir {BLOG}/releases/0123.partial {BLOG}/venvs/4567",
        f"rm -r /home/blog/etc/services.d/blog-standby.ini {BLOG}/releases/0123.partial {BLOG}/venvs/4567",
        {(WARNING, "blog", "left-overs")},
        "half made: 0123.partial, venvs/4567",
        "bin/deploy -e app=blog",
    ),
    "visitors on the standby": Case(
        f"ln -sfn standby.sock {BLOG}/run/current.sock",
        f"ln -sfn live.sock {BLOG}/run/current.sock",
        {(WARNING, "blog", "left-overs"), (ERROR, "blog", "release")},
        "visitors get standby.sock instead of live.sock",
        "bin/deploy -e app=blog",
    ),
    "an interpreter that an upgrade took away": Case(
        "mv /opt/python/python3.11 /opt/python/away",
        "mv /opt/python/away /opt/python/python3.11",
        {(ERROR, "shop", "venv"), (ERROR, "", "description")},
        f"{SHOP}/python, which is to run shop-socket, has lost its interpreter",
        "bin/deploy -e app=shop",
    ),
    "an interpreter of another version": Case(
        "mv /opt/python/python3.11 /opt/python/away && printf '#!/bin/sh\\necho 3.13\\n' > /opt/python/python3.11"
        " && chmod 755 /opt/python/python3.11",
        "mv /opt/python/away /opt/python/python3.11",
        {(ERROR, "shop", "venv")},
        "its interpreter is 3.13 now",
        "bin/deploy -e app=shop",
    ),
    "settings that others may read": Case(
        f"chmod 644 {BLOG}/env",
        f"chmod 600 {BLOG}/env",
        {(ERROR, "blog", "permissions")},
        f"{BLOG}/env is open to others (0644)",
        f"sudo -u blog chmod go= -- {BLOG}/env",
    ),
    "a home that others may enter": Case(
        "chmod 755 /home/shop",
        "chmod 710 /home/shop",
        {(ERROR, "shop", "permissions")},
        "/home/shop is open to other accounts (0755)",
        "sudo -u shop chmod o= -- /home/shop",
    ),
    "data of somebody else": Case(
        f"touch {BLOG}/data/by-root",
        f"rm {BLOG}/data/by-root",
        {(ERROR, "blog", "permissions")},
        f"not the account's own: {BLOG}/data/by-root",
        f"sudo -u blog mv -T -- {BLOG}/data/by-root {BLOG}/data/by-root.foreign &&",
    ),
    "a socket that every account may use": Case(
        f"chmod 666 {BLOG}/run/live.sock",
        f"chmod 660 {BLOG}/run/live.sock",
        {(ERROR, "blog", "permissions")},
        "live.sock is open to every account",
        f"sudo -u blog chmod 0660 -- {BLOG}/run/live.sock",
    ),
    "a socket that the front may not use": Case(
        f"chgrp shop {SHOP}/run/standby.sock",
        f"chgrp www-data {SHOP}/run/standby.sock",
        {(ERROR, "shop", "permissions")},
        f"the front (www-data) cannot connect to {SHOP}/run/standby.sock",
        "its group must be www-data",
    ),
    "a supervisord that others may command": Case(
        "chmod 666 /run/supervisord/shop/supervisor.sock",
        "chmod 600 /run/supervisord/shop/supervisor.sock",
        {(ERROR, "shop", "permissions")},
        "lets others command",
        "sudo -u shop chmod 0600 -- /run/supervisord/shop/supervisor.sock",
    ),
    "a broker that is away": Case(
        "systemctl stop broker",
        "systemctl start broker" + LISTENS.format(6399),
        {(ERROR, "shop", "connections")},
        "127.0.0.1:6399 (BROKER_URL) cannot be reached: Connection refused",
        "See that it runs",
    ),
    "a disk without room": Case(
        f"mount -t tmpfs -o size=1m,mode=700,uid=blog none {BLOG}/data && head -c 2m /dev/zero > {BLOG}/data/big;"
        f" chown blog: {BLOG}/data/big",
        f"umount {BLOG}/data",
        {(ERROR, "blog", "disk")},
        f"0 of 1 MiB are free on the disk of {BLOG}/data",
        "du -xh",
    ),
    "a disk without room for names": Case(
        f"mount -t tmpfs -o size=4g,nr_inodes=30,mode=700,uid=blog none {BLOG}/data"
        f" && su - blog -c 'cd {BLOG}/data && for i in $(seq 28); do : > $i; done'",
        f"umount {BLOG}/data",
        {(WARNING, "blog", "disk")},
        f"1 of 30 inodes are free on the disk of {BLOG}/data",
        "du -x --inodes",
    ),
    "a security update": Case(
        UPDATE,
        "rm -r /etc/apt/sources.list.d/updates.list /var/lib/apt/lists/_srv_updates* /srv/updates; dpkg -r leaky",
        {(WARNING, "", "updates")},
        "security updates wait: leaky",
        "apt-get upgrade",
    ),
    "an upgrade that apt cannot plan": Case(
        NEEDY,
        "dpkg -r needy && rm -r /srv/needy*",
        {(WARNING, "", "updates")},
        "no update can be installed: apt-get ended with 100: E: Unmet dependencies.",
        "apt-get --fix-broken install",
    ),
    "lists of packages that are old": Case(
        "touch -d '30 days ago' /var/lib/apt/lists /var/lib/apt/lists/partial /var/lib/apt/periodic/* || true",
        "touch /var/lib/apt/lists",
        {(WARNING, "", "updates")},
        "the lists of packages are 30 days old",
        "apt-get update",
    ),
    "a reboot that is due": Case(
        "touch /run/reboot-required",
        "rm /run/reboot-required",
        {(WARNING, "", "updates")},
        "waits for a reboot",
        "systemctl reboot",
    ),
    "a host layer that is not of this inventory": Case(
        "", "", {(WARNING, "", "provisioning")}, "not what the inventory", "provision.yml",
        words=("-e", "nginx_read_timeout=7"),
    ),
    "a host that was never provisioned": Case(
        "mv /var/lib/hosted.flask/stamp /var/tmp/",
        "mv /var/tmp/stamp /var/lib/hosted.flask/",
        {(ERROR, "", "provisioning")},
        "never provisioned",
        "provision.yml",
    ),
    "an account that is not there": Case(
        "", "", {(ERROR, "more", "app"), (WARNING, "", "provisioning")}, "account more is not on this host",
        "playbooks/provision.yml",
        words=("-e", '{"test_more": [{"name": "more", "mount": "/more", "source": "app_skeleton"}]}'),
    ),
}  # fmt: skip


def serves(host):
    """Whether the apps answer their visitors, with the release that their slot names."""
    places = {"shop": ask(host, "/status", name="shop.example"), "blog": ask(host, "/blog/status")}
    live = {app: host.check_output(f"basename $(readlink /home/{app}/apps/{app}/slots/live)") for app in places}
    return all(answer.release == live[app] for app, answer in places.items())


# What is broken at a time: nothing in a group hides another thing of it.
GROUPS = [
    [
        "a domain that does not resolve",
        "a service that was stopped",
        "a file of services.d that was changed",
        "a configuration that nginx refuses",
        "a unit that has failed",
        "settings that others may read",
        "a broker that is away",
        "a disk without room",
        "lists of packages that are old",
    ],
    [
        "a domain that points elsewhere",
        "a program that does not start",
        "a file of services.d that cannot be read",
        "what an interrupted deploy left",
        "a home that others may enter",
        "a disk without room for names",
        "a security update",
        "a reboot that is due",
        "maintenance that is still on",
        "an interpreter that an upgrade took away",
    ],
    [
        "a file of services.d that was not read",
        "an app that was stopped",
        "data of somebody else",
        "a firewall that somebody flushed",
        "a socket that the front may not use",
        "an interpreter of another version",
        "an upgrade that apt cannot plan",
        "a host layer that is not of this inventory",
    ],
    [
        "a file of services.d that is gone",
        "a slot of another release",
        "a socket that every account may use",
        "a supervisord that others may command",
        "a host that was never provisioned",
    ],
    ["visitors on the standby", "an account that is not there"],
    ["a supervisord that does not run"],
    ["a release that is not whole"],
    ["an app that was never deployed"],
    ["a front that serves something else"],
    ["nginx that does not run"],
    ["somebody else on the front's port"],
]
assert sorted(name for group in GROUPS for name in group) == sorted(CASES)


@pytest.mark.parametrize("group", GROUPS, ids=[", ".join(group) for group in GROUPS])
def test_what_is_broken_is_found_and_nothing_else(host, doctor, group):
    """What was broken before it was mended, then: it is not found any more."""
    cases = [CASES[name] for name in group]
    words = [word for case in cases for word in case.words]
    address = next((case.address for case in cases if case.address != HERE), HERE)
    try:
        for case in cases:
            broken = host.run(case.harm or ":")
            assert broken.rc == 0, broken.stdout + broken.stderr
        seen = doctor(*words, address=address)
    finally:
        mended = [host.run(case.mend or ":") for case in reversed(cases)]
    assert [run for run in mended if run.rc] == []
    until(lambda: serves(host))
    assert seen.places() == set().union(*(case.found for case in cases)), seen.said
    for case in cases:
        [found, *_] = [found for found in seen.findings if case.what in found["what"]]
        assert case.do in found["do"]
        assert found["what"] in seen.said
        assert found["do"] in seen.said
    assert (seen.code != 0) == (ERROR in {level for level, _, _ in seen.places()})


def test_program_that_ends_again_and_again(host, doctor):
    """Its end is in supervisord's log, from which the test takes it afterwards."""
    log = "/home/shop/logs/supervisord.log"
    for _ in range(3):
        pid = host.check_output("su - shop -c 'supervisorctl pid shop-idle'")
        assert host.run(f"kill -KILL {pid}").rc == 0
        until(lambda: host.check_output("su - shop -c 'supervisorctl pid shop-idle'") not in ("0", pid))  # noqa: B023
    until(lambda: "RUNNING" in host.check_output("su - shop -c 'supervisorctl status shop-idle'"))
    seen = doctor()
    assert (seen.code, seen.places()) == (0, {(WARNING, "shop", "programs")}), seen.said
    [found] = seen.findings
    assert re.match("program shop-idle ended [3-9] times within the last hour, .* SIGKILL", found["what"])
    assert found["do"] == "sudo -iu shop supervisorctl tail -20000 shop-idle"
    assert host.run(f"grep -v 'exited: shop-idle' {log} > /var/tmp/log; cat /var/tmp/log > {log}").rc == 0


def test_app_under_way_is_not_taken_for_interrupted(host, doctor):
    """A deploy holds the lock; it is not taken from it either."""
    assert host.run(
        f"mkdir {BLOG}/releases/0123.partial && systemd-run --unit=deploying flock {BLOG}/.lock sleep infinity"
    ).succeeded
    try:
        until(lambda: host.run(f"flock --nonblock {BLOG}/.lock true").rc)
        seen = doctor()
    finally:
        host.run(f"systemctl stop deploying; rmdir {BLOG}/releases/0123.partial")
    assert seen.findings == [], seen.said
    assert "not checked: left-overs of blog, a deploy is under way" in seen.said


def test_one_app_alone(host, doctor):
    try:
        assert host.run("su - shop -c 'supervisorctl stop shop-idle'").succeeded
        seen = doctor("-e", "app=blog")
    finally:
        host.run("su - shop -c 'supervisorctl start shop-idle'")
    assert (seen.code, seen.findings) == (0, []), seen.said
    assert "Checked, with blog:" in seen.said


def test_without_root_it_tells_what_it_cannot_see(doctor):
    """As an account over its own key: its own app is examined, and what is root's is not."""
    seen = doctor("-e", "ansible_user=blog")
    assert (seen.code, seen.findings) == (0, []), seen.said
    assert "Checked, with blog:" in seen.said
    assert "permissions, ports, programs, release" in seen.said
    for check in ("nginx", "killed", "firewall"):
        assert f"not checked: {check}, needs root" in seen.said


def test_host_that_is_away(doctor):
    seen = doctor("-e", "ansible_port=1")
    assert seen.code
    assert "cannot be reached" in seen.said


def test_nothing_is_wrong_and_nothing_is_changed(host, doctor):
    """The last one: all that was broken above is mended. Only logs have more lines than before, or begin anew."""
    assert host.run("touch /var/tmp/before").succeeded
    until(lambda: host.run("touch /var/tmp/now && test /var/tmp/now -nt /var/tmp/before").succeeded)
    seen = doctor()
    assert (seen.code, seen.findings) == (0, []), seen.said
    assert "hosted-test-doctor: nothing is wrong. Checked, with blog, shop:" in seen.said
    changed = host.check_output("find / -xdev -cnewer /var/tmp/before -type f -not -path '/proc/*' -not -path '/sys/*'")
    allowed = ("/var/log/", "/var/lib/logrotate/", "/home/shop/logs/", "/home/blog/logs/", "/var/tmp/now")
    assert [path for path in changed.split("\n") if path and not path.startswith(allowed)] == []
