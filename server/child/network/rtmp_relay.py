"""A port of loopback that leads to one host, for RTMP, which ffmpeg cannot fetch through a proxy.

As with `server.child.network.proxy`, Python connects, so the guard checks the address. ffmpeg may connect to
this port and to no other, even if the host redirects it.
"""

import socket
import threading
from collections.abc import Callable
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Self

from server.child.network.guard import AddressBlocked
from server.child.network.proxy import dialer, hand_on


class Relay(ThreadingTCPServer):
    """Runs in threads while the `with` block lasts. Used in place of a `Proxy`, but has no proxy `url`.

    `failed` is the error of the last connection that could not be made: ffmpeg sees only a closed connection.
    """

    daemon_threads = True
    block_on_close = False
    url = None

    def __init__(self, host: str, port: int, pace: Callable[[int], None], upstream: str | None) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.port: int = self.server_address[1]
        self.pace = pace
        self.refused: AddressBlocked | None = None
        self.failed: OSError | None = None
        self._dial = dialer(upstream)
        self._host = host, port

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.1,), name="relay", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def connect(self) -> socket.socket | None:
        """A connection to the host; None if it cannot be made. Then ffmpeg's own connection is closed."""
        try:
            return self._dial(*self._host)
        except AddressBlocked as error:
            self.refused = error
        except OSError as error:
            self.failed = error
        return None


class _Connection(BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        if upstream := self.server.connect():
            with upstream:
                hand_on(self.request, upstream, self.server.pace)
