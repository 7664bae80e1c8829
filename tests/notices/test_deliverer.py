"""Deliveries to real receivers, one of which hangs: no other receiver waits for it, on one machine and on
several nodes.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Any, get_args

import pytest

from server.api.payload import Encoder
from server.core.background import in_background
from server.notices.deliverer import IN_THE_LOG, SLOTS, Deliverer
from server.notices.deliveries import AT_ONCE, Delivery, Kind, tells_of
from server.notices.delivery_rows import hooks_of
from server.notices.webhook_sender import WebhookSender
from tests.notices.conftest import OpenAny
from tests.notices.test_outbox import ended
from tests.rooms import rooms

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_each_kind_of_addressee_has_slots_and_words_for_the_log() -> None:
    kinds = {*get_args(Kind)}
    assert {kind for some in SLOTS for kind in some} == kinds, "`SLOTS` in server/notices/deliverer.py"
    assert IN_THE_LOG.keys() == kinds, "`IN_THE_LOG` in server/notices/deliverer.py"


class Receiver:
    """Answers each request once `answers` is set; counts the requests that wait for this."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.got = asyncio.Semaphore(0)
        self.waiting, self.most_waiting = 0, 0
        self.server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self.server
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/"

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            self.waiting += 1
            self.most_waiting = max(self.waiting, self.most_waiting)
            self.got.release()
            await self.answers.wait()
            self.waiting -= 1
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await writer.drain()
        writer.close()


@pytest.fixture
async def receivers() -> AsyncIterator[list[Receiver]]:
    made = [Receiver() for _ in range(3)]
    async with AsyncExitStack() as stack:
        for each in made:
            each.server = await stack.enter_async_context(
                await asyncio.start_server(each.take, "127.0.0.1", 0)
            )
        yield made


def deliverer_of(store: Any) -> Deliverer:
    sender = WebhookSender(Encoder(""), "en", SECRET, None, ("127.0.0.1",))
    return Deliverer(rooms(store).outbox, {"webhook": sender.send, "default": sender.send})


async def nodes(open_any: OpenAny, stack: AsyncExitStack) -> list[Any]:
    """Open two nodes of a cluster, or the only one that SQLite allows."""
    store = await stack.enter_async_context(open_any())
    if type(store).__module__.startswith("server.storage.sqlite"):
        return [store]
    return [store, await stack.enter_async_context(open_any())]


async def test_a_receiver_that_hangs_holds_up_no_other_however_much_is_due_to_it(
    open_any: OpenAny, receivers: list[Receiver]
) -> None:
    hangs, *healthy = receivers
    async with AsyncExitStack() as stack:
        stores = await nodes(open_any, stack)
        await asyncio.gather(*(ended(stores[0], webhook=hangs.url) for _ in range(200)))
        for each in healthy:
            await asyncio.gather(*(ended(stores[0], webhook=each.url) for _ in range(10)))
            each.answers.set()
        for store in stores:
            await stack.enter_async_context(in_background(deliverer_of(store).run(alone=False), "outbox"))
        for each in healthy:
            for _ in range(10):
                await each.got.acquire()
        for _ in range(AT_ONCE):
            await hangs.got.acquire()
        assert hangs.waiting == AT_ONCE
        hangs.answers.set()  # the other deliveries to this receiver follow
        for _ in range(200 - AT_ONCE):
            await hangs.got.acquire()
        assert hangs.most_waiting <= AT_ONCE


async def test_people_do_not_wait_for_receivers_of_webhooks(
    open_any: OpenAny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.notices.deliverer.SLOTS", {("webhook", "default"): 2, ("notify",): 1})
    told = asyncio.Event()

    async def hang(delivery: Delivery) -> str | None:
        await told.wait()
        return None

    async def tell(delivery: Delivery) -> str | None:
        told.set()
        return None

    async with open_any(hooks=[hooks_of(tells_of(notify=("ab12",)))]) as store:
        for number in range(5):
            await ended(store, webhook=f"http://{number}.hooks.test/")
        deliverer = Deliverer(rooms(store).outbox, {"webhook": hang, "notify": tell})
        async with in_background(deliverer.run(alone=False), "outbox"):
            await told.wait()
