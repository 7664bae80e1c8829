"""`/api/media`: whether a link was ever downloaded; and imports of other programs' archives."""

from codecs import BOM_UTF8
from http import HTTPStatus
from typing import BinaryIO, Literal

from aiohttp import web
from pydantic_core import PydanticCustomError

from server.api.bodies import Query, received_text, respond_answer
from server.api.connections import CONNECTIONS
from server.api.keys import CLOCK, SETTINGS, admins_alone, owner_of
from server.api.openapi.operation import JSON, OF_CHANGES, OWNER, READER, Operation, Parameter, Reply
from server.api.payload import instant
from server.api.route import get, post
from server.api.spool import SpoolTurns
from server.core.errors import (
    AdminOnly,
    BodyTooLarge,
    BodyTooSlow,
    EncodingUnknown,
    InvalidQuery,
    MediaNotFound,
    NotTextType,
    ServerBusy,
)
from server.core.long_work import compute
from server.core.media_keys import archived_key, keys_of_link
from server.core.owner_scope import OwnerScope
from server.core.shielding import to_the_end
from server.core.values import MAX_URL, check_url
from server.memory.media_rows import MediaRows

_SCHEMAS = "server.memory.media_schemas"  # of responses
MEDIA: web.AppKey[MediaRows] = web.AppKey("media")
MAX_ARCHIVE = 8 << 20  # bytes: some 300,000 lines
KEYS_PER_TRANSACTION = 500  # keys stored in one transaction: other writes get their turn in between
READ_BYTES = 64 * 1024  # bytes read at a time, unless they contain more than `KEYS_PER_TRANSACTION` keys
MAX_LINE_BYTES = 64 * 1024  # bytes of a line; a key has at most 2,000
MAX_UNREADABLE_LINES = 100  # unreadable lines whose numbers are in the answer
TURNS = web.AppKey("turns of those who import an archive", SpoolTurns)


async def get_media(request: web.Request) -> web.Response:
    """Answer what the memory has of the video at a link. No source is asked."""
    query = Query(request)
    url = query.text("url", MAX_URL)
    owner, is_quiet = query.person("owner"), query.flag("quiet")
    if owner is not None:
        admins_alone(request)
    query.check()
    scope = _scope_of(request, owner)
    try:
        check_url(url or "")
    except PydanticCustomError:
        raise InvalidQuery("url") from None
    found = await request.app[MEDIA].find(keys_of_link(url or ""), scope)
    if found is None and is_quiet:
        return web.Response(status=HTTPStatus.NO_CONTENT)
    if found is None:
        raise MediaNotFound
    from server.memory.media_schemas import MediaFetched

    return respond_answer(
        MediaFetched(
            fetched_at=instant(found.fetched_at),
            key=found.key,
            title=found.about.get("title"),
            task_id=found.task_id,
            subscriptions=found.subscriptions,
        )
    )


def _scope_of(request: web.Request, owner: str | None = None) -> OwnerScope:
    """Return whose memory is meant. Where lists are separate, each person has one, and so does nobody."""
    is_separate = request.app[SETTINGS].access.separate_lists
    return OwnerScope(owner or owner_of(request), is_separate=is_separate)


async def import_archive(request: web.Request) -> web.Response:
    """Import the lines of a yt-dlp archive into the memory; malformed ones do not affect the others."""
    from server.memory.media_schemas import MediaTaken

    try:
        async with received_text(request, MAX_ARCHIVE, "text/plain") as body:
            return await request.app[CONNECTIONS].attended(request.protocol, _import(request, body))
    except web.RequestPayloadError:  # a compressed body that is broken: its first line is unreadable
        return respond_answer(MediaTaken(taken=0, known=0, unreadable=[1]))


async def _import(request: web.Request, body: BinaryIO) -> web.Response:
    from server.memory.media_schemas import MediaTaken

    scope = _scope_of(request)
    archive, now, taken, known = Archive(body), request.app[CLOCK].now().timestamp(), 0, 0
    async with request.app[TURNS].turn():
        while (keys := await to_the_end(compute(archive.next_keys))) is not None:
            fresh = await request.app[MEDIA].take(keys, now, scope) if keys else 0
            taken, known = taken + fresh, known + len(keys) - fresh
    more: Literal[True] | None = True if archive.has_more_unreadable else None
    return respond_answer(MediaTaken(taken=taken, known=known, unreadable=archive.unreadable, more=more))


class Archive:
    """Reads an archive of yt-dlp in pieces, so that the keys of 8 MiB are never all in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._number = 0
        self._is_cut = False  # the last line that was read has not ended yet
        self.unreadable: list[int] = []  # the numbers of the first lines that have no key
        self.has_more_unreadable = False

    def next_keys(self) -> list[str] | None:
        """Return the next keys, at most `KEYS_PER_TRANSACTION`, each once, perhaps none yet; None at the end.
        Call it in a thread.
        """
        keys, bytes_left = dict[str, None](), READ_BYTES
        while len(keys) < KEYS_PER_TRANSACTION and bytes_left > 0:
            if not (line := self._file.readline(MAX_LINE_BYTES)):
                return list(keys) or None
            bytes_left -= len(line)
            is_rest, self._is_cut = self._is_cut, not line.endswith(b"\n")
            if is_rest:  # the rest of a line that is too long and was counted before
                continue
            self._number += 1
            line = line.removeprefix(BOM_UTF8).strip() if self._number == 1 else line.strip()
            if key := _key_in(line):
                keys[key] = None
            elif line and len(self.unreadable) < MAX_UNREADABLE_LINES:
                self.unreadable.append(self._number)
            elif line:
                self.has_more_unreadable = True
        return list(keys)


def _key_in(line: bytes) -> str | None:
    try:
        return archived_key(line.decode())
    except UnicodeDecodeError:
        return None


ROUTES = [
    get(
        "/api/media",
        get_media,
        Operation(
            "media",
            "Library",
            "Was it fetched before?",
            {
                200: Reply("It was", {JSON: f"{_SCHEMAS}:MediaFetched"}),
                204: Reply("It was not, and `quiet` was asked for"),
            },
            "No source is asked.",
            parameters=(
                Parameter(
                    "url",
                    "the link of a video",
                    {"type": "string", "minLength": 1, "maxLength": MAX_URL},
                    is_required=True,
                ),
                Parameter(
                    "quiet",
                    "`1`: a video that was not fetched is answered with `204`, as browsers log each `404`",
                    {"type": "string", "enum": ["0", "1"]},
                ),
                OWNER,
                *READER,
            ),
            errors=(InvalidQuery, AdminOnly, MediaNotFound),
        ),
    ),
    post(
        "/api/media",
        import_archive,
        Operation(
            "importArchive",
            "Library",
            "Import what yt-dlp has fetched",
            {200: Reply("What became of the lines", {JSON: f"{_SCHEMAS}:MediaTaken"})},
            "The file of `--download-archive`, at most 8 MiB: a line for each video, its extractor and id.",
            parameters=READER,
            text_bodies=("text/plain",),
            errors=(NotTextType, EncodingUnknown, BodyTooLarge, BodyTooSlow, ServerBusy, *OF_CHANGES),
        ),
    ),
]
