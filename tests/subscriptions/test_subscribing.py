"""Actions of clients on subscriptions that an error interrupts."""

from typing import Any

import pytest

from server.core.clock import Clock
from server.core.errors import StorageFailed, TaskNotFound
from server.settings import SubscriptionsSettings
from server.subscriptions.subscribing import Subscriptions


class Rows:
    """A store with one subscription and its tasks."""

    def __init__(self, *tasks: str) -> None:
        self.tasks = list(tasks)
        self.is_there = True

    async def unshared_tasks(self, subscription_id: str) -> list[str]:
        return list(self.tasks)

    async def remove(self, subscription_id: str, *, with_files: bool) -> list[str]:
        assert with_files
        self.is_there = bool(self.tasks)
        return list(self.tasks)


class Deleting:
    """Deletes tasks; the database goes away before the task `until`."""

    def __init__(self, rows: Rows, until: str | None) -> None:
        self.rows, self.until = rows, until

    def refuse_when_closing(self) -> None:
        pass

    async def delete(self, task_id: str) -> None:
        if task_id == self.until:
            raise StorageFailed
        if task_id not in self.rows.tasks:
            raise TaskNotFound
        self.rows.tasks.remove(task_id)


async def test_a_removal_with_files_that_is_cut_off_can_be_made_once_more() -> None:
    rows = Rows("a", "b", "c")
    tasks = Deleting(rows, until="b")
    rest: dict[str, Any] = dict.fromkeys(["items", "checks", "placements", "library"])
    own: dict[str, Any] = {"store": rows, "tasks": tasks, **rest}
    subscriptions = Subscriptions(**own, settings=SubscriptionsSettings(), clock=Clock())
    with pytest.raises(StorageFailed):
        await subscriptions.remove("s", with_files=True)
    assert rows.is_there, "else nobody would know whose the other tasks were"
    tasks.until = None
    await subscriptions.remove("s", with_files=True)
    assert (rows.is_there, rows.tasks) == (False, [])
