"""`python -m server`: run the service in the foreground until SIGTERM or SIGINT."""

import asyncio
import errno
import gc
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from aiohttp import web

from server.api.connections import CONNECTIONS
from server.api.keys import TASKS
from server.api.protocol import HttpRunner, Server
from server.app import create_app
from server.assembly import DatabaseUnusable, DataDirInUse, DataDirUnusable, FilesUnusable
from server.commands import logs
from server.commands.listening import AddressInUse, listen
from server.settings import Settings
from server.tasks.children import Launched
from server.tasks.readiness import insist_on

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

# The steps of a stop and their seconds, before the backend closes; a whole stop takes no more than five
# seconds.
REFUSE_SECONDS = 0.2  # for at least so long, new requests are answered with 503
FINISH_SECONDS = 1.0  # then running responses have so long to finish
HANDLERS_END_SECONDS = 0.3  # then, twice, handlers whose connections were cut have so long to end
# so long after the signal or the drain, the process ends as by `kill -9`, which loses no data either
MAX_STOP_SECONDS = 4.0
WARN_EVERY = 60.0  # seconds between two warnings that there are too many connections


def serve(settings: Settings, launched: Launched | None = None) -> int:
    """Run the service. Exit status: 0 after a graceful stop, 1 if the service cannot run, 3 if another server
    uses the data.

    `launched` is its first fork server, if one was launched early. Raises `ConfigurationError` for settings
    that turn out wrong only when they are used.
    """
    if "worker" in settings.server.roles:
        insist_on(settings.downloads.ffmpeg)
    logs.configure(settings.logging)
    # Each connection needs a descriptor. Children set their own, lower limit.
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    try:
        asyncio.run(_serve(settings, launched))
    except DataDirInUse as exc:
        print(f"clipwire: {exc}", file=sys.stderr)
        return 3
    except (DatabaseUnusable, DataDirUnusable, FilesUnusable) as exc:
        print(f"clipwire: {exc}", file=sys.stderr)
        return 1
    except AddressInUse as exc:
        print(f"clipwire: server.port: {exc}", file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Settings, launched: Launched | None) -> None:
    asyncio.get_running_loop().set_exception_handler(LoopErrors().handle)
    stop = Stop()
    app = create_app(settings, launched=launched)
    runner = HttpRunner(app, access_log=None, shutdown_timeout=HANDLERS_END_SECONDS)
    try:
        if await _done_before(stop.asked, runner.setup()):
            await listen(runner, settings.server)
            # The garbage collector skips the objects made so far: examining them takes 0.1 s each time.
            gc.freeze()
            gc.enable()
            async with _watch_connections(runner):
                await _wait_and_drain(runner, stop, settings.downloads.drain)
            log.info("stopping: running downloads go on at the next start")
            await _close_connections(runner)
    finally:
        await runner.cleanup()


async def _wait_and_drain(runner: web.AppRunner, stop: "Stop", seconds: float) -> None:
    """Wait for the signal; then until running downloads have ended, for at most `seconds` or until the next
    signal.
    """
    stop.drain = seconds
    await stop.asked.wait()
    if seconds:
        log.info(
            "draining: what runs has %s s to end, or until the next signal; nothing else begins", seconds
        )
        await _done_before(stop.at_once, runner.app[TASKS].drain(seconds))
        stop.begin()


async def _done_before(stop: asyncio.Event, work: Coroutine[None, None, None]) -> bool:
    """Await `work` and cancel it once `stop` is set; return whether it completed."""
    doing, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((doing, stopping), return_when=asyncio.FIRST_COMPLETED)
    for task in (doing, stopping):
        task.cancel()
    await asyncio.wait((doing, stopping))
    return not doing.cancelled() and doing.result() is None


@asynccontextmanager
async def _watch_connections(runner: web.AppRunner) -> AsyncIterator[None]:
    assert isinstance(runner.server, Server)
    watching = asyncio.create_task(runner.app[CONNECTIONS].watch(runner.server), name="connections")
    try:
        yield
    finally:
        watching.cancel()


async def _close_connections(runner: web.AppRunner) -> None:
    """Close WebSockets and let responses finish, before aiohttp ends the connections.

    aiohttp's own shutdown reads no answer to the close frame of a WebSocket, and waits in vain for clients
    that do not read.
    """
    assert runner.server
    await asyncio.gather(runner.app.shutdown(), asyncio.sleep(REFUSE_SECONDS))
    for site in runner.sites:
        await site.stop()
    await runner.app[CONNECTIONS].end_all(runner.server, FINISH_SECONDS)


class LoopErrors:
    """The event loop's exception handler; logs at most once a minute that no connection can be accepted."""

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE):
            loop.default_exception_handler(context)
        elif loop.time() >= self._quiet_until:
            self._quiet_until = loop.time() + WARN_EVERY
            log.error("too many connections, new ones have to wait: raise the limit of open files")


class Stop:
    """Stops the service at a signal. `asked` is set by the first signal, `at_once` by the second, or by the
    first if `drain` is 0.

    Further signals are ignored until the process has ended.
    """

    def __init__(self) -> None:
        self.asked, self.at_once = asyncio.Event(), asyncio.Event()
        self.drain = 0.0  # seconds
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)

    def begin(self) -> None:
        """Set `at_once`; the process ends after `MAX_STOP_SECONDS` seconds at the latest."""
        if not self.at_once.is_set():
            for number in _SIGNALS:
                asyncio.get_running_loop().remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)
            _end_in(MAX_STOP_SECONDS)
            self.at_once.set()

    def _on_signal(self) -> None:
        if self.drain and not self.asked.is_set():
            _end_in(self.drain + MAX_STOP_SECONDS)
        else:
            self.begin()
        self.asked.set()


def _end_in(seconds: float) -> None:
    """End the process after `seconds`, whatever hangs. A hanging disk could block even Python's exit."""
    last_resort = threading.Timer(seconds, _end_now)
    last_resort.daemon = True
    last_resort.start()


def _end_now() -> None:
    log.warning("the stop took longer than %s s: ending at once, which loses nothing", MAX_STOP_SECONDS)
    os._exit(0)
