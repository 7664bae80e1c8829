"""Clients that watch a cluster in a storm: whichever node they ask, no answer contradicts an earlier one."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import aiohttp

from tests.kills import Kind
from tests.kills import Witness as OfOneTask
from tests.service import FINAL, Payload, Service

UNANSWERED = (aiohttp.ClientError, OSError, TimeoutError)
SECOND = 2.0  # seconds of tolerance: the API gives times to the second
# Seconds for one answer: unless it hangs, a node answers within ten seconds, at least with an error.
PATIENCE = 12.0
MEANWHILE = {"database_away", "database_busy", "storage_away", "shutting_down", "worker_silent", "queue_full"}

Socket = AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]
Fate = Literal["completes", "is paused", "is cancelled", "is deleted"]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    text: str

    @property
    def payload(self) -> Payload:
        loaded: Payload = json.loads(self.text)
        return loaded


class Witness(OfOneTask):
    """All payloads of one task that any client received. `fate` is what the test does to the task."""

    def __init__(self, task_id: str, kind: Kind, fate: Fate) -> None:
        super().__init__(task_id, kind)
        self.fate = fate
        self.is_settled = fate == "completes"  # the test makes no more requests to change the task
        self.is_gone = False
        self.must_be: str | None = None  # the stage in which the task has to stay, if it has to stay in one

    @property
    def is_over(self) -> bool:
        return self.is_settled and (self.is_gone or self.done)


@dataclass
class Feed:
    """The newest payload of each task that came through `/ws` of one node, since the socket was opened.

    `since` is that time, in seconds since the epoch.
    """

    node: Service
    since: float = 0.0
    last: dict[str, Payload] = field(default_factory=dict)


class Crowd:
    """Sends each request to a random web node, and listens to the sockets of all of them."""

    def __init__(self, web: list[Service], seed: int) -> None:
        self.web = web
        self.witnesses: dict[str, Witness] = {}
        self.feeds = [Feed(node) for node in web]
        self._chance = random.Random(seed)
        self._client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE))
        self._watching: list[asyncio.Task[None]] = []

    async def close(self) -> None:
        for watcher in self._watching:
            watcher.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await self._client.close()

    def watch_all(self) -> None:
        for feed in self.feeds:
            self._watch(self._follow(feed), f"feed of {feed.node.folder.name}")

    def watch(self, witness: Witness) -> None:
        self.witnesses[witness.task_id] = witness
        self._watch(self._poll(witness), f"poll {witness.task_id}")
        for node in self.web:
            self._watch(self._listen(witness, node), f"listen to {witness.task_id}")

    def check(self) -> None:
        """Raise the exception of a watcher that has failed, if any."""
        for watcher in self._watching:
            if watcher.done() and not watcher.cancelled():
                watcher.result()

    async def heard(self) -> None:
        """Return when all watchers have received the final payload of every task."""
        await asyncio.gather(*(one for one in self._watching if not one.get_name().startswith("feed")))
        while any(map(self._is_behind, self.feeds)):
            self.check()
            await asyncio.sleep(0.1)

    def waiting(self) -> list[str]:
        """Return the tasks that have not ended, and the watchers that still wait."""
        tasks = [f"{one.fate}: {one.newest}" for one in self.witnesses.values() if not one.is_over]
        feeds = [f"{feed.node.folder.name} is behind" for feed in self.feeds if self._is_behind(feed)]
        return [*tasks, *feeds, *(one.get_name() for one in self._watching if not one.done())]

    async def ask(self, method: str, path: str, **request: object) -> Answer | None:
        """Return the answer of a random web node, or None if it gave none. A 5xx must have a code of
        `MEANWHILE`.
        """
        node = self._chance.choice(self.web)
        with suppress(*UNANSWERED):
            async with self._client.request(method, node.url + path, **request) as answer:  # type: ignore[arg-type]
                told = Answer(answer.status, await answer.text())
                if told.status >= 500:
                    assert told.payload.get("code") in MEANWHILE, (node.folder.name, path, told)
                return told
        return None

    async def insist(self, method: str, path: str, *wanted: int, **request: object) -> Answer:
        """Repeat the request on random nodes until its status is `wanted`; fail on any other below 500."""
        while True:
            answer = await self.ask(method, path, **request)
            if answer and answer.status in wanted:
                return answer
            assert answer is None or answer.status >= 500, (method, path, answer)
            await asyncio.sleep(self._chance.uniform(0.1, 0.5))

    def _watch(self, watching: Coroutine[Any, Any, None], name: str) -> None:
        self._watching.append(asyncio.create_task(watching, name=name))

    def _is_behind(self, feed: Feed) -> bool:
        """Return whether the final payload of a task that ended while the socket was open is still
        missing.
        """
        return any(
            feed.last.get(one.task_id, {}).get("revision") != one.newest["revision"]
            for one in self.witnesses.values()
            if not one.is_gone and _ended_at(one.newest) > feed.since + SECOND
        )

    async def _poll(self, witness: Witness) -> None:
        while not witness.is_over:
            await asyncio.sleep(self._chance.uniform(0.2, 0.6))
            floor, gone, must_be = witness.newest["revision"], witness.is_gone, witness.must_be
            answer = await self.ask("GET", f"/api/status/{witness.task_id}")
            if answer is None or answer.status >= 500:
                continue
            if answer.status == 404:
                assert witness.fate == "is deleted", f"{witness.task_id} is lost"
                continue
            assert answer.status == 200, answer
            assert not gone, f"{witness.task_id} was deleted, and is there again"
            payload = witness.saw(answer.text, floor)
            if must_be and witness.must_be:
                assert payload["stage"] == must_be, payload

    async def _listen(self, witness: Witness, node: Service) -> None:
        last: Payload = {"revision": 0, "stage": "queued"}
        while last["stage"] not in FINAL and not witness.is_gone:
            floor = witness.newest["revision"]
            with suppress(*UNANSWERED):
                async with self._socket(node, f"/ws/{witness.task_id}") as socket:
                    async for text in _texts(socket):
                        if json.loads(text).get("removed"):
                            return
                        last = witness.saw(text, floor)
                        floor = last["revision"] + 1
            await asyncio.sleep(0.2)

    async def _follow(self, feed: Feed) -> None:
        while True:
            with suppress(*UNANSWERED):
                async with self._socket(feed.node, "/ws") as socket:
                    feed.since, feed.last = time.time(), {}
                    async for text in _texts(socket):
                        self._take(feed, text)
            await asyncio.sleep(0.2)

    def _take(self, feed: Feed, text: str) -> None:
        news = json.loads(text)
        witness = self.witnesses.get(news["task_id"])
        if witness is None:
            return
        if news.get("removed"):
            assert witness.fate == "is deleted", news
            return
        # After a gap in the connection, a revision may come a second time.
        before = feed.last.get(witness.task_id, {"revision": 0})
        feed.last[witness.task_id] = witness.saw(text, before["revision"])

    def _socket(self, node: Service, path: str) -> Socket:
        """Open a socket to `node`; its heartbeat closes it if SIGSTOP has stopped the node."""
        return self._client.ws_connect(node.url + path, heartbeat=4)


async def _texts(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[str]:
    """Yield the text messages, until the socket is closed or its heartbeat fails."""
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.TEXT:
            return
        yield message.data


def _ended_at(payload: Payload) -> float:
    """Return when the task ended, in seconds since the epoch, or 0 if it has not."""
    return datetime.fromisoformat(payload["completed_at"]).timestamp() if payload.get("completed_at") else 0
