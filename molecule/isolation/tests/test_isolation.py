"""What one account may not do to another: each attempt succeeds for its owner, and fails for neighbour and front.

Alice is attacked. Bob tries from a login and from a program of his supervisord, behind its sandbox; www-data is what a
front that somebody broke into has. An attempt that fails for Alice too would prove nothing.
"""

import json
import re
import shlex
import time

import pytest
from asking import CHECKOUT, ask, until

HOME = "/home/alice"
APP = f"{HOME}/apps/alice"
LIVE = f"{APP}/slots/live"
SUPERVISOR = "unix:///run/supervisord/alice/supervisor.sock"
# A folder with bits for everybody, as a careless hand makes it.
OPEN = f"{HOME}/open"

# In Python what a shell cannot do. A denied call raises, which ends it with 1.
CONNECT = "import socket; socket.socket(socket.AF_UNIX).connect({!r})"
BIND = "import os, socket; socket.socket(socket.AF_UNIX).bind({0!r}); os.unlink({0!r})"
C = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def done(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
"""
VM_READ = (
    C
    + """
class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
there = int("{maps}".split("-")[0], 16)
mine = ctypes.create_string_buffer(16)
here, far = Iovec(ctypes.addressof(mine), 16), Iovec(there, 16)
done(libc.process_vm_readv({pid}, ctypes.byref(here), 1, ctypes.byref(far), 1, 0))
"""
)
TRACE = (
    C
    + """
import signal
ATTACH, DETACH = 16, 17
done(libc.ptrace(ATTACH, {pid}, None, None))
os.waitpid({pid}, 0x40000000)
done(libc.ptrace(DETACH, {pid}, None, None))
"""
)
GET_FD = C + "handle = done(libc.syscall(434, {pid}, 0)); done(libc.syscall(438, handle, 0, 0))"
MEMORY = "import os; os.pread(os.open('/proc/{pid}/mem', os.O_RDONLY), 16, int('{maps}'.split('-')[0], 16))"
SHARED = C + "libc.shmat.restype = ctypes.c_long; done(libc.shmat({shared}, None, 0o10000))"


def python(text):
    """Return the command line that runs a text of Python."""
    return "python3 -c " + shlex.quote(text)


def put_back(path):
    """Return the command line that renames something and gives it its name again."""
    return f"mv {path} {path}.taken && mv {path}.taken {path}"


READ = {
    "env": f"{APP}/env",
    "settings": f"{LIVE}/.hosted/env",
    "release.json": f"{LIVE}/release.json",
    "start": f"{LIVE}/.hosted/start",
    "uwsgi.ini": f"{LIVE}/uwsgi.ini",
    "code": f"{LIVE}/wsgi.py",
    "history": f"{APP}/history.jsonl",
    "lock": f"{APP}/.lock",
    "holder": f"{APP}/listen.py",
    "venv": f"{LIVE}/.hosted/venv/pyvenv.cfg",
    "package": f"{LIVE}/.hosted/venv/lib/python3*/site-packages/flask/__init__.py",
    "data": f"{APP}/data/note",
    "open_file": f"{OPEN}/note",
    "log": f"{HOME}/logs/alice.log",
    "supervisord_log": f"{HOME}/logs/supervisord.log",
    "programs": f"{HOME}/etc/services.d/alice.ini",
    "ssh_key": f"{HOME}/.ssh/id_test",
    "note_of_a_login": f"{HOME}/note",
}
FOLDERS = {
    "home": HOME,
    "apps": f"{HOME}/apps",
    "app": APP,
    "releases": f"{APP}/releases",
    "live": f"{LIVE}/",
    "slots": f"{APP}/slots",
    "venvs": f"{APP}/venvs",
    "data": f"{APP}/data",
    "run": f"{APP}/run",
    "logs": f"{HOME}/logs",
    "programs": f"{HOME}/etc/services.d",
    "ssh": f"{HOME}/.ssh",
    "cache": f"{HOME}/.cache",
    "open_folder": OPEN,
    "supervisord": "/run/supervisord/alice",
}
WRITE = ("home", "apps", "app", "releases", "slots", "venvs", "data", "run", "logs", "programs", "ssh", "open_folder",
         "supervisord")  # fmt: skip
SOCKETS = ("live", "current", "listen")
PROC = ("environ", "cmdline", "maps", "status", "stat", "io", "mountinfo")

ATTEMPTS = {
    **{f"read {name}": f"cat {path}" for name, path in READ.items()},
    **{f"list {name}": f"ls {path}" for name, path in FOLDERS.items()},
    **{f"write {name}": f"touch {FOLDERS[name]}/probe && rm {FOLDERS[name]}/probe" for name in WRITE},
    "append data": f"echo >> {APP}/data/note",
    "append log": f"echo >> {HOME}/logs/alice.log",
    "replace env": put_back(f"{APP}/env"),
    "replace programs": put_back(f"{HOME}/etc/services.d/alice.ini"),
    "replace app": put_back(APP),
    "replace live slot": put_back(f"{APP}/slots/live"),
    "replace address": put_back(f"{APP}/run/current.sock"),
    "replace supervisord's socket": put_back("/run/supervisord/alice/supervisor.sock"),
    "link env": f"ln {APP}/env {APP}/../probe && rm {APP}/../probe",
    "link env to own": f"rm -f $HOME/probe; ln {APP}/env $HOME/probe && rm $HOME/probe",
    "point into run": f"ln -s live.sock {APP}/run/probe && rm {APP}/run/probe",
    "chmod data": f"chmod 700 {APP}/data",
    **{f"connect {name}": python(CONNECT.format(f"{APP}/run/{name}.sock")) for name in SOCKETS},
    "connect supervisord": python(CONNECT.format("/run/supervisord/alice/supervisor.sock")),
    "connect data": python(CONNECT.format(f"{APP}/data/hand.sock")),
    "bind in run": python(BIND.format(f"{APP}/run/probe.sock")),
    "bind in data": python(BIND.format(f"{APP}/data/probe.sock")),
    "bind beside supervisord": python(BIND.format("/run/supervisord/alice/probe.sock")),
    "supervisorctl status": f"supervisorctl -s {SUPERVISOR} pid",
    "supervisorctl signal": f"supervisorctl -s {SUPERVISOR} signal CONT alice-hand",
    "supervisorctl tail": f"supervisorctl -s {SUPERVISOR} tail alice",
    "signal 0": "kill -0 {pid}",
    "signal CONT": "kill -CONT {pid}",
    "signal group": "kill -s CONT -- -{pid}",
    "renice": "renice -n 5 -p {pid}",
    "limits": "prlimit --pid {pid} --core=0:0",
    "see in ps": "ps -o args= -p {pid} | grep -q .",
    "see by account": "pgrep -u alice > /dev/null",
    **{f"proc {name}": f"cat /proc/{{pid}}/{name}" for name in PROC},
    **{f"proc {name}": f"readlink /proc/{{pid}}/{name}" for name in ("cwd", "exe", "root")},
    "proc fd": "ls -l /proc/{pid}/fd/",
    "proc code by cwd": "cat /proc/{pid}/cwd/wsgi.py",
    "proc folder": "test -d /proc/{pid}",
    "proc oom": "cat /proc/{pid}/oom_score_adj && echo 1000 > /proc/{pid}/oom_score_adj",
    "proc mem": python(MEMORY),
    "read memory": python(VM_READ),
    "see in /tmp": "ls /tmp | grep -q of-alice",
    "read /tmp": "cat /tmp/of-alice",
    "see in /var/tmp": "ls /var/tmp | grep -q of-alice",
    "read /var/tmp": "cat /var/tmp/of-alice",
    "see in /run/lock": "ls /run/lock | grep -q of-alice",
    "read /run/lock": "cat /run/lock/of-alice",
    "see in /dev/shm": "ls /dev/shm | grep -q of-alice",
    "read /dev/shm": "cat /dev/shm/of-alice",
}
# The sandbox denies these to Alice's own programs too: they are tried from logins.
OF_LOGINS = {
    "trace": python(TRACE),
    "take a descriptor": python(GET_FD),
    "shared memory": python(SHARED),
}
# What visitors come through: the front may do this much, and Bob may not.
# The home is open to it for passing through, so it finds what an account opens to the whole world there.
OF_THE_FRONT = {"connect live", "connect current", "read open_file", "list open_folder", "write open_folder"}
# Denied to all accounts, Alice too; for root each is a matter of course.
OF_ROOT = {
    "shadow": "cat /etc/shadow",
    "supervisord's configuration": "test -w /etc/supervisord.conf",
    "units": "touch /etc/systemd/system/probe && rm /etc/systemd/system/probe",
    "drop-ins": "cd /etc/systemd/system/supervisord@alice.service.d && touch probe && rm probe",
    "sites": "touch /etc/nginx/hosted.flask/probe && rm /etc/nginx/hosted.flask/probe",
    "sites of others": "cat /etc/nginx/hosted.flask/*.app.conf",
    "what the front says": "cat /var/log/nginx/error.log",
    "state of the host": "touch /var/lib/hosted.flask/probe && rm /var/lib/hosted.flask/probe",
    "uv": "touch /opt/hosted.flask/probe && rm /opt/hosted.flask/probe",
    "beside supervisord's folders": "mkdir /run/supervisord/probe && rmdir /run/supervisord/probe",
    "folders of the system": "mkdir /srv/probe && rmdir /srv/probe",
    "tmp of others": "ls /var/lib/hosted.flask/tmp",
    "become": "setpriv --reuid=alice --clear-groups true",
    "log in": "su alice -c true < /dev/null",
    "sudo": "sudo -n true",
    "stop a service": "systemctl kill --signal=CONT supervisord@alice.service",
    "processes of a unit": (
        "busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager"
        " GetUnitProcesses s supervisord@alice.service | grep -q uwsgi"
    ),
    "processes of a service": (
        "busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1/unit/supervisord_40alice_2eservice"
        " org.freedesktop.systemd1.Service GetProcesses | grep -q uwsgi"
    ),
    "mount": "mount -t tmpfs none /mnt && umount /mnt",
    "other namespace": "nsenter --mount --target 1 true",
    "chroot": "chroot / true",
    "cron of another": "test -w /var/spool/cron/crontabs -o -w /var/spool -o -w /etc/cron.d",
    "become root": "setpriv --reuid=0 true",
}


# The filesystems in memory that one can write to: device and one such folder. What another mount covers has its device.
FILLABLE = """
import json, os
found = {}
for line in open("/proc/self/mountinfo"):
    words = line.split()
    device = os.makedev(*map(int, words[2].split(":")))
    if words[words.index("-") + 1] in ("tmpfs", "ramfs", "devtmpfs"):
        for folder, _, _ in os.walk(words[4]):
            if os.stat(folder).st_dev == device and os.access(folder, os.W_OK):
                found.setdefault(device, folder)
print(json.dumps(found))
"""
# Runs on the host: all attempts one after the other, each code as it ends.
RUNNER = """
import json, subprocess, sys
codes = {}
for name, command in json.load(open("/srv/attempts.json")).items():
    run = subprocess.run(["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    codes[name] = run.returncode
print(json.dumps(codes))
"""
# A word to a hand (apps/plain/hand.py), and its answer.
ASK_HAND = """
import socket, sys
with socket.socket(socket.AF_UNIX) as hand:
    hand.connect(f"/home/{sys.argv[1]}/apps/{sys.argv[1]}/data/hand.sock")
    hand.sendall(sys.argv[2].encode())
    hand.shutdown(socket.SHUT_WR)
    print(hand.makefile().read())
"""
AS_FRONT = "setpriv --reuid=www-data --regid=www-data --init-groups env HOME=/var/www"


def login(host, account, command):
    """Return what a command prints that an account runs, logged in."""
    return host.check_output(f"su - {account} -c %s", command)


def program(host, account, command):
    """Return what a command prints that a program of an account's supervisord runs."""
    code, out, err = json.loads(host.check_output("python3 -c %s %s %s", ASK_HAND, account, command))
    assert code == 0, err
    return out


@pytest.fixture(scope="module")
def codes(host):
    """Let everybody try everything, and return the exit codes by who and what."""
    until(lambda: ask(host, name="alice.example").status == ask(host, name="bob.example").status == 200)
    until(lambda: host.run("su - alice -c 'supervisorctl status'").stdout.count("RUNNING") == 3)
    until(lambda: host.run("su - bob -c 'supervisorctl status'").stdout.count("RUNNING") == 3)
    # What runs may not listen yet.
    until(lambda: program(host, "alice", "true") == program(host, "bob", "true") == "")
    make = (
        "mkdir -p .ssh .cache open && chmod 777 open && echo mine > .ssh/id_test && echo mine > note"
        f" && echo mine > open/note && chmod 666 open/note && echo mine > {APP}/data/note && chmod 666 {APP}/data/note"
        " && for at in /tmp /var/tmp /dev/shm /run/lock; do echo mine > $at/of-alice && chmod 666 $at/of-alice; done"
    )
    login(host, "alice", make)
    program(host, "alice", make)
    pid = host.check_output("pgrep -u alice -f bin/uwsgi | head -n 1")
    maps = host.check_output(f"head -n 1 /proc/{pid}/maps")
    shared = login(host, "alice", "ipcmk -M 4096 -p 0600").split()[-1]
    words = {"pid": pid, "maps": maps, "shared": shared}
    commands = {
        name: re.sub(r"\{(pid|maps|shared)\}", lambda match: words[match[1]], command)
        for name, command in {**ATTEMPTS, **OF_LOGINS, **OF_ROOT}.items()
    }
    host.check_output(
        "printf %s %s > /srv/attempts.json; printf %s %s > /srv/attempts.py", "%s", json.dumps(commands), "%s", RUNNER
    )
    run = "python3 /srv/attempts.py"
    ways = {
        "root": lambda: host.check_output(run),
        "alice": lambda: login(host, "alice", run),
        "alice's program": lambda: program(host, "alice", run),
        "bob": lambda: login(host, "bob", run),
        "bob's program": lambda: program(host, "bob", run),
        "front": lambda: host.check_output(f"cd / && {AS_FRONT} {run}"),
    }
    yield {who: json.loads(way()) for who, way in ways.items()}
    host.run(f"ipcrm -m {shared}")


def may(codes, attempt):
    """Return who succeeded."""
    return {who for who, found in codes.items() if found[attempt] == 0}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_attempt_succeeds_for_its_owner_only(codes, attempt):
    others = {"front"} if attempt in OF_THE_FRONT else set()
    assert may(codes, attempt) - {"root"} == {"alice", "alice's program"} | others


@pytest.mark.parametrize("attempt", OF_LOGINS)
def test_attempt_succeeds_for_a_login_of_its_owner_only(codes, attempt):
    assert may(codes, attempt) - {"root"} == {"alice"}


@pytest.mark.parametrize("attempt", OF_ROOT)
def test_attempt_succeeds_for_root_only(codes, attempt):
    # Logs are opened again by nginx's workers when they begin anew.
    others = {"front"} if attempt == "what the front says" else set()
    assert may(codes, attempt) == {"root"} | others


def test_home_of_another_is_not_even_there_for_a_program(host):
    assert login(host, "bob", "ls /home").split() == ["alice", "bob"]
    assert program(host, "bob", "ls /home").split() == ["bob"]


@pytest.mark.parametrize("way", [login, program])
def test_an_account_fills_no_memory_that_others_need(host, way):
    """Of the filesystems in memory it writes to none that another account or the host itself has something in."""
    alice, bob = (json.loads(way(host, account, python(FILLABLE))) for account in ("alice", "bob"))
    assert "/run/supervisord/alice" in alice.values()
    assert "/run/supervisord/bob" in bob.values()
    assert not alice.keys() & bob.keys(), (alice, bob)
    hosts = set(host.check_output("stat -c %d /run /run/lock /run/supervisord /dev /dev/shm /tmp").split())
    assert not alice.keys() & hosts, alice
    full = "/run/supervisord/alice/full"
    assert "No space left" in host.run(f"su - alice -c 'cat /dev/zero > {full}'").stderr
    host.check_output(f"rm {full}")


def test_who_sits_in_a_folder_in_memory_gets_no_second_one(host):
    """Each restart of supervisord makes a new one, wherever its owner is."""
    folder = "/run/supervisord/alice"
    host.check_output(f"systemd-run --unit=sitting su - alice -c 'cd {folder} && exec sleep 300'")
    until(lambda: host.run("readlink /proc/$(pgrep -u alice -x sleep)/cwd").stdout.strip() == folder)
    try:
        host.check_output("systemctl restart supervisord@alice")
        assert host.check_output(f"grep -c ' {folder} ' /proc/mounts") == "1"
        until(lambda: login(host, "alice", "supervisorctl status || :").count("RUNNING") == 3)
    finally:
        host.check_output("systemctl stop sitting")


def test_programs_are_shut_in(host):
    """The sandbox of systemd's own judgement; 2.5 is what the best of Debian's own units have."""
    security = host.check_output("systemd-analyze security --no-pager supervisord@alice.service")
    exposure = float(re.search(r"exposure level for \S+: ([0-9.]+)", security)[1])
    assert exposure <= 2.5, security


def test_hook_leaves_nothing_where_others_could_see_it(host):
    """It ran with each deploy, in folders that were empty: see the inventory."""
    assert "migrate: test -z" in (CHECKOUT / "molecule/isolation/inventory/group_vars/all/apps.yml").read_text()
    assert host.check_output("find /tmp /var/tmp /dev/shm -name of-a-hook") == ""


def test_an_account_leads_its_visitors_to_no_other_app(host):
    """Past all that the front does for that one: its limits, its maintenance, its log."""
    address = "apps/bob/run/current.sock"
    before = login(host, "bob", f"readlink {address}")
    assert ask(host, name="bob.example").status == 200
    login(host, "bob", f"ln -sfn {APP}/run/live.sock {address}")
    try:
        assert ask(host, name="bob.example").status == 421
    finally:
        login(host, "bob", f"ln -sfn {before} {address}")
    assert ask(host, name="bob.example").status == 200


def test_a_job_has_the_limits_and_the_folders_of_a_login(host):
    """Of cron and of at, whose way through PAM is the same."""
    host.check_output("DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends at")
    login(host, "alice", "rm -f job; echo 'cat /proc/self/cgroup > part; ls /tmp >> part; mv part job' | at now")
    until(lambda: host.file(f"{HOME}/job").exists)
    seen = host.file(f"{HOME}/job").content_string
    assert f"/user.slice/user-{host.user('alice').uid}.slice/" in seen
    assert "of-alice" in seen


def test_what_apps_do_still_works_in_there(host):
    for command in (
        'python3 -c \'import sqlite3; sqlite3.connect("instance/x.db").execute("create table if not exists t (a)")\'',
        "python3 -c 'import multiprocessing; multiprocessing.Pool(2).map(abs, [1, -2])'",
        "python3 -c 'import threading; threading.Thread(target=print).start()'",
        "python3 -c 'import ctypes; ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 1)()'",
        "python3 -c 'import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)'",
        "python3 -c 'import tempfile; tempfile.TemporaryFile()'",
        "python3 -c 'import socket; socket.getaddrinfo(\"localhost\", 80); socket.socket(socket.AF_INET6)'",
        "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 80))'",
        "python3 -c 'import shutil, os; os.chown(\"instance/x.db\", -1, os.getgid())'",
        "grep -q MemTotal /proc/meminfo && nproc && nice true && date",
    ):
        program(host, "alice", f"cd {LIVE} && {command}")


# Connections to a port of the host, from many of its own addresses and all open at once; prints how many there are.
CONNECTIONS = """
import socket
kept = []
for number in range({count}):
    client = socket.socket()
    client.settimeout(5)
    try:
        client.connect((f"127.0.{{number % 200}}.{{number // 200 + 1}}", {port}))
        kept.append(client)
    except OSError:
        client.close()
print(len(kept))
"""


@pytest.mark.parametrize(("port", "count", "most"), [(22, 30, 3), (80, 300, 100)], ids=["ssh", "front"])
@pytest.mark.parametrize("way", [login, program])
def test_an_account_leaves_others_their_connections_to_the_host(host, way, port, count, most):
    """Wherever on 127.0.0.0/8 it goes; root is as free as before, though sshd itself has but so many places."""
    text = python(CONNECTIONS.format(port=port, count=count))
    assert int(way(host, "alice", text)) <= most
    assert int(host.check_output(text)) == count


def test_an_account_fills_no_table_of_connections(host):
    """Its own to itself count, too: each stays in there for two minutes."""
    churn = """
import contextlib, socket
listener = socket.create_server(("127.0.0.1", 0))
made = 0
for _ in range(4000):
    with socket.socket() as client, contextlib.suppress(OSError):
        client.settimeout(5)
        client.connect(listener.getsockname())
        listener.accept()[0].close()
        made += 1
print(made)
"""
    count = "cat /proc/sys/net/netfilter/nf_conntrack_count"
    begin, before = time.monotonic(), int(host.check_output(count))
    made = int(program(host, "alice", python(churn)))
    seconds = time.monotonic() - begin
    assert made <= 500 + 200 * seconds
    assert int(host.check_output(count)) - before <= made + 200
    assert ask(host, name="bob.example").status == 200


@pytest.mark.parametrize("way", [login, program])
def test_an_account_reads_no_secrets_of_the_cloud(host, way):
    """The host does."""
    host.check_output("ip address add 169.254.169.254/32 dev lo")
    host.check_output("systemd-run --unit=metadata python3 -m http.server --bind 169.254.169.254 8169")
    try:
        get = python(
            "import urllib.request; print(urllib.request.urlopen('http://169.254.169.254:8169/', timeout=5).status)"
        )
        until(lambda: host.run(get).stdout == "200\n")
        end = f"{get} 2>&1 || :"
        assert re.search(r"No route to host|Permission denied", way(host, "alice", end))
    finally:
        host.check_output("systemctl stop metadata; ip address del 169.254.169.254/32 dev lo")


def test_attempts_broke_nothing(host):
    """Run last: both apps serve as before."""
    for account in ("alice", "bob"):
        answer = ask(host, name=f"{account}.example")
        assert (answer.status, answer.text) == (200, "here")
        until(lambda account=account: login(host, account, "supervisorctl status || :").count("RUNNING") == 3)
