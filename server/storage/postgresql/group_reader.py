"""Batches reads: one query answers all waiting callers; callers that come meanwhile wait for the next query.

Nothing is cached, so that changes of other nodes are seen.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from psycopg import AsyncConnection

from server.core.errors import ShuttingDown
from server.storage.postgresql.link import Link, Links

Found = TypeVar("Found")
Row = Sequence[Any]


class GroupReader(Generic[Found]):
    """`sql` takes an array of keys. The first column of its rows is the key; `read` makes a value of the
    others.
    """

    def __init__(self, link: Link | Links, sql: str, read: Callable[..., Found]) -> None:
        self._link = link
        self._sql = sql.encode()
        self._read = read
        self._waiting: dict[str, asyncio.Future[Found | None]] = {}
        self._wake = asyncio.Event()
        self._closing = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="store reader")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._wake.set()
        self._link.end()
        await self._task

    async def get(self, key: str) -> Found | None:
        """Return the value as of this call or later. Raises `StoreUnavailable`, `ValueError` for a damaged
        row.
        """
        if not is_text(key):
            return None
        if self._closing:
            raise ShuttingDown
        if key not in self._waiting:
            self._waiting[key] = asyncio.get_running_loop().create_future()
            self._wake.set()
        return await asyncio.shield(self._waiting[key])  # shielded: other callers may wait for the same key

    async def _run(self) -> None:
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            waiting, self._waiting = self._waiting, {}
            if not waiting:
                continue
            try:
                rows = await self._link.do(partial(self._query, list(waiting)))
            except Exception as error:
                for answer in waiting.values():
                    _fail(answer, error)
            else:
                found: dict[str, Row] = {key: rest for key, *rest in rows}
                for key, answer in waiting.items():
                    try:
                        value = self._read(*found[key]) if key in found else None
                    except ValueError as error:
                        _fail(answer, error)
                    else:
                        answer.set_result(value)

    async def _query(self, keys: Collection[str], db: AsyncConnection) -> Sequence[Row]:
        return await (await db.execute(self._sql, (keys,), prepare=True)).fetchall()


def is_text(text: str) -> bool:
    """Say whether PostgreSQL can hold `text`: no NUL, and no half of a surrogate pair."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    answer.set_exception(error)
    answer.exception()  # marks it as retrieved: all callers may have been cancelled
