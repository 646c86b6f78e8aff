"""A server with the defaults: what must be true after the first deploy, and after a reboot."""

import re
import subprocess

import pytest
from asking import ask, pids, until

APP = "/home/basic_flask/apps/basic_flask"


# Folders in which somebody could look around.
FOLDERS = f"/home/basic_flask {APP}/run {APP}/data {APP}/slots/live {APP}/slots/live/app {APP}/slots/live/static"


def as_user(host, user, command):
    """Run a command with an account's rights and no login."""
    group = {"nobody": "nogroup"}.get(user, user)
    return host.run(f"setpriv --reuid={user} --regid={group} --init-groups {command}")


def account(host, command):
    """Run a command as the app's account, logged in."""
    return host.run("su - basic_flask -c %s", command)


@pytest.fixture(autouse=True)
def up(host):
    until(lambda: ask(host).status == 200)


def test_systemd_has_no_failed_unit(host):
    assert host.check_output("systemctl --failed --plain --no-legend") == ""
    assert host.check_output("systemctl is-system-running") == "running"


# --- what a visitor gets


def test_answer_names_the_live_release(host):
    live = host.check_output(f"readlink {APP}/slots/live")
    assert re.fullmatch("../releases/[0-9a-f]{12}", live)
    assert ask(host).release == live.rpartition("/")[2]


def test_static_files_come_from_the_front(host):
    answer = ask(host, "/static/style.css")
    assert (answer.status, answer.headers["Content-Type"], answer.release) == (200, "text/css", None)
    assert ask(host, "/static/style.css", If_None_Match=answer.headers["ETag"]).status == 304


def test_missing_page_is_the_apps(host):
    answer = ask(host, "/missing")
    assert answer.status == 404
    assert answer.release


@pytest.mark.parametrize("url", ["/static/../wsgi.py", "/static/%2e%2e/wsgi.py", "/static../wsgi.py", "/static/"])
def test_front_shows_no_source_and_no_listing(host, url):
    answer = ask(host, url)
    assert answer.status in (400, 403, 404)
    assert "create_app" not in answer.text


@pytest.mark.parametrize("header", ["X_Forwarded_For", "X_Real_IP", "Forwarded"])
def test_address_cannot_be_spoofed(host, header):
    """The app shows the address that the front sees, here this machine's end of the container's network."""
    gateway = host.check_output("ip route show default").split()[2]
    said = "for=203.0.113.9" if header == "Forwarded" else "203.0.113.9"
    assert f'<dd id="address">{gateway}</dd>' in ask(host, **{header: said}).text


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Forwarded_Proto": "https"},
        {"X_Forwarded_Prefix": "/evil"},
        {"X_Forwarded_Host": "evil.example"},
        {"X_Forwarded_Port": "666"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_place_cannot_be_spoofed(host, headers):
    answer = ask(host, **headers)
    assert "Secure" not in answer.headers["Set-Cookie"]
    assert "evil" not in answer.text
    assert "Path=/;" in answer.headers["Set-Cookie"]


def test_cookie_is_kept_over_requests(host):
    first = ask(host)
    again = ask(host, Cookie=first.headers["Set-Cookie"].partition(";")[0])
    assert '<dd id="visits">2</dd>' in again.text


# --- the account


def test_account_is_unprivileged(host):
    user = host.user("basic_flask")
    assert user.uid >= 1000
    assert user.groups == ["basic_flask"]
    # No password opens it, only a key.
    assert user.password == "!"
    assert account(host, "sudo -n true").rc != 0


def test_account_logs_in_by_its_own_key(host):
    """Day-to-day work needs no root: ssh as the account, then supervisorctl without any option."""
    variables = host.ansible.get_variables()
    options = variables["ansible_ssh_common_args"].split()
    host.check_output("install -d -o basic_flask -m 0700 ~basic_flask/.ssh")
    host.check_output("install -o basic_flask -m 0600 /root/.ssh/authorized_keys ~basic_flask/.ssh/")
    try:
        ssh = ["ssh", "-o", "ControlPath=none", "-p", str(variables["ansible_port"]), *options]
        run = subprocess.run(
            [*ssh, "basic_flask@127.0.0.1", "supervisorctl status basic_flask; whoami"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        assert re.fullmatch(r"basic_flask +RUNNING .*\nbasic_flask\n", run.stdout), run.stderr
    finally:
        host.check_output("rm -r ~basic_flask/.ssh")


def test_restart_by_the_account(host):
    before = pids(host, "^basic_flask .*bin/uwsgi ")
    restart = account(host, "supervisorctl restart basic_flask")
    assert restart.stdout.splitlines() == ["basic_flask: stopped", "basic_flask: started"]
    until(lambda: ask(host).status == 200)
    assert not set(before) & set(pids(host, "^basic_flask .*bin/uwsgi "))


def test_log_by_the_account(host):
    assert "WSGI app 0" in account(host, "supervisorctl tail basic_flask").stdout


def test_programs_belong_to_the_account(host):
    for program in ("bin/supervisord ", "bin/uwsgi "):
        assert pids(host, program)
        assert pids(host, program) == pids(host, f"^basic_flask .*{program}")


# --- who may do what


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/home/basic_flask", "basic_flask:www-data 710"),
        (f"{APP}/run", "basic_flask:www-data 2710"),
        (f"{APP}/run/live.sock", "basic_flask:www-data 660"),
        (f"{APP}/env", "600"),
        (f"{APP}/data", "700"),
        (f"{APP}/slots/live/release.json", "400"),
        (f"{APP}/slots/live/.hosted/env", "400"),
        (f"{APP}/slots/live/wsgi.py", "400"),
        ("/run/supervisord/basic_flask", "basic_flask:basic_flask 700"),
    ],
)
def test_modes(host, path, wanted):
    mode = host.check_output("stat -L -c '%%U:%%G %%a' %s", path)
    assert mode.endswith(wanted)


def test_socket_of_the_front_leads_to_live(host):
    assert host.check_output(f"readlink {APP}/run/current.sock") == "live.sock"


@pytest.mark.parametrize(("user", "opens"), [("www-data", True), ("nobody", False), ("daemon", False)])
def test_socket_opens_for_the_front_only(host, user, opens):
    connect = f"import socket; socket.socket(socket.AF_UNIX).connect('{APP}/run/current.sock')"
    run = as_user(host, user, f'python3 -c "{connect}"')
    assert (run.rc == 0) is opens
    assert opens or "PermissionError" in run.stderr


@pytest.mark.parametrize("user", ["www-data", "nobody"])
def test_others_read_nothing_of_the_app(host, user):
    """The front reads static files; settings, code, data and logs stay with the account."""
    found = as_user(host, user, f"find -L {FOLDERS} -maxdepth 1 -type f -readable").stdout.split()
    assert {path.rpartition("/")[2] for path in found} == (
        {"style.css", "icon.svg", "docs.js"} if user == "www-data" else set()
    )


def test_root_reads_nothing_that_the_account_can_write(host):
    """Else the account could become root, or every other account."""
    config = host.check_output("nginx -T 2>/dev/null")
    files = re.findall("^# configuration file (.+):$", config, re.MULTILINE)
    units = host.check_output(
        "systemctl show -p FragmentPath -p DropInPaths -p EnvironmentFiles --value supervisord@basic_flask nginx"
    ).split()
    assert "/etc/nginx/hosted.flask/_.site.conf" in files
    assert "/etc/systemd/system/supervisord@.service" in units
    places = "/etc /opt /usr /var/lib /var/log /root"
    # Its own env proves that the search finds what it can write.
    found = as_user(host, "basic_flask", f"find {APP}/env {places} -xdev ! -type l -writable").stdout.split()
    assert found == [f"{APP}/env"]
    outside = [file for file in files + units if not file.startswith(("/etc/", "/usr/", "/lib/"))]
    assert outside == []


def test_no_compiler_on_the_host(host):
    assert host.run("command -v cc gcc g++ make").stdout == ""


def test_generated_files_say_so(host):
    files = [
        "/etc/supervisord.conf",
        "/etc/systemd/system/supervisord@.service",
        "/etc/nginx/nginx.conf",
        "/etc/nginx/hosted.flask/*",
        "/etc/nginx/conf.d/hosted.flask.conf",
        "/home/basic_flask/etc/services.d/*",
        f"{APP}/slots/live/uwsgi.ini",
        f"{APP}/slots/live/.hosted/serve",
    ]
    assert host.check_output(f"grep -Li 'managed by ansible\\|ansible managed' {' '.join(files)}; :") == ""
