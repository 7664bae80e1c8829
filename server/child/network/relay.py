"""One port of loopback that leads to one host, for what ffmpeg fetches without asking a proxy: RTMP.

As with `server.child.network.proxy`, Python connects, so the guard judges where to. ffmpeg may connect to
this port and to no other, whatever the host tells it.
"""

import socket
import threading
from collections.abc import Callable
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Self

from server.child.network.guard import AddressBlocked
from server.child.network.proxy import dialer, hand_on


class Relay(ThreadingTCPServer):
    """Runs in threads while the block lasts; like a `Proxy`, but that it has no `url` for others to ask.

    `failed` is why there was no connection: ffmpeg only hears that there is none.
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
        """A connection to the host; None if there is none, which ffmpeg sees as a connection that ends."""
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
