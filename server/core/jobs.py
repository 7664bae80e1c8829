"""The job that the server gives a child: the first line on the child's channel, one JSON object.

Plain dataclasses, because children import no pydantic. `server.tasks.job_builder` makes them. Both sides must
agree on every field: a child refuses a job with an unknown or a missing field instead of guessing.

Decisions: docs/decisions/children.md
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

MOST_COOKIES: Final = 1 << 20  # bytes of a cookie file
POT_PLUGINS: Final = {"bgutil": "bgutil-ytdlp-pot-provider"}  # the provider's name -> package of its plugin
# Separates a link from data that extractors of yt-dlp pass to each other.
SMUGGLED: Final = "#__youtubedl_smuggle"
MOST_OF_AN_ORDER: Final = 512  # characters of a YouTube signature, see `server.tasks.job_builder`
LANGUAGE: Final = r"-?[^\x00-\x20\x7f.,()\\^$*+?{}\[\]|-][^\x00-\x1f\x7f,\\^$*+?{}\[\]|]*(\.\*)?"
"""The pattern of a word that selects languages of subtitles. The word is no regular expression, but the name
that a source has for a language, such as `zh-Hans` or `English (UK)`. With `.*` behind it, it selects all
languages whose names begin so; with `-` before it, it excludes what it would select.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSubtitles:
    """The fields of a request's `subtitles`."""

    languages: tuple[str, ...] = ()
    automatic: bool = False
    embed: bool = False
    format: Literal["srt", "vtt"] = "srt"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobClip:
    """From `start` to `end`, in seconds of the film; unless `exact`, it begins at a key frame."""

    start: float
    end: float
    exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The fields of a `ProcessRequest` that children get."""

    url: str
    outputs: tuple[str, ...]
    quality: str
    video_format: str
    codec: str
    audio_format: str
    audio_quality: int | None
    audio_language: str | None
    format: str | None
    subtitles: JobSubtitles
    mute: bool
    embed_metadata: bool
    clip: JobClip | None
    sponsorblock: tuple[str, ...]
    split_chapters: bool
    live: Literal["reject", "record", "wait"]
    playlist_items: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryFilters:
    """Which entries of a list are wanted; a filter that is None takes all.

    `since` is the first second of the first day, `until` that of the day after the last; all others are as in
    the field `filters` of a subscription.
    """

    title: str | None
    not_title: str | None
    min_duration: int | None
    max_duration: int | None
    since: float | None
    until: float | None
    kinds: tuple[str, ...] | None
    members: bool
    min_age: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckWishes:
    """What a check of a subscription's source is to find out; times are seconds since 1970.

    `known` are names of stored entries, as `name_of_key` makes them. An earlier check may have stopped before
    it reached a known entry: `since_cut` are those of the `known` that were found since, and this check
    continues behind them. `again` are entries whose own pages are to be read: key, link, place in its list,
    and the facts that are stored. With `whole` all entries are reported, not only those before
    `KNOWN_IN_A_ROW` known ones.

    `form` is what the source was at the last check; `etag`, `modified` and `digest` identify the content that
    it had. Where a list says too little for the filters, the pages of at most `max_entry_pages` entries are
    read; with `days` an entry without a date counts as such. Only the first `asks` new entries that may pass
    the filters are wanted (None: all), and none older than `asks_since`. The feed has announced often enough
    that it has moved to `confirm`: if it still does, the child makes sure that there is a feed.

    `addresses` are the links of the source's pictures at the last check. `has_pictures` are those that need
    not be fetched; one without its query (`?...`) stands for the same link with any query.
    """

    source_key: str
    known: tuple[str, ...] = field(repr=False)
    since_cut: tuple[str, ...] = field(repr=False)
    again: tuple[tuple[str, str, int | None, Mapping[str, Any]], ...]
    whole: bool
    form: str | None
    etag: str | None
    modified: str | None
    digest: str | None
    confirm: str | None
    max_entry_pages: int
    days: bool
    asks: int | None
    asks_since: float | None
    filters: EntryFilters
    now: float
    within: float
    addresses: Mapping[str, str]
    has_pictures: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlugins:
    """The operator's plugins for yt-dlp: in `folder`, a child loads `modules`, the names of their files.

    None: a job of the kind `plugins` tries all but those `left_out`.
    """

    folder: str
    modules: tuple[str, ...] | None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job. `directory` is its own; a process that writes there holds the lock file `lock`.

    `ffmpeg` and `deno` are paths, `rate_limit` is in bytes a second, `max_filesize` in bytes; `cookies` is
    the text of a cookie file, `extractor_args` maps extractor and argument name to values, `pot_provider` is
    `<name>:<address>`, `sponsorblock_api` a URL, `players` maps a YouTube player to the order in which it
    puts the characters of a signature, see `server.tasks.job_builder`.
    With `accept_gaps` segments that the source lacks are left out of the film. `tells_about`: the child sends
    the fields of `server.core.film.About` as well.

    `item` is the place in its list of the one entry to download, `says` what the list says about it
    (`server.core.film.ListedInfo`). `lists` are the links of the lists that led to an entry, None for a link
    that a client sent: an entry that turns out to be a list is not refused, but its entries are reported, as
    by `expand`. By its `title` an entry is found again in its list if its link has expired. `expand` reports
    the entries after the first `known`, which the server has, up to entry `max_playlist`; `info` shows the
    entries in the same range. Only the kind `check` has `check`. Only `thumbnails` has `pictures`, the links
    of those that it makes small.
    """

    kind: Literal["download", "info", "thumbnails", "expand", "check", "plugins", "cover"]
    directory: str
    lock: str
    wishes: Wishes
    ffmpeg: str
    deno: str | None
    allowed_private_hosts: tuple[str, ...]
    proxy: str | None
    rate_limit: int | None
    max_filesize: int | None
    item: int | None
    accept_gaps: bool = False
    tells_about: bool = False
    says: Mapping[str, Any] = field(default_factory=dict)
    lists: tuple[str, ...] | None = None
    title: str | None = None
    known: int
    max_playlist: int
    cookies: str | None = field(repr=False)
    extractor_args: Mapping[str, Mapping[str, Sequence[str]]] = field(repr=False)
    pot_provider: str | None
    sponsorblock_api: str
    players: Mapping[str, Sequence[int]] = field(repr=False)
    check: CheckWishes | None = None
    plugins: JobPlugins | None = None
    pictures: tuple[str, ...] = ()


def to_message(job: Job) -> dict[str, Any]:
    """Return the fields of `job` as JSON has them; `from_message` reads them."""
    nested = {"wishes": _fields(job.wishes) | {"subtitles": _fields(job.wishes.subtitles)}}
    if job.wishes.clip:
        nested["wishes"]["clip"] = _fields(job.wishes.clip)
    nested |= {name: _fields(part) for name in ("check", "plugins") if (part := getattr(job, name))}
    if job.check:
        nested["check"]["filters"] = _fields(job.check.filters)
    return _fields(job) | nested


_Part = Job | CheckWishes | EntryFilters | JobPlugins | Wishes | JobSubtitles | JobClip


def _fields(of: _Part) -> dict[str, Any]:
    return {one.name: getattr(of, one.name) for one in fields(of)}  # `asdict` copies every value deeply


def from_message(message: Mapping[str, Any]) -> Job:
    """Read the job in `message`, as `to_message` made it.

    Raises `ValueError` unless the fields are exactly those of a job: then server and child are of different
    releases.
    """
    _require_fields(Job, message)
    check = message["check"]
    if check is not None:
        _require_fields(CheckWishes, check)
        again = tuple(tuple(one) for one in check["again"])
        _require_fields(EntryFilters, check["filters"])
        filters = EntryFilters(**_in_tuples(check["filters"]))
        check = CheckWishes(**_in_tuples(check) | {"again": again, "filters": filters})
    plugins = message["plugins"]
    if plugins is not None:
        _require_fields(JobPlugins, plugins)
        plugins = JobPlugins(**_in_tuples(plugins))
    nested = {"wishes": wishes_from(message["wishes"]), "check": check, "plugins": plugins}
    return Job(**_in_tuples(message) | nested)


def name_of_key(key: str) -> str:
    """Return a hash of a key of `media_keys`, short enough to send a child thousands of them."""
    return hashlib.blake2b(key.encode(errors="replace"), digest_size=8).hexdigest()


def wishes_from(message: Mapping[str, Any]) -> Wishes:
    """Like `from_message`, for the field `wishes` of a job."""
    _require_fields(Wishes, message)
    _require_fields(JobSubtitles, message["subtitles"])
    clip = message["clip"]
    if clip is not None:
        _require_fields(JobClip, clip)
    nested = {
        "subtitles": JobSubtitles(**_in_tuples(message["subtitles"])),
        "clip": None if clip is None else JobClip(**clip),
    }
    return Wishes(**_in_tuples(message) | nested)


def _require_fields(
    kind: type[Job | CheckWishes | EntryFilters | JobPlugins | Wishes | JobSubtitles | JobClip],
    message: object,
) -> None:
    known = {one.name for one in fields(kind)}
    if not isinstance(message, Mapping) or message.keys() != known:
        odd = known.symmetric_difference(message) if isinstance(message, Mapping) else ()
        raise ValueError(f"server and child are of different releases: {kind.__name__} {sorted(odd)}")


def _in_tuples(message: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in message.items()}
