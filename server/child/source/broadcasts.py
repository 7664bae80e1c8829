"""Whether a page leads to a broadcast: many extractors do not look, and yt-dlp takes what there is of it.

Of an HLS the playlist says so: it has no end (RFC 8216, 4.3.3.4), and goes on. Of a DASH the manifest does,
which was read already.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.networking.common import Request
from yt_dlp.networking.exceptions import RequestError
from yt_dlp.utils import determine_protocol

from server.child.process import borrowed
from server.child.source.engine import Engine
from server.child.source.tries import pause

_LIVE: Final = "clipwire_live"
"""In a format: its manifest is that of a broadcast."""

_HLS: Final = ("m3u8", "m3u8_native")
_GOES_ON_WITHIN: Final = 1.5  # of a segment's time (RFC 8216, 6.2.1)
_LONGEST: Final = 20.0  # seconds
_LIVES: Final[dict[str, Any]] = {"is_live": True, "live_status": "is_live"}

_parse_periods = borrowed.original(InfoExtractor, "_parse_mpd_periods")

Info = dict[str, Any]


def install() -> None:
    """For the rest of this process."""
    if borrowed.fits("periods"):
        InfoExtractor._parse_mpd_periods = _parse


def judged(engine: Engine, info: Info, on_tick: Callable[[], None]) -> Info:
    """`info`, of which it is known whether it is live if the extractor or the chosen streams say so.

    A playlist that was read for that goes along. `on_tick` is called while a playlist has time to go on.
    """
    if info.get("live_status") or info.get("is_live") is not None or "entries" in info:
        return info
    streams = info.get("requested_formats") or [info]
    lives = any(stream.get(_LIVE) or _goes_on(engine, stream, on_tick) for stream in streams)
    return info | _LIVES if lives else info


def have_ended(engine: Engine, streams: Sequence[Info]) -> bool:
    """Whether a playlist of theirs says so: then ffmpeg would begin with its beginning."""
    return any(_has_end(_read(engine, stream)[0]) for stream in streams if _is_hls(stream))


def _is_hls(stream: Info) -> bool:
    return "url" in stream and determine_protocol(stream) in _HLS


def _goes_on(engine: Engine, stream: Info, on_tick: Callable[[], None]) -> bool:
    if not _is_hls(stream) or "hls_media_playlist_data" in stream:
        return False
    playlist, address = _read(engine, stream)
    if not playlist:
        return False
    if not _has_end(playlist):
        pause(min(_segment(playlist) * _GOES_ON_WITHIN, _LONGEST), _LONGEST, on_tick)(0)
        if _read(engine, stream)[0] not in ("", playlist):
            return True
    stream |= {"hls_media_playlist_data": playlist, "url": address}
    return False


def _read(engine: Engine, stream: Info) -> tuple[str, str]:
    """The playlist and its address; nothing if it is not to be had: whoever fetches the film will see why."""
    try:
        response = engine.urlopen(Request(stream["url"], headers=stream.get("http_headers") or {}))
        text = response.read().decode(errors="replace")
    except (RequestError, ValueError):  # it may be no URL at all
        return "", ""
    return (text, response.url) if text.startswith("#EXTM3U") and "#EXTINF" in text else ("", "")


def _has_end(playlist: str) -> bool:
    return bool(re.search(r"^#EXT-X-(ENDLIST|PLAYLIST-TYPE:VOD)", playlist, re.MULTILINE))


def _segment(playlist: str) -> float:
    """Seconds; a playlist has to say it."""
    said = re.search(r"^#EXT-X-TARGETDURATION:(\d{1,6})", playlist, re.MULTILINE)
    return float(said[1]) if said else 0.0


def _parse(self: Any, mpd_doc: Any, *args: Any, **kwargs: Any) -> Any:
    periods = list(_parse_periods(self, mpd_doc, *args, **kwargs))
    if _is_broadcast(mpd_doc):
        for period in periods:
            for one in period["formats"]:
                one[_LIVE] = True
    return periods


def _is_broadcast(manifest: Mapping[str, str]) -> bool:
    """Some that are over are still called dynamic; but they are not added to, or are as long as they say."""
    is_dynamic = manifest.get("type") == "dynamic"
    return bool(
        is_dynamic and manifest.get("minimumUpdatePeriod") and not manifest.get("mediaPresentationDuration")
    )
