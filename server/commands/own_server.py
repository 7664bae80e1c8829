"""A server for one `get` that found none: it has a temporary data folder, which is deleted afterwards.

It ends when its standard input is closed: so also when the `get` that started it is killed.
"""

import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from server.commands.remote import Remote, client_configuration
from server.commands.without_gc import without_gc

START_WITHIN = 60.0  # seconds
DELETE_ATTEMPTS = 10  # tries to delete the folder, while other threads may still write new files
ENOUGH_ROOM = 10 << 30  # bytes; with less free for temporary files, another folder may be used
_END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LISTENING = re.compile(r"listening on (http://\S+)")
_PROGRAM = (
    "import sys; sys.path.insert(0, {root!r}); from server.commands import own_server; own_server.run()"
)


class DidNotStart(Exception):
    """Raised if the server has ended while starting, with the exit status `status`; the text is its last
    line.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class OwnServer:
    """A server that is starting. `token` keeps other users of this machine out; it writes only to
    `folder`.
    """

    process: "subprocess.Popen[bytes]"
    folder: Path
    token: str

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Remote]:
        """Wait until the server listens; end it with the block. Raises `DidNotStart`."""
        assert self.process.stdin
        assert self.process.stderr
        loop, log = asyncio.get_running_loop(), asyncio.StreamReader()
        reading, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(log), self.process.stderr
        )
        last_lines: deque[str] = deque(maxlen=5)
        address: asyncio.Future[str | None] = loop.create_future()
        listening = asyncio.create_task(_read_log(log, last_lines, address), name="log of our own server")
        try:
            async with asyncio.timeout(START_WITHIN):
                url = await address
            if url is None:
                status = await asyncio.to_thread(self.process.wait)
                raise DidNotStart(last_lines[-1] if last_lines else "", status)
            yield Remote(url, self.token, is_named=False)
        finally:
            # Imported only now that the start is over: it takes 7 ms.
            from server.core.shielding import to_the_end

            # A killed server deletes nothing, so its files are deleted here; another Ctrl-C must not stop
            # that.
            for each in _END_SIGNALS:
                signal.signal(each, signal.SIG_IGN)
            # A graceful stop would take 0.5 s, and its data is deleted anyway. Its children die with it.
            self.process.kill()
            listening.cancel()
            await to_the_end(self._delete_folder(listening, log))
            reading.close()
            self.process.stdin.close()

    async def _delete_folder(self, listening: asyncio.Task[None], log: asyncio.StreamReader) -> None:
        await asyncio.to_thread(self.process.wait)
        await asyncio.wait([listening])
        while await log.read(1 << 16):  # read until its children, which also have the log open, have ended
            pass
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)


def begin() -> OwnServer:
    """Start the server without waiting for it: this process imports its modules meanwhile."""
    token, folder = secrets.token_urlsafe(24), Path(tempfile.mkdtemp(prefix="clipwire-", dir=_roomy_folder()))
    settings = {
        "SERVER__HOST": "127.0.0.1",
        "SERVER__PORT": "0",
        "SERVER__BASE_PATH": "",
        "SERVER__TOKENS": json.dumps([token]),
        "SERVER__ROLES": '["web", "worker"]',
        "STORAGE__DATA_DIR": str(folder / "data"),
        "STORAGE__DATABASE": "sqlite",
        "STORAGE__FILES": "local",
        "LOGGING__LEVEL": "info",
        "LOGGING__FORMAT": "text",
    }
    inherited = {
        name: value
        for name, value in os.environ.items()
        # Without its bytecode each start would compile the server anew, which takes longer than the start.
        if name not in ("PORT", "CLIPWIRE_TOKEN", "PYTHONDONTWRITEBYTECODE")
        and name.upper().removeprefix("CLIPWIRE_") not in settings
    }
    try:
        process = subprocess.Popen(  # noqa: S603
            (sys.executable, "-P", "-c", _PROGRAM.format(root=str(Path(__file__).parents[2]))),
            env={**inherited, **{f"CLIPWIRE_{name}": value for name, value in settings.items()}},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches `get` alone, which then cancels the download
        )
    except BaseException:  # including Ctrl-C
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return OwnServer(process, folder, token)


async def _read_log(
    log: asyncio.StreamReader, last_lines: deque[str], address: asyncio.Future[str | None]
) -> None:
    """Read the log to its end, since a full pipe would block the server."""
    while line := await log.readline():
        last_lines.append(line.decode(errors="replace").strip())
        if not address.done() and (found := _LISTENING.search(last_lines[-1])):
            address.set_result(found[1])
    if not address.done():
        address.set_result(None)


def _roomy_folder() -> str:
    """Return the folder for temporary files; if it has less than `ENOUGH_ROOM`, and the working directory
    more than it, the working directory.
    """
    usual = tempfile.gettempdir()
    with suppress(OSError):
        free = shutil.disk_usage(usual).free
        if free < ENOUGH_ROOM and os.access(".", os.W_OK) and shutil.disk_usage(".").free > free:
            return str(Path.cwd())
    return usual


def run() -> None:
    """Run the server, in its own process."""
    # Until the service sets its own handler. A handler that raises `SystemExit` would not do: Python drops an
    # exception that is raised in a callback of a weak reference or in `__del__`.
    signal.signal(signal.SIGTERM, lambda *_: _exit(0))
    status = 1
    try:
        # The `get` that started this server may have ended already: then this ends the process at once.
        threading.Thread(target=_end_with_input, name="input", daemon=True).start()
        status = _serve()
    except BaseException:
        with suppress(OSError):  # nobody may be reading this output any more
            traceback.print_exc()
    _exit(status)


def _exit(status: int) -> NoReturn:
    """Delete the data and end the process, whatever its other threads do."""
    folder = Path(os.environ["CLIPWIRE_STORAGE__DATA_DIR"]).parent
    for _ in range(DELETE_ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(status)


def _serve() -> int:
    """Start the fork server, and import the rest of the server while it starts, which takes as long."""
    from server.tasks.children import configuration, launch
    from server.tasks.programs_found import find_tools

    tools = find_tools()
    launched = launch(configuration(tools.ffmpeg, tools.deno))
    with without_gc():
        from server.commands.serve import serve
        from server.settings import ConfigurationError, load

    try:
        settings = load(client_configuration())
        if settings.downloads.ffmpeg:  # the fork server was launched with another ffmpeg
            launched.end()
            return serve(settings)
        return serve(settings, launched)
    except ConfigurationError as exc:
        print(f"clipwire: configuration: {exc}", file=sys.stderr)
        return 2
    finally:
        launched.end()


def _end_with_input() -> None:
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
