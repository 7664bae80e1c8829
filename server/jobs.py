"""What the server asks of a child: the first line on its channel, one JSON object.

Plain dataclasses, because children import no pydantic. `server.tasks.jobs` makes them. Both sides have to
agree on every field: a child that does not understand a job must not guess what is wanted of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal

MOST_COOKIES: Final = 1 << 20  # bytes of a cookie file
POT_PLUGINS: Final = {"bgutil": "bgutil-ytdlp-pot-provider"}  # the provider's name -> package of its plugin
MOST_OF_AN_ORDER: Final = 512  # characters of a signature


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtitleWishes:
    """The fields of a request's `subtitles`."""

    languages: tuple[str, ...] = ()
    automatic: bool = False
    embed: bool = False
    format: Literal["srt", "vtt"] = "srt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """From `start` to `end`, in seconds of the film; not `exact` means from a key frame on."""

    start: float
    end: float
    exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The fields of a `ProcessRequest` that are for children."""

    url: str
    outputs: tuple[str, ...]
    quality: str
    video_format: str
    codec: str
    audio_format: str
    audio_quality: int | None
    audio_language: str | None
    format: str | None
    subtitles: SubtitleWishes
    embed_metadata: bool
    clip: Clip | None
    sponsorblock: tuple[str, ...]
    split_chapters: bool
    live: Literal["reject", "record", "wait"]
    playlist_items: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """`directory` is the job's own, `lock` the file that tells whether somebody writes there.

    `ffmpeg` and `deno` are paths, `rate_limit` is in bytes a second, `max_filesize` in bytes; `cookies` is a
    file's text, `extractor_args` are by extractor and by name, `pot_provider` is
    `<name>:<address>`, `sponsorblock_api` an address, `players` are the orders that are known of
    YouTube's: see `server.tasks.players`.
    `item` is the one entry of a list that is to be downloaded, `known` how many were told before when it is
    expanded again, `max_playlist` how many there may be. A look at a list is at the places between these two.
    """

    kind: Literal["download", "info", "expand"]
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
    known: int
    max_playlist: int
    cookies: str | None = field(repr=False)
    extractor_args: Mapping[str, Mapping[str, Sequence[str]]] = field(repr=False)
    pot_provider: str | None
    sponsorblock_api: str
    players: Mapping[str, Sequence[int]] = field(repr=False)


def to_message(job: Job) -> dict[str, Any]:
    return asdict(job)


def from_message(message: Mapping[str, Any]) -> Job:
    """Raises `ValueError` if it is not exactly a job: then the other side is of another release."""
    _check(Job, message)
    return Job(**_in_tuples(message) | {"wishes": wishes_from(message["wishes"])})


def wishes_from(message: Mapping[str, Any]) -> Wishes:
    """The same for the wishes in it."""
    _check(Wishes, message)
    _check(SubtitleWishes, message["subtitles"])
    nested = {
        "subtitles": SubtitleWishes(**_in_tuples(message["subtitles"])),
        "clip": _clip_from(message["clip"]),
    }
    return Wishes(**_in_tuples(message) | nested)


def _clip_from(message: Mapping[str, Any] | None) -> Clip | None:
    if message is None:
        return None
    _check(Clip, message)
    return Clip(**message)


def _check(kind: type[Job | Wishes | SubtitleWishes | Clip], message: object) -> None:
    known = {one.name for one in fields(kind)}
    if not isinstance(message, Mapping) or message.keys() != known:
        odd = known.symmetric_difference(message) if isinstance(message, Mapping) else ()
        raise ValueError(f"server and child are of different releases: {kind.__name__} {sorted(odd)}")


def _in_tuples(message: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in message.items()}
