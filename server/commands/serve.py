"""`python -m server`: run the service in the foreground until SIGTERM or SIGINT."""

import asyncio
import logging
import signal
import sys

from aiohttp import web

from server.api import kit
from server.app import create_app
from server.backends import DatabaseUnusable, DataDirInUse
from server.commands import logs
from server.settings import Settings

log = logging.getLogger(__name__)

LET_FINISH = 1.0  # seconds that answers under way have at shutdown


def serve(settings: Settings) -> int:
    """Exit status: 0 after a polite stop, 1 if it cannot run, 3 if another server has the data."""
    logs.configure(settings.logging)
    try:
        asyncio.run(_serve(settings))
    except DataDirInUse as exc:
        print(f"clipwire: {exc}", file=sys.stderr)
        return 3
    except (DatabaseUnusable, OSError) as exc:
        print(f"clipwire: {exc}", file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Settings) -> None:
    stop = _stop_on_signals()
    app = create_app(settings)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=LET_FINISH)
    try:
        await runner.setup()
        await web.TCPSite(runner, settings.server.host, settings.server.port).start()
        for host, port, *_ in runner.addresses:
            shown = f"[{host}]" if ":" in host else host
            log.info("listening on http://%s:%s%s", shown, port, settings.server.base_path)
        await stop.wait()
        log.info("stopping: running downloads go on at the next start")
        app[kit.TASKS].close()
    finally:
        await runner.cleanup()


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
