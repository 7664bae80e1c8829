"""How often the disk watch checks the disk and the data directory."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from server.core.background import in_background
from server.tasks import janitor
from server.tasks.disk_space import Disk, Reserve
from server.tasks.janitor import DiskWatch

QUICK, NEVER = 0.01, 600.0  # seconds between two checks


class Rig:
    """A watch of `folder` that counts its checks; `running` has the tasks that run."""

    def __init__(self, folder: Path) -> None:
        self.looks = 0
        self.running: list[str] = []
        self.trouble: str | None = None
        self.reserve = Reserve(Disk(folder, 0))
        dispatcher: Any = SimpleNamespace(
            running=lambda: self.running, hold=lambda: None, release=lambda: None
        )
        tasks: Any = None
        self.watch = DiskWatch(self.reserve, tasks, dispatcher, lambda _: asyncio.sleep(0), self._look)

    async def _look(self) -> str | None:
        self.looks += 1
        return self.trouble

    async def looks_again(self, times: int = 3) -> None:
        until = self.looks + times
        async with asyncio.timeout(20):
            while self.looks < until:
                await asyncio.sleep(QUICK)

    async def rests(self) -> None:
        await self.looks_again(1)
        before = self.looks
        await asyncio.sleep(20 * QUICK)
        assert self.looks == before


async def test_while_nothing_runs_the_watch_rests_until_an_attempt_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(janitor, "CHECK_DISK_EVERY", QUICK)
    monkeypatch.setattr(janitor, "CHECK_IDLE_DISK_EVERY", NEVER)
    rig = Rig(tmp_path)
    async with in_background(rig.watch.watch(), "disk"):
        await rig.rests()
        rig.running = ["a task"]
        rig.reserve.begun.set()
        await rig.looks_again()
        rig.running = []
        await rig.rests()
        rig.trouble = "gone"
        rig.reserve.begun.set()
        await rig.looks_again()  # it checks often until the folder is in order again
        rig.trouble = None
        await rig.rests()


async def test_it_looks_now_and_then_although_nothing_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(janitor, "CHECK_DISK_EVERY", NEVER)
    monkeypatch.setattr(janitor, "CHECK_IDLE_DISK_EVERY", QUICK)
    rig = Rig(tmp_path)
    async with in_background(rig.watch.watch(), "disk"):
        await rig.looks_again()
