"""`python -m server`: run the service in the foreground until SIGTERM or SIGINT."""

import asyncio
import errno
import logging
import resource
import signal
import sys

from aiohttp import web

from server.api.connections import CONNECTIONS
from server.app import create_app
from server.backends import DatabaseUnusable, DataDirInUse
from server.commands import logs
from server.settings import ConfigurationError, Settings

log = logging.getLogger(__name__)

LAST_WORDS = 0.2  # seconds in which whoever asks is told 503
LET_FINISH = 1.5  # seconds that answers under way have at shutdown; longer than a socket's close
WARN_EVERY = 60.0  # seconds between two warnings that there are too many connections


def serve(settings: Settings) -> int:
    """Exit status: 0 after a polite stop, 1 if it cannot run, 3 if another server has the data.

    Raises `ConfigurationError` for what only shows when it is used.
    """
    logs.configure(settings.logging)
    _take_all_descriptors()
    try:
        asyncio.run(_serve(settings))
    except DataDirInUse as exc:
        print(f"clipwire: {exc}", file=sys.stderr)
        return 3
    except DatabaseUnusable as exc:
        print(f"clipwire: {exc}", file=sys.stderr)
        return 1
    except AddressInUse as exc:
        print(f"clipwire: server.port: {exc}", file=sys.stderr)
        return 1
    return 0


class AddressInUse(Exception):
    """Another program listens there."""


async def _serve(settings: Settings) -> None:
    asyncio.get_running_loop().set_exception_handler(Complaints().handle)
    stop = _stop_on_signals()
    app = create_app(settings)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=LET_FINISH)
    try:
        await runner.setup()
        await _listen(runner, settings)
        assert runner.server
        watching = asyncio.create_task(app[CONNECTIONS].watch(runner.server), name="quiet connections")
        await stop.wait()
        log.info("stopping: running downloads go on at the next start")
        watching.cancel()
        # First our own shutdown: once aiohttp's begins, it reads no answer to the close of a socket, and cuts
        # connections off that are being answered.
        await app.shutdown()
        await asyncio.sleep(LAST_WORDS)
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, settings: Settings) -> None:
    host, port = settings.server.host, settings.server.port
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as exc:
        reason = exc.strerror or str(exc)
        if exc.errno == errno.EADDRINUSE:
            raise AddressInUse(f"{host} port {port} is used by another program") from None
        raise ConfigurationError(f"server.host, server.port: {host} port {port}: {reason}") from None
    for address, number, *_ in runner.addresses:
        shown = f"[{address}]" if ":" in address else address
        log.info("listening on http://%s:%s%s", shown, number, settings.server.base_path)


def _take_all_descriptors() -> None:
    """Each connection needs one; children set their own, lower limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Complaints:
    """What the event loop reports; that it cannot accept connections is said once a minute."""

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE):
            loop.default_exception_handler(context)
        elif loop.time() >= self._quiet_until:
            self._quiet_until = loop.time() + WARN_EVERY
            log.error("too many connections, new ones have to wait: raise the limit of open files")


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
