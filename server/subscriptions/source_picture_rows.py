"""The pictures of subscriptions' sources as rows, in base64: both databases and a copy have them as text."""

import base64
from collections.abc import Iterable, Sequence

from server.storage.statements import Row, Statements, Transactions, insert
from server.subscriptions.source import PictureRole, SourcePicture

_PUT = """
    INSERT INTO source_pictures (subscription_id, role, body, small) VALUES {rows}
    ON CONFLICT (subscription_id, role) DO UPDATE SET body = excluded.body, small = excluded.small"""
_GET = "SELECT body FROM source_pictures WHERE subscription_id = ? AND role = ?"
_GET_SMALL = "SELECT coalesce(small, body) FROM source_pictures WHERE subscription_id = ? AND role = ?"
_DELETE = "DELETE FROM source_pictures WHERE subscription_id = ?"


async def put_pictures(tables: Statements, subscription_id: str, pictures: Sequence[SourcePicture]) -> None:
    rows = [(subscription_id, one.role, *_texts(one.data, one.small)) for one in pictures if one.is_there]
    await insert(tables, _PUT, rows)


async def delete_pictures(tables: Statements, subscription_id: str) -> None:
    await tables.run(_DELETE, (subscription_id,))


class SourcePictures:
    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def get(self, subscription_id: str, role: PictureRole, *, small: bool = False) -> bytes | None:
        """The JPEG; None if there is none."""

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(_GET_SMALL if small else _GET, (subscription_id, role))

        return next((base64.b64decode(body) for (body,) in await self._transactions.read(work)), None)


def _texts(*contents: bytes | None) -> Iterable[str | None]:
    return [None if content is None else base64.b64encode(content).decode() for content in contents]
