"""Group commit: a writer commits all waiting changes in one transaction.

A commit waits for the disk, so a hundred changes in one commit cost little more than one change. `submit`
returns after the commit: what it returned is on disk. Changes that are submitted together (a bundle) are
committed in one transaction: all of them are on disk, or none.

Decisions: docs/decisions/storage.md
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from server.core.counts import Counts
from server.core.errors import AppError, ShuttingDown, StorageFailed, StoreUnavailable

log = logging.getLogger(__name__)

GROUP = 256  # changes in one commit; a few more if the last bundle is larger, as bundles are not split
Result = TypeVar("Result")


class Change(Generic[Result]):
    """A change to be written once.

    `touches` names what the change reads or writes. No two bundles of a group touch the same name, so that
    each change can be decided by what was committed before the group. `outcome` is set while the change is
    written, and is returned to the caller once the change is on disk.
    """

    touches: tuple[str, ...] = ()
    makes_room: bool = False  # a deletion, which has to be possible on a full disk
    outcome: Result | AppError


@dataclass(frozen=True, slots=True)
class Bundle:
    """Changes that were submitted together; `written` is done once all of them are on disk."""

    changes: Sequence[Change[Any]]
    touches: frozenset[str]
    written: asyncio.Future[None]


class GroupWriter(ABC):
    """Collects changes into groups; a subclass commits them.

    A group waits for more changes for at most `patience` seconds. Callers that were answered together mostly
    submit again together: without the wait, the first one would get a commit of its own, and the others would
    wait for it, which matters where a commit is expensive.
    """

    def __init__(self, patience: float = 0, counts: Counts | None = None) -> None:
        self.patience = patience
        self._counts = counts or Counts()
        self._last = 0  # number of bundles in the last group
        self._waiting: deque[Bundle] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        # The error of the last group, so that an outage is logged only once.
        self._failed_by: type[StoreUnavailable] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="store writer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the waiting changes, as far as the database accepts them, then end."""
        self._closing = True
        self.hurry()
        self._wake.set()
        await self._task

    async def submit(self, change: Change[Result]) -> Result:
        """Return the outcome of `change` once it is on disk, or raise it.

        Raises `ShuttingDown`, and `StoreUnavailable` if the change could not be written; then nothing is
        changed, unless the error has `perhaps_done`. If the caller is cancelled, the change may yet be made:
        whole, or not at all.
        """
        [outcome] = await self.submit_all([change])
        if isinstance(outcome, AppError):
            raise outcome
        return outcome

    async def submit_all(self, changes: Sequence[Change[Result]]) -> list[Result | AppError]:
        """Return the outcome of each change once all are on disk, by one transaction.

        Raises what `submit` raises if they could not be written.
        """
        if self._closing:
            raise ShuttingDown
        touches = frozenset(name for change in changes for name in change.touches)
        bundle = Bundle(changes, touches, asyncio.get_running_loop().create_future())
        self._waiting.append(bundle)
        self._wake.set()
        await bundle.written
        return [change.outcome for change in changes]

    @abstractmethod
    async def commit(self, changes: Sequence[Change[Any]]) -> None:
        """Set the outcome of each of the changes, in one transaction. Raises `StoreUnavailable`."""

    @abstractmethod
    def hurry(self) -> None:
        """Wait for the database as briefly as possible from now on: the server shuts down."""

    def give_up(self, error: StoreUnavailable) -> None:
        """Fail all waiting changes with `error`: they were not made."""
        waiting, self._waiting = self._waiting, deque()
        for bundle in waiting:
            _fail(bundle, error)

    async def _run(self) -> None:
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                if self.patience:
                    # Three quarters as many bundles as the last group had; a single caller does not wait.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self.patience):
                            while len(self._waiting) < self._last * 3 // 4:
                                self._wake.clear()
                                await self._wake.wait()
                # Take the oldest bundles, without cancelled ones, up to the first that touches what another
                # does.
                group: list[Bundle] = []
                touched: set[str] = set()
                size = 0
                while self._waiting and size < GROUP and touched.isdisjoint(self._waiting[0].touches):
                    bundle = self._waiting.popleft()
                    if not bundle.written.cancelled():
                        touched |= bundle.touches
                        group.append(bundle)
                        size += len(bundle.changes)
                if group:
                    self._last = len(group)
                    await self._settle(group)

    async def _settle(self, group: Sequence[Bundle]) -> None:
        """Commit the group; if it fails though the store is available, commit each bundle by itself."""
        changes = [change for bundle in group for change in bundle.changes]
        try:
            await self.commit(changes)
        except StoreUnavailable as error:
            if not error.is_logged and self._failed_by is not type(error):
                level = logging.ERROR if isinstance(error, StorageFailed) else logging.WARNING
                log.log(level, "the database did not take %d changes: %s", len(changes), error.__cause__)
            self._failed_by = type(error)
            for bundle in group:
                _fail(bundle, error)
        except Exception as error:
            if len(group) > 1:
                for bundle in group:
                    await self._settle([bundle])
            else:
                _fail(group[0], error)
        else:
            self._failed_by = None
            self._counts.commits += 1
            self._counts.changes += len(changes)
            for bundle in group:
                if not bundle.written.cancelled():
                    bundle.written.set_result(None)


def _fail(bundle: Bundle, error: Exception) -> None:
    """Raise `error` in the caller; a `StoreUnavailable` as a copy, as many callers would add to one
    traceback.
    """
    if isinstance(error, StoreUnavailable):
        other = type(error)()
        other.__dict__.update(error.__dict__)
        other.__cause__ = error.__cause__
        error = other
    if not bundle.written.cancelled():
        bundle.written.set_exception(error)
