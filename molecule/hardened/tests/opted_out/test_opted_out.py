"""With all of it turned off, and then asked for over a connection made with a password."""

from asking import until


def test_everything_may_come_in(host, outside):
    assert outside.rules() == ""
    assert not host.file("/etc/hosted.flask/firewall.nft").exists
    assert not host.file("/etc/systemd/system/hosted-firewall.service").exists
    with outside.listening(7003):
        assert outside.opens(7003)


def test_sshd_takes_passwords_again(host, outside, tmp_path):
    """So the password that was refused before was the right one."""
    assert not host.file("/etc/ssh/sshd_config.d/00-hosted.flask.conf").exists
    until(lambda: outside.with_password(tmp_path).returncode == 0)


def test_upgrades_are_as_the_distribution_has_them(host):
    assert "-security,label" in host.check_output("apt-config dump Unattended-Upgrade::Origins-Pattern")
    assert 'label=Debian"' in host.check_output("apt-config dump Unattended-Upgrade::Origins-Pattern")
    assert not host.file("/etc/systemd/system/apt-daily-upgrade.service.d/hosted.flask.conf").exists


def test_passwords_stay_where_the_connection_is_made_with_one(host, outside, tmp_path):
    """The rest of what makes sshd safer is written, and the next connection with a key ends it."""
    host.check_output("echo guest ALL=NOPASSWD: ALL > /etc/sudoers.d/guest")
    options = "-o PubkeyAuthentication=no -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    run = outside.provision(
        ansible_user="guest",
        ansible_password=outside.password,
        ansible_ssh_common_args=options,
        server_sshd=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "sshd goes on taking passwords" in run.stdout
    assert outside.sshd()["logingracetime"] == "30"
    assert outside.with_password(tmp_path).returncode == 0
    assert outside.provision(server_sshd=True).returncode == 0
    until(lambda: outside.with_password(tmp_path).returncode == 255)
