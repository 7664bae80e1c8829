"""A node deletes its own files of tasks that other nodes have removed or completed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from server.cluster import leftovers
from server.cluster.leftovers import Leftovers
from server.core.background import in_background
from server.core.task import Stage, TaskStatus
from server.files.local import LocalFiles
from server.files.workplace import LocalWorkplace


class Known:
    def __init__(self, **stages: Stage) -> None:
        self._stages = stages

    async def stages(self, task_ids: list[str]) -> dict[str, Stage]:
        return {task_id: self._stages[task_id] for task_id in task_ids if task_id in self._stages}

    async def statuses(self, task_ids: Sequence[str]) -> list[TaskStatus]:
        return []


@pytest.fixture
def workplace(tmp_path: Path) -> LocalWorkplace:
    workplace = LocalWorkplace(tmp_path)
    workplace.data.make()
    return workplace


def leave(workplace: LocalWorkplace) -> str:
    task_id = str(uuid4())
    workplace.work(task_id).mkdir()
    workplace.lock(task_id).touch()
    workplace.log(task_id).touch()
    return task_id


def left(workplace: LocalWorkplace) -> set[str]:
    return {path.name[:36] for folder in (workplace.works, workplace.logs) for path in folder.iterdir()}


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def clearing(workplace: LocalWorkplace, **stages: Stage) -> AsyncIterator[Leftovers]:
    there = Leftovers(workplace, LocalFiles(workplace), Known(**stages))
    async with in_background(there.clear(), "leftovers"):
        yield there


async def test_what_was_removed_goes_and_nothing_else(workplace: LocalWorkplace) -> None:
    removed, other = leave(workplace), leave(workplace)
    async with clearing(workplace, **{other: Stage.PAUSED}) as there:
        there.publish_removal(removed)
        there.publish_removal("../x")
        there.publish_removal(str(uuid4()))
        await until(lambda: left(workplace) == {other})


async def test_what_cannot_be_deleted_is_told_once_and_holds_nothing_up(
    workplace: LocalWorkplace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, others, remove = leave(workplace), [leave(workplace) for _ in range(5)], workplace.remove_unused

    def refuse(task_id: str) -> bool:
        if task_id == stuck:
            raise PermissionError(13, "Permission denied", task_id)
        return remove(task_id)

    monkeypatch.setattr(workplace, "remove_unused", refuse)
    monkeypatch.setattr(leftovers, "RETRY_AFTER", 0.01)
    async with clearing(workplace) as there:
        for task_id in (stuck, *others):
            there.publish_removal(task_id)
        await until(lambda: left(workplace) == {stuck})
        await until(lambda: not there._removed)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert stuck in caplog.text


async def test_what_a_child_still_writes_goes_when_it_has_ended(
    workplace: LocalWorkplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "RETRY_AFTER", 0.05)
    removed = leave(workplace)
    async with clearing(workplace) as there:
        with workplace.claim(removed):
            there.publish_removal(removed)
            await asyncio.sleep(0.2)
            assert left(workplace) == {removed}
        await until(lambda: left(workplace) == set())


async def test_what_was_removed_while_nothing_was_heard_is_found(workplace: LocalWorkplace) -> None:
    leave(workplace)
    kept = leave(workplace)
    async with clearing(workplace, **{kept: Stage.CANCELLED}) as there:
        there.missed()
        await until(lambda: left(workplace) == {kept})
