"""The models of requests, and of a task's status.

The store keeps a `TaskStatus` and `server.core.events.apply` changes it; `server.api.payload` encodes it for
clients. A status holds codes, not sentences: the payload has the texts in the client's language.
"""

import hashlib
import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError, to_json

from server.core.cookie_format import NAME as COOKIES_NAME
from server.core.jobs import LANGUAGE, SMUGGLED
from server.core.library import Library, outputs_for

MAX_URL = 4096
MAX_TITLE = 500  # characters
MOST_LANGUAGES = 100  # of subtitles, that one request names
# Sites choose their format ids; yt-dlp replaces the characters that are excluded here.
_FORMAT_ID = r"[^\x00-\x20\x7f-\x9f\xa0,/+()\[\]]+"
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_NUMBER = r"([+-]?[0-9]{1,6})"
_ITEM = re.compile(rf"{_NUMBER}(?:)|{_NUMBER}?[-:](?:{_NUMBER}|inf(?:inite)?)?(?::{_NUMBER})?")
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_BIDI = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Frozen(BaseModel):
    """An immutable value; unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Stored(Frozen):
    """A value that is stored, where a server of the next release may have written fields unknown here.

    Unknown fields are kept when the value is changed and stored again (docs/decisions/storage.md).
    """

    model_config = ConfigDict(extra="allow")

    def as_known(self) -> Self:
        """The value without fields that are unknown here, which no client is told."""
        if not self.model_extra:
            return self
        known = self.model_copy()
        object.__setattr__(known, "__pydantic_extra__", {})
        return known


class Stage(StrEnum):
    """Where a task is; `status` is the coarser word, of three, that clients are promised."""

    QUEUED = "queued"
    INFO = "info"
    DOWNLOAD = "download"
    CONVERT = "convert"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    __hash__ = str.__hash__  # faster than `Enum.__hash__`, which is a Python function

    status: Literal["processing", "completed", "error"]
    is_final: bool
    has_failed: bool
    is_waiting: bool
    """The task has not ended and no child works on it; `max_queued` limits these tasks."""
    is_running: bool
    """A child works on the task, or did so when the server ended."""

    def __init__(self, word: str) -> None:
        self.has_failed = word in ("failed", "cancelled")
        self.is_final = self.has_failed or word == "completed"
        self.is_waiting = word in ("queued", "paused")
        self.is_running = not (self.is_final or self.is_waiting)
        self.status = "error" if self.has_failed else "completed" if self.is_final else "processing"


class Output(StrEnum):
    VIDEO = "video"
    AUDIO = "audio"
    THUMBNAIL = "thumbnail"
    SUBTITLES = "subtitles"


def check_url(url: str, *, is_sent: bool = True) -> str:
    """Return `url` unchanged. Raises `PydanticCustomError` if it is invalid; no host name is resolved.

    Of one that is not sent now, but stored, the port may be 0: an earlier release has taken that.
    """
    if _CONTROL.search(url):
        raise PydanticCustomError("url_characters", "no spaces or control characters in a URL")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise PydanticCustomError("url_invalid", "not a valid URL") from None
    if port == 0 and is_sent:
        raise PydanticCustomError("url_invalid", "not a valid URL")
    if parts.scheme.lower() not in ("http", "https"):
        raise PydanticCustomError("url_scheme", "the URL must begin with http:// or https://")
    if not host:
        raise PydanticCustomError("url_host", "the URL names no host")
    return url


def _distinct(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    if not outputs:
        raise PydanticCustomError("outputs_missing", "name at least one output")
    if len(set(outputs)) != len(outputs):
        raise PydanticCustomError("outputs_repeated", "name each output once")
    return outputs


def _once(ids: object) -> object:
    """`ids` without those that are equal to an earlier one."""
    if not isinstance(ids, list):
        return ids
    first = {each: place for place, each in reversed(list(enumerate(ids))) if isinstance(each, str)}
    return [each for place, each in enumerate(ids) if not isinstance(each, str) or first[each] == place]


def _whole(value: object) -> object:
    """`1.0` becomes 1: it is an integer by JSON Schema (Validation, 6.1.1)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _instant(value: object) -> datetime:
    """An RFC 3339 time, in UTC. One without an offset is an error: it would depend on the server's zone."""
    try:
        if isinstance(value, str) and _INSTANT.fullmatch(value):
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise PydanticCustomError("instant", "a time like 2026-01-31T08:00:00Z is expected")


Instant = Annotated[datetime, BeforeValidator(_instant)]


def harmless_line(title: str) -> str | None:
    """One line without control characters and bidi controls; None if nothing is left."""
    spaced = re.sub(r"\s+", " ", _BIDI.sub("", title))
    return "".join(letter for letter in spaced if unicodedata.category(letter) != "Cc").strip() or None


def _items(items: str) -> str:
    """Checks the syntax of yt-dlp's `--playlist-items`: numbers and ranges; negative numbers count from the
    end.
    """
    for item in items.split(","):
        found = _ITEM.fullmatch(item)
        if not found:
            raise PydanticCustomError("items_form", 'write entries like "1-20,25,-1"')
        if any(number is not None and int(number) == 0 for number in found.groups()):
            raise PydanticCustomError("items_zero", "entries are counted from 1, and a step is not 0")
    return items


def _language(language: str, request: ValidationInfo) -> str:
    """`name`, `name.*` for all that begin so, or `all`; a leading `-` excludes.

    No client's regular expression is compiled: a short one can take seconds. What earlier releases have
    stored may be one; only children read it.
    """
    if request.context is OF_A_CLIENT and not re.fullmatch(LANGUAGE, language):
        raise PydanticCustomError("language_form", 'write languages like "en", "en.*" or "-live_chat"')
    return language


def _at_most(most: int) -> BeforeValidator:
    """Refuses a longer list before its elements are looked at, each of which could have its own error."""

    def check(value: object) -> object:
        if isinstance(value, list) and len(value) > most:
            raise PydanticCustomError("too_long", "at most {max_length} items", {"max_length": most})
        return value

    return BeforeValidator(check)


_CLOCK = re.compile(r"(?:(?:(\d{1,4}):)?(\d{1,2}):)?(\d{1,7}(?:\.\d{1,9})?)", re.ASCII)
_LONGEST = 1_000_000  # seconds


def _seconds(value: object) -> float:
    """Seconds from a number, or from a text like `1:02:03.5`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LONGEST:
        return float(value)
    if isinstance(value, str) and (found := _CLOCK.fullmatch(value)):
        hours, minutes, seconds = found[1] or 0, found[2], float(found[3])
        whole = int(hours) * 3600 + int(minutes or 0) * 60 + seconds
        if whole <= _LONGEST and (minutes is None or seconds < 60) and (not hours or int(minutes or 0) < 60):
            return whole
    raise PydanticCustomError("seconds", 'seconds are expected, or a time like "1:02:03.5"')


def _categories(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise PydanticCustomError("categories_repeated", "name each category once")
    return names


Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": _LONGEST},
                {"type": "string", "pattern": r"^(([0-9]{1,4}:)?[0-9]{1,2}:)?[0-9]{1,7}(\.[0-9]{1,9})?$"},
            ]
        },
        mode="validation",
    ),
]
Category = Literal[
    "sponsor", "selfpromo", "interaction", "intro", "outro", "preview", "hook", "filler", "music_offtopic"
]
Whole = Annotated[int, BeforeValidator(_whole)]
HttpUrl = Annotated[
    str,
    Field(min_length=1, max_length=MAX_URL),
    AfterValidator(lambda url, request: check_url(url, is_sent=request.context is OF_A_CLIENT)),
]


SHORTEST_CLIP = 0.1  # seconds; a shorter one may hold no frame at all
OF_A_CLIENT = {"of": "a client"}
"""The context in which what a client sends is validated: it may be held to more than what is stored."""


class SubtitleWishes(Frozen):
    """Which subtitles, for the output `subtitles` and for `embed`."""

    model_config = ConfigDict(strict=True)

    languages: Annotated[
        tuple[
            Annotated[
                str,
                Field(min_length=1, max_length=100, json_schema_extra={"pattern": f"^{LANGUAGE}$"}),
                AfterValidator(_language),
            ],
            ...,
        ],
        Field(max_length=MOST_LANGUAGES, strict=False),
        _at_most(MOST_LANGUAGES),
    ] = Field(
        default=(), description='like "en", "en.*", "-live_chat", "all"; none: all that are not automatic'
    )
    automatic: bool = Field(default=False, description="captions that the source has made by itself, too")
    embed: bool = Field(default=False, description="into the video")
    format: Literal["srt", "vtt"] = "srt"


class Clip(Frozen):
    """The part of a film that is wanted."""

    model_config = ConfigDict(strict=True, title="Clip")

    start: Seconds = Field(description='in seconds, or like "1:02:03.5"')
    end: Seconds = Field(
        description="the same, at least 0.1 s behind `start`; what is behind the film's end means its end"
    )
    exact: bool = Field(
        default=False, description="cut to the frame and encoded anew; else copied, from a key frame on"
    )

    @field_validator("end")
    @classmethod
    def _behind_the_start(cls, end: float, clip: ValidationInfo) -> float:
        """Clips that earlier releases have stored may be shorter than `SHORTEST_CLIP`."""
        start = clip.data.get("start", -1.0)
        if end <= start or (clip.context is OF_A_CLIENT and round(end - start, 6) < SHORTEST_CLIP):
            raise PydanticCustomError("clip_end", "the end must lie behind the start")
        return end


_NOTHING: Mapping[str, object] = {}


class ProcessRequest(Frozen):
    """The body of `POST /api/process`."""

    model_config = ConfigDict(strict=True, title="ProcessRequest")

    url: HttpUrl = Field(description="http or https, kept as it was sent")
    outputs: Annotated[
        tuple[Annotated[Output, Field(strict=False)], ...],
        Field(strict=False, max_length=len(Output), json_schema_extra={"minItems": 1, "uniqueItems": True}),
        AfterValidator(_distinct),
        _at_most(len(Output)),
    ] = Field(default=(Output.VIDEO, Output.AUDIO), description="all from one download")
    quality: Literal["best", "2160", "1440", "1080", "720", "480", "360", "worst"] = Field(
        default="best", description="height at most; if there is only higher, the lowest"
    )
    video_format: Literal["mp4", "mkv", "webm", "any"] = Field(default="mp4", description="container")
    codec: Literal["auto", "h264", "h265", "vp9", "av1"] = Field(
        default="auto", description="preferred, never re-encoded for"
    )
    audio_format: Literal["mp3", "m4a", "opus", "flac", "wav", "best"] = "mp3"
    audio_quality: Whole | None = Field(default=None, ge=8, le=512, description="kbit/s")
    audio_language: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8}){0,3}$", description="a language tag"
    )
    format: str | None = Field(
        default=None,
        max_length=1024,
        pattern=rf"^{_FORMAT_ID}(\+{_FORMAT_ID}){{0,3}}$",
        description="format ids as in /api/info, instead of quality and codec",
    )
    subtitles: SubtitleWishes = Field(default=SubtitleWishes(), strict=False)
    mute: bool = Field(default=False, description="the video without its sound, copied")
    embed_metadata: bool = Field(default=False, description="tags, chapters and cover, into video and audio")
    clip: Clip | None = Field(default=None, strict=False, description="only a part of the film")
    sponsorblock: Annotated[
        tuple[Category, ...],
        Field(strict=False, max_length=len(get_args(Category)), json_schema_extra={"uniqueItems": True}),
        AfterValidator(_categories),
        _at_most(len(get_args(Category))),
    ] = Field(default=(), description="what is cut out, by SponsorBlock's categories")
    split_chapters: bool = Field(default=False, description="a file for each chapter beside the whole")
    live: Literal["reject", "record", "wait"] = Field(
        default="reject", description="wait: for one that is announced, then record"
    )
    playlist: bool = Field(default=False, description="each entry of a list becomes a task")
    playlist_items: Annotated[str, Field(max_length=10_000), AfterValidator(_items)] | None = Field(
        default=None, description="which entries, like `1-20,25,-1`; with `playlist`"
    )
    cookies: str | None = Field(
        default=None, pattern=f"^{COOKIES_NAME}$", description="the name of a stored cookie file"
    )
    auto_start: bool = Field(default=True, description="false: begins as paused")
    start_at: Instant | None = Field(default=None, description="it stays `queued` until then")
    reuse: bool = Field(
        default=False,
        description="a task with the same request that runs, or is finished, will do; of a list each entry",
    )
    preset: str | None = Field(
        default=None, min_length=1, max_length=64, description="a named set from the configuration"
    )
    priority: Whole = Field(default=0, ge=-10, le=10, description="higher first")
    webhook: HttpUrl | None = Field(
        default=None, description="gets the final payload, signed as Standard Webhooks say"
    )
    title: Annotated[str, Field(min_length=1, max_length=MAX_TITLE), AfterValidator(harmless_line)] | None = (
        Field(default=None, description="shown until the source has told its own")
    )

    library: Library | None = Field(
        default=None, strict=False, description="its files go into the library, too"
    )

    @field_validator("live")
    @classmethod
    def _without_clip(cls, live: str, request: ValidationInfo) -> str:
        if live != "reject" and request.data.get("clip"):
            raise PydanticCustomError("live_clip", "a broadcast is recorded from now on: leave out clip")
        return live

    @field_validator("playlist_items")
    @classmethod
    def _with_playlist(cls, items: str | None, request: ValidationInfo) -> str | None:
        if items is not None and not request.data.get("playlist", True):
            raise PydanticCustomError("items_alone", "is for a playlist: set playlist to true")
        return items

    @property
    def may_be_shared(self) -> bool:
        """Whether another task with the same wish may take its place; of a list only the entries may."""
        return self.reuse and not self.playlist

    def wish(self, scope: str, item: int | None = None) -> str:
        """The `scope` of the token, and a hash of the fields that determine the result.

        `item`: only this entry of what is at the link is wanted.
        """
        of_item = "" if item is None else f"#{item}"
        return f"{scope}:{self.hash(_PLAIN)}{of_item}"

    def without_library(self) -> "list[Self]":
        """The requests of those who want the same, and nothing in the library; where a layout may have chosen
        the outputs, also with those that a request without any has.
        """
        plain = self.model_copy(update={"library": None})
        chosen = outputs_for(self.library.model_dump() if self.library else None).get("outputs")
        if chosen is None or [*map(str, chosen)] != [output.value for output in self.outputs]:
            return [plain]
        usual = type(self).model_fields["outputs"].get_default()
        return [plain, plain.model_copy(update={"outputs": usual})]

    def wish_of_entry(self, scope: str, entry: "Entry") -> str:
        """The wish that an `entry` of this list fulfils: that of a request for its link alone."""
        return self.of_entry(entry.shown_url).wish(scope, entry.item)

    def manner(self) -> str:
        """A short hash of how a video is wanted, whichever it is: two tasks of one video with the same manner
        make the same files.
        """
        return self.hash(_PLAIN | _WHICHEVER)[:16]

    def hash(self, instead: Mapping[str, object] = _NOTHING) -> str:
        """The hash of the first release's fields, and of later fields that are not at their default.

        `instead` has values, in JSON's types, that take the place of the request's.

        Hashes are stored with their tasks and outlast releases, so the hash of a request that an earlier
        release accepts must never change. A field sent with its default is the same as an omitted one.
        """
        # `to_json` writes these as `model_dump` would, at half its price, and texts faster than the enum's.
        first = {name: instead[name] if name in instead else getattr(self, name) for name in _FIRST}
        first["outputs"] = [output.value for output in self.outputs]
        sent = self.model_fields_set - _FIRST_ONES - instead.keys()
        later = self.model_dump(mode="json", include=sent, exclude_defaults=True) if sent else {}
        return hashlib.sha256(to_json(first | dict(sorted(later.items())))).hexdigest()

    def hash_of_sent(self, sent: Collection[str]) -> str:
        """The hash of the fields `sent` alone, without what a preset has set."""
        fields = self.model_dump(mode="json", include=set(sent), exclude_unset=True)
        return hashlib.sha256(to_json(dict(sorted(fields.items())))).hexdigest()

    def of_entry(self, url: str) -> Self:
        """The request for the entry at `url`, made from this request for its list."""
        return self.model_copy(
            update={
                "url": url,
                "playlist": False,
                "playlist_items": None,
                "start_at": None,
                "webhook": None,
                "title": None,
            }
        )


# What counts as the same request, for `Idempotency-Key` and for `reuse`. With a preset, two requests are the
# same if either the fields that were sent or all fields with the preset are the same.

# The fields of the first release, which hashed all of them in this order. A new one would change all hashes.
_FIRST = (
    "url", "outputs", "quality", "video_format", "codec", "audio_format", "audio_quality", "audio_language",
    "format", "live", "auto_start", "preset", "priority",
)  # fmt: skip
_FIRST_ONES = frozenset(_FIRST)
# Fields that do not change the result: they say when a task begins, or how it was requested.
_NOT_WISHED = ("auto_start", "preset", "priority", "reuse", "start_at", "title")
_PLAIN = {name: ProcessRequest.model_fields[name].default for name in _NOT_WISHED}
_WHICHEVER = {"url": "", "webhook": None, "playlist": False, "playlist_items": None, "library": None}


def scope_of(wish: str) -> str:
    """The scope with which `ProcessRequest.wish` was asked."""
    return wish.partition(":")[0]


MAX_ID = 500  # characters; ours have 36
MOST_AT_ONCE = 500  # tasks that one request makes or acts on


class Batch(Frozen):
    """The body of `POST /api/process/batch`; what stands in it is looked at one by one."""

    model_config = ConfigDict(strict=True)

    requests: tuple[Any, ...] = Field(
        min_length=1,
        max_length=MOST_AT_ONCE,
        strict=False,
        description="bodies of `POST /api/process`",
        json_schema_extra={"items": {"$ref": "#/components/schemas/ProcessRequest"}},
    )


class ActionRequest(Frozen):
    """The body of `POST /api/tasks/actions`: either `ids`, or what the tasks have in common."""

    model_config = ConfigDict(strict=True)

    action: Literal["cancel", "pause", "resume", "retry", "delete"]
    ids: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=MAX_ID)], ...] | None,
        _at_most(MOST_AT_ONCE),
        BeforeValidator(_once),  # first
    ] = Field(
        default=None,
        min_length=1,
        max_length=MOST_AT_ONCE,
        strict=False,
        description="of tasks; equal ones count once",
    )
    playlist_id: str | None = Field(
        default=None, min_length=1, max_length=MAX_ID, description="all entries of that list"
    )
    stage: Stage | None = Field(default=None, strict=False, description="all that are there")
    error_code: str | None = Field(
        default=None, pattern="^[a-z0-9_]{1,64}$", description="all that ended with it"
    )


class InfoRequest(Frozen):
    """The body of `POST /api/info`."""

    model_config = ConfigDict(strict=True)

    url: HttpUrl
    cookies: str | None = Field(
        default=None, pattern=f"^{COOKIES_NAME}$", description="the name of a stored cookie file"
    )
    preset: str | None = Field(default=None, min_length=1, max_length=64)
    limit: Whole = Field(default=500, ge=1, le=500, description="entries of a list on one page")
    cursor: str | None = Field(
        default=None, pattern=r"^[1-9][0-9]{0,6}$", description="`next_cursor` of the page before"
    )

    @property
    def passed_over(self) -> int:
        """How many entries of the list come before this page."""
        return int(self.cursor or 0)


class PlaceChange(Frozen):
    """The body of `PATCH /api/tasks/{task_id}`: at least one of them."""

    model_config = ConfigDict(strict=True, json_schema_extra={"minProperties": 1})

    priority: Whole | None = Field(default=None, ge=-10, le=10)
    position: Literal["first", "last"] | None = Field(
        default=None, description="before, or behind, all that are queued now, whatever their priority"
    )


class RemedyRequest(Frozen):
    """The body of `POST /api/tasks/{task_id}/remedies/{name}`, which only some remedies have."""

    model_config = ConfigDict(strict=True)

    cookies: str | None = Field(
        default=None, pattern=f"^{COOKIES_NAME}$", description="for `use_cookies`: the name of a stored file"
    )


class VideoInfo(Stored):
    """What the source says of itself; every field is absent until it is known."""

    title: str | None = None
    duration: NonNegativeInt | None = Field(default=None, description="whole seconds")
    uploader: str | None = None
    webpage_url: str | None = None
    extractor: str | None = None
    width: NonNegativeInt | None = None
    height: NonNegativeInt | None = None
    filesize: NonNegativeInt | None = Field(default=None, description="bytes")
    live: bool | None = Field(default=None, description="a broadcast that goes on, or went on when recorded")
    cut: bool | None = Field(
        default=None, description="its files are a part of the film, and their times are not the film's"
    )
    id: str | None = Field(default=None, description="at its source")
    extractor_key: str | None = Field(default=None, description="with `id` unique, unless it is Generic")
    channel: str | None = None
    channel_id: str | None = None
    published_at: str | None = Field(
        default=None, description="in UTC, like 2026-01-31T08:00:00Z; where no more is known, a day"
    )


class StoredFile(Stored):
    """A published file: its public `name`, its `path` below the task's directory, its `size` in bytes."""

    name: str
    path: str
    size: NonNegativeInt
    type: str
    title: str | None = Field(default=None, description="of a chapter")
    codec: str | None = Field(default=None, description="of its picture, or of its sound if it has none")
    sha256: str | None = Field(
        default=None, description="of the content; files of the first releases lack it"
    )
    crc32: int | None = Field(default=None, description="of the content, for archives; as with `sha256`")


class ChapterMark(Stored):
    """A chapter of a film as it is in its files, in seconds; without an end it lasts until the next."""

    start: NonNegativeFloat
    end: NonNegativeFloat | None = None
    title: str | None = Field(default=None, max_length=500)


class About(Stored):
    """What the source says of a film beyond `video_info`, for those who describe it elsewhere."""

    description: str | None = Field(default=None, max_length=10_000, description="with its lines")
    tags: tuple[Annotated[str, Field(max_length=500)], ...] = Field(default=(), max_length=100)
    chapters: tuple[ChapterMark, ...] = Field(default=(), max_length=500)


class InLibrary(Stored):
    """What the library has of a task, and why it is not placed, if something keeps it from that.

    Paths are relative to the library's folder; `path` is what blocks, none if it is the folder itself.
    """

    state: Literal["waiting", "placed"] = "waiting"
    reason: Literal["away", "full", "blocked", "files_gone"] | None = None
    path: str | None = None
    paths: tuple[str, ...] = ()


class Manifest(Stored):
    """Stored beside finished files: enough to complete the task if the server dies after publishing them and
    before saving the status.
    """

    attempt: NonNegativeInt
    files: dict[str, StoredFile]
    video_info: VideoInfo
    fetched: NonNegativeInt | None = Field(
        default=None, description="bytes of the one file that was fetched, if it was but one"
    )
    about: About | None = Field(default=None, description="of a film whose job has asked for it")


class Says(Stored):
    """What a list says of an entry that is to hold whatever the entry's own page says."""

    title: str | None = None
    uploader: str | None = None
    description: str | None = None
    thumbnail: str | None = None
    timestamp: NonNegativeFloat | None = Field(default=None, description="of its publication")
    series: str | None = None
    season_number: NonNegativeInt | None = None
    episode: str | None = None
    episode_number: NonNegativeInt | None = None


class Entry(Frozen):
    """An entry that a child found in a list; `index` counts the entries found.

    `url` is the entry's own, with what its extractor is to know besides and no client; or, with `item`, that
    of the list, of which the entry is number `item`.
    """

    model_config = ConfigDict(extra="ignore")

    index: int = Field(ge=1)
    url: HttpUrl
    item: int | None = Field(default=None, ge=1)
    title: str | None = None
    duration: NonNegativeInt | None = None
    uploader: str | None = None
    says: Says | None = None

    @property
    def shown_url(self) -> str:
        return without_password(self.url.partition(SMUGGLED)[0])

    @property
    def video_info(self) -> VideoInfo:
        return VideoInfo(title=self.title, duration=self.duration, uploader=self.uploader)


class Entries(Stored):
    """Counts of a list's entries; `failed` counts all that have ended without being completed."""

    total: NonNegativeInt = 0
    completed: NonNegativeInt = 0
    failed: NonNegativeInt = 0
    truncated: bool = Field(default=False, description="there were more than are taken of one list")

    @property
    def ended(self) -> int:
        return self.completed + self.failed


OF_ONE_RANK = 100  # distance of two ranks in `urgency`: more than all priorities, -10 to 10, span
SCHEDULED = "scheduled"
"""`TaskStatus.waiting` of a task until its `start_at`."""
DISK_FULL = "disk_full"
"""`TaskStatus.waiting` of a task while the disk has no room for it."""
HOST_BUSY = "host_busy"
"""`TaskStatus.waiting` of the next task of a host while `max_per_host` of its tasks run."""
RATE_WINDOW = "rate_window"
"""`TaskStatus.waiting` of a running download while `rate_windows` allow no bytes."""
STORAGE_AWAY = "storage_away"
"""`TaskStatus.waiting` of a task while the bucket for finished files, or the data directory, is away."""


class Bookkeeping(Stored):
    """What the server notes of a task for itself; no client is told of it."""

    # Its attempts so far, by which the next one is decided (`server.tasks.next_attempt`).
    got: NonNegativeInt = Field(default=0, description="the most bytes that have come")
    got_before: NonNegativeInt = Field(default=0, description="`got` when this attempt began")
    quiet: NonNegativeFloat = Field(default=0, description="seconds of attempts and delays since a byte more")
    faults: NonNegativeInt = Field(default=0, description="attempts that ended in a fault, since a byte more")
    retries: NonNegativeInt = Field(default=0, description="those of them that count")
    lost: NonNegativeInt = Field(default=0, description="children lost since one got further than the last")
    lost_in_all: NonNegativeInt = 0
    reached: tuple[int, int] = Field(default=(0, 0), description="the `reach` of the last attempt")
    delay: NonNegativeFloat | None = Field(
        default=None, description="seconds: how far away `not_before` was meant"
    )
    looks: NonNegativeInt = Field(
        default=0, description="at a broadcast that has not begun, one after the other"
    )
    begins_at: datetime | None = Field(default=None, description="when that is to begin, as announced")
    needs: NonNegativeInt | None = Field(
        default=None, description="bytes on the disk at once, if its last attempt found no room for them"
    )

    # What its request, remedies and actions ask of the next attempt.
    request_id: str = Field(default="", description="`X-Request-Id` of the request that made it, for the log")
    start_at: datetime | None = Field(default=None, description="when its first attempt may begin")
    amended: dict[str, Any] = Field(
        default_factory=dict, description="fields of its request that remedies have changed, as in JSON"
    )
    accept_gaps: bool = Field(
        default=False, description="a remedy: segments that its source lacks are left out of the film"
    )
    finish_asked: bool = Field(
        default=False, description="a client has ended its recording: no later attempt goes on with it"
    )
    item: NonNegativeInt | None = Field(
        default=None, description="which entry of what is at `url` it is; none: it is all of it"
    )
    says: Says | None = Field(default=None, description="what its list says of it")

    # What its last attempt has found out.
    film_duration: NonNegativeInt | None = Field(
        default=None, description="seconds of all of the film where `video_info` is of a clip; 0: not known"
    )
    sound_apart: bool | None = Field(
        default=None, description="whether its source has the sound without the picture, too"
    )
    one_quality: bool | None = Field(
        default=None, description="whether its source has one picture and one sound to choose from, at most"
    )
    fetched: NonNegativeInt | None = Field(
        default=None, description="bytes of the one file of which `files` were made, if it was but one"
    )
    published_at: datetime | None = Field(default=None, description="when `files` came")
    archive_ids: tuple[str, ...] = Field(
        default=(), description="ids that its source had for it before, as in yt-dlp's archives"
    )
    about: About | None = Field(default=None, description="of the film, when it is completed")

    # Lists: of an entry, where it stands; of a list, what it counts.
    playlist_index: NonNegativeInt | None = Field(
        default=None, description="its place among those that were found, from 1 on: unique in its list"
    )
    lists: tuple[str, ...] = Field(
        default=(), description="the links of the lists that led to an entry, its own list's first"
    )
    counted_in: tuple[str, ...] = Field(
        default=(), description="other lists, made with `reuse`, that count it as their entry until it ends"
    )
    shares: tuple[str, ...] = Field(
        default=(), description="of a list with `reuse`: tasks of others that it counts as its entries"
    )
    scope: str | None = Field(default=None, description="of a list: names the token whose tasks it may share")
    expanded: bool = Field(default=False, description="all entries of the list are tasks")
    unfolded: NonNegativeInt = Field(
        default=0, description="how many of a list's entries came from lists in it, rather than from itself"
    )
    list_action: NonNegativeInt = Field(
        default=0, description="the last action on the list that it has taken, see `server.core.entry_status`"
    )
    paused_alone: bool = Field(
        default=False, description="of an entry that is paused: by itself, not with its list"
    )

    @property
    def gained(self) -> bool:
        """Whether this attempt has downloaded more bytes than any attempt before it."""
        return self.got > self.got_before

    def with_nothing_gained(self) -> Self:
        return self.model_copy(update={"got_before": self.got})

    @property
    def faults_in_a_row(self) -> int:
        """Failed attempts directly before this one; 0 once this one has `gained`."""
        return 0 if self.gained else self.faults

    @property
    def retries_in_a_row(self) -> int:
        """Those of `faults_in_a_row` that count against `downloads.retries`."""
        return 0 if self.gained else self.retries

    @property
    def awaits_broadcast(self) -> bool:
        """Whether the source has announced a broadcast that has not begun."""
        return self.looks > 0

    def until_its_start(self, wall: datetime) -> dict[str, object]:
        """The changes to a queued status while `start_at` is in the future, by the clock on the wall; empty
        afterwards.
        """
        if self.start_at is None or self.start_at <= wall:
            return {}
        return {"waiting": SCHEDULED, "not_before": self.start_at}


class TaskStatus(Bookkeeping):
    """Everything that is known of a task at one `revision`; clients are told of the fields here.

    It is stored as one flat JSON object, with those of its `Bookkeeping`.
    """

    task_id: str
    number: NonNegativeInt = Field(
        default=0, exclude=True, description="the store's, where it is a column: the order of acceptance"
    )
    url: str
    stage: Stage = Stage.QUEUED
    revision: NonNegativeInt = 1
    attempt: NonNegativeInt = 0
    priority: int = 0
    rank: int = Field(default=0, description="which outranks priorities: whether it was moved, and how far")
    progress: int = Field(default=0, ge=0, le=100)
    created_at: datetime
    completed_at: datetime | None = None
    video_info: VideoInfo = VideoInfo()
    files: dict[str, StoredFile] = Field(default_factory=dict)
    thumbnail: StoredFile | None = Field(default=None, description="the small picture")
    downloaded_bytes: NonNegativeInt | None = None
    total_bytes: NonNegativeInt | None = None
    speed: NonNegativeFloat | None = Field(default=None, description="bytes a second")
    eta: NonNegativeInt | None = Field(default=None, description="seconds")
    error_code: str | None = None
    hint: str | None = Field(
        default=None,
        description="key of a hint: better than the error code's own, or what a completed task leaves out",
    )
    cookies: str | None = Field(default=None, description="the name of those that its last attempt was given")
    waiting: str | None = Field(default=None, description="why it waits in the queue, or is held; a code")
    not_before: datetime | None = Field(
        default=None, description="when the next attempt may begin, or it go on"
    )
    playlist_id: str | None = Field(default=None, description="the list of which it is an entry")
    subscription_id: str | None = Field(default=None, description="the subscription that made it")
    library: InLibrary | None = Field(default=None, description="of one whose files go into the library")
    entries: Entries | None = Field(default=None, description="of a list")
    started_at: datetime | None = Field(
        default=None, description="when the attempt that runs began to download"
    )
    remedies: tuple[str, ...] | None = Field(
        default=None, description="names of what could be done about its failure; None: nobody has looked"
    )

    @property
    def reach(self) -> tuple[int, int]:
        """The progress of this attempt: per cent, and bytes, since a live recording has no percentage."""
        return self.progress, self.downloaded_bytes or 0

    @property
    def lost_in_a_row(self) -> int:
        """Children lost directly before this one; 0 once this attempt has come further than the last."""
        return 0 if self.reach > self.reached else self.lost

    @property
    def urgency(self) -> int:
        """The queue is ordered by this number, the highest first, and then by age."""
        return self.rank * OF_ONE_RANK + self.priority

    @property
    def is_held(self) -> bool:
        """Whether a running download may fetch no bytes because of `rate_windows`."""
        return self.stage is Stage.DOWNLOAD and self.waiting == RATE_WINDOW

    @property
    def awaits_storage(self) -> bool:
        """Whether the files of a running task cannot be uploaded for now."""
        return self.stage.is_running and self.waiting == STORAGE_AWAY

    @property
    def awaits_entries(self) -> bool:
        """A list that has been read completely and has not ended, because its entries have not."""
        return self.expanded and not self.stage.is_final

    @property
    def host(self) -> str:
        """The host name in lower case, without the port, by which `max_per_host` counts."""
        return host_of(self.url)

    @property
    def in_lists(self) -> tuple[str, ...]:
        """The lists of which it is an entry."""
        return (self.playlist_id, *self.counted_in) if self.playlist_id else self.counted_in

    @property
    def read(self) -> int:
        """How many entries a list's own child has reported so far."""
        return self.entries.total - self.unfolded if self.entries else 0

    @property
    def is_list(self) -> bool:
        return self.entries is not None

    @property
    def needs_no_child(self) -> bool:
        """Whether the partial files that children have left are of no further use."""
        return self.stage is Stage.COMPLETED or self.expanded

    @property
    def published(self) -> list[StoredFile]:
        """All downloadable files, with the thumbnail."""
        return [*self.files.values(), *([self.thumbnail] if self.thumbnail else [])]

    @classmethod
    def new(
        cls, request: ProcessRequest, now: datetime, wall: datetime | None = None, request_id: str = ""
    ) -> "TaskStatus":
        """`wall` is the time by which `start_at` goes, `now` if it is left out."""
        change: dict[str, object] = {
            "task_id": str(uuid4()),
            "url": without_password(request.url) if "@" in request.url else request.url,
            "priority": request.priority,
            "stage": Stage.QUEUED if request.auto_start else Stage.PAUSED,
            "created_at": now,
        }
        if request_id:
            change["request_id"] = request_id
        if request.start_at:
            change["start_at"] = request.start_at
        if request.playlist:
            change["entries"] = Entries()
        elif request.library:
            change["library"] = InLibrary()
        if request.title:
            change["video_info"] = VideoInfo(title=request.title)
        status = _OF_NOTHING.model_copy(update=change)  # what comes of a valid request needs no validation
        if request.auto_start and request.start_at:
            return status.model_copy(update=status.until_its_start(wall or now))
        return status

    @classmethod
    def of_entry(
        cls,
        playlist: "TaskStatus",
        found: Entry,
        now: datetime,
        index: int | None = None,
        lists: tuple[str, ...] = (),
        *,
        library: bool = False,
    ) -> Self:
        """A new task for an entry `found` in `playlist`, with the list's priority and rank.

        `index` is its place among the list's tasks, `lists` are the lists in `playlist` that led to it;
        `library`: its files go there.
        """
        return cls(
            task_id=str(uuid4()),
            url=found.shown_url,
            priority=playlist.priority,
            rank=playlist.rank,
            request_id=playlist.request_id,
            created_at=now,
            video_info=found.video_info,
            playlist_id=playlist.task_id,
            playlist_index=found.index if index is None else index,
            lists=lists or (playlist.url,),
            item=found.item,
            says=found.says,
            **({"library": InLibrary()} if library else {}),
            **({"list_action": playlist.list_action} if playlist.list_action else {}),
        )


_OF_NOTHING = TaskStatus(task_id="", url="", created_at=datetime.min.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Task:
    """A request and its status; `request` is None if only a newer release knows what it asks for.

    `row` is the status as it is stored, if the task is an entry that has not taken all actions on its list.
    """

    request: ProcessRequest | None
    status: TaskStatus
    row: TaskStatus | None = None

    @property
    def wanted(self) -> ProcessRequest | None:
        """The request with what remedies have changed; None if this release cannot say what it asks.

        Fields that only a newer release knows are passed over; their values are kept with the status.
        """
        if self.request is None or not self.status.amended:
            return self.request
        try:
            amended = self.request.model_dump(mode="json") | self.status.amended
            return ProcessRequest.model_validate(amended, extra="ignore")
        except ValidationError:
            return None


@dataclass(frozen=True, slots=True)
class Queued:
    """What the queue needs to know of a task that waits in it."""

    task_id: str
    number: int
    urgency: int
    revision: int
    host: str
    waiting: str | None = None
    not_before: datetime | None = None
    begins_at: datetime | None = None
    playlist_id: str | None = None
    list_action: int = 0

    @classmethod
    def of(cls, status: TaskStatus) -> Self:
        return cls(
            status.task_id,
            status.number,
            status.urgency,
            status.revision,
            host_of(status.url),
            status.waiting,
            status.not_before,
            status.begins_at,
            status.playlist_id,
            status.list_action,
        )


def host_of(url: str) -> str:
    """The host name in lower case, without the port; empty if there is none."""
    return _host_at_start("/".join(url.split("/", 3)[:3]))


@lru_cache(1024)
def _host_at_start(scheme_and_host: str) -> str:
    return (urlsplit(scheme_and_host).hostname or "").lower()


def without_password(url: str) -> str:
    """`url` without `user:password@`, otherwise unchanged."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    bare = parts.netloc.rpartition("@")[2]
    return (
        url.replace(parts.netloc, bare, 1) if parts.netloc in url else urlunsplit(parts._replace(netloc=bare))
    )


def without_path(url: str) -> str:
    """`url` as far as its host and port: what follows is the secret of many a receiver of webhooks."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
