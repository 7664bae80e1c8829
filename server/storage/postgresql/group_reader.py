"""Batches reads: one query answers all waiting callers; those that come meanwhile wait for the next one.

Nothing is cached, so that what was changed through another node is seen here.
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
    """`sql` takes an array of keys; the first column of its rows is the key, `read` makes a value of the
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
        """The value as of now or later. Raises `StoreUnavailable`, and `ValueError` for a damaged row."""
        if not is_text(key):
            return None
        if self._closing:
            raise ShuttingDown
        if key not in self._waiting:
            self._waiting[key] = asyncio.get_running_loop().create_future()
            self._wake.set()
        return await asyncio.shield(self._waiting[key])  # other callers may wait for it as well

    async def _run(self) -> None:
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            asked, self._waiting = self._waiting, {}
            if not asked:
                continue
            try:
                rows = await self._link.do(partial(self._query, list(asked)))
            except Exception as error:
                for answer in asked.values():
                    _fail(answer, error)
            else:
                found: dict[str, Row] = {key: rest for key, *rest in rows}
                for key, answer in asked.items():
                    try:
                        value = self._read(*found[key]) if key in found else None
                    except ValueError as error:
                        _fail(answer, error)
                    else:
                        answer.set_result(value)

    async def _query(self, keys: Collection[str], db: AsyncConnection) -> Sequence[Row]:
        return await (await db.execute(self._sql, (keys,), prepare=True)).fetchall()


def is_text(text: str) -> bool:
    """Whether PostgreSQL accepts `text`, and so may hold it: no NUL, and no half of a surrogate pair."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    answer.set_exception(error)
    answer.exception()  # marks it as retrieved: all callers may have been cancelled
