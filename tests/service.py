"""The real service in a process of its own, as `make run` starts it, and a client for it.

A start takes more than a second of CPU, most of it for warming the fork server. So services are forked from a
process that is warm (`tests.zygote`), and tests share a running one in turn (`Services`), unless they test
its start or its end.
"""

import asyncio
import itertools
import os
import re
import signal
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Self

import aiohttp
import psutil  # type: ignore[import-untyped]

from tests.ports import free_port
from tests.zygote import COMMAND, TELLING, Forked, Process, by_exec

ROOT = Path(__file__).parent.parent
FINAL = ("completed", "failed", "cancelled")
# `make test-long` runs the service in asyncio's debug mode, which warns of slow steps: a busy machine causes
# them.
_SLOW_STEP = re.compile(r" WARNING asyncio: Executing .* took [0-9.]+ seconds$")
_LISTENING = re.compile(r"listening on (http://[^\s\"]+)")
_PATIENCE = 50
Payload = dict[str, Any]


class Service:
    """The service as a process: `async with Service(folder) as service` starts it, and stops it at the end.

    `settings` are environment variables that override the tests' defaults: a free port, data under `folder`,
    and loopback as the only private address that may be fetched. The client belongs to an event loop, the
    process does not: the next test can use the same process.
    """

    command: tuple[str, ...] = COMMAND
    cwd = ROOT
    begin = staticmethod(by_exec)
    patience = 120.0  # seconds that a start may take, and as many that an end may take

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log: list[str] = []
        self.url = ""
        self.settings = settings
        self.process: Process | None = None
        self._reader: threading.Thread | None = None
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        if not self.runs:
            await self.start()
        self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.stop()
        finally:
            await self.disconnect()

    # --- the process ---

    async def start(self) -> None:
        """Start the service, and return when it listens; a restarted service keeps its port.

        Raises `RuntimeError` with the end of the log if the service ends instead.
        """
        listening: Future[str] = Future()
        self._begin(listening)
        async with asyncio.timeout(self.patience):
            self.url = await asyncio.wrap_future(listening)
        self.connect()

    async def stop(self) -> int:
        """Send SIGTERM; return the exit status. Fails if a process of the service is left afterwards."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Send SIGKILL, as a crash would; the child processes must then end by themselves."""
        await self._end(signal.SIGKILL)

    def terminate(self) -> None:
        """Stop the service without an event loop. Fails unless the exit status is 0."""
        assert self.process is not None
        assert self._reader is not None
        self.process.terminate()
        assert self.process.wait(self.patience) == 0, self._end_of_log()
        self._reader.join(_PATIENCE)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, such as SIGSTOP or SIGCONT, to the server process alone."""
        assert self.process is not None
        self.process.send_signal(number)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def ended(self) -> int:
        """Wait until the service has ended, for whatever reason; return the exit status."""
        assert self.process is not None
        async with asyncio.timeout(self.patience):
            return await exit_status(self.process)

    @property
    def pid(self) -> int:
        assert self.process is not None, "the service was never started"
        return self.process.pid

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def processes(self) -> list[psutil.Process]:
        """Return all child processes of the running service, and their descendants."""
        return descendants(self.pid)

    def complaints(self) -> list[str]:
        """Return the lines of the log that a healthy service does not write."""
        return [line for line in self.log if re.search(r"Traceback|\w+Warning:|never awaited", line)]

    # --- its client ---

    def connect(self) -> None:
        """Open a client on the running event loop; `start` calls this."""
        if self._client is None:
            self._client = aiohttp.ClientSession(self.url, timeout=aiohttp.ClientTimeout(_PATIENCE))

    async def disconnect(self) -> None:
        client, self._client = self._client, None
        if client:
            await client.close()

    @property
    def client(self) -> aiohttp.ClientSession:
        """Return the client, whose base URL is the service: `service.client.get("/api/tasks")`."""
        assert self._client is not None, "the service was never started"
        return self._client

    async def submit(self, url: str, **body: object) -> Payload:
        """Submit a task, which must be accepted; return its payload."""
        async with self.client.post("/api/process", json={"url": url, **body}) as answer:
            assert answer.status == 202, await answer.text()
            payload: Payload = await answer.json()
            return payload

    async def ready(self, within: float = _PATIENCE) -> None:
        """Return when `/readyz` is OK: the service answers before its fork server is warm."""
        async with asyncio.timeout(within):
            while not await self._is_ready():
                await asyncio.sleep(0.05)

    async def status(self, task_id: str) -> Payload:
        async with self.client.get(f"/api/status/{task_id}") as answer:
            assert answer.status == 200, await answer.text()
            payload: Payload = await answer.json()
            return payload

    async def wait(self, task_id: str, *stages: str, within: float = _PATIENCE) -> Payload:
        """Wait until the task is in one of `stages` (`completed`, if none is named); return its payload.
        Fails if the task ends in another stage.
        """
        wanted, payload = stages or ("completed",), await self.status(task_id)
        try:
            async with asyncio.timeout(within):
                while payload["stage"] not in (*wanted, *FINAL):
                    await asyncio.sleep(0.02)
                    payload = await self.status(task_id)
        except TimeoutError:
            pass
        assert payload["stage"] in wanted, f"{payload}\n{self._end_of_log()}"
        return payload

    async def clear(self) -> None:
        """Delete all tasks. Fails if any of their files is left, or if the log has complaints."""
        async with asyncio.timeout(_PATIENCE):
            while ids := await self._task_ids():
                await asyncio.gather(*map(self._delete, ids))
        await self._swept()
        assert self.complaints() == [], self._end_of_log()
        self.log.clear()

    async def listen(self, task_id: str, within: float = _PATIENCE, *, resumes: bool = False) -> list[str]:
        """Return all messages of `/ws/<task_id>`, as received, until the service closes the socket.

        If `resumes`, resume the task once the socket is open, so that no message is missed.
        """
        async with asyncio.timeout(within), self.client.ws_connect(f"/ws/{task_id}") as socket:
            if resumes:
                async with self.client.post(f"/api/tasks/{task_id}/resume") as answer:
                    assert answer.status == HTTPStatus.OK, await answer.text()
            return [message.data async for message in socket]

    async def fetch(self, link: str, target: Path) -> Path:
        """Download `link` to `target`."""
        async with self.client.get(link) as answer:
            assert answer.status == 200, await answer.text()
            target.write_bytes(await answer.read())
        return target

    # --- internals ---

    async def _is_ready(self) -> bool:
        async with self.client.get("/readyz") as answer:
            return answer.ok

    async def _task_ids(self) -> list[str]:
        async with self.client.get("/api/tasks?limit=200") as answer:
            return [task["task_id"] for task in (await answer.json())["tasks"]]

    async def _swept(self, within: float = 20) -> None:
        """Wait until no files of tasks are left: the service removes them a little after an attempt has
        ended.
        """
        try:
            async with asyncio.timeout(within):
                while self._files():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            run = described(self.processes())
            raise AssertionError(
                f"left behind: {self._files()}\nwhile these run: {run}\n{self._end_of_log()}"
            ) from None

    def files_of(self, task_id: str) -> list[Path]:
        """Return the files on disk whose names begin with a task's id; files that vanish meanwhile are
        skipped.
        """
        names = ((at, name) for at, *names in os.walk(self.data) for name in itertools.chain(*names))
        return [Path(at, name) for at, name in names if name.startswith(task_id)]

    def _files(self) -> list[Path]:
        """Return all files and folders of tasks."""
        return [path for folder in ("work", "files", "logs") for path in (self.data / folder).glob("*")]

    async def _delete(self, task_id: str) -> None:
        async with self.client.delete(f"/api/tasks/{task_id}") as answer:
            if answer.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND):
                # "worker_silent": the task is gone, and its worker deletes the files once the job has ended.
                assert (await answer.json())["code"] == "worker_silent", await answer.text()

    def environment(self) -> dict[str, str]:
        self.folder.mkdir(exist_ok=True)
        configuration = self.folder / "config.toml"
        configuration.touch()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CLIPWIRE_")}
        inherited.pop("PORT", None)
        ours = {
            "CLIPWIRE_CONFIG": str(configuration),
            "CLIPWIRE_SERVER__PORT": self.url.rpartition(":")[2] or str(free_port()),
            "CLIPWIRE_STORAGE__DATA_DIR": str(self.data),
            "CLIPWIRE_DOWNLOADS__ALLOWED_PRIVATE_HOSTS": '["127.0.0.1"]',
        }
        return {**inherited, **ours, **self.settings}

    def _begin(self, listening: Future[str]) -> None:
        self.process = self.begin(self.command, self.cwd, self.environment())
        assert self.process.stderr is not None
        reading = (self.process.stderr, listening)
        self._reader = threading.Thread(target=self._read_log, args=reading, name="log", daemon=True)
        self._reader.start()

    def _read_log(self, lines: IO[bytes], listening: Future[str]) -> None:
        """Read the log to its end, which comes when the service and all its children have ended."""
        with lines:
            for line in (each.decode(errors="replace").rstrip() for each in lines):
                if _SLOW_STEP.search(line):
                    continue
                self.log.append(line)
                if not listening.done() and (found := _LISTENING.search(self.log[-1])):
                    listening.set_result(found[1].rstrip("/"))
        if not listening.done():
            listening.set_exception(RuntimeError(f"the service did not start:\n{self._end_of_log()}"))

    def _end_of_log(self) -> str:
        return "\n".join(self.log[-40:])

    async def _end(self, how: signal.Signals) -> int:
        process, reader = self.process, self._reader
        if process is None or reader is None:
            return 0
        if (status := process.poll()) is not None:
            return status
        started = self.processes()
        process.send_signal(how)
        status = await self.ended()
        await gone(started)
        async with asyncio.timeout(_PATIENCE):
            await asyncio.to_thread(reader.join)
        return status


class Told(Service):
    """A service whose children have one more extractor: see `tests.fakes.told`."""

    command = TELLING


class Services:
    """Running services that tests share in turn, one for each set of settings.

    A test may do anything to its service, and even end it: then the next test gets a new service.
    """

    def __init__(self, folder: Path) -> None:
        self._folders = (folder / str(number) for number in itertools.count())
        self._free: dict[frozenset[tuple[str, str]], Service] = {}

    @asynccontextmanager
    async def lend(self, **settings: str) -> AsyncIterator[Service]:
        """Yield a running service with `settings` and no tasks. Afterwards delete its tasks
        (`Service.clear`).
        """
        key = frozenset(settings.items())
        service = self._free.pop(key, None) or Service(next(self._folders), **settings)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(service)
            yield service
            if service.runs:
                await service.clear()
                if self._free.setdefault(key, service) is service:
                    stack.pop_all()
                    await service.disconnect()

    def close(self) -> None:
        for service in self._free.values():
            service.terminate()


async def exit_status(process: Process) -> int:
    if process.poll() is None:
        ended = asyncio.Event()
        pidfd = process.opened() if isinstance(process, Forked) else os.pidfd_open(process.pid)
        loop = asyncio.get_running_loop()
        loop.add_reader(pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
    return process.wait()


def descendants(pid: int) -> list[psutil.Process]:
    """Return all descendants of a process, its own children first."""
    found = children_of(pid)
    return found + [process for child in found for process in descendants(child.pid)]


def children_of(pid: int) -> list[psutil.Process]:
    """Return the children of a process. This is called many times a second, and `psutil` would look at all
    processes.
    """
    numbers: list[str] = []
    found: list[psutil.Process] = []
    with suppress(OSError):  # the process may have ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            numbers += (thread / "children").read_text().split()
    for number in numbers:
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(int(number)))
    return found


def command_of(process: psutil.Process) -> list[str]:
    """Return the command line of a process, or an empty list if the process has ended."""
    with suppress(psutil.NoSuchProcess):  # raised for a zombie, too
        words: list[str] = process.cmdline()
        return words
    return []


async def gone(processes: list[psutil.Process], within: float = 20) -> None:
    """Return when all of `processes` have ended; zombies count as ended."""
    try:
        async with asyncio.timeout(within):
            while any(_runs(process) for process in processes):
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"still running: {described(processes)}") from None


def described(processes: list[psutil.Process]) -> list[dict[str, Any]]:
    """Describe each process that still runs, for the message of a failed test."""
    found: list[dict[str, Any]] = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found.append(process.as_dict(("pid", "cmdline", "status", "num_threads", "cpu_times")))
    return found


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
