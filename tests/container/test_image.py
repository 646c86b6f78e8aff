"""What the image is made of, and what the container's entry does with its words."""

import json

import pytest
from conftest import RELEASE, SKELETON, podman

KEY = "of the test, and of nobody else: 0123456789"
MIB = 1024 * 1024


def inside(image, *command, options=(), check=True):
    """Run a command in a new container."""
    return podman("run", "--rm", "--network=none", "--no-healthcheck", *options, image, *command, check=check)


def test_nothing_that_builds_is_in_it(image):
    names = "gcc cc make node npm pip pip3 git curl"
    found = inside(image, "sh", "-c", f"for name in {names}; do command -v $name; done; true").stdout
    assert found == ""
    packages = set(inside(image, "dpkg-query", "--show", "--showformat=${Package}\\n").stdout.split())
    assert "python3" in packages
    assert not packages & {"gcc", "g++", "make", "nodejs", "npm", "python3-dev", "python3-pip", "python3-venv"}


def test_no_file_is_the_users_own_but_the_data(image):
    """Also without a read-only root file system."""
    find = "find / -xdev -user app -not -path '/proc/*'; find /app /opt/venv -perm /022 -not -type l"
    assert inside(image, "-c", find, options=["--user=0", "--entrypoint=sh"]).stdout.split() == ["/app/instance"]
    assert inside(image, "touch", "/app/wsgi.py", check=False).returncode
    assert inside(image, "touch", "/app/instance/file").returncode == 0


def test_bytecode_is_there(image):
    count = "find /app/app /opt/venv/lib -name '*.{}' | wc -l"
    sources, compiled = (int(inside(image, "sh", "-c", count.format(kind)).stdout) for kind in ("py", "pyc"))
    assert sources > 1000
    assert compiled > 0.95 * sources


def test_what_belongs_to_this_machine_stayed_out(image):
    lent = "cat /etc/pip.conf /root/.npmrc /etc/ssl/build.pem; env"
    said = inside(image, "sh", "-c", lent, check=False).stdout
    assert "cert =" not in said
    assert "cafile" not in said
    assert "BEGIN CERTIFICATE" not in said
    listing = inside(image, "find", "/app", "-name", ".env", "-o", "-name", "node_modules", "-o", "-name", "tests")
    assert listing.stdout == ""


def test_what_the_image_says_of_itself(image):
    about = json.loads(podman("image", "inspect", image).stdout)[0]
    assert about["User"] == "10001:10001"
    assert about["Config"]["StopSignal"] == "SIGTERM"
    assert list(about["Config"]["Volumes"]) == ["/app/instance"]
    assert list(about["Config"]["ExposedPorts"]) == ["8000/tcp"]
    assert about["Healthcheck"]["Test"][0] == "CMD"
    # 150 MiB on Debian's base, which is about 120 here.
    assert about["Size"] < 320 * MIB


def test_front_end_is_built(image):
    if (SKELETON / "frontend").is_dir():
        assert "index.html" in inside(image, "ls", "frontend/dist").stdout
        assert inside(image, "ls", "frontend").stdout.split() == ["dist"]


def test_a_server_that_is_not_known(image):
    done = inside(image, options=["--env=SERVER=apache", f"--env=SECRET_KEY={KEY}"], check=False)
    assert done.returncode == 2
    assert "SERVER must be gevent, gunicorn or uwsgi, not apache" in done.stdout


@pytest.mark.parametrize("server", ["gevent", "gunicorn", "uwsgi"])
def test_no_secret_key(image, server):
    """The container ends, and its last words say what is missing."""
    done = inside(image, options=[f"--env=SERVER={server}"], check=False)
    assert done.returncode
    assert "SECRET_KEY is not set" in done.stdout


def test_sqlite_alone(image):
    """Without any setting but the key: the data is in the volume, jobs are off."""
    script = """
import json, subprocess, time, http.client
subprocess.run(["container/entry", "migrate"], check=True, capture_output=True)
server = subprocess.Popen(["container/entry"])
for _ in range(600):
    time.sleep(0.1)
    try:
        connection = http.client.HTTPConnection("127.0.0.1", 8000)
        connection.request("GET", "/status")
        break
    except OSError:
        pass
print("STATUS", connection.getresponse().read().decode())
server.terminate()
print("ENDED", server.wait(20))
"""
    done = inside(image, "python", "-c", script, options=[f"--env=SECRET_KEY={KEY}"])
    status = json.loads(done.stdout.split("STATUS ")[1].splitlines()[0])
    assert status == {"status": "ok", "release": RELEASE, "database": "ok", "broker": "off"}
    assert "ENDED 0" in done.stdout
