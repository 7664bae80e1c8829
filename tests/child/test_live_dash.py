"""Live DASH: ffmpeg reads an HLS playlist in place of the manifest, and the recording is whole."""

import asyncio
import io
import math
import re
from email.utils import formatdate
from pathlib import Path

import pytest
from yt_dlp import YoutubeDL
from yt_dlp.networking.common import Request, Response
from yt_dlp.networking.exceptions import HTTPError, RequestError, TransportError

from server.child.media.live_dash import LiveDash, Playlist
from tests.dash import KINDS, Kind, packets, sending_dash
from tests.jobs import Jobs, Outcome, running_jobs
from tests.site import probe as look_into
from tests.tools import BUNDLED, FFMPEG

SITE = "https://cdn.example/live/"
START = 1_000_000  # the begin of the broadcasts in this file, in seconds since 1970
MANIFEST = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="{type}" minimumUpdatePeriod="PT0S"
 availabilityStartTime="1970-01-12T13:46:40Z" timeShiftBufferDepth="PT60S">{periods}</MPD>"""
PERIOD = """<Period id="{id}" start="PT{start}S">
<AdaptationSet mimeType="video/mp4"><Representation id="v" codecs="avc1.42c00c" bandwidth="1000">
<SegmentTemplate timescale="10" initialization="{id}-$RepresentationID$-init.mp4"
 media="{id}-$RepresentationID$-{name}.m4s" {attributes}>{timeline}</SegmentTemplate></Representation>
</AdaptationSet></Period>"""


def timeline(first: int, last: int, *, period: str = "a", start: int = 0, of: str = "dynamic") -> str:
    """Return a manifest with the segments from `first` to `last`, of two seconds each."""
    listed = f'<SegmentTimeline><S t="{first * 20}" d="20" r="{last - first}"/></SegmentTimeline>'
    return manifest(of, one_period(period, start, "$Time$", listed, ""))


def one_period(period: str, start: int, name: str, listed: str, attributes: str) -> str:
    return PERIOD.format(id=period, start=start, name=name, timeline=listed, attributes=attributes)


def manifest(of: str, *periods: str) -> str:
    return MANIFEST.format(type=of, periods="".join(periods))


class Source(YoutubeDL):  # type: ignore[misc]
    """A source that answers with `text`, or raises it; its clock shows `now`."""

    def __init__(self, text: str | Exception, now: float = START) -> None:
        super().__init__({"quiet": True})
        self.text, self.now = text, now

    def urlopen(self, request: Request) -> Response:
        if isinstance(self.text, Exception):
            raise self.text
        date = {"Date": formatdate(self.now, usegmt=True)}
        return Response(io.BytesIO(self.text.encode()), request.url, date)


def live(source: Source) -> LiveDash:
    made = LiveDash(f"{SITE}manifest.mpd", {}, source)
    made._max_age = 0.0
    return made


def segments(playlist: Playlist) -> list[str]:
    """Return the segments that the playlist lists now: the number in HLS, then the name."""
    playlist._manifest._read_at = -math.inf  # makes the playlist read the manifest again
    text = playlist.text()
    first = int(re.findall(r"^#EXT-X-MEDIA-SEQUENCE:(\d+)$", text, re.MULTILINE)[0])
    names = re.findall(rf"^{SITE}(.+)\.m4s$", text, re.MULTILINE)
    return [f"{first + n} {name}" for n, name in enumerate(names)] + ["end"] * ("ENDLIST" in text)


def test_a_playlist_goes_on_where_the_manifest_does() -> None:
    source = Source(timeline(0, 9))
    playlist = live(source).begin(0, goes_on=False)
    assert segments(playlist) == ["0 a-v-140", "1 a-v-160", "2 a-v-180"]
    assert 'EXT-X-MAP:URI="https://cdn.example/live/a-v-init.mp4"' in playlist.text()
    source.text = timeline(2, 11)
    assert segments(playlist)[-3:] == ["2 a-v-180", "3 a-v-200", "4 a-v-220"]


def test_an_older_copy_of_a_manifest_repeats_nothing() -> None:
    """Another cache of the source may still have the older copy."""
    source = Source(timeline(0, 9))
    playlist = live(source).begin(0, goes_on=False)
    before = segments(playlist)
    source.text = timeline(0, 4)
    assert segments(playlist) == before
    source.text = timeline(3, 10)
    assert segments(playlist) == [*before, "3 a-v-200"]


def signed(text: str, anew: int) -> str:
    """Sign the links of a manifest anew."""
    return text.replace(".m4s", f".m4s?signature={anew}")


def test_links_that_are_signed_anew_repeat_nothing() -> None:
    source = Source(signed(timeline(0, 9), 1))
    playlist = live(source).begin(0, goes_on=False)
    segments(playlist)
    source.text = signed(timeline(2, 10), 2)
    segments(playlist)
    source.text = signed(timeline(9, 11), 3)
    segments(playlist)
    assert re.findall(r"a-v-(\d+)\.m4s\?signature=(\d)", playlist.text()) == [
        ("140", "1"),
        ("160", "1"),
        ("180", "1"),
        ("200", "2"),
        ("220", "3"),
    ]


def test_segments_that_their_queries_tell_apart_go_on() -> None:
    def asked(first: int, last: int) -> str:
        return timeline(first, last).replace("a-$RepresentationID$-$Time$.m4s", "segment.m4s?at=$Time$")

    source = Source(asked(0, 0))
    playlist = live(source).begin(0, goes_on=False)
    for last in (1, 2, 2, 4):
        segments(playlist)
        source.text = asked(max(0, last - 1), last)
    segments(playlist)
    assert re.findall(r"at=(\d+)", playlist.text()) == ["0", "20", "40", "60", "80"]


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Sun, 99 Nov 2026 25:61:61 GMT", "Mon, 12 Jan 99999 13:46:55 GMT"]
)
@pytest.mark.parametrize("age", ["", "old", "0, 0", "-5", "9" * 400])
def test_headers_that_make_no_sense_decide_nothing(
    monkeypatch: pytest.MonkeyPatch, date: str, age: str
) -> None:
    text = timeline(0, 9)
    source, answer = Source(text), Response(io.BytesIO(text.encode()), SITE, {"Date": date, "Age": age})
    monkeypatch.setattr(source, "urlopen", lambda _: answer)
    assert segments(live(source).begin(0, goes_on=False)) == ["0 a-v-140", "1 a-v-160", "2 a-v-180"]


@pytest.mark.parametrize("length", ["0", "0.4", "-20"])
def test_segments_without_a_length_are_not_there(length: str) -> None:
    text = manifest("dynamic", one_period("a", 0, "$Number$", "", f'duration="{length}"'))
    with pytest.raises(RequestError):
        segments(live(Source(text)).begin(0, goes_on=False))


def test_what_came_all_at_once_is_listed_whole_and_what_was_is_dropped() -> None:
    source = Source(timeline(0, 2))
    playlist = live(source).begin(0, goes_on=False)
    segments(playlist)
    source.text = timeline(0, 60)
    assert segments(playlist)[0] == "3 a-v-60"
    assert segments(playlist)[-1] == "60 a-v-1200"


def test_the_playlist_ends_when_the_manifest_says_so() -> None:
    source = Source(timeline(0, 4))
    playlist = live(source).begin(0, goes_on=False)
    segments(playlist)
    source.text = timeline(1, 5, of="static")
    assert segments(playlist)[-2:] == ["3 a-v-100", "end"]


def test_a_further_piece_goes_on_with_the_newest_segment_and_not_with_a_broadcast_that_has_ended() -> None:
    source = Source(timeline(0, 9))
    manifest = live(source)
    segments(manifest.begin(0, goes_on=False))
    assert segments(manifest.begin(0, goes_on=True)) == ["0 a-v-180"]
    source.text = timeline(0, 9, of="static")
    with pytest.raises(RequestError):
        segments(manifest.begin(0, goes_on=True))


def test_another_period_begins_another_piece_with_its_first_segment() -> None:
    source = Source(timeline(0, 4))
    manifest_of = live(source)
    playlist = manifest_of.begin(0, goes_on=False)
    segments(playlist)
    listed = '<SegmentTimeline><S t="0" d="20" r="{}"/></SegmentTimeline>'
    both = [
        one_period("a", 0, "$Time$", listed.format(5), ""),
        one_period("b", 12, "$Time$", listed.format(4), ""),
    ]
    source.text = manifest("dynamic", *both)
    assert segments(playlist)[-1] == "3 a-v-100", "what is left of the first"
    assert segments(playlist)[-1] == "end"
    assert manifest_of.has_next_period
    assert segments(manifest_of.begin(0, goes_on=True)) == [f"{n} b-v-{20 * n}" for n in range(5)]
    assert not manifest_of.has_next_period


@pytest.mark.parametrize(
    ("listed", "attributes"),
    [
        ("", 'duration="20" startNumber="1"'),
        ('<SegmentTimeline><S t="0" d="20" r="-1"/></SegmentTimeline>', 'startNumber="1"'),
    ],
    ids=["their length alone", "a segment that is repeated for ever"],
)
def test_which_segments_there_are_is_known_by_the_clock_of_the_source(listed: str, attributes: str) -> None:
    """After fifteen seconds seven segments are complete; the newest is not listed yet, since not every cache
    may have it.
    """
    source = Source(manifest("dynamic", one_period("a", 0, "$Number%03d$", listed, attributes)), START + 15.5)
    playlist = live(source).begin(0, goes_on=False)
    assert segments(playlist) == ["0 a-v-004", "1 a-v-005", "2 a-v-006"]
    source.now += 4
    assert segments(playlist)[3:] == ["3 a-v-007", "4 a-v-008"]


def test_a_manifest_that_cannot_be_read_for_once_is_taken_as_it_was() -> None:
    source = Source(timeline(0, 9))
    playlist = live(source).begin(0, goes_on=False)
    before = segments(playlist)
    for failing in (TransportError("reset"), refusal(503)):
        source.text = failing
        assert segments(playlist) == before
    source.text = refusal(404)
    with pytest.raises(HTTPError):
        segments(playlist)


def test_a_manifest_that_was_never_read_or_has_no_segment_is_an_error() -> None:
    early = manifest("dynamic", one_period("a", 0, "$Number$", "", 'duration="20"'))
    nothing = manifest("dynamic", one_period("a", 0, "$Time$", "<SegmentTimeline/>", ""))
    for text in (TransportError("reset"), manifest("dynamic"), nothing, early):
        with pytest.raises(RequestError):
            segments(live(Source(text)).begin(0, goes_on=False))


def refusal(status: int) -> HTTPError:
    return HTTPError(Response(io.BytesIO(), SITE, {}, status))


async def recorded(jobs: Jobs, tmp_path: Path, url: str, after: int | None = None) -> Outcome:
    """Record until the broadcast ends, or finish the recording once it has more than `after` bytes."""
    async with jobs.begin(tmp_path / "t", url, live="record", outputs=["video"]) as job:
        async for event in job.events():
            if after is not None and event.get("downloaded_bytes", 0) > after:
                job.command("finish")
                after = None
        return await job.end()


async def check_whole(film: Path, least: float) -> None:
    """Fail if packets are missing or repeated, or if picture and sound differ in length."""
    picture, sound = (await packets(film)).values()
    for stream in (picture, sound):
        assert stream.gaps == pytest.approx(0, abs=0.05)
        assert stream.lasts == pytest.approx(stream.length, abs=0.1)
    # Picture and sound end with different segments.
    assert picture.length == pytest.approx(sound.length, abs=1.1)
    assert picture.length > least


async def test_a_recording_of_live_dash_is_whole(jobs: Jobs, media: Path, tmp_path: Path) -> None:
    async with sending_dash(media, tmp_path / "site") as url:
        outcome = await recorded(jobs, tmp_path, url, after=300_000)
    await check_whole(outcome.file("video"), 3)
    assert (await look_into(outcome.file("video"))).codecs == ["aac", "h264"]
    assert outcome.last["video_info"]["live"] is True


@pytest.mark.long
@pytest.mark.parametrize("ffmpeg", sorted({FFMPEG, BUNDLED}), ids=lambda path: Path(path).name)
@pytest.mark.parametrize("kind", KINDS)
async def test_every_recording_of_each_kind_is_whole_with_each_ffmpeg(
    media: Path, tmp_path: Path, kind: Kind, ffmpeg: str
) -> None:
    """Four recordings of each kind run at the same time; one of them lasts until the broadcast ends."""
    with running_jobs(ffmpeg) as jobs:
        async with sending_dash(media, tmp_path / "site", kind, times=4) as url:
            folders = [tmp_path / name for name in "abcd"]
            for folder in folders:
                folder.mkdir()
            outcomes = await asyncio.gather(
                recorded(jobs, folders[0], url),
                *(recorded(jobs, folder, url, after=300_000) for folder in folders[1:]),
            )
    for outcome in outcomes:
        await check_whole(outcome.file("video"), 3)
    await check_whole(outcomes[0].file("video"), 10)
