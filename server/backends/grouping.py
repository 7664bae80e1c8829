"""A writer takes all changes that wait and commits them together.

A commit waits for the disk, so a hundred changes in one cost little more than one change. Who submits
one hears of it after the commit: what `submit` returned is on disk. Changes that are submitted together are
never torn apart: all of them are on disk, or none.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from server.errors import AppError, ShuttingDown, StorageFailed, StoreUnavailable

log = logging.getLogger(__name__)

GROUP = 256  # changes in one commit, or some more: the last of its bundles is taken whole
Result = TypeVar("Result")


class Change(Generic[Result]):
    """Something to be written, once.

    `touches` names what it depends on; a group holds nothing twice, so that each of its changes may
    go by what was committed before the group. `outcome` is set while it is written, and becomes `answer`
    once it is on disk.
    """

    touches: tuple[str, ...] = ()
    makes_room: bool = False  # a deletion, which has to be possible on a full disk
    outcome: Result | AppError
    answer: asyncio.Future[Result]


Bundle = Sequence[Change[Any]]  # what was submitted together


class GroupWriter(ABC):
    """What a database adds is `commit`.

    `patience` are seconds at most that a group waits for those who were answered together with the last one:
    they mostly come again together, and where a commit costs much they should not wait for that of the first.
    """

    def __init__(self, patience: float = 0) -> None:
        self.patience = patience
        self._last = 0  # bundles in the last group
        self._waiting: deque[Bundle] = deque()
        self._wake = asyncio.Event()
        self._closing = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="store writer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits, as far as the database takes it, then end."""
        self._closing = True
        self.hurry()
        self._wake.set()
        await self._task

    async def submit(self, change: Change[Result]) -> Result:
        """Return the outcome of `change` once it is on disk, or raise it.

        Raises `StoreUnavailable` if it could not be written; then nothing is changed. A waiter that is
        cancelled leaves open whether the change was made; it is made whole or not at all.
        """
        self._append([change])
        return await change.answer

    async def submit_all(self, changes: Sequence[Change[Result]]) -> list[Result | AppError]:
        """Return the outcome of each once all of them are on disk, in one transaction.

        Raises `StoreUnavailable` if they could not be written; then nothing is changed. See `submit`.
        """
        self._append(changes)
        answers = await asyncio.gather(*(change.answer for change in changes), return_exceptions=True)
        return [_outcome(answer) for answer in answers]

    def _append(self, bundle: Bundle) -> None:
        if self._closing:
            raise ShuttingDown
        loop = asyncio.get_running_loop()
        for change in bundle:
            change.answer = loop.create_future()
        self._waiting.append(bundle)
        self._wake.set()

    @abstractmethod
    async def commit(self, changes: Sequence[Change[Any]]) -> None:
        """Set the outcome of each of the changes, in one transaction. Raises `StoreUnavailable`."""

    @abstractmethod
    def hurry(self) -> None:
        """From now on wait for nobody who holds the data."""

    def give_up(self, error: StoreUnavailable) -> None:
        """Tell all who wait that their changes were not made."""
        waiting, self._waiting = self._waiting, deque()
        for change in _all(waiting):
            _fail(change, _like(error))

    async def _run(self) -> None:
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                if self.patience:
                    await self._gather()
                if group := self._next_group():
                    self._last = len(group)
                    await self._settle(group)

    async def _gather(self) -> None:
        """Who is alone waits for nobody."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.patience):
                while len(self._waiting) < self._last * 3 // 4:
                    self._wake.clear()
                    await self._wake.wait()

    def _next_group(self) -> list[Bundle]:
        """The oldest bundles that are waited for, up to the first that touches what one of them does."""
        group: list[Bundle] = []
        touched: set[str] = set()
        size = 0
        while self._waiting and size < GROUP and touched.isdisjoint(all_touched(self._waiting[0])):
            bundle = self._waiting.popleft()
            if not all(change.answer.cancelled() for change in bundle):
                touched |= all_touched(bundle)
                group.append(bundle)
                size += len(bundle)
        return group

    async def _settle(self, group: Sequence[Bundle]) -> None:
        """Commit the group; if one of its changes cannot be written, each bundle by itself."""
        changes = _all(group)
        try:
            await self.commit(changes)
        except StoreUnavailable as error:
            level = logging.ERROR if isinstance(error, StorageFailed) else logging.WARNING
            log.log(level, "the database did not take %d changes: %s", len(changes), error.__cause__)
            for change in changes:
                _fail(change, _like(error))
        except Exception as error:
            if len(group) > 1:
                for bundle in group:
                    await self._settle([bundle])
            else:
                for change in changes:
                    _fail(change, error)
        else:
            for change in changes:
                _answer(change)


def _all(bundles: Iterable[Bundle]) -> list[Change[Any]]:
    return [change for bundle in bundles for change in bundle]


def all_touched(bundle: Bundle) -> set[str]:
    return {name for change in bundle for name in change.touches}


def _outcome(answer: Result | BaseException) -> Result | AppError:
    """What is one change's own; raises what befell all of them."""
    if isinstance(answer, StoreUnavailable) or (
        isinstance(answer, BaseException) and not isinstance(answer, AppError)
    ):
        raise answer
    return answer


def _answer(change: Change[Any]) -> None:
    if isinstance(change.outcome, AppError):
        _fail(change, change.outcome)
    elif not change.answer.cancelled():
        change.answer.set_result(change.outcome)


def _fail(change: Change[Any], error: Exception) -> None:
    if not change.answer.cancelled():
        change.answer.set_exception(error)


def _like(error: StoreUnavailable) -> StoreUnavailable:
    """One for each who waits: each adds where it was raised."""
    other = type(error)()
    other.__dict__.update(error.__dict__)
    other.__cause__ = error.__cause__
    return other
