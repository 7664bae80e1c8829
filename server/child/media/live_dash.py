"""A live DASH as HLS playlists, one for each chosen stream: what ffmpeg reads instead of the manifest.

ffmpeg's own reader of DASH cannot follow a manifest that grows: release 7 takes segments twice or asks for
one without end while its times stand still, release 9 leaves out segments of the sound, half of it in some
recordings. Its reader of HLS does neither, and fetches the same segments. So the manifest is read here, anew
for each playlist: yt-dlp's parser knows every kind of address a segment may have, once it is told which
segments there are by now. ffmpeg gets the playlists from the proxy, and all segments from their source.

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

_KEPT: Final = 20
"""Segments in a playlist, if no more are new. Later ones would be of no use: ffmpeg follows the newest."""

_BEGIN: Final = 3  # segments before the newest, as ffmpeg begins with an HLS
_BEHIND: Final = 1  # segments that a source without a list of them is given to have the next one ready
_AGE: Final = (1.0, 5.0)  # seconds that a manifest is taken for new, by its `minimumUpdatePeriod`

_Segment = tuple[str, float]  # the address, the seconds


class LiveDash:
    """The manifest at a stream's `manifest_url`, and what was taken from it by all pieces of a recording.

    `ydl` is yt-dlp's `YoutubeDL`, which asks for the manifest. `period` is the last period of which ffmpeg
    was given segments; `is_followed`, that another one follows it, which begins with a decoder of its own,
    and belongs into another piece.
    """

    def __init__(self, address: str, headers: Mapping[str, str], ydl: Any) -> None:
        self._address, self._headers, self._ydl = address, dict(headers), ydl
        self._lock = Lock()
        self._read_at = -math.inf
        self._document, self._base, self._clock = b"", address, 0.0
        self._most_age = _AGE[0]
        self.period: str | None = None
        self.is_followed = False

    def begin(self, number: int | None, *, goes_on: bool) -> "Playlist":
        """The playlist of the stream with `number` in the manifest; `goes_on`: after an earlier piece."""
        self.is_followed = False
        return Playlist(self, number, goes_on=goes_on)

    def read(self) -> tuple[list[dict[str, Any]], bool]:
        """The periods with their formats, as yt-dlp parses them, and whether more is to come.

        Raises what yt-dlp does if the manifest was never read, or is gone. If it cannot be read otherwise, it
        is taken as it was before.
        """
        with self._lock:
            if time.monotonic() - self._read_at > self._most_age:
                self._fetch()
            manifest = compat_etree_fromstring(self._document)
        is_live = manifest.get("type") == "dynamic" and not manifest.get("mediaPresentationDuration")
        tell_segments(manifest, time.time() + self._clock)
        extractor = InfoExtractor(self._ydl)
        periods = extractor._parse_mpd_periods(manifest, None, base_url(self._base), self._base)
        return list(periods), is_live and bool(manifest.get("minimumUpdatePeriod"))

    def _fetch(self) -> None:
        try:
            with self._ydl.urlopen(Request(self._address, headers=self._headers)) as answer:
                document, base, headers = answer.read(), answer.url, answer.headers
            manifest = compat_etree_fromstring(document)
        except (RequestError, ParseError) as error:
            is_gone = isinstance(error, HTTPError) and error.status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
            if is_gone or not self._document:
                raise
            return
        if self._read_at < 0:  # the source's clock decides what is there by now
            self._clock = _ahead(headers.get("Date"), headers.get("Age"))
        self._document, self._base, self._read_at = document, base, time.monotonic()
        if (moved := manifest.find("{*}Location")) is not None and moved.text:
            self._address = urljoin(base, moved.text.strip())
        least, most = _AGE
        said = parse_duration(manifest.get("minimumUpdatePeriod") or "") or 0
        self._most_age = min(max(said, least), most)


class Playlist:
    """One stream of a `LiveDash` as an HLS playlist that grows; ffmpeg begins with its first segment."""

    def __init__(self, manifest: LiveDash, number: int | None, *, goes_on: bool) -> None:
        self._manifest, self._number, self._goes_on = manifest, number, goes_on
        self._earlier = manifest.period
        self._format_id: str | None = None
        self._period: str | None = None
        self._lock = Lock()
        self._seen: set[str] = set()
        self._listed: list[_Segment] = []
        self._first = 0  # the number of the first segment that is listed
        self._begins_with = ""

    def text(self) -> str:
        """The playlist as it is now; raises what `LiveDash.read` does, and `RequestError` for no segment."""
        with self._lock:
            periods, is_live = self._manifest.read()
            begin = self._period is None
            if begin and self._goes_on and not is_live:
                raise RequestError("The broadcast has ended meanwhile.")  # only what is recorded would come
            found = list(self._of_this_stream(periods))
            at = next((n for n, (name, _) in enumerate(found) if name == self._period), None)
            if begin and found:
                at = len(found) - 1
                self._period = self._manifest.period = found[at][0]
            segments = list[_Segment]()
            if at is not None:
                self._begins_with, segments = _segments(found[at][1])
            # Those behind the newest that was listed: an older copy of the manifest repeats nothing, nor does
            # one whose links are signed anew. Without their queries they may all be the same.
            urls = [url for url, _ in segments]
            paths = [url.partition("?")[0] for url in urls]
            names = paths if 1 < len(paths) == len({*paths}) else urls
            newest = max((n for n, name in enumerate(names) if name in self._seen), default=-1)
            new = segments[newest + 1 :]
            if begin and self._goes_on:
                new = new[-1:] if self._period == self._earlier else new[-_KEPT:]
            elif begin:
                new = new[-_BEGIN:]
            self._seen.update(urls, paths)
            self._listed += new
            dropped = max(0, len(self._listed) - max(_KEPT, len(new)))
            del self._listed[:dropped]
            self._first += dropped
            if not self._listed:
                self._period = None
                raise RequestError("The manifest has no segments yet.")
            follows = not begin and (at is None or at + 1 < len(found)) and not new
            self._manifest.is_followed |= follows
            lines = [
                "#EXTM3U",
                "#EXT-X-VERSION:7",
                f"#EXT-X-TARGETDURATION:{max(1, math.ceil(max(lasts for _, lasts in self._listed)))}",
                f"#EXT-X-MEDIA-SEQUENCE:{self._first}",
                *([f'#EXT-X-MAP:URI="{self._begins_with}"'] if self._begins_with else []),
            ]
            for url, lasts in self._listed:
                lines += [f"#EXTINF:{lasts:.6f},", url]
            has_end = follows or not is_live
            return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if has_end else []), ""])

    def _of_this_stream(
        self, periods: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The periods in which there are segments of this stream: their names, and its format in each."""
        if self._format_id is None:
            formats = [each for period in periods for each in period["formats"] if "fragments" in each]
            numbers = {each["manifest_stream_number"]: each for each in formats}
            if self._number not in numbers:
                raise RequestError("The manifest does not have the stream any more.")
            self._format_id = numbers[self._number]["format_id"]
        for period in periods:
            same = [each for each in period["formats"] if each["format_id"] == self._format_id]
            if same and _segments(same[0])[1]:
                yield period["id"], same[0]


def _ahead(date: str | None, age: str | None) -> float:
    """Seconds that the clock of a source is ahead of ours, by its headers; 0 if they do not say it.

    What a cache sends was dated `Age` seconds ago; several caches may each have said how many.
    """
    try:
        told = parsedate_to_datetime(date or "").timestamp()
    except (ValueError, OverflowError):
        return 0.0
    seconds = re.match(r"\s*(\d{1,9})\b", age or "")
    return told + float(seconds[1] if seconds else 0) - time.time()


def tell_segments(manifest: Element, now: float) -> None:
    """Add a `SegmentTimeline` where segments are told by their length alone, as far as they are there `now`.

    ISO/IEC 23009-1, 5.3.9.5.3: a segment of a live manifest is there from its end on, which is counted from
    `availabilityStartTime`. A timeline that repeats its last segment for ever is told the same way.
    """
    since = parse_iso8601(manifest.get("availabilityStartTime") or "", delimiter="T")
    depth = parse_duration(manifest.get("timeShiftBufferDepth") or "") or math.inf
    is_live = manifest.get("type") == "dynamic" and since is not None
    namespace = manifest.tag.removesuffix("MPD")
    periods = manifest.findall("{*}Period") if is_live else []
    for at, period in enumerate(periods):
        begin = (since or 0) + (parse_duration(period.get("start") or "") or 0)
        following = parse_duration(periods[at + 1].get("start") or "") if periods[at + 1 :] else None
        lasts = parse_duration(period.get("duration") or "")
        ends = [begin + lasts] if lasts else []
        ends += [(since or 0) + following] if following else []
        until = min([now, *ends])
        for template in period.findall(".//{*}SegmentTemplate"):
            above = (each.get("timescale") for each in period.iter())
            scale = int(template.get("timescale") or next(filter(None, above), "1"))
            listed = template.findall("{*}SegmentTimeline/{*}S")
            if not listed and template.get("duration"):
                duration, offset = int(float(template.get("duration") or 0)), 0
                there = _count(until - begin, duration, scale, whole=until == now)
            elif len(listed) == 1 and int(listed[0].get("r") or 0) < 0:
                duration, offset = int(listed[0].get("d") or 0), int(listed[0].get("t") or 0)
                origin = int(template.get("presentationTimeOffset") or 0)
                there = _count(until - begin - (offset - origin) / scale, duration, scale, whole=until == now)
            else:
                if not listed and template.find("{*}SegmentTimeline") is not None:
                    template.attrib.pop("media", None)  # there is none yet, which yt-dlp does not expect
                continue
            kept = min(there, _KEPT, int(min(depth, 1e6) * scale / duration) + 1) if there else 0
            for old in template.findall("{*}SegmentTimeline"):
                template.remove(old)
            start = int(template.get("startNumber") or 1)
            template.set("startNumber", str(start + there - kept))
            if kept:
                timeline = SubElement(template, f"{namespace}SegmentTimeline")
                first = offset + (there - kept) * duration
                told = {"t": str(first), "d": str(duration), "r": str(kept - 1)}
                SubElement(timeline, f"{namespace}S", told)
            else:
                template.attrib.pop("media", None)


def _count(seconds: float, duration: int, scale: int, *, whole: bool) -> int:
    """How many segments there are: `whole` ones only, and not the newest, while the period goes on."""
    if duration <= 0:
        return 0
    count = seconds * scale / duration
    return max(0, math.floor(count) - _BEHIND if whole else math.ceil(count))


def _segments(stream: Mapping[str, Any]) -> tuple[str, list[_Segment]]:
    """The addresses of what the decoder begins with, which may be empty, and of the segments."""
    fragments = stream.get("fragments") or []
    addresses = [
        each.get("url") or urljoin(stream.get("fragment_base_url") or "", each["path"]) for each in fragments
    ]
    begins_with = addresses.pop(0) if fragments and not fragments[0].get("duration") else ""
    lengths = [each["duration"] for each in fragments if each.get("duration")]
    return begins_with, list(zip(addresses, lengths, strict=False))
