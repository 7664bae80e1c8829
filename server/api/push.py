"""`/ws/<task_id>` and `/ws`: the payloads that a poller would read, as they change."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from server.api.kit import ENCODER, HUB, TASKS, language
from server.api.payload import Encoder, dumps
from server.errors import UpgradeRequired
from server.models import TaskStatus
from server.tasks.hub import Removed, Subscription, Update

HEARTBEAT = 30.0  # seconds
CLOSE_WITHIN = 2.0  # seconds that a peer has to answer a close


class Subscriber(Subscription):
    """One socket: takes what the hub holds for it and sends it, as fast as its reader reads."""

    def __init__(self, ws: web.WebSocketResponse, encoder: Encoder, chosen: str) -> None:
        self._ws = ws
        self._encoder = encoder
        self._language = chosen
        self._changed = asyncio.Event()
        self._left = False
        super().__init__(self._changed.set)

    def leave(self) -> None:
        """The client went away."""
        self._left = True
        self._changed.set()

    async def push_one(self, current: TaskStatus) -> WSCloseCode | None:
        """Send `current` and each newer status of its task; the code to close with after the last."""
        await self._send(current)
        revision, final = current.revision, current.stage.is_final
        while not final:
            updates = await self._next_updates()
            if updates is None:
                return None if self._left else WSCloseCode.GOING_AWAY
            for update in updates:
                if isinstance(update, Removed):
                    return WSCloseCode.OK
                if update.revision > revision:
                    await self._send(update)
                    revision, final = update.revision, update.stage.is_final
        return WSCloseCode.OK

    async def push_all(self) -> WSCloseCode | None:
        """Send what becomes of any task; the code to close with when the server goes away."""
        while (updates := await self._next_updates()) is not None:
            for update in updates:
                await self._send(update)
        return None if self._left else WSCloseCode.GOING_AWAY

    async def _next_updates(self) -> list[Update] | None:
        """What came since the last call, as soon as there is something; None at the end."""
        while not self._left:
            self._changed.clear()
            if updates := self.take():
                return updates
            if self.closed:
                return None
            await self._changed.wait()
        return None

    async def _send(self, update: Update) -> None:
        if isinstance(update, Removed):
            body = dumps({"task_id": update.task_id, "removed": True})
        else:
            body = self._encoder.encode(update, self._language).body
        await self._ws.send_frame(body, WSMsgType.TEXT)


async def watch(request: web.Request) -> web.WebSocketResponse:
    """One task: its current payload at once, then each newer one; closes after the last."""
    ws = _socket(request)
    task_id = request.match_info["task_id"]
    subscriber = Subscriber(ws, request.app[ENCODER], language(request))
    with request.app[HUB].watch(task_id, subscriber):
        # Subscribe, then read, then send: the other order loses what changes in between.
        current = await request.app[TASKS].status(task_id)
        await ws.prepare(request)
        await _serve(ws, subscriber, subscriber.push_one(current))
    return ws


async def watch_all(request: web.Request) -> web.WebSocketResponse:
    """All tasks: from now on the newest payload of each that changes, and what is removed."""
    ws = _socket(request)
    subscriber = Subscriber(ws, request.app[ENCODER], language(request))
    with request.app[HUB].watch(None, subscriber):
        await ws.prepare(request)
        await _serve(ws, subscriber, subscriber.push_all())
    return ws


def _socket(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse(heartbeat=HEARTBEAT, timeout=CLOSE_WITHIN, max_msg_size=1024, compress=False)
    if not ws.can_prepare(request):
        raise UpgradeRequired
    return ws


async def _serve(
    ws: web.WebSocketResponse, subscriber: Subscriber, pushing: Coroutine[Any, Any, WSCloseCode | None]
) -> None:
    """Push until there is no more to say or nobody left to say it to."""
    reading = asyncio.create_task(_read(ws, subscriber), name="socket reader")
    code = None
    try:
        with suppress(ConnectionError):  # the client left
            code = await pushing
    finally:
        reading.cancel()
        await asyncio.wait([reading])
    if code:
        # Not while a read waits: then aiohttp would cut the line before the client's own close came.
        await ws.close(code=code)


async def _read(ws: web.WebSocketResponse, subscriber: Subscriber) -> None:
    """Clients only listen; reading notices when they leave."""
    async for _ in ws:
        pass
    subscriber.leave()


ROUTES = [web.get("/ws", watch_all), web.get("/ws/{task_id}", watch)]
