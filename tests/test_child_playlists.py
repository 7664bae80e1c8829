"""What is left out of a playlist before yt-dlp reads it."""

from pathlib import Path

from server.child.source.playlists import is_one, readable
from tests.jobs import Jobs
from tests.site import Site, probe

WITH_A_GAP = b"""#EXTM3U
#EXT-X-MEDIA-SEQUENCE:7
#EXTINF:1.0,
a.ts
#EXT-X-KEY:METHOD=AES-128,URI="key"
#EXT-X-GAP
#EXTINF:1.0,
b.ts
#EXTINF:1.0,
c.ts
#EXT-X-ENDLIST
"""
WITHOUT = b"""#EXTM3U
#EXT-X-MEDIA-SEQUENCE:7
#EXTINF:1.0,
a.ts
#EXT-X-KEY:METHOD=AES-128,URI="key"
#EXT-X-MEDIA-SEQUENCE:9
#EXTINF:1.0,
c.ts
#EXT-X-ENDLIST
"""


def test_a_segment_that_never_was_is_left_out_and_the_next_keeps_its_number() -> None:
    assert readable(WITH_A_GAP) == WITHOUT


def test_everything_else_is_left_as_it_is() -> None:
    assert readable(WITHOUT) == WITHOUT
    assert readable(b"\xef\xbb\xbf" + WITHOUT) == WITHOUT
    assert is_one(b"\xef\xbb\xbf#EXTM3U")
    assert not is_one(b"\xef\xbb\xbf<html>")


async def test_a_broadcast_with_a_gap_is_had_without_it(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/texts/gap.m3u8"), outputs=["video"])
    assert (await probe(outcome.file("video"))).pictures == 75
    assert not site.seen("/gone.ts")


async def test_a_byte_order_mark_is_passed_over(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/texts/bom.m3u8"), outputs=["video"])
    assert (await probe(outcome.file("video"))).pictures == 100
