"""After the first deploy, and again after a reboot."""

import re
import socket
from contextlib import closing

import pytest
from asking import ask, until


@pytest.fixture(autouse=True)
def up(host):
    until(lambda: ask(host).status == 200)


def test_systemd_has_no_failed_unit(host):
    assert host.check_output("systemctl --failed --plain --no-legend") == ""


# --- the firewall


def test_only_what_is_allowed_comes_in(outside):
    """All of them listen; the last number of a range and the one after it, too."""
    with outside.listening(7001, 7002, 7003, 7012, 7013):
        reached = {port: outside.opens(port) for port in (22, 2022, 80, 7001, 7003, 7012, 7013)}
        assert reached == {22: True, 2022: True, 80: True, 7001: True, 7003: False, 7012: True, 7013: False}


def test_host_reaches_itself_and_others(host, outside):
    call = "python3 -c 'import socket; socket.create_connection((\"%s\", %s), 5)'"
    with outside.listening(7003):
        assert host.run(call % ("127.0.0.1", 7003)).rc == 0
    assert host.run("apt-get update -q -o APT::Update::Error-Mode=any").rc == 0


def test_ping_is_answered(outside):
    """Echo request and reply, checksums included."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)) as icmp:
        icmp.settimeout(5)
        icmp.connect((outside.address, 0))
        icmp.send(bytes((8, 0, 0xF7, 0xFF, 0, 0, 0, 0)))
        assert icmp.recv(100)[20] == 0


def test_ports_of_ssh_and_own_rules_are_in_the_table(outside):
    rules = outside.rules()
    assert "policy drop;" in rules
    assert "tcp dport { 22, 2022 } accept" in rules
    assert "udp dport 7020 accept" in rules
    assert "tcp dport { 80, 443, 7001, 7010-7012 } accept" in rules


def test_visitors_connections_are_not_tracked(outside):
    assert "tcp dport { 80, 443 } fib daddr type local jump front" in outside.rules()


def test_boot_loads_the_rules(host, outside):
    unit = host.service("hosted-firewall")
    assert (unit.is_enabled, unit.is_running) == (True, True)
    before = outside.rules()
    host.check_output("systemctl restart hosted-firewall")
    assert outside.rules() == before
    assert host.service("nftables").is_enabled is False


# --- sshd


def test_sshd_takes_keys_only(outside, tmp_path):
    """Although the provider's own file says otherwise."""
    settings = outside.sshd()
    wanted = {
        "passwordauthentication": "no",
        "kbdinteractiveauthentication": "no",
        "permitrootlogin": "without-password",
        "permitemptypasswords": "no",
        "logingracetime": "30",
        "x11forwarding": "no",
        "permituserenvironment": "no",
        "pubkeyauthentication": "yes",
        "maxstartups": "60:30:120",
        "persourcemaxstartups": "10",
        "persourcenetblocksize": "32:64",
    }
    assert {key: settings[key] for key in wanted} == wanted
    assert not re.search(r"hmac-sha1|umac-64", settings["macs"])
    assert "etm@openssh.com" in settings["macs"]
    assert "group14" not in settings["kexalgorithms"]
    refused = outside.with_password(tmp_path)
    assert refused.returncode == 255
    assert "Permission denied (publickey)" in refused.stderr


def test_key_opens(outside):
    """Also one that is where only the provider's file looks."""
    keys = ".ssh/authorized_keys /etc/ssh/provider/%u /etc/ssh/authorized_keys.d/%u"
    assert outside.sshd()["authorizedkeysfile"] == keys
    assert outside.ssh().returncode == 0
    assert outside.ssh(user="guest").returncode == 0


# --- upgrades


def test_upgrades_are_of_security_only(host):
    run = host.run("unattended-upgrade --dry-run --debug")
    assert run.rc == 0, run.stderr
    said = run.stdout + run.stderr
    (origins,) = re.findall(r"Allowed origins are: (.*)", said)
    codename = host.check_output(". /etc/os-release && echo $VERSION_CODENAME")
    assert origins == f"origin=Debian,codename={codename}-security,label=Debian-Security"


def test_upgrades_come_each_day_and_never_reboot(host):
    settings = host.check_output("apt-config dump")
    for line in (
        'APT::Periodic::Update-Package-Lists "1";',
        'APT::Periodic::Unattended-Upgrade "1";',
        'Unattended-Upgrade::Automatic-Reboot "false";',
    ):
        assert settings.count(line) == 1
    assert host.service("apt-daily-upgrade.timer").is_enabled
    assert host.service("apt-daily-upgrade.timer").is_running


# --- limits of logs, the kernel's settings, the clock


def test_journal_is_limited_and_lasts(host):
    said = host.check_output("journalctl -b -u systemd-journald -o cat --no-pager")
    assert re.findall(r"System Journal \(/var/log/journal/\S+\) is [0-9.]+[KM], max 500(?:\.0)?M", said)
    assert host.check_output("ls /var/log/journal")


def test_kernels_settings_are_read(host):
    """A container may not change them; what systemd reads at boot is all that can be seen here."""
    read = host.check_output("/usr/lib/systemd/systemd-sysctl --cat-config")
    for line in (
        "-net.core.somaxconn = 4096",
        "-kernel.kptr_restrict = 1",
        "-fs.protected_symlinks = 1",
        "-kernel.unprivileged_userns_clone = 0",
    ):
        assert f"\n{line}\n" in read
    assert host.run("/usr/lib/systemd/systemd-sysctl /etc/sysctl.d/60-hosted.flask.conf").rc == 0
    assert int(host.check_output("cat /proc/sys/net/core/somaxconn")) >= 2048


def test_container_keeps_the_clock_of_its_machine(host):
    assert not host.package("systemd-timesyncd").is_installed
