"""A live DASH as HLS playlists, one for each chosen stream: what ffmpeg reads instead of the manifest.

ffmpeg's own reader of DASH cannot follow a manifest that grows: release 7 takes segments twice or asks for
one without end while its times stand still, release 9 leaves out segments of the sound, half of it in some
recordings. Its reader of HLS does neither, and fetches the same segments. So the manifest is read here, anew
for each request for a playlist: yt-dlp's parser knows every kind of address a segment may have, once the
manifest lists its segments (`add_timelines`). ffmpeg gets the playlists from the proxy, and all segments from
their source.

Decisions: docs/decisions/broadcasts.md
"""

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from threading import Lock
from typing import Any, Final
from urllib.parse import urljoin
from xml.etree.ElementTree import Element, ParseError, SubElement

from yt_dlp.compat import compat_etree_fromstring
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.networking.common import Request
from yt_dlp.networking.exceptions import HTTPError, RequestError
from yt_dlp.utils import base_url, parse_duration, parse_iso8601

_MAX_SEGMENTS: Final = 20
"""In a playlist, unless more are new. Older ones would be of no use: ffmpeg follows the newest."""

_FIRST_SEGMENTS: Final = 3  # ffmpeg begins with this many of an HLS
_NOT_AVAILABLE: Final = 1  # newest segments that exist by the clock, but that a source may not have yet
# Bounds of the seconds until the manifest is read again; between them `minimumUpdatePeriod` decides.
_MIN_AGE, _MAX_AGE = 1.0, 5.0

_Segment = tuple[str, float]  # its URL, its seconds


class LiveDash:
    """The manifest at a stream's `manifest_url`, and what all pieces of a recording have taken from it.

    `ydl` is yt-dlp's `YoutubeDL`, which requests the manifest. `period` is the id of the last period of which
    ffmpeg was given segments. `has_next_period`: another period follows it, which belongs into another piece,
    because it has an initialization segment of its own.
    """

    def __init__(self, url: str, headers: Mapping[str, str], ydl: Any) -> None:
        self._url, self._headers, self._ydl = url, dict(headers), ydl
        self._lock = Lock()
        self._read_at = -math.inf
        self._document, self._base, self._clock_offset = b"", url, 0.0
        self._max_age = _MIN_AGE
        self.period: str | None = None
        self.has_next_period = False

    def begin(self, number: int | None, *, goes_on: bool) -> "Playlist":
        """Return the playlist of stream `number` of the manifest; `goes_on`: after an earlier piece."""
        self.has_next_period = False
        return Playlist(self, number, goes_on=goes_on)

    def read(self) -> tuple[list[dict[str, Any]], bool]:
        """Return the periods with their formats, as yt-dlp parses them, and whether more is to come.

        Raises yt-dlp's error if the manifest was never read, or is gone. After any other error it is used as
        it was read last.
        """
        with self._lock:
            if time.monotonic() - self._read_at > self._max_age:
                self._fetch()
            manifest = compat_etree_fromstring(self._document)
        is_live = manifest.get("type") == "dynamic" and not manifest.get("mediaPresentationDuration")
        add_timelines(manifest, time.time() + self._clock_offset)
        extractor = InfoExtractor(self._ydl)
        periods = extractor._parse_mpd_periods(manifest, None, base_url(self._base), self._base)
        return list(periods), is_live and bool(manifest.get("minimumUpdatePeriod"))

    def _fetch(self) -> None:
        try:
            with self._ydl.urlopen(Request(self._url, headers=self._headers)) as response:
                document, base, headers = response.read(), response.url, response.headers
            manifest = compat_etree_fromstring(document)
        except (RequestError, ParseError) as error:
            is_gone = isinstance(error, HTTPError) and error.status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
            if is_gone or not self._document:
                raise
            return
        if self._read_at < 0:  # the first time: by the source's clock segments become available
            self._clock_offset = _seconds_ahead(headers.get("Date"), headers.get("Age"))
        self._document, self._base, self._read_at = document, base, time.monotonic()
        if (location := manifest.find("{*}Location")) is not None and location.text:
            self._url = urljoin(base, location.text.strip())
        update_period = parse_duration(manifest.get("minimumUpdatePeriod") or "") or 0
        self._max_age = min(max(update_period, _MIN_AGE), _MAX_AGE)


class Playlist:
    """One stream of a `LiveDash` as an HLS playlist that grows; ffmpeg begins with its first segment."""

    def __init__(self, manifest: LiveDash, number: int | None, *, goes_on: bool) -> None:
        self._manifest, self._number, self._goes_on = manifest, number, goes_on
        self._period_before = manifest.period
        self._format_id: str | None = None
        self._period: str | None = None
        self._lock = Lock()
        self._seen: set[str] = set()
        self._listed: list[_Segment] = []
        self._media_sequence = 0  # the number of the first segment that is listed
        self._initialization = ""  # the URL of the initialization segment, if there is one

    def text(self) -> str:
        """Return the playlist as it is now.

        Raises what `LiveDash.read` does; `RequestError` if there are no segments, and in place of a first
        playlist that would only repeat an earlier piece.
        """
        with self._lock:
            periods, is_live = self._manifest.read()
            is_first = self._period is None
            if is_first and self._goes_on and not is_live:
                raise RequestError("The broadcast has ended meanwhile.")
            found = list(self._periods_of_stream(periods))
            index = next((n for n, (period, _) in enumerate(found) if period == self._period), None)
            if is_first and found:
                index = len(found) - 1
                self._period = self._manifest.period = found[index][0]
            segments = list[_Segment]()
            if index is not None:
                self._initialization, segments = _segments(found[index][1])
            new = self._take_new(segments, is_first=is_first)
            self._listed += new
            dropped = max(0, len(self._listed) - max(_MAX_SEGMENTS, len(new)))
            del self._listed[:dropped]
            self._media_sequence += dropped
            if not self._listed:
                self._period = None
                raise RequestError("The manifest has no segments yet.")
            is_next = not is_first and (index is None or index + 1 < len(found)) and not new
            self._manifest.has_next_period |= is_next
            return self._write(has_end=is_next or not is_live)

    def _take_new(self, segments: list[_Segment], *, is_first: bool) -> list[_Segment]:
        """Return the `segments` to list that are behind the newest seen so far; note all as seen.

        URLs are compared without their queries, unless only the queries distinguish them. So no segment is
        listed twice if the manifest is an older copy, or has new signatures in its URLs.
        """
        urls = [url for url, _ in segments]
        paths = [url.partition("?")[0] for url in urls]
        names = paths if 1 < len(paths) == len({*paths}) else urls
        newest = max((n for n, name in enumerate(names) if name in self._seen), default=-1)
        new = segments[newest + 1 :]
        self._seen.update(urls, paths)
        if not is_first:
            return new
        if not self._goes_on:
            return new[-_FIRST_SEGMENTS:]
        return new[-1:] if self._period == self._period_before else new[-_MAX_SEGMENTS:]

    def _write(self, *, has_end: bool) -> str:
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:7",
            f"#EXT-X-TARGETDURATION:{max(1, math.ceil(max(seconds for _, seconds in self._listed)))}",
            f"#EXT-X-MEDIA-SEQUENCE:{self._media_sequence}",
            *([f'#EXT-X-MAP:URI="{self._initialization}"'] if self._initialization else []),
        ]
        for url, seconds in self._listed:
            lines += [f"#EXTINF:{seconds:.6f},", url]
        return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if has_end else []), ""])

    def _periods_of_stream(
        self, periods: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the ids of the periods in which this stream has segments, and its format in each."""
        if self._format_id is None:
            formats = [each for period in periods for each in period["formats"] if "fragments" in each]
            by_number = {each["manifest_stream_number"]: each for each in formats}
            if self._number not in by_number:
                raise RequestError("The manifest does not have the stream any more.")
            self._format_id = by_number[self._number]["format_id"]
        for period in periods:
            same = [each for each in period["formats"] if each["format_id"] == self._format_id]
            if same and _segments(same[0])[1]:
                yield period["id"], same[0]


def _seconds_ahead(date: str | None, age: str | None) -> float:
    """Return how far the clock of a source is ahead of ours, by its headers; 0 if they do not tell.

    A cache sends the `Date` of `Age` seconds ago; of the ages that several caches wrote, the first counts.
    """
    try:
        sent_at = parsedate_to_datetime(date or "").timestamp()
    except (ValueError, OverflowError):
        return 0.0
    seconds = re.match(r"\s*(\d{1,9})\b", age or "")
    return sent_at + float(seconds[1] if seconds else 0) - time.time()


def add_timelines(manifest: Element, now: float) -> None:
    """Add a `SegmentTimeline` with the segments that are available `now` where a live manifest lists none.

    It may state only the duration of all segments, or a timeline that repeats its last segment for ever. Both
    mean the same (ISO/IEC 23009-1, 5.3.9.5.3): a segment is available from its end on, which is counted from
    `availabilityStartTime`.
    """
    available_since = parse_iso8601(manifest.get("availabilityStartTime") or "", delimiter="T")
    if manifest.get("type") != "dynamic" or available_since is None:
        return
    buffer_depth = parse_duration(manifest.get("timeShiftBufferDepth") or "") or math.inf
    periods = manifest.findall("{*}Period")
    for at, period in enumerate(periods):
        start = available_since + (parse_duration(period.get("start") or "") or 0)
        next_start = parse_duration(periods[at + 1].get("start") or "") if periods[at + 1 :] else None
        duration = parse_duration(period.get("duration") or "")
        ends = [start + duration] if duration else []
        ends += [available_since + next_start] if next_start else []
        end = min([now, *ends])
        for template in period.findall(".//{*}SegmentTemplate"):
            above = (each.get("timescale") for each in period.iter())
            timescale = int(template.get("timescale") or next(filter(None, above), "1"))
            namespace = manifest.tag.removesuffix("MPD")
            _add_timeline(template, namespace, timescale, end - start, buffer_depth, goes_on=end == now)


def _add_timeline(
    template: Element, namespace: str, timescale: int, seconds: float, buffer_depth: float, *, goes_on: bool
) -> None:
    """Add the segments of a period that has lasted for `seconds`, as many as fit `buffer_depth` (seconds)."""
    listed = template.findall("{*}SegmentTimeline/{*}S")
    if not listed and template.get("duration"):
        duration, first_time = int(float(template.get("duration") or 0)), 0
        count = _count(seconds, duration, timescale, goes_on=goes_on)
    elif len(listed) == 1 and int(listed[0].get("r") or 0) < 0:
        duration, first_time = int(listed[0].get("d") or 0), int(listed[0].get("t") or 0)
        offset = int(template.get("presentationTimeOffset") or 0)
        count = _count(seconds - (first_time - offset) / timescale, duration, timescale, goes_on=goes_on)
    else:
        if not listed and template.find("{*}SegmentTimeline") is not None:
            template.attrib.pop("media", None)  # yt-dlp does not expect a timeline without segments
        return
    kept = 0
    if count:
        kept = min(count, _MAX_SEGMENTS, int(min(buffer_depth, 1e6) * timescale / duration) + 1)
    for old in template.findall("{*}SegmentTimeline"):
        template.remove(old)
    start_number = int(template.get("startNumber") or 1)
    template.set("startNumber", str(start_number + count - kept))
    if kept:
        timeline = SubElement(template, f"{namespace}SegmentTimeline")
        time_of_first = first_time + (count - kept) * duration
        attributes = {"t": str(time_of_first), "d": str(duration), "r": str(kept - 1)}
        SubElement(timeline, f"{namespace}S", attributes)
    else:
        template.attrib.pop("media", None)


def _count(seconds: float, duration: int, timescale: int, *, goes_on: bool) -> int:
    """Count the segments of `seconds`; while the period `goes_on`, only those that a source surely has."""
    if duration <= 0:
        return 0
    count = seconds * timescale / duration
    return max(0, math.floor(count) - _NOT_AVAILABLE if goes_on else math.ceil(count))


def _segments(stream: Mapping[str, Any]) -> tuple[str, list[_Segment]]:
    """Return the URL of the initialization segment, empty if there is none, and the other segments."""
    fragments = stream.get("fragments") or []
    urls = [
        each.get("url") or urljoin(stream.get("fragment_base_url") or "", each["path"]) for each in fragments
    ]
    initialization = urls.pop(0) if fragments and not fragments[0].get("duration") else ""
    durations = [each["duration"] for each in fragments if each.get("duration")]
    return initialization, list(zip(urls, durations, strict=False))
