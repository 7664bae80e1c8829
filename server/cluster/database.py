"""A few connections for the cluster's short transactions, beside those of the store.

The engine uses them, too: a node has twelve connections at most, those of its store among them.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection

from server.storage.postgresql.connection import answering, translate_errors
from server.storage.postgresql.link import Links, open_links

CHECKED_WITHIN = 4.0  # seconds in which a connection has to answer before it is lent


class ClusterDatabase:
    """Lends connections. Errors whose cause is outside this program are raised as `StoreUnavailable`."""

    def __init__(self, url: str, links: Links) -> None:
        self.url = url
        self._links = links

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection; it is closed if the block takes longer than `ANSWER_WITHIN`. Also raises
        psycopg's errors.
        """
        async with self._links.lend() as db:
            with answering(db):
                yield db

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection with an open transaction; see `connection`."""
        with translate_errors():
            async with self.connection() as db, db.transaction():
                yield db

    async def rows(self, sql: str, *values: object, **named: object) -> Sequence[tuple[Any, ...]]:
        """Return the rows of one statement, which is a transaction by itself."""
        with translate_errors():
            async with self.connection() as db:
                return await (await db.execute(sql.encode(), named or values)).fetchall()


@asynccontextmanager
async def open_database(url: str, most: int) -> AsyncIterator[ClusterDatabase]:
    async with open_links(url, most, within=CHECKED_WITHIN) as links:
        yield ClusterDatabase(url, links)
