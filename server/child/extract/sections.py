"""Films that come in sections: the parts of a `multi_video`, the periods of a DASH manifest.

yt-dlp joins the bytes of periods that are described alike, and leaves out the others. But each period has its
own start time and its own initialization segment, so that joined bytes are no film: here each section is
fetched by itself, and `server.child.media.concatenation` puts them together.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from yt_dlp.extractor.common import InfoExtractor

from server.child.media import parts
from server.child.process import borrowed
from server.child.process.job_failed import JobFailed

_PERIODS: Final = "clipwire_periods"
"""Key in a format dict: for each period the fields in `_WHERE`, None if the period lacks this format."""

_WHERE: Final = ("url", "fragment_base_url", "fragments", "filesize", "has_drm")

_OF_ONE_PART: Final = ("url", "formats", "requested_formats", "filesize", "filesize_approx")

_merge_one = borrowed.original(InfoExtractor, "_merge_mpd_periods")

Formats = list[dict[str, Any]]


def install() -> None:
    """Replace yt-dlp's merging of DASH periods, for the rest of this process."""
    if borrowed.fits("periods"):
        InfoExtractor._merge_mpd_periods = _merge


def as_one(info: Mapping[str, Any]) -> dict[str, Any]:
    """A video in parts as one: fields of the whole, else of the first part; `JobFailed` if one is missing."""
    entries = list(info["entries"])
    if not entries or not all(entries):
        raise JobFailed("no_media", f"parts are missing: {[bool(entry) for entry in entries]}")
    durations = [entry.get("duration") for entry in entries]
    about = {name: value for name, value in entries[0].items() if name not in _OF_ONE_PART}
    about |= {"duration": sum(durations) if all(durations) else None}
    about |= {name: value for name, value in info.items() if value is not None and name != "_type"}
    return about | {"entries": entries}


def streams_of(info: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """The streams to fetch of each section; most films have one section.

    Raises `JobFailed` if picture and sound differ in periods, or a period has them with DRM only.
    """
    if "entries" in info:
        return [section for entry in info["entries"] for section in streams_of(entry)]
    streams = parts.chosen(info)
    places = [stream.pop(_PERIODS, None) or [{}] for stream in streams]
    if len({len(periods) for periods in places}) > 1:
        raise JobFailed("unsupported_stream", "picture and sound do not come in the same periods")
    if any(where and where.get("has_drm") for periods in places for where in periods):
        raise JobFailed("drm_protected", "of some periods there is nothing else")
    return [
        [stream | where for stream, where in zip(streams, period, strict=True) if where is not None]
        for period in zip(*places, strict=True)
    ]


def _merge(self: Any, periods: Iterable[Mapping[str, Any]]) -> tuple[Formats, dict[str, Any]]:
    """The formats of the period with the largest choice; each notes the most similar of every period."""
    periods = list(periods)
    with_media = [period["formats"] for period in periods if period["formats"]]
    richest: Formats = max(with_media, key=len, default=[])
    chosen = [{**period, "formats": richest if period["formats"] is richest else []} for period in periods]
    formats, subtitles = _merge_one(self, chosen)
    if len(with_media) > 1:
        found = [[_where(_most_like(one, others)) for others in with_media] for one in formats]
        for one, places in zip(formats, found, strict=True):
            one[_PERIODS] = places
    return formats, subtitles


def _most_like(one: Mapping[str, Any], others: Formats) -> Mapping[str, Any] | None:
    """The format in `others` of the same kind that is most like `one`; None if there is none."""

    def unlike(other: Mapping[str, Any]) -> tuple[Any, ...]:
        differs = (other.get(name) != one.get(name) for name in ("format_id", "language", "vcodec", "acodec"))
        near = (abs((other.get(name) or 0) - (one.get(name) or 0)) for name in ("height", "tbr"))
        return (bool(other.get("has_drm")), *differs, *near)

    alike = [other for other in others if _kind(other) == _kind(one)]
    return min(alike, key=unlike, default=None)


def _kind(one: Mapping[str, Any]) -> tuple[bool, bool]:
    return one.get("vcodec") == "none", one.get("acodec") == "none"


def _where(one: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if one is None else {"duration": None} | {name: one.get(name) for name in _WHERE}
