"""Finds out whether a page leads to a live broadcast: many extractors do not check it, and yt-dlp would
download what has been sent so far.

An HLS playlist of a broadcast has no end (RFC 8216, 4.3.3.4), and grows: segments are added. A DASH manifest
says that it is live.

Decisions: docs/decisions/broadcasts.md
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.networking.common import Request
from yt_dlp.networking.exceptions import HTTPError, RequestError
from yt_dlp.utils import ExtractorError, determine_protocol

from server.child.extract.failures import pause
from server.child.extract.first_read import FirstRead
from server.child.extract.video_info import is_live
from server.child.extract.youtube_dl import Engine
from server.child.process import yt_dlp_parts
from server.child.process.job_failed import NotLive

_LIVE: Final = "clipwire_live"
"""Key in a format dict: its DASH manifest is that of a broadcast."""

_PLAYLIST_ERROR: Final = "clipwire_unread"
"""Key in an info dict: the error with which a playlist could not be read."""

_HLS: Final = ("m3u8", "m3u8_native")
_DURATIONS: Final = re.compile(r"^#EXTINF:\s*(\d+(?:\.\d+)?)", re.MULTILINE)
_GROWS_WITHIN: Final = 1.5  # how many target durations a live playlist may take to grow (RFC 8216, 6.2.1)
_LONGEST: Final = 20.0  # seconds that a playlist is given to grow
_LONGEST_RECORDED: Final = 75.0  # the same if the playlist has grown before
_LONGEST_PAUSE: Final = 5.0  # most seconds between two reads of a playlist
_FOUND_LIVE: Final = "clipwire_seen"
"""Key in an info dict: this module has found out that it is live; its extractor does not say so."""

_READS: Final = "clipwire_reads"
"""Key in a format dict: the texts and URLs of its HLS playlist, for each time that it was read here."""

_AS_LIVE: Final[dict[str, Any]] = {"is_live": True, "live_status": "is_live", _FOUND_LIVE: True}

_parse_periods = yt_dlp_parts.original(InfoExtractor, "_parse_mpd_periods")

Info = dict[str, Any]


def install() -> None:
    """Have yt-dlp mark formats of live DASH manifests, for the rest of this process and its children."""
    if yt_dlp_parts.fits("periods"):
        InfoExtractor._parse_mpd_periods = _parse


def check_broadcast(engine: Engine, info: Info, on_tick: Callable[[], None]) -> Info:
    """Return `info`, marked as live if a chosen stream is a broadcast's; unchanged if the extractor knows.

    An HLS playlist that does not grow is stored in its stream, so that yt-dlp does not fetch it again. If a
    playlist cannot be read, `playlist_error` returns the error. Raises `NotLive` for a playlist that is empty
    and has no end. `on_tick` is called every second while a playlist is given time to grow.
    """
    if info.get("live_status") or info.get("is_live") is not None or "entries" in info:
        return info
    streams = info.get("requested_formats") or [info]
    for stream in streams:
        if stream.get(_LIVE):
            return info | _AS_LIVE
        if not _is_hls(stream) or "hls_media_playlist_data" in stream:
            continue
        try:
            playlist, address = _read(engine, stream)
            if not _has_end(playlist):
                if "#EXTINF" not in playlist:
                    raise NotLive(None, info)
                others = [other for other in streams if other is not stream and _is_hls(other)]
                stream[_READS] = ((playlist, address),)
                for other in others:
                    _add_read(engine, other)
                pause(min(_target_duration(playlist) * _GROWS_WITHIN, _LONGEST), _LONGEST, on_tick)(0)
                following = _read(engine, stream)
                if newest(following[0]) != newest(playlist):
                    stream[_READS] += (following,)
                    for other in others:
                        _add_read(engine, other)
                    return info | _AS_LIVE
        except Unread as error:
            return info | {_PLAYLIST_ERROR: error.__cause__}
        for each in streams:
            each.pop(_READS, None)
        stream |= {"hls_media_playlist_data": playlist, "url": address}
    return info


def _add_read(engine: Engine, stream: Info) -> None:
    with suppress(Unread):
        stream[_READS] = (*stream.get(_READS, ()), _read(engine, stream))


def from_first_read(engine: Engine, streams: Sequence[Info]) -> dict[str, Callable[[], str]]:
    """Map the URLs of the playlists of `streams` to functions that read them, and add the segments that they
    have listed since `check_broadcast` read them first.

    Empty unless that is possible for each stream.
    """
    found: dict[str, Callable[[], str]] = {}
    for stream in streams:
        if not (reads := stream.get(_READS)):
            return {}
        playlist = FirstRead(reads, partial(_read_or_raise, engine, stream))
        if not playlist.is_possible:
            return {}
        found[stream["url"]] = playlist.text
    return found


def _read_or_raise(engine: Engine, stream: Info) -> tuple[str, str]:
    try:
        return _read(engine, stream)
    except Unread as error:
        raise error.__cause__ or error from None


def playlist_error(info: Info) -> Exception | None:
    """Return the error that hid whether `info` is a broadcast; None if there was none."""
    error: Exception | None = info.get(_PLAYLIST_ERROR)
    return error


def is_gone(error: BaseException | None) -> bool:
    """Whether the source answers that the playlist no longer exists."""
    return isinstance(error, HTTPError) and error.status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


def as_live(info: Info) -> Info:
    return info | _AS_LIVE


def may_go_on(
    engine: Engine, info: Info, streams: Sequence[Info], on_tick: Callable[[], None], *, silent: bool
) -> bool:
    """Whether a broadcast that is partly recorded already goes on.

    `silent`: no more bytes have come. Then the extractor's word that it is live is not enough: the playlist
    has to grow within some time. A playlist that cannot be read does not mean the end.
    """
    if have_ended(engine, streams):
        return False
    if error := playlist_error(info):
        return not is_gone(error)
    if not any(map(_is_hls, streams)):
        return is_live(info) and not silent
    if info.get(_FOUND_LIVE):
        return True
    if info.get("live_status") == "is_live" and not silent:
        return True
    if info.get("live_status") not in (None, "is_live"):
        return False
    deadline, first_reads, was_read = time.monotonic() + _LONGEST_RECORDED, dict[str, str](), False
    while time.monotonic() < deadline:
        for stream in filter(_is_hls, streams):
            try:
                playlist, _ = _read(engine, stream)
            except Unread as error:
                if is_gone(error.__cause__):
                    return False
                continue
            was_read = True
            if _has_end(playlist):
                return False
            if newest(first_reads.setdefault(stream["url"], playlist)) != newest(playlist):
                return True
        target = max(map(_target_duration, first_reads.values()), default=0.0)
        pause(max(1.0, target / 2), _LONGEST_PAUSE, on_tick)(0)
    return not was_read


def have_ended(engine: Engine, streams: Sequence[Info]) -> bool:
    """Whether an HLS playlist of `streams` has an end: ffmpeg would record it from its first segment on."""
    for stream in filter(_is_hls, streams):
        with suppress(Unread):
            if _has_end(_read(engine, stream)[0]):
                return True
    return False


def length_of(engine: Engine, stream: Mapping[str, Any]) -> float | None:
    """Return the duration of a fragmented stream in seconds; None if its manifest does not state it."""
    if _is_hls(stream):
        try:
            playlist = stream.get("hls_media_playlist_data") or _read(engine, stream)[0]
        except Unread:
            return None
        lengths = [float(each) for each in _DURATIONS.findall(playlist)]
    else:
        fragments = stream.get("fragments")
        listed = fragments if isinstance(fragments, list) else []
        lengths = [each.get("duration") or 0.0 for each in listed]
        if lengths and not lengths[0]:  # the initialization segment
            del lengths[0]
    return sum(lengths) if lengths and all(lengths) else None


def _is_hls(stream: Mapping[str, Any]) -> bool:
    return "url" in stream and determine_protocol(stream) in _HLS


class Unread(Exception):
    """A playlist could not be read; `__cause__` is the error."""


def _read(engine: Engine, stream: Mapping[str, Any]) -> tuple[str, str]:
    """Return the HLS playlist and its URL; raises `Unread`."""
    try:
        response = engine.urlopen(Request(stream["url"], headers=stream.get("http_headers") or {}))
        text = response.read().decode(errors="replace")
    except (RequestError, ValueError) as error:  # ValueError: the URL is malformed
        raise Unread from error
    if not text.startswith("#EXTM3U") or "#EXT-X-STREAM-INF" in text:
        raise Unread from ExtractorError("The source sent no playlist.")
    return text, response.url


def _has_end(playlist: str) -> bool:
    return bool(re.search(r"^#EXT-X-(ENDLIST|PLAYLIST-TYPE:VOD)", playlist, re.MULTILINE))


def newest(playlist: str) -> tuple[int, str, str]:
    """Return a value that changes once a segment is added: the number after the last segment, its name, and
    its byte range.

    The text itself would change each time where sources sign links anew with each response, or add the time.
    """
    first = re.search(r"^#EXT-X-MEDIA-SEQUENCE:\s*(\d{1,18})", playlist, re.MULTILINE)
    links = re.findall(r"^[^#\s].*", playlist, re.MULTILINE)
    ranges = re.findall(r"^#EXT-X-BYTERANGE:(\S*)", playlist, re.MULTILINE)
    last = links[-1].partition("?")[0].rpartition("/")[2].strip() if links else ""
    return int(first[1] if first else 0) + len(links), last, ranges[-1] if ranges else ""


def _target_duration(playlist: str) -> float:
    """Return the target duration in seconds, which every playlist must state (RFC 8216, 4.3.3.1).

    `server.child.extract.youtube_dl` adds it where it is missing.
    """
    found = re.search(r"^#EXT-X-TARGETDURATION:(\d{1,6})", playlist, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _parse(self: Any, mpd_doc: Any, *args: Any, **kwargs: Any) -> Any:
    periods = list(_parse_periods(self, mpd_doc, *args, **kwargs))
    # After the broadcast its manifest may stay `dynamic`, but is no longer updated, or has a duration.
    is_updated = mpd_doc.get("minimumUpdatePeriod") and not mpd_doc.get("mediaPresentationDuration")
    if mpd_doc.get("type") == "dynamic" and is_updated:
        for period in periods:
            for offered in period["formats"]:
                offered[_LIVE] = True
    return periods
