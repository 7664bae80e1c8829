"""Lists of tasks, and what can be done with one."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path

from aiohttp import web

from server.api.bodies import language, read_object, respond, validated
from server.api.keys import ENCODER, FILES, TASKS
from server.api.payload import dumps
from server.errors import InvalidQuery, ThumbnailNotFound
from server.models import PriorityChange, Stage, TaskStatus
from server.ports import FileStore, Filter, Page

PAGE, LARGEST_PAGE = 50, 200
MAX_TEXT = 500  # characters of a search
MAX_LOG = 1 << 20  # bytes; the child caps it long before


async def list_tasks(request: web.Request) -> web.Response:
    """One page: newest first, the queue in its order."""
    wanted, cursor, limit = _filter(request), request.query.get("cursor") or None, _limit(request)
    page = await request.app[TASKS].page(wanted, cursor, limit) if wanted else Page([], None)
    encoder, chosen = request.app[ENCODER], language(request)
    tasks = b",".join(encoder.encode(status, chosen).body for status in page.tasks)
    following = b',"next_cursor":' + dumps(page.next_cursor) if page.next_cursor else b""
    headers = {"Content-Language": chosen, "Vary": "Accept-Language", "Cache-Control": "private, no-cache"}
    body = b'{"tasks":[' + tasks + b"]" + following + b"}"
    return web.Response(body=body, content_type="application/json", headers=headers)


def _filter(request: web.Request) -> Filter | None:
    """What is asked for; None if nothing can fit, like a stage that has another status."""
    text = request.query.get("q", "").strip()
    if len(text) > MAX_TEXT or "\0" in text:
        raise InvalidQuery("q")
    stages = tuple(Stage)
    if status := request.query.get("status"):
        stages = tuple(stage for stage in stages if stage.status == status)
        if not stages:
            raise InvalidQuery("status")
    if wanted := request.query.get("stage"):
        if wanted not in set(Stage):
            raise InvalidQuery("stage")
        stages = tuple(stage for stage in stages if stage == wanted)
    if not stages or request.query.get("playlist_id"):  # no task belongs to a playlist
        return None
    return Filter(stages=() if len(stages) == len(Stage) else stages, text=text)


def _limit(request: web.Request) -> int:
    asked = request.query.get("limit", str(PAGE))
    if not asked.isascii() or not asked.isdigit() or not 1 <= int(asked[:9]) <= LARGEST_PAGE:
        raise InvalidQuery("limit")
    return int(asked)


async def change(request: web.Request) -> web.Response:
    """Another priority, which moves the task in the queue."""
    wanted = validated(PriorityChange, await read_object(request))
    task_id = request.match_info["task_id"]
    return respond(request, await request.app[TASKS].prioritize(task_id, wanted.priority))


async def delete(request: web.Request) -> web.Response:
    await request.app[TASKS].delete(request.match_info["task_id"])
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def cancel(request: web.Request) -> web.Response:
    return await _act(request, request.app[TASKS].cancel)


async def pause(request: web.Request) -> web.Response:
    return await _act(request, request.app[TASKS].pause)


async def resume(request: web.Request) -> web.Response:
    return await _act(request, request.app[TASKS].resume)


async def retry(request: web.Request) -> web.Response:
    return await _act(request, request.app[TASKS].retry)


async def finish(request: web.Request) -> web.Response:
    return await _act(request, request.app[TASKS].finish)


async def _act(request: web.Request, action: Callable[[str], Awaitable[TaskStatus]]) -> web.Response:
    return respond(request, await action(request.match_info["task_id"]))


async def get_log(request: web.Request) -> web.Response:
    """The task's own yt-dlp and ffmpeg log; empty while there is none."""
    status = await request.app[TASKS].status(request.match_info["task_id"])
    text = await asyncio.to_thread(_tail, request.app[FILES].log(status.task_id))
    headers = {"Cache-Control": "private, no-cache"}
    return web.Response(body=text, content_type="text/plain", charset="utf-8", headers=headers)


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_LOG)
    except FileNotFoundError:
        return b""


async def get_thumbnail(request: web.Request) -> web.StreamResponse:
    """The small JPEG, once one is known."""
    status = await request.app[TASKS].status(request.match_info["task_id"])
    picture = await asyncio.to_thread(_picture, request.app[FILES], status.task_id)
    if picture is None:
        raise ThumbnailNotFound
    return web.Response(
        body=picture, content_type="image/jpeg", headers={"Cache-Control": "private, no-cache"}
    )


def _picture(files: FileStore, task_id: str) -> bytes | None:
    path = files.preview(task_id)
    try:
        return path.read_bytes() if path else None
    except FileNotFoundError:  # it moves to its final place just now
        return None


ROUTES = [
    web.get("/api/tasks", list_tasks),
    web.patch("/api/tasks/{task_id}", change),
    web.delete("/api/tasks/{task_id}", delete),
    web.post("/api/tasks/{task_id}/cancel", cancel),
    web.post("/api/tasks/{task_id}/pause", pause),
    web.post("/api/tasks/{task_id}/resume", resume),
    web.post("/api/tasks/{task_id}/retry", retry),
    web.post("/api/tasks/{task_id}/finish", finish),
    web.get("/api/tasks/{task_id}/log", get_log),
    web.get("/api/tasks/{task_id}/thumbnail", get_thumbnail),
]
