"""Has files placed that tasks have fetched already: before there was a library, or for another place in
it.
"""

from contextlib import suppress

from server.core.errors import NoFiles, NoLibrary, TaskNotFound
from server.core.library import Library
from server.core.task import InLibrary, TaskStatus
from server.library.placement_rows import PlacementRows
from server.library.placements import FileSet, set_asked_for
from server.tasks.service import Tasks


class TaskPlacing:
    def __init__(self, store: PlacementRows, tasks: Tasks, *, has_library: bool) -> None:
        self._store = store
        self._tasks = tasks
        self._has_library = has_library

    async def place(self, task_id: str, wanted: Library | None) -> TaskStatus:
        """Have the files of a completed task placed: as `wanted`, or as the task or its subscriptions say.

        Raises `TaskNotFound`, `NoFiles`, `NoLibrary`.
        """
        self._tasks.refuse_when_closing()
        task = await self._tasks.task(task_id)
        if not await self._tasks.with_files(task_id):
            raise NoFiles
        request = task.effective_request
        sets = [] if wanted else await self._store.sets_of_task(task_id)
        if request and (library := wanted or request.library):
            sets.append(set_asked_for(request, task.status, library))
        if not self._has_library or not sets:
            raise NoLibrary
        return await self._place(task.status, sets)

    async def also_for(self, task_id: str, wanted: Library) -> TaskStatus:
        """Place what a task has fetched, or will fetch, for a person who does not own it; the task stays."""
        task = await self._tasks.task(task_id)
        if task.effective_request is None or task.status.is_list:
            return task.status
        one = set_asked_for(
            task.effective_request, task.status, wanted.model_copy(update={"keep_task": True})
        )
        own = task.effective_request.library and set_asked_for(
            task.effective_request, task.status, task.effective_request.library
        )
        if one.set_id in {each.set_id for each in (own, *await self._store.sets_of_task(task_id)) if each}:
            return task.status
        return await self._place(task.status, [one])

    async def _place(self, status: TaskStatus, sets: list[FileSet]) -> TaskStatus:
        """Have sets of a task placed.

        Its status says `waiting` before they are stored: once they are, the placer may place them at any
        moment, and its `placed` must not be overwritten.
        """
        with suppress(TaskNotFound):
            before = status.library or InLibrary()
            told = before.model_copy(update={"state": "waiting"})
            await self._tasks.tell_of_library(status.task_id, told)
        await self._store.place(sets)
        return await self._tasks.status(status.task_id)
