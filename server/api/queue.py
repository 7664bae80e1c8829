"""`/api/queue`: how many tasks are in each stage, and pausing the whole queue."""

from aiohttp import web

from server.api.bodies import respond_json
from server.api.keys import TASKS
from server.api.openapi.operation import JSON, OF_CHANGES, READER, Operation, Reply
from server.api.openapi.schemas import QueueState
from server.api.route import get, post
from server.models import Stage


async def get_queue(request: web.Request) -> web.Response:
    counts = await request.app[TASKS].count()
    stages = {stage.value: counts.get(stage, 0) for stage in Stage}
    return respond_json({"paused": await request.app[TASKS].is_paused(), "stages": stages})


async def pause(request: web.Request) -> web.Response:
    """Begin no queued task until `resume`; running ones continue."""
    await request.app[TASKS].pause_queue()
    return await get_queue(request)


async def resume(request: web.Request) -> web.Response:
    await request.app[TASKS].resume_queue()
    return await get_queue(request)


_STATE = {200: Reply("The queue as it is now", {JSON: QueueState})}
ROUTES = [
    get("/api/queue", get_queue, Operation("queue", "Queue", "How many tasks are where", _STATE)),
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
            errors=OF_CHANGES,
        ),
    ),
    post(
        "/api/queue/resume",
        resume,
        Operation(
            "resume_queue", "Queue", "Go on with what waits", _STATE, parameters=READER, errors=OF_CHANGES
        ),
    ),
]
