"""Ports on loopback for programs that have to be told one."""

import random
import socket
from contextlib import suppress
from pathlib import Path

BEHIND = 10_080
"""The last "bad port" of the Fetch standard: browsers open no page there."""


def free_port(host: str = "127.0.0.1") -> int:
    """A free port outside the ephemeral range: no connection, and no server that takes any port, gets it
    before the program listens there, or while it restarts.

    Nor does another test: until this process ends, it holds a name that stands for the port.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(BEHIND + 1, first)
        with suppress(OSError), socket.socket(socket.AF_UNIX) as name:
            name.bind(f"\0clipwire-test-port-{port}")  # in no folder, and gone with this process
            with socket.create_server((host, port)):
                name.detach()
                return port
