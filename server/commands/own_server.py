"""A server for one `get` that found none: it has a temporary data folder, which is deleted afterwards.

It ends when its standard input does, so also when the `get` that started it was killed.
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

from server.commands.remote import Remote, client_configuration
from server.commands.without_gc import without_gc

START_WITHIN = 60.0  # seconds
ROOM_ENOUGH = 10 << 30  # bytes that are free where temporary files lie
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LISTENING = re.compile(r"listening on (http://\S+)")
_PROGRAM = (
    "import sys; sys.path.insert(0, {root!r}); from server.commands import own_server; own_server.run()"
)


class DidNotStart(Exception):
    """The server has ended at its start, with the exit status `status`; the text is its last line."""

    def __init__(self, said: str, status: int) -> None:
        super().__init__(said)
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
        """Raises `DidNotStart`."""
        assert self.process.stdin
        assert self.process.stderr
        loop, log = asyncio.get_running_loop(), asyncio.StreamReader()
        reading, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(log), self.process.stderr
        )
        said: deque[str] = deque(maxlen=5)
        address: asyncio.Future[str | None] = loop.create_future()
        listening = asyncio.create_task(_listen(log, said, address), name="log of our own server")
        try:
            async with asyncio.timeout(START_WITHIN):
                url = await address
            if url is None:
                status = await asyncio.to_thread(self.process.wait)
                raise DidNotStart(said[-1] if said else "", status)
            yield Remote(url, self.token, is_named=False)
        finally:
            from server.core.shielding import to_the_end  # 7 ms, which its start does not wait for

            # The server is killed, so its files are deleted here: another Ctrl-C waits for that.
            for each in _ENDING:
                signal.signal(each, signal.SIG_IGN)
            # Killed, since its data is not kept, and a graceful stop takes 0.5 s. Its children die with it.
            self.process.kill()
            listening.cancel()
            await to_the_end(self._leave_nothing(listening, log))
            reading.close()
            self.process.stdin.close()

    async def _leave_nothing(self, listening: asyncio.Task[None], log: asyncio.StreamReader) -> None:
        await asyncio.to_thread(self.process.wait)
        await asyncio.wait([listening])
        while await log.read(1 << 16):  # to the end, as its children have the log open, too
            pass
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)


def begin() -> OwnServer:
    """Start the server without waiting for it: this process imports its modules meanwhile."""
    token, folder = secrets.token_urlsafe(24), Path(tempfile.mkdtemp(prefix="clipwire-", dir=_roomy_folder()))
    own = {
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
        and name.upper().removeprefix("CLIPWIRE_") not in own
    }
    try:
        process = subprocess.Popen(  # noqa: S603
            (sys.executable, "-P", "-c", _PROGRAM.format(root=str(Path(__file__).parents[2]))),
            env={**inherited, **{f"CLIPWIRE_{name}": value for name, value in own.items()}},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for `get`, which cancels the download and says so
        )
    except BaseException:  # Ctrl-C as well
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return OwnServer(process, folder, token)


async def _listen(log: asyncio.StreamReader, said: deque[str], address: asyncio.Future[str | None]) -> None:
    """Read the log to its end, since a full pipe would block the server."""
    while line := await log.readline():
        said.append(line.decode(errors="replace").strip())
        if not address.done() and (found := _LISTENING.search(said[-1])):
            address.set_result(found[1])
    if not address.done():
        address.set_result(None)


def _roomy_folder() -> str:
    """Return the folder for temporary files; or the working directory if that has more room and the folder
    little.
    """
    usual = tempfile.gettempdir()
    with suppress(OSError):
        free = shutil.disk_usage(usual).free
        if free < ROOM_ENOUGH and os.access(".", os.W_OK) and shutil.disk_usage(".").free > free:
            return str(Path.cwd())
    return usual


def run() -> None:
    """Run the server, in its own process."""
    status = 1
    try:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # before the service sees to it by itself
        # The parent `get` may have ended already: then this raises `SystemExit` at once.
        threading.Thread(target=_end_with_input, name="input", daemon=True).start()
        status = _serve()
    except SystemExit:
        status = 0
    except Exception:
        traceback.print_exc()
    shutil.rmtree(Path(os.environ["CLIPWIRE_STORAGE__DATA_DIR"]).parent, ignore_errors=True)
    sys.stderr.flush()
    os._exit(status)  # the thread above may still read


def _serve() -> int:
    """Start the fork server, then import the rest: both take about as long."""
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
