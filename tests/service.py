"""The real service in a process of its own, as `make run` starts it, and its client."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any, Self

import aiohttp
import psutil  # type: ignore[import-untyped]

ROOT = Path(__file__).parent.parent
FINAL = ("completed", "failed", "cancelled")
_LISTENING = re.compile(r"listening on (http://\S+)")
_PATIENCE = 30
Payload = dict[str, Any]


class Service:
    """`async with Service(folder) as service`: started, answering, and gone without a trace afterwards.

    `settings` are environment variables over what a test needs: a free port, data under `folder`,
    and loopback as the only private address that may be fetched.
    """

    command: tuple[str, ...] = (sys.executable, "-X", "dev", "-m", "server")
    cwd = ROOT

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log: list[str] = []
        self.url = ""
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.stop()
        finally:
            if self._client:
                await self._client.close()

    # --- the process ---

    async def start(self) -> None:
        """Return when it answers; a restarted service has its earlier port."""
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            cwd=self.cwd,
            env=self._environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        listening = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read_log(listening), name="log of the service")
        async with asyncio.timeout(_PATIENCE):
            self.url = await listening
        if self._client is None:
            self._client = aiohttp.ClientSession(self.url, timeout=aiohttp.ClientTimeout(_PATIENCE))

    async def stop(self) -> int:
        """SIGTERM; return the exit status. Fails if anything of it is left afterwards."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL, as a crash would; its children must go as well, by themselves."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def processes(self) -> list[psutil.Process]:
        """All that the running service has started, and what these have."""
        assert self._process is not None
        found: list[psutil.Process] = psutil.Process(self._process.pid).children(recursive=True)
        return found

    def complaints(self) -> list[str]:
        """Lines of the log that no healthy run has."""
        return [line for line in self.log if re.search(r"Traceback|\w+Warning:|never awaited", line)]

    # --- its client ---

    @property
    def client(self) -> aiohttp.ClientSession:
        """With the service as its base: `service.client.get("/api/tasks")`."""
        assert self._client is not None, "the service was never started"
        return self._client

    async def submit(self, url: str, **body: object) -> Payload:
        """The payload of a task that was accepted."""
        async with self.client.post("/api/process", json={"url": url, **body}) as answer:
            assert answer.status == 202, await answer.text()
            payload: Payload = await answer.json()
            return payload

    async def status(self, task_id: str) -> Payload:
        async with self.client.get(f"/api/status/{task_id}") as answer:
            assert answer.status == 200, await answer.text()
            payload: Payload = await answer.json()
            return payload

    async def wait(self, task_id: str, *stages: str, within: float = _PATIENCE) -> Payload:
        """The first payload seen in one of `stages` (`completed`, if none is named)."""
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

    async def listen(self, task_id: str, within: float = _PATIENCE) -> list[str]:
        """All messages of `/ws/<task_id>`, as they came, until the service closes it."""
        async with asyncio.timeout(within), self.client.ws_connect(f"/ws/{task_id}") as socket:
            return [message.data async for message in socket]

    async def fetch(self, link: str, target: Path) -> Path:
        """What lies at `link`, in a file."""
        async with self.client.get(link) as answer:
            assert answer.status == 200, await answer.text()
            target.write_bytes(await answer.read())
        return target

    # --- within ---

    def _environment(self) -> dict[str, str]:
        self.folder.mkdir(exist_ok=True)
        configuration = self.folder / "config.toml"
        configuration.touch()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CLIPWIRE_")}
        inherited.pop("PORT", None)
        ours = {
            "CLIPWIRE_CONFIG": str(configuration),
            "CLIPWIRE_SERVER__PORT": self.url.rpartition(":")[2] or "0",
            "CLIPWIRE_STORAGE__DATA_DIR": str(self.data),
            "CLIPWIRE_DOWNLOADS__ALLOWED_PRIVATE_HOSTS": '["127.0.0.1"]',
        }
        return {**inherited, **ours, **self._settings}

    async def _read_log(self, listening: "asyncio.Future[str]") -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.log.append(line.decode(errors="replace").rstrip())
            if not listening.done() and (found := _LISTENING.search(self.log[-1])):
                listening.set_result(found[1].rstrip("/"))
        if not listening.done():
            listening.set_exception(RuntimeError(f"the service did not start:\n{self._end_of_log()}"))

    def _end_of_log(self) -> str:
        return "\n".join(self.log[-40:])

    async def _end(self, how: signal.Signals) -> int:
        process, reader = self._process, self._reader
        if process is None or reader is None or process.returncode is not None:
            return process.returncode or 0 if process else 0
        started = self.processes()
        process.send_signal(how)
        async with asyncio.timeout(_PATIENCE):
            status = await process.wait()
        await gone(started)
        # Whoever of its children has the other end of the pipe is gone: it ends by itself.
        async with asyncio.timeout(_PATIENCE):
            await reader
        return status


async def gone(processes: list[psutil.Process], within: float = 5) -> None:
    """Return when none of `processes` runs any more; whether somebody has reaped it does not matter."""
    try:
        async with asyncio.timeout(within):
            while any(_runs(process) for process in processes):
                await asyncio.sleep(0.02)
    except TimeoutError:
        left = [process.as_dict(("pid", "cmdline", "status")) for process in processes if _runs(process)]
        raise AssertionError(f"still running: {left}") from None


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
