"""compose.yaml: what it refuses, what it exposes, and what runs of it beside the web server."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import SKELETON, until

TEXT = (SKELETON / "compose.yaml").read_text()
SERVICES = yaml.safe_load(TEXT)["services"]
SECRETS = ("POSTGRES_PASSWORD", "SECRET_KEY")


def resolve(folder, **values):
    """Let podman-compose read the file with these variables."""
    (folder / "env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    command = [Path(sys.executable).with_name("podman-compose"), "--env-file", folder / "env", "config"]
    return subprocess.run(command, cwd=SKELETON, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)


@pytest.mark.parametrize("value", [None, ""], ids=["absent", "empty"])
@pytest.mark.parametrize("name", SECRETS)
def test_a_missing_secret_is_refused(name, value, tmp_path):
    values = dict.fromkeys(SECRETS, "something") | {name: value}
    done = resolve(tmp_path, **{key: word for key, word in values.items() if word is not None})
    assert done.returncode
    assert "put it into .env" in done.stderr


def test_with_its_secrets_it_is_accepted(tmp_path):
    done = resolve(tmp_path, **dict.fromkeys(SECRETS, "something"))
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) >= {"app", "worker", "beat", "migrate", "postgres", "redis"}


def test_no_secret_is_written_down():
    for line in TEXT.splitlines():
        if re.match(r"\s+(\w*PASSWORD|\w*KEY|\w*TOKEN):", line):
            assert re.search(r": \$\{\w+(:\?[^}]+|:-)\}$", line), line


def test_every_service_is_hardened():
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == ("no" if name == "migrate" else "unless-stopped"), name
        assert "privileged" not in service, name
        assert "cap_add" not in service, name


def test_ports_are_for_this_machine_only():
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(ports) == {"app", "flower", "adminer"}
    assert all(len(port) == 1 and "127.0.0.1:" in port[0] for port in ports.values())
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["tools"]} == {"flower", "adminer"}


def test_the_database_cannot_be_reached_from_outside():
    assert yaml.safe_load(TEXT)["networks"]["data"] == {"internal": True}
    assert SERVICES["postgres"]["networks"] == ["data"]


def test_the_broker_has_no_network(data):
    """Without a password it must not: each account of the machine reaches the addresses of containers."""
    assert "networks" not in SERVICES["redis"]
    assert data.inspect("redis", "{{ .HostConfig.NetworkMode }}") == "none"
    assert data.exec("redis", "redis-cli", "-p", "6379", "ping", check=False).returncode
    assert data.exec("redis", "redis-cli", "-s", "/data/redis.sock", "ping").stdout.strip() == "PONG"


def test_no_registry_is_named():
    images = re.findall(r"image: \$\{\w+:-([^}]+)\}", TEXT) + re.findall(r"BASE_IMAGE=(\S+)", TEXT)
    assert len(images) == 5
    assert not [image for image in images if "." in image.split("/")[0]]


def test_worker_is_healthy(data):
    data.wait("worker")


def test_beat_runs_and_keeps_its_schedule(data):
    until(lambda: data.exec("beat", "ls", "instance/beat-schedule", check=False).returncode == 0, 20, data.logs)


def test_a_second_migration_changes_nothing(data):
    said = data.compose("run", "--rm", "--no-deps", "migrate").stdout
    assert "Running upgrade" not in said


def test_root_is_read_only(data):
    for service in ("worker", "beat", "postgres", "redis"):
        done = data.exec(service, "touch", "/file", check=False)
        assert "Read-only file system" in done.stdout, service


def test_worker_ends_gracefully(data):
    """It says goodbye to the broker; without that its job would wait for another worker."""
    data.compose("stop", "--timeout=35", "worker")
    assert data.inspect("worker", "{{ .State.ExitCode }}") == "0"
    data.compose("start", "worker")
