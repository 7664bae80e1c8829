"""A client's action on a list applies to its entries, too, in one transaction: if the server is killed
meanwhile, all of it is done or nothing.

Decisions: docs/decisions/playlists.md
"""

import asyncio
import contextlib
from dataclasses import dataclass, replace

from server.core.clock import Clock
from server.core.counts import Counts
from server.core.errors import StoreUnavailable, TaskNotFound
from server.core.events import Event, apply, moved
from server.core.models import Stage, Task, TaskStatus
from server.core.ports import Dispatcher, Publisher, Store

UNFINISHED = tuple(stage for stage in Stage if not stage.is_final)
AT_ONCE = 100  # entries before other tasks of the event loop have a turn

Change = tuple[Task, TaskStatus]  # the task before the event, and its status after it


@dataclass(frozen=True, slots=True)
class Playlists:
    """The caller has the turn of the list, and has checked that the task is a list."""

    store: Store
    publisher: Publisher
    dispatcher: Dispatcher
    clock: Clock
    counts: Counts

    async def stop(self, playlist_id: str, event: Event) -> TaskStatus:
        """Stop the list's own child and those of its entries, and apply `event` to all that had not ended.

        Raises `StoreUnavailable`; then all are submitted again and go on.
        """
        while True:
            await self.dispatcher.withdraw(playlist_id)  # from now on the list gets no new entries
            playlist = await self.store.get(playlist_id)
            entries = await self.store.entries(playlist_id, UNFINISHED)
            await self.dispatcher.withdraw(*(entry.status.task_id for entry in entries))
            try:
                after = await self._try(playlist, entries, event)
            except StoreUnavailable:
                for task in (playlist, *entries):
                    self._submit(task)
                raise
            if after:
                return after

    async def change(self, playlist_id: str, event: Event, *stages: Stage) -> TaskStatus:
        """Apply `event` to the list, and to its entries in `stages`.

        Raises `QueueFull`, `StoreUnavailable`; then nothing is changed.
        """
        while True:
            playlist = await self.store.get(playlist_id)
            entries = await self.store.entries(playlist_id, stages)
            if after := await self._try(playlist, entries, event):
                return after

    async def _try(self, playlist: Task, entries: list[Task], event: Event) -> TaskStatus | None:
        """Save and publish all changes; None, with nothing saved, if a row has changed meanwhile."""
        now, wall = self.clock.now, self.clock.wall
        changed: list[tuple[Task, TaskStatus]] = []  # the task before the event, and its status after it
        for at, entry in enumerate(entries):
            status = apply(entry.status, event, now(), wall())
            if status is not entry.status:
                changed.append((entry, status))
            if at % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
        # The list's status after `event` and the new counts of its entries, as one revision.
        before = playlist.status
        after = apply(before, event, now(), wall())
        if counted := moved((entry.status, status) for entry, status in changed):
            after = apply(after, counted, now())
        if after is not before:
            after = after.model_copy(update={"revision": before.revision + 1})
            changed = [(playlist, after), *changed]
        # How other lists change that share some of the entries.
        shared: dict[str, list[tuple[TaskStatus, TaskStatus]]] = {}
        for task, status in changed:
            for playlist_id in task.status.counted_in:
                shared.setdefault(playlist_id, []).append((task.status, status))
        others: list[tuple[TaskStatus, TaskStatus]] = []
        for playlist_id, pairs in shared.items():
            with contextlib.suppress(TaskNotFound, ValueError):  # see `Recorder._counted`
                if counted := moved(pairs):
                    other = (await self.store.get(playlist_id)).status
                    others.append((other, apply(other, counted, now())))
        if changed and await self.store.save_together([s for _, s in (*changed, *others)]) is None:
            return None
        for task, status in changed:
            self.publisher.publish(status)
            self.counts.changed(task.status, status, now())
            self._submit(replace(task, status=status))
        for other, status in others:
            self.publisher.publish(status)
            self.counts.changed(other, status, now())
        return after

    def _submit(self, task: Task) -> None:
        """Submit a task that is queued, or that was stopped although this could not be saved."""
        stage = task.status.stage
        if stage is Stage.QUEUED or (stage.is_running and not task.status.awaits_entries):
            self.dispatcher.submit(task)
