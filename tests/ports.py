"""Free ports on loopback, for programs that must be told their port."""

import random
import socket
from contextlib import suppress
from pathlib import Path

BEHIND = 10_080
"""The last "bad port" of the Fetch standard: browsers open no page there."""


def free_port(host: str = "127.0.0.1") -> int:
    """Return a free port outside the ephemeral range: neither a connection nor a server on any port takes it
    before the program listens there, or while the program restarts.

    No other test takes it: until this process ends, it holds an abstract socket whose name contains the port.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(BEHIND + 1, first)
        with suppress(OSError), socket.socket(socket.AF_UNIX) as name:
            # An abstract name: it needs no folder, and ends with this process.
            name.bind(f"\0clipwire-test-port-{port}")
            with socket.create_server((host, port)):
                name.detach()
                return port
