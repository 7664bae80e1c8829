"""Opens the port of the service, and makes the links to it."""

import asyncio
import errno
import logging

from aiohttp import web

from server.settings import ConfigurationError, ServerSettings

log = logging.getLogger(__name__)

# A wildcard address -> an address of the same family that opens in a browser.
_BROWSABLE: dict[str, str] = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class AddressInUse(Exception):
    """Another program uses the port."""


async def listen(runner: web.AppRunner, settings: ServerSettings) -> None:
    """Open the port and log its links. Raises `AddressInUse`, `ConfigurationError`.

    For `::` it opens a socket for each family: one dual-stack socket would show IPv4 clients as IPv4-mapped
    IPv6 addresses.
    """
    port = settings.port
    for host in _BROWSABLE if settings.host == "::" else (settings.host,):
        await _open(runner, host, port)
        # For port 0 the system has chosen one; use the same for both families.
        port = port or runner.addresses[0][1]
    for address, number, *_ in runner.addresses:
        family = "IPv6" if ":" in address else "IPv4"
        others = f" (and on every other {family} address)" if address in _BROWSABLE else ""
        link = f"http://{reachable(address)}:{number}{settings.base_path}"
        log.info("listening on %s%s", link, others)


async def _open(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await _Site(runner, host, port).start()
    except UnicodeError:  # raised for an empty label in a host name, or one longer than 63 characters
        raise ConfigurationError(f"server.host: {host!a} is no host name") from None
    except OSError as exc:
        reason = exc.strerror or str(exc)
        if exc.errno == errno.EADDRINUSE:
            raise AddressInUse(f"{host} port {port} is used by another program") from None
        raise ConfigurationError(f"server.host, server.port: {host} port {port}: {reason}") from None


class _Site(web.TCPSite):
    """A TCP site that stops in two steps: first it accepts no more connections, then it closes.

    Otherwise a connection that the event loop has accepted, but that has no transport yet when the server
    closes, fails in an assertion of asyncio and is never closed.
    """

    async def stop(self) -> None:
        loop = asyncio.get_running_loop()
        for listening in self._server.sockets if isinstance(self._server, asyncio.Server) else ():
            loop.remove_reader(listening)
        await asyncio.sleep(0)  # lets connections that were accepted get their transports
        await super().stop()


def reachable(host: str) -> str:
    """Return the host of a link that reaches `server.host` from this machine."""
    address = _BROWSABLE.get(host, host)
    return f"[{address}]" if ":" in address else address
