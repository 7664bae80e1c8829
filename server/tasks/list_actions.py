"""A client's action on a list: stored once, and shown by all entries at once; the rows of entries follow
later.

The action is one transaction about the list's own row, whatever the number of its entries: if the server is
killed meanwhile, all of it is done or nothing. `run` then applies the action to the rows of the entries, a
few at a time, publishes these and queues them; it goes on after a restart.

Decisions: docs/decisions/playlists.md
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from server.core.clock import Clock
from server.core.entry_status import REMOVAL, ListAction
from server.core.errors import AppError, StoreUnavailable, TaskNotFound
from server.core.events import Cancelled, EntriesMoved, apply
from server.core.ports import Dispatcher, Publisher, Store
from server.core.task import Stage, Task, TaskStatus
from server.tasks.recorder import Recorder

log = logging.getLogger(__name__)

AT_ONCE = 50  # entries of one transaction: other changes wait for it
LOOK_EVERY = (
    20.0  # seconds between looks for lists whose server has died, or lost the database, after an action
)
LONGEST_PAUSE = 0.1  # seconds; between two transactions, others get as long as the last one took
RETRY_AFTER_ERROR = 1.0  # seconds


class Playlists:
    """`remove` carries out the removal of tasks that are marked as removed."""

    def __init__(
        self,
        store: Store,
        recorder: Recorder,
        publisher: Publisher,
        dispatcher: Dispatcher,
        clock: Clock,
        remove: Callable[[Sequence[str]], Awaitable[None]],
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._publisher = publisher
        self._dispatcher = dispatcher
        self._clock = clock
        self._remove = remove
        self._due = asyncio.Event()
        self._acted_here: dict[str, int] = {}  # list -> the last action that this server has stored for it
        self._busy: set[str] = set()  # lists on which an action is under way
        self._unpublished: list[str] = []  # lists whose watched entries are yet to be published

    async def act(self, playlist_id: str, action: ListAction) -> TaskStatus:
        """Apply `action` to a list and its entries; the attempts that it stops have ended when this returns.

        The caller holds the list's turn. Raises `QueueFull`, `StoreUnavailable`; then nothing is changed.
        """
        while True:
            playlist = await self._store.get(playlist_id)
            if playlist.row:  # the list is itself an entry of another list
                await self._recorder.take([playlist])
                continue
            before = playlist.status

            def follow(concerned: Mapping[Stage, int], before: TaskStatus = before) -> TaskStatus:
                """Return the list after the action, with new counts of its entries, in one revision."""
                after, count = apply(before, action.event, action.at, action.wall), sum(concerned.values())
                if failed := {"cancel": count, "retry": -count}.get(action.kind, 0):
                    after = apply(after, EntriesMoved(failed=failed), action.at)
                if after is before and not count:
                    return before
                return after.model_copy(update={"revision": before.revision + 1})

            after = await self._store.act_on_list(before, action, follow)
            if after is not None:
                break
        if after is not before:
            self._publisher.publish(after)
            self._recorder.counts.changed(before, after, self._clock.now())
        if after.stage is Stage.QUEUED:
            self._dispatcher.submit(Task(playlist.request, after))
        last = after.list_action if after.list_action > before.list_action else 0
        with self._acting_on(playlist_id, last):
            if action.stops:
                await self.stop(playlist_id)
            if last:
                # So that the first entries can begin at once.
                await self._apply_to_entries(playlist_id, last, 0)
        return after

    async def stop(self, playlist_id: str) -> None:
        """Stop the attempts of the list and of its entries."""
        await self._dispatcher.withdraw(playlist_id)
        await self._dispatcher.withdraw_list(playlist_id)

    async def removed(self, playlist_id: str) -> None:
        """The list was marked as removed; its entries, if it has any, are removed by `run`."""
        if (await self._store.lists_acted_on()).get(playlist_id) == REMOVAL:
            with self._acting_on(playlist_id, REMOVAL):
                await self._dispatcher.withdraw_list(playlist_id)
                await self._apply_to_entries(playlist_id, REMOVAL, 0)

    async def run(self, *, alone: bool) -> None:
        """Apply the stored actions on lists to their entries; never returns.

        Unless this server is `alone`, lists on which another server has acted are left to that server for a
        while.
        """
        loop = asyncio.get_running_loop()
        places: dict[
            str, tuple[int, int]
        ] = {}  # by list: its last action, and the last entry that has taken it
        others: dict[str, int] = {}  # by list: the last action of another server, at the last look
        look_at = loop.time()
        while True:
            pause = 0.0
            try:
                await self._publish_watched()
                acted = await self._store.lists_acted_on()
                acted = {name: last for name, last in acted.items() if name not in self._busy}
                if not alone:
                    if loop.time() >= look_at:
                        look_at, left = loop.time() + LOOK_EVERY, others
                        others = {
                            name: last for name, last in acted.items() if self._acted_here.get(name) != last
                        }
                        self._acted_here |= {
                            name: last for name, last in others.items() if left.get(name) == last
                        }
                    acted = {name: last for name, last in acted.items() if self._acted_here.get(name) == last}
                places = {
                    name: places[name] if name in places and places[name][0] == last else (last, 0)
                    for name, last in acted.items()
                }
                for playlist_id, (last, place) in list(places.items()):
                    began = loop.time()
                    end = await self._apply_to_entries(playlist_id, last, place)
                    if end is None:
                        await self._done(playlist_id, last)
                    else:
                        places[playlist_id] = last, end
                    await asyncio.sleep(min(LONGEST_PAUSE, loop.time() - began))
            except StoreUnavailable as exc:
                if not exc.is_logged:
                    log.warning("entries of lists wait to be saved: %s", exc.__cause__ or exc)
                pause = RETRY_AFTER_ERROR
            except AppError as exc:  # the worker that runs an attempt does not answer
                log.warning("entries of a list cannot be stopped yet: %s", exc)
                pause = RETRY_AFTER_ERROR
            except Exception:
                log.exception("what happened to a list did not reach its entries; this is tried again")
                pause = RETRY_AFTER_ERROR
            await asyncio.sleep(pause)
            if not places:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if alone else LOOK_EVERY):
                        await self._due.wait()
            self._due.clear()

    @contextlib.contextmanager
    def _acting_on(self, playlist_id: str, last: int) -> Iterator[None]:
        """Keep `run` off the list while the caller acts on it; afterwards `run` goes on with the entries that
        have not taken its action `last` (0: it has none).
        """
        if last:
            self._dispatcher.hold_list(playlist_id, last)
            self._acted_here[playlist_id] = last
            self._unpublished.append(playlist_id)
            self._due.set()
        self._busy.add(playlist_id)
        try:
            yield
        finally:
            self._busy.discard(playlist_id)
            if last:
                self._due.set()

    async def _apply_to_entries(self, playlist_id: str, last: int, place: int) -> int | None:
        """Apply the actions up to `last` to the next entries behind number `place`.

        Return the number of the last of these entries, None if there are no more.
        """
        entries, end = await self._store.entries_behind(playlist_id, place, AT_ONCE)
        if end is None or not entries:
            return end
        if last == REMOVAL:
            # Cancelled first, since other lists may share the entries: they would wait for ever for a removed
            # one.
            now, wall = self._clock.now(), self._clock.wall()
            for entry in entries:
                if entry.status.counted_in and not entry.status.stage.is_final:
                    cancelled = apply(entry.status, Cancelled(), now, wall)
                    taken = cancelled.model_copy(update={"list_action": REMOVAL})
                    if not await self._recorder.take([Task(entry.request, taken, entry.status)]):
                        return place
            with contextlib.suppress(TaskNotFound):  # a client has removed these entries one by one meanwhile
                marked = await self._store.mark_removed(*(entry.status.task_id for entry in entries))
                await self._remove(marked)
            return end
        stopped = [
            entry.status.task_id
            for entry in entries
            if entry.row
            and (entry.status.stage is Stage.PAUSED or entry.status.stage.is_final)
            and not (entry.row.stage is Stage.PAUSED or entry.row.stage.is_final)
        ]
        if stopped:
            await self._dispatcher.withdraw(*stopped)
        return end if await self._recorder.take(entries) else place

    async def _done(self, playlist_id: str, last: int) -> None:
        corrected = await self._store.forget_actions(playlist_id, last)
        if corrected:
            self._publisher.publish(corrected)
        if playlist_id not in await self._store.lists_acted_on():
            self._dispatcher.release_list(playlist_id)
            self._acted_here.pop(playlist_id, None)

    async def _publish_watched(self) -> None:
        """Publish at once the entries that are watched on this server; the others are published when they are
        saved.
        """
        lists, self._unpublished = set(self._unpublished), []
        if not lists:
            return
        watched = [task_id for task_id in self._publisher.watched_ids() if task_id]
        for start in range(0, len(watched), AT_ONCE):
            some = watched[start : start + AT_ONCE]
            found = {status.task_id: status for status in await self._store.statuses(some)}
            owners = await self._store.owners(some) if self._publisher.asks_for_owners else {}
            for task_id in some:
                if task_id not in found:
                    self._publisher.publish_removal(task_id, owners.get(task_id))
                elif found[task_id].playlist_id in lists:
                    self._publisher.publish(found[task_id])
            await asyncio.sleep(0)
