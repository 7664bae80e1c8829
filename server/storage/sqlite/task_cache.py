"""A cache of tasks: all that are not final, and the final ones in recent use.

It is updated after a COMMIT, never before, so it holds nothing that could still be rolled back.
"""

from collections import OrderedDict

from server.core.models import Task, TaskStatus

RECENT = 1000


class Memory:
    """`waiting` counts the tasks that are queued or paused; `version` grows with every change."""

    def __init__(self, recent: int = RECENT) -> None:
        self._limit = recent
        self._live: dict[str, Task] = {}
        self._recent: OrderedDict[str, Task] = OrderedDict()
        self._named: dict[str, str] = {}  # public name of a file -> id of its task
        self.waiting = 0
        self.version = 0

    def get(self, task_id: str) -> Task | None:
        if task := self._live.get(task_id):
            return task
        if task := self._recent.get(task_id):
            self._recent.move_to_end(task_id)
        return task

    def owner(self, name: str) -> Task | None:
        """The task that has a file of this public name, if the task is in memory."""
        task_id = self._named.get(name)
        return self.get(task_id) if task_id else None

    def unfinished(self) -> list[Task]:
        return sorted(self._live.values(), key=lambda task: (-task.status.urgency, task.number))

    def put(self, task: Task) -> None:
        self.drop(task.status.task_id)
        if task.status.stage.is_final:
            self._put_recent(task)
        else:
            self._live[task.status.task_id] = task
            self._learn_names(task.status)
            self.waiting += task.status.stage.is_waiting

    def drop(self, task_id: str) -> None:
        self.version += 1
        if task := self._live.pop(task_id, None):
            self._forget_names(task.status)
            self.waiting -= task.status.stage.is_waiting
        elif task := self._recent.pop(task_id, None):
            self._forget_names(task.status)

    def keep(self, task: Task, version: int) -> None:
        """Keep a final task that was read at `version`, unless a change since then may have made it stale."""
        if version == self.version and task.status.stage.is_final:
            self._put_recent(task)

    def _put_recent(self, task: Task) -> None:
        self._recent[task.status.task_id] = task
        self._learn_names(task.status)
        if len(self._recent) > self._limit:
            _, oldest = self._recent.popitem(last=False)
            self._forget_names(oldest.status)

    def _learn_names(self, status: TaskStatus) -> None:
        for file in status.files.values():
            self._named[file.name] = status.task_id

    def _forget_names(self, status: TaskStatus) -> None:
        for file in status.files.values():
            self._named.pop(file.name, None)
