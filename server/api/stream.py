"""`GET /api/tasks/<id>/stream`: plays a file while it is still being downloaded.

The response has no length and follows the growing file to its end. If the download does not complete, the
connection is cut, so that no client takes a part for the whole file. Of a completed task, the finished file
is sent.

Decisions: docs/decisions/files.md
"""

import asyncio
from contextlib import closing
from typing import Final

from aiohttp import web

from server.api.connections import CONNECTIONS
from server.api.downloads import CONDITIONS, PLAYABLE, SANDBOX_POLICY, replies, replies_to_head, send
from server.api.keys import WORKPLACE, tasks_of
from server.api.openapi.operation import IF_NONE_MATCH, READER, TASK_ID, Operation
from server.api.route import get
from server.api.security import DOORS
from server.core.attachment import disposition
from server.core.errors import (
    FileNotFound,
    NotStreamable,
    PreconditionFailed,
    RangeNotSatisfiable,
    StorageAway,
    TaskNotFound,
)
from server.core.ports import GrowingFile, Growth
from server.core.shielding import open_shielded
from server.core.task import Stage, TaskStatus

PIECE: Final = 256 * 1024  # bytes
# Seconds between two checks whether the file has grown: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = (
    0.25,
    1.0,
)
_SUFFIXES: Final = {
    "audio/aac": "aac",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/x-matroska": "mka",
    "video/mp2t": "ts",
    "video/mpeg": "mpg",
    "video/quicktime": "mov",
    "video/x-flv": "flv",
    "video/x-matroska": "mkv",
}
"""Media type -> suffix, where that is not the type's own name."""

MISSED_FOR: Final = 60.0  # seconds that the file may be missing: between attempts, or while it is published


async def stream(request: web.Request) -> web.StreamResponse:
    """Send the file while it grows. Raises `TaskNotFound`, `NotStreamable`, and for a finished file the
    errors of `downloads.send`.
    """
    status = await tasks_of(request).status(request.match_info["task_id"])
    if status.stage is Stage.COMPLETED:
        stored = status.files.get("video") or status.files.get("audio")
        if stored is None:
            raise NotStreamable("over")
        published = status.published_at or status.completed_at or status.created_at
        inline = bool(PLAYABLE.fullmatch(stored.type))
        named = disposition(stored.name, status.video_info.title, inline=inline)
        return await send(request, status.task_id, stored, named, published.replace(microsecond=0))
    if status.stage.is_final or status.is_list:
        raise NotStreamable("over")
    growing = await _growing(request, status)
    with closing(growing):
        name = f"stream_{status.task_id}.{_SUFFIXES.get(growing.type, growing.type.rpartition('/')[2])}"
        headers = {
            "Accept-Ranges": "none",
            "Cache-Control": "private, no-store",
            "Content-Disposition": disposition(name, status.video_info.title, inline=True),
            "Content-Security-Policy": SANDBOX_POLICY,
            "Content-Type": growing.type,
            "X-Content-Type-Options": "nosniff",
        }
        response = web.StreamResponse(headers=headers)
        request.app[DOORS].add_headers(request, response)
        await response.prepare(request)
        if request.method == "GET":
            following = _StreamedFile(request, response, growing).to_the_end()
            await request.app[CONNECTIONS].attended(request.protocol, following)
        await response.write_eof()
    return response


async def _growing(request: web.Request, status: TaskStatus) -> GrowingFile:
    try:
        return await open_shielded(asyncio.to_thread(request.app[WORKPLACE].growing, status.task_id))
    except NotStreamable as exc:
        if exc.reason == "elsewhere" and status.stage not in (Stage.DOWNLOAD, Stage.CONVERT):
            raise NotStreamable("nothing_yet") from None
        raise


class _StreamedFile:
    def __init__(self, request: web.Request, response: web.StreamResponse, growing: GrowingFile) -> None:
        self._task_id = request.match_info["task_id"]
        self._tasks = tasks_of(request)
        self._response = response
        self._growing = growing
        self._sent = 0

    async def to_the_end(self) -> None:
        """Send the whole file as it grows. Raises `ConnectionResetError` if it will not become complete."""
        pause, missed = FIRST_PAUSE, 0.0
        while True:
            growth, good = await asyncio.to_thread(self._growing.look)
            if growth is Growth.REPLACED:
                raise ConnectionResetError("another file is in its place")
            pause = FIRST_PAUSE if good > self._sent else min(2 * pause, LONGEST_PAUSE)
            missed = missed + pause if growth is Growth.AWAY else 0.0
            await self._send_up_to(good)
            if growth is Growth.WHOLE:
                return
            # Decide whether the file is complete: if the file itself does not tell, the task's status
            # does.
            try:
                status = await self._tasks.status(self._task_id)
            except TaskNotFound:
                raise ConnectionResetError("the task was removed") from None
            if self._tasks.is_closing or missed > MISSED_FOR:
                raise ConnectionResetError("there will be no more of it here")
            if status.stage.is_final:
                size = await asyncio.to_thread(lambda: self._growing.size)
                if status.stage is not Stage.COMPLETED or size != status.fetched:
                    raise ConnectionResetError("it ended otherwise")
                await self._send_up_to(size)
                return
            await asyncio.sleep(pause)

    async def _send_up_to(self, good: int) -> None:
        while self._sent < good:
            count = min(PIECE, good - self._sent)
            piece = await asyncio.to_thread(self._growing.read, self._sent, count)
            if not piece:
                raise ConnectionResetError("the file has become shorter")
            await self._response.write(piece)
            self._sent += len(piece)


_HEADERS = {
    "Accept-Ranges": "`none` while it grows: a `Range` gets the whole; `bytes` later",
    "Content-Disposition": "`inline`; the title as file name",
    "ETag": "of the finished file",
}
ROUTES = [
    get(
        "/api/tasks/{task_id}/stream",
        stream,
        Operation(
            "stream",
            "Files",
            "A download while it comes",
            replies("From its beginning, following its end", "*/*", _HEADERS),
            "Of a completed task it is the film, or the sound if there is no film. If the download does not "
            "come to its end, the connection breaks off before that of the answer.",
            parameters=(TASK_ID, *CONDITIONS, *READER),
            errors=(
                TaskNotFound,
                NotStreamable,
                FileNotFound,
                PreconditionFailed,
                RangeNotSatisfiable,
                StorageAway,
            ),
        ),
        head=Operation(
            "stream_head",
            "Files",
            "Whether there is something to play, and what",
            replies_to_head(_HEADERS),
            parameters=(TASK_ID, IF_NONE_MATCH, *READER),
            errors=(TaskNotFound, NotStreamable, FileNotFound, PreconditionFailed, StorageAway),
        ),
    )
]
