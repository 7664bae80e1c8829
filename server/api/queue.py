"""`/api/queue`: how many tasks are in each stage, and pausing the whole queue, which clients can wait for."""

import asyncio
import contextlib

from aiohttp import WSCloseCode, web

from server.api.acting import chosen_owner
from server.api.bodies import Query, respond_answer
from server.api.connections import CONNECTIONS
from server.api.keys import HUB, TASKS, admins_alone
from server.api.openapi.operation import JSON, OF_CHANGES, OWNER, READER, Operation, Parameter, Reply, header
from server.api.route import get, post
from server.api.session import LOG_INS
from server.api.status import WAIT, wanted_wait
from server.core.errors import AdminOnly, InvalidQuery, TokenRequired
from server.core.task import Stage
from server.tasks.hub import Watcher


class QueuePoll(Watcher):
    """A long poll of the queue; it also ends when the session of its request ends."""

    is_logged_out = False

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        super().__init__()

    def wake(self) -> None:
        self._woken.set()

    def end(self, code: WSCloseCode) -> None:
        self.is_logged_out = True
        self.close()

    async def news(self) -> None:
        await self._woken.wait()
        self._woken.clear()


async def get_queue(request: web.Request) -> web.Response:
    """Return the queue at once; with `wait`, once `paused` differs from the client's value."""
    query, wait = Query(request), wanted_wait(request)
    known = query.one_of("paused", ("false", "true"))
    is_folded, owner = query.flag("folded"), chosen_owner(request, query)
    query.check()
    if wait and known:
        changed = _until_changed(request, known == "true", wait)
        await request.app[CONNECTIONS].attended(request.protocol, changed)
    return await _state(request, owner, is_folded=is_folded)


async def _until_changed(request: web.Request, paused: bool, wait: float) -> None:
    """Return when the queue is not `paused` as given, or after `wait` seconds. Raises `TokenRequired`."""
    tasks, poll = request.app[TASKS], QueuePoll()
    with request.app[LOG_INS].hold(request, poll), request.app[HUB].watch_queue(poll):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                # `poll` is subscribed already: a change before the first read wakes it.
                while not poll.closed and await tasks.is_paused() is paused:
                    await poll.news()
        if poll.is_logged_out:
            raise TokenRequired


async def _state(request: web.Request, owner: str | None = None, *, is_folded: bool = False) -> web.Response:
    from server.api.openapi.schemas import QueueState

    tasks = request.app[TASKS].of(owner)
    counts, asking = await tasks.count(is_folded=is_folded), await tasks.count_asking()
    stages = {stage: counts.get(stage, 0) for stage in Stage}
    state = QueueState(paused=await tasks.is_paused(), stages=stages, asking=asking)
    return respond_answer(state)


async def pause(request: web.Request) -> web.Response:
    """Begin no queued task until `resume`; running ones continue."""
    admins_alone(request)
    await request.app[TASKS].pause_queue()
    return await _state(request)


async def resume(request: web.Request) -> web.Response:
    admins_alone(request)
    await request.app[TASKS].resume_queue()
    return await _state(request)


_STATE = {200: Reply("The queue as it is now", {JSON: "QueueState"})}
ROUTES = [
    get(
        "/api/queue",
        get_queue,
        Operation(
            "queue",
            "Queue",
            "How many tasks are where",
            _STATE,
            "With `wait` and `paused` held until it is paused or resumed; when the time is up, as it is.",
            parameters=(
                WAIT,
                header("Prefer", "`wait=<seconds>`, like `wait`"),
                Parameter(
                    "paused",
                    "what the client knows: held only while it is true",
                    {"type": "string", "enum": ["false", "true"]},
                ),
                Parameter(
                    "folded",
                    "`1`: entries of lists are left out, as in `GET /api/tasks`",
                    {"type": "string", "enum": ["0", "1"]},
                ),
                OWNER,
            ),
            errors=(InvalidQuery, AdminOnly),
        ),
    ),
    post(
        "/api/queue/pause",
        pause,
        Operation(
            "pause_queue",
            "Queue",
            "Begin nothing",
            _STATE,
            "What runs goes on; what waits is held, over restarts and on every node. No task changes by it.",
            parameters=READER,
            errors=(AdminOnly, *OF_CHANGES),
        ),
    ),
    post(
        "/api/queue/resume",
        resume,
        Operation(
            "resume_queue",
            "Queue",
            "Go on with what waits",
            _STATE,
            parameters=READER,
            errors=(AdminOnly, *OF_CHANGES),
        ),
    ),
]
