"""The body of `POST /api/process`, and the hashes by which two bodies are recognised as the same request."""

import hashlib
import re
from collections.abc import Collection, Mapping
from enum import StrEnum
from functools import lru_cache
from operator import itemgetter
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError, to_json

from server.core.cookie_format import NAME as COOKIES_NAME
from server.core.jobs import LANGUAGE
from server.core.library import Library, outputs_for
from server.core.list_entries import ListEntry
from server.core.values import OF_A_CLIENT, Frozen, HttpUrl, Instant, Seconds, Whole, at_most, harmless_line

MAX_TITLE = 500  # characters
MOST_LANGUAGES = 100  # most languages of subtitles that one request names
# Sites choose their format ids themselves; in these, yt-dlp replaces the characters that are excluded here.
_FORMAT_ID = r"[^\x00-\x20\x7f-\x9f\xa0,/+()\[\]]+"
_NUMBER = r"([+-]?[0-9]{1,6})"
_ITEM = re.compile(rf"{_NUMBER}(?:)|{_NUMBER}?[-:](?:{_NUMBER}|inf(?:inite)?)?(?::{_NUMBER})?")


class Output(StrEnum):
    VIDEO = "video"
    AUDIO = "audio"
    THUMBNAIL = "thumbnail"
    SUBTITLES = "subtitles"


def _distinct(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    if not outputs:
        raise PydanticCustomError("outputs_missing", "name at least one output")
    if len(set(outputs)) != len(outputs):
        raise PydanticCustomError("outputs_repeated", "name each output once")
    return outputs


def _items(items: str) -> str:
    """Check the syntax of yt-dlp's `--playlist-items`: numbers, and ranges; negative ones count from
    the end.
    """
    for item in items.split(","):
        found = _ITEM.fullmatch(item)
        if not found:
            raise PydanticCustomError("items_form", 'write entries like "1-20,25,-1"')
        if any(number is not None and int(number) == 0 for number in found.groups()):
            raise PydanticCustomError("items_zero", "entries are counted from 1, and a step is not 0")
    return items


def _language(language: str, request: ValidationInfo) -> str:
    """Check a language: `name`, `name.*` for all that begin so, or `all`; a leading `-` excludes.

    No client's regular expression is compiled: a short one can take seconds. Requests that earlier releases
    have stored may have regular expressions; only children read them.
    """
    if request.context is OF_A_CLIENT and not re.fullmatch(LANGUAGE, language):
        raise PydanticCustomError("language_form", 'write languages like "en", "en.*" or "-live_chat"')
    return language


def _categories(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise PydanticCustomError("categories_repeated", "name each category once")
    return names


Category = Literal[
    "sponsor", "selfpromo", "interaction", "intro", "outro", "preview", "hook", "filler", "music_offtopic"
]
SHORTEST_CLIP = 0.1  # seconds; a shorter one may hold no frame at all


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
        at_most(MOST_LANGUAGES),
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
        """Check that the clip ends after its start. It may be shorter than `SHORTEST_CLIP`, as earlier
        releases allowed.
        """
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
        at_most(len(Output)),
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
        at_most(len(get_args(Category))),
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
        """Whether an existing task with the same wish may be used instead. A list itself is never shared,
        only its entries.
        """
        return self.reuse and not self.playlist

    def wish(self, scope: str, item: int | None = None) -> str:
        """Return the `scope` of the token, and a hash of the fields that determine the result.

        With `item`, only this entry of the list at the link is wanted.
        """
        of_item = "" if item is None else f"#{item}"
        return f"{scope}:{self.hash(_DEFAULTS_OF_NOT_WISHED)}{of_item}"

    def without_library(self) -> "list[Self]":
        """Return the request without `library`. If the library's layout may have chosen the outputs, also
        return it with the default outputs: a task of either request has the wanted files.
        """
        plain = self.model_copy(update={"library": None})
        chosen = outputs_for(self.library.model_dump() if self.library else None).get("outputs")
        if chosen is None or [*map(str, chosen)] != [output.value for output in self.outputs]:
            return [plain]
        usual = type(self).model_fields["outputs"].get_default()
        return [plain, plain.model_copy(update={"outputs": usual})]

    def wish_of_entry(self, scope: str, entry: ListEntry) -> str:
        """Return the wish of a request for the link of `entry` alone, an entry of this list."""
        return self.of_entry(entry.shown_url).wish(scope, entry.item)

    def manner(self) -> str:
        """Return a short hash of all wishes but the link: two tasks of one video with the same manner make
        the same files.
        """
        return self.hash(_DEFAULTS_OF_NOT_WISHED | _ANY_VIDEO)[:16]

    def hash(self, instead: Mapping[str, object] = _NOTHING) -> str:
        """The hash of the first release's fields, and of later fields that are not at their default.

        `instead` has values, in JSON's types, that take the place of the request's.

        Hashes are stored with their tasks and outlast releases, so the hash of a request that an earlier
        release accepts must never change. A field sent with its default is the same as an omitted one.
        """
        url, *others = _OF_FIRST({**self.__dict__, **instead})
        text = b'{"url":%b,%b' % (to_json(url), _first_but_url(*others))
        if sent := self.model_fields_set - _FIRST_FIELDS - instead.keys():
            later = self.model_dump(mode="json", include=sent, exclude_defaults=True)
            text += b"".join(b",%b:%b" % (to_json(name), to_json(later[name])) for name in sorted(later))
        return hashlib.sha256(text + b"}").hexdigest()

    def hash_of_sent(self, sent: Collection[str]) -> str:
        """Return the hash of the fields in `sent` alone, without those that a preset has set."""
        fields = self.model_dump(mode="json", include=set(sent), exclude_unset=True)
        return hashlib.sha256(to_json(dict(sorted(fields.items())))).hexdigest()

    def of_entry(self, url: str) -> Self:
        """Return the request for the entry at `url`, made from this request for its list."""
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


# By these hashes `Idempotency-Key` and `reuse` recognise the same request. With a preset, two requests are
# the same if either the fields that were sent or all fields with the preset are the same.

# The fields of the first release, which hashed all of them in this order. A new one would change all hashes.
_FIRST = (
    "url", "outputs", "quality", "video_format", "codec", "audio_format", "audio_quality", "audio_language",
    "format", "live", "auto_start", "preset", "priority",
)  # fmt: skip
_FIRST_FIELDS = frozenset(_FIRST)
_OF_FIRST = itemgetter(*_FIRST)


@lru_cache(256, typed=True)
def _first_but_url(*values: object) -> bytes:
    """Return the JSON of these values of `_FIRST`, cached because successive requests mostly have the same
    ones.
    """
    return to_json(dict(zip(_FIRST[1:], values, strict=True)))[1:-1]


# Fields that do not change the files: they say when a task begins, or how it was requested.
_NOT_WISHED = ("auto_start", "preset", "priority", "reuse", "start_at", "title")
_DEFAULTS_OF_NOT_WISHED = {name: ProcessRequest.model_fields[name].default for name in _NOT_WISHED}
_ANY_VIDEO = {"url": "", "webhook": None, "playlist": False, "playlist_items": None, "library": None}


def scope_of(wish: str) -> str:
    """Return the scope that is part of a `wish` which `ProcessRequest.wish` made."""
    return wish.partition(":")[0]
