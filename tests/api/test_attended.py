"""Work for a client ends when the client has left; without such work the server does not look for clients
that left.
"""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from server.api import connections
from server.api.connections import Connections


def connection(transport: Any) -> Any:
    return SimpleNamespace(transport=transport)


def transport(*, is_closing: bool) -> Any:
    return SimpleNamespace(is_closing=lambda: is_closing)


async def test_work_ends_soon_after_its_client_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CHECK_ATTENDED_EVERY", 0.01)
    all_of_them, client = Connections(0), connection(transport(is_closing=False))
    others = asyncio.create_task(
        all_of_them.attended(connection(transport(is_closing=False)), asyncio.sleep(30))
    )
    work = asyncio.create_task(all_of_them.attended(client, asyncio.sleep(30)))
    await asyncio.sleep(0.05)
    assert not work.done()
    client.transport = None
    with pytest.raises(ConnectionResetError):
        await work
    assert not others.done()
    others.cancel()
    await asyncio.wait([others])


async def test_without_such_work_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CHECK_ATTENDED_EVERY", 0.01)
    all_of_them = Connections(0)
    assert await all_of_them.attended(connection(transport(is_closing=False)), asyncio.sleep(0.03, "done"))
    while all_of_them._letting_go:
        await asyncio.sleep(0.01)
