"""`/api/media`: what was ever fetched, asked by its link; and the archives of other programs."""

import asyncio
from codecs import BOM_UTF8
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

from aiohttp import web
from pydantic_core import PydanticCustomError

from server.api.bodies import Query, read_text, respond_json
from server.api.keys import CLOCK, MEDIA
from server.api.openapi.operation import JSON, OF_CHANGES, READER, Operation, Parameter, Reply
from server.api.route import get, post
from server.core.errors import (
    BodyTooLarge,
    BodyTooSlow,
    EncodingUnknown,
    InvalidQuery,
    MediaNotFound,
    NotTextType,
)
from server.core.media_keys import archived_key, keys_of_link
from server.core.models import MAX_URL, check_url

MAX_ARCHIVE = 8 << 20  # bytes: some 300,000 lines
AT_ONCE = 500  # lines in a transaction; others are written in between
MOST_UNREADABLE = 100  # numbers of lines in an answer


async def get_media(request: web.Request) -> web.Response:
    """What is remembered of the video at a link. No source is asked."""
    query = Query(request)
    url = query.text("url", MAX_URL)
    query.check()
    try:
        check_url(url or "")
    except PydanticCustomError:
        raise InvalidQuery("url") from None
    found = await request.app[MEDIA].find(keys_of_link(url or ""))
    if found is None:
        raise MediaNotFound
    answer: dict[str, Any] = {
        "fetched_at": instant(found.fetched_at),
        "key": found.key,
        "title": found.about.get("title"),
        "task_id": found.task_id,
        "subscriptions": found.subscriptions,
    }
    return respond_json({name: value for name, value in answer.items() if value is not None})


async def import_archive(request: web.Request) -> web.Response:
    """Take all lines of a yt-dlp archive into the memory, the sound ones even if others are not."""
    try:
        body = await read_text(request, MAX_ARCHIVE, "text/plain")
    except web.RequestPayloadError:
        body = b"\xff"  # as unreadable as a line can be
    keys, unreadable = await asyncio.to_thread(_keys_in, body)
    now, taken = request.app[CLOCK].now().timestamp(), 0
    for start in range(0, len(keys), AT_ONCE):
        taken += await request.app[MEDIA].take(keys[start : start + AT_ONCE], now)
    answer = {"taken": taken, "known": len(keys) - taken, "unreadable": unreadable[:MOST_UNREADABLE]}
    return respond_json(answer | ({"more": True} if len(unreadable) > MOST_UNREADABLE else {}))


def _keys_in(body: bytes) -> tuple[list[str], list[int]]:
    """The keys in an archive, each once, and the numbers of lines that have none, but for empty ones."""
    keys, unreadable = dict[str, None](), list[int]()
    for number, line in enumerate(BytesIO(body.removeprefix(BOM_UTF8)), 1):
        if not line.strip():
            continue
        try:
            key = archived_key(line.decode().strip())
        except UnicodeDecodeError:
            key = None
        if key is None:
            unreadable.append(number)
        else:
            keys[key] = None
    return list(keys), unreadable


def instant(seconds: float) -> str:
    """Seconds since 1970 as clients are told times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19] + "Z"


ROUTES = [
    get(
        "/api/media",
        get_media,
        Operation(
            "media",
            "Library",
            "Was it fetched before?",
            {200: Reply("It was", {JSON: "MediaFetched"})},
            "No source is asked.",
            parameters=(
                Parameter(
                    "url",
                    "the link of a video",
                    {"type": "string", "minLength": 1, "maxLength": MAX_URL},
                    is_required=True,
                ),
                *READER,
            ),
            errors=(InvalidQuery, MediaNotFound),
        ),
    ),
    post(
        "/api/media",
        import_archive,
        Operation(
            "importArchive",
            "Library",
            "Import what yt-dlp has fetched",
            {200: Reply("What became of the lines", {JSON: "MediaTaken"})},
            "The file of `--download-archive`, at most 8 MiB: a line for each video, its extractor and id.",
            parameters=READER,
            text_bodies=("text/plain",),
            errors=(NotTextType, EncodingUnknown, BodyTooLarge, BodyTooSlow, *OF_CHANGES),
        ),
    ),
]
