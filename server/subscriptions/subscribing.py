"""What a client may do with subscriptions and their items.

What is due by itself is done by `server.subscriptions.subscription_checker`.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Literal
from uuid import uuid4

from server.core.clock import Clock
from server.core.errors import (
    AppError,
    ItemNotFound,
    LibraryIsAway,
    NoFiles,
    NoLibrary,
    QueueFull,
    StorageAway,
    SubscriptionNotFound,
    TaskAlreadyFinal,
    TaskNotFound,
    WorkerSilent,
    WrongState,
)
from server.core.media_keys import key_of_link
from server.core.task import InLibrary, Task, TaskStatus
from server.core.values import HttpUrl
from server.library.placement_rows import PlacementRows
from server.library.placements import FolderBlocked, LibraryAway
from server.library.placing import PlacedFiles
from server.settings import SubscriptionsSettings
from server.subscriptions.check_rows import CheckRows
from server.subscriptions.item_rows import ItemRows
from server.subscriptions.subscription import (
    BY_CLIENT,
    HOST_HELD,
    Findings,
    ItemState,
    StoredItem,
    StoredSubscription,
    SubscriptionSettings,
    wish_of,
)
from server.subscriptions.subscription_rows import SubscriptionRows
from server.subscriptions.task_of_item import request_of
from server.tasks.service import Tasks

Action = Literal["fetch", "skip", "pin", "unpin", "forget", "delete", "place"]


class Subscriptions:
    """`library` is None where no library is set up."""

    def __init__(
        self,
        store: SubscriptionRows,
        items: ItemRows,
        checks: CheckRows,
        placements: PlacementRows,
        library: PlacedFiles | None,
        tasks: Tasks,
        settings: SubscriptionsSettings,
        clock: Clock,
    ) -> None:
        self.store = store
        self.items = items
        self.checks = checks
        self._placements = placements
        self._library = library
        self._tasks = tasks
        self._settings = settings
        self._clock = clock

    @property
    def is_closing(self) -> bool:
        return self._tasks.is_closing

    @property
    def now(self) -> float:
        return self._clock.now().timestamp()

    async def add(
        self,
        url: HttpUrl,
        wanted: SubscriptionSettings,
        scope: str,
        owner: str | None = None,
        created_by: str | None = None,
    ) -> StoredSubscription:
        """Add a subscription. It is on disk when this returns; nothing was fetched for it yet.

        Raises `AlreadySubscribed`, `TooManySubscriptions`.
        """
        self._tasks.refuse_when_closing()
        manner = request_of(wanted, url).manner()
        subscription = StoredSubscription(
            subscription_id=str(uuid4()),
            number=0,
            revision=1,
            url=url,
            source_key=key_of_link(url),
            manner=manner,
            scope=scope,
            wanted=wanted,
            findings=Findings(),
            next_check_at=self.now if wanted.enabled else None,
            lease_until=None,
            check_no=0,
            created_at=self.now,
            owner=owner,
            created_by=created_by,
        )
        return await self.store.add(subscription, wish_of(manner, wanted), self._settings.max)

    async def change(
        self, before: StoredSubscription, wanted: SubscriptionSettings, url: HttpUrl
    ) -> StoredSubscription | None:
        """Change the subscription; return None if somebody else has changed it since. Raises
        `AlreadySubscribed`, `SubscriptionNotFound`.
        """
        self._tasks.refuse_when_closing()
        manner = request_of(wanted, url).manner()
        after = replace(
            before,
            revision=before.revision + 1,
            url=url,
            source_key=key_of_link(url),
            wanted=wanted,
            manner=manner,
            next_check_at=self.now,
        )
        is_other = before.wanted.interval != wanted.interval or before.url != url
        check = is_other or not before.wanted.enabled
        keep = before.wanted.keep != wanted.keep
        if await self.store.change(after, wish_of(manner, wanted), check=check, keep=keep):
            return await self.store.get(before.subscription_id)
        return None

    async def remove(self, subscription_id: str, *, with_files: bool) -> None:
        """Remove the subscription. What was fetched stays, unless `with_files`. Raises
        `SubscriptionNotFound`.
        """
        self._tasks.refuse_when_closing()
        # Delete the tasks first: if this is interrupted, the subscription still exists, and can be removed
        # again.
        unshared = await self.store.unshared_tasks(subscription_id) if with_files else []
        await self._delete(unshared)
        while made_since := await self.store.remove(subscription_id, with_files=with_files):
            await self._delete(made_since)  # delete tasks that a check made meanwhile

    async def _delete(self, task_ids: Sequence[str]) -> None:
        for task_id in task_ids:
            with suppress(TaskNotFound):
                await self._tasks.delete(task_id)

    async def check(self, subscription_id: str) -> StoredSubscription:
        """Have the subscription checked, unless a check is under way. Raises `SubscriptionNotFound`."""
        self._tasks.refuse_when_closing()
        return await self.checks.due(subscription_id, self.now)

    async def delete_of(self, owner: str) -> bool:
        """Remove some subscriptions of a person with all that they have fetched; return whether there were
        any.
        """
        found = await self.store.some_of(owner)
        for subscription_id in found:
            with suppress(SubscriptionNotFound):
                await self.remove(subscription_id, with_files=True)
        await self.store.give(owner, None)  # which forgets their memory and their feeds' secret
        return bool(found)

    async def log_in(self, hosts: Sequence[str], owner: str | None = None) -> None:
        """New cookies of `owner` for `hosts` are stored: what was refused there for want of a log-in is due
        at once; where lists are separate, only what is theirs.
        """
        free = await self.checks.log_in(hosts, self.now, owner)
        for task_id in await self.items.queued_tasks() if free else ():
            with suppress(AppError):  # the task was removed meanwhile
                status = await self._tasks.status(task_id)
                if status.waiting == HOST_HELD and status.host in free:
                    await self._tasks.put_off(task_id, HOST_HELD, 0)

    async def act(
        self,
        subscription_id: str,
        action: Action,
        keys: Sequence[str] | None,
        state: ItemState | None,
        most: int,
    ) -> tuple[list[StoredItem | AppError], bool]:
        """Return what became of each of `keys`, in their order, and whether more items are in `state`."""
        self._tasks.refuse_when_closing()
        found = await self.items.items_of(subscription_id, keys, state, most + 1)
        chosen, more = (found, False) if keys is not None else (found[:most], len(found) > most)
        there = {item.key: item for item in chosen}
        problems: dict[str, AppError] = {}
        if action == "fetch":
            problems = await self._fetch(subscription_id, chosen)
        elif action in ("pin", "unpin"):
            await self.items.pin(subscription_id, list(there), pinned=action == "pin")
        elif action == "forget":
            # A queued item cannot be forgotten: its entry would be downloaded twice.
            problems = {item.key: WrongState(item.state) for item in chosen if item.state == "queued"}
            gone = [key for key in there if key not in problems]
            await self.items.forget(subscription_id, gone)
        elif action == "skip":
            problems = await self._skip(subscription_id, chosen)
        elif action == "place":
            problems = await self._place_in_library(subscription_id, chosen)
        else:
            kept = [item for item in chosen if item.state == "fetched"]
            others = [item for item in chosen if item.state != "fetched"]
            problems = {item.key: WrongState(item.state) for item in others if item.state != "expired"}
            await self.items.set_state(subscription_id, [item.key for item in kept], "expired", BY_CLIENT)
            await self._delete(await self.items.expire(self.now))
        again = await self.items.items_of(subscription_id, list(there), None, len(there))
        after = {item.key: item for item in again}
        order = list(dict.fromkeys(keys)) if keys is not None else list(there)
        outcomes: list[StoredItem | AppError] = []
        for key in order:
            if key not in there:
                outcomes.append(ItemNotFound())
            else:
                outcomes.append(problems.get(key) or after.get(key) or there[key])
        return outcomes, more

    async def _fetch(self, subscription_id: str, items: Sequence[StoredItem]) -> dict[str, AppError]:
        """For items with a missing file: place the file again from the item's task. Make a new task for an
        item of which no file is left.
        """
        problems: dict[str, AppError] = {}
        abouts = {item.key: item.about for item in items}
        placing, gone = dict[str, TaskStatus](), set[str]()
        had = [item for item in items if item.state in ("fetched", "expired")]
        wanted = (await self.store.get(subscription_id)).wanted.library if had else None
        films = await self._placements.films_of_items(subscription_id, [item.key for item in had])
        for item in had:
            try:
                placed = films.get(item.key, []) if item.state == "fetched" else []
                there = await self._count_placed(placed)
                status = await self._tasks.with_files(item.task_id) if item.task_id else None
            except (LibraryIsAway, StorageAway) as away:
                problems[item.key] = away
                continue
            is_whole = bool(placed) and there == len(placed)
            if not is_whole and status and (wanted or item.state == "expired"):
                placing[item.key] = status
            elif not there and not status:
                gone.add(item.key)
        if placing:
            await self._place(subscription_id, placing, in_library=wanted is not None)
        left = [item for item in items if item.key not in problems and item.key not in placing]
        try:
            done = await self.items.fetch(left, self.now, gone)
        except QueueFull as full:
            return {item.key: full for item in left} | problems
        for key, task in done.items():
            if isinstance(task, Task):
                self._tasks.take_on(task)
                continue
            try:
                await self._tasks.retry(task, abouts[key]["url"], abouts[key].get("item"))
            except TaskNotFound:
                pass  # the task was removed meanwhile
            except AppError as error:
                problems[key] = error
        for item in left:
            if item.state == "queued" or (item.state == "fetched" and item.key not in gone):
                problems[item.key] = WrongState(item.state)
        return problems

    async def _count_placed(self, films: Sequence[str]) -> int:
        """How many of these are in the library; all, where there is no library any more: nobody can tell.

        Raises `LibraryIsAway`.
        """
        if not films or self._library is None:
            return len(films)
        if await self._library.trouble() is not None:
            raise LibraryIsAway
        try:
            return await self._library.count_at(films)
        except FolderBlocked:
            return len(films)  # a symbolic link, which is not followed
        except (LibraryAway, OSError):
            raise LibraryIsAway from None

    async def _place_in_library(
        self, subscription_id: str, items: Sequence[StoredItem]
    ) -> dict[str, AppError]:
        if self._library is None or (await self.store.get(subscription_id)).wanted.library is None:
            return {item.key: NoLibrary() for item in items}
        problems: dict[str, AppError] = {}
        placing: dict[str, TaskStatus] = {}
        for item in items:
            try:
                status = await self._tasks.with_files(item.task_id) if item.task_id else None
            except StorageAway as away:
                problems[item.key] = away
                continue
            if item.state != "fetched":
                problems[item.key] = WrongState(item.state)
            elif status is None:
                problems[item.key] = NoFiles()
            else:
                placing[item.key] = status
        await self._place(subscription_id, placing, in_library=True)
        return problems

    async def _place(
        self, subscription_id: str, tasks: Mapping[str, TaskStatus], *, in_library: bool
    ) -> None:
        """Have the files of items placed.

        The tasks' statuses say `waiting` before that is stored: once it is, the placer may place them at any
        moment, and its `placed` must not be overwritten.
        """
        for status in tasks.values() if in_library else ():
            before = status.library or InLibrary()
            with suppress(TaskNotFound):
                waiting = before.model_copy(update={"state": "waiting"})
                await self._tasks.tell_of_library(status.task_id, waiting)
        await self.items.place(subscription_id, {key: status.task_id for key, status in tasks.items()})

    async def _skip(self, subscription_id: str, items: Sequence[StoredItem]) -> dict[str, AppError]:
        """Skip items; return why some could not be. Their tasks are cancelled first: an item whose download
        has ended meanwhile is `fetched`, and stays so.
        """
        problems: dict[str, AppError] = {}
        for item in items:
            if item.state == "queued" and item.task_id:
                if await self.items.is_wanted(item.task_id, but=subscription_id):
                    continue
                try:
                    await self._tasks.cancel(item.task_id)
                except (TaskAlreadyFinal, TaskNotFound):
                    pass
                except WorkerSilent as error:
                    problems[item.key] = error
        states = await self.items.skip(subscription_id, [item.key for item in items], BY_CLIENT)
        others = {key: WrongState(state) for key, state in states.items() if state != "skipped"}
        return others | problems
