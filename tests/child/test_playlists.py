"""Which lines of an HLS playlist are removed or added before yt-dlp reads it."""

from pathlib import Path

from server.child.extract.youtube_dl import clean_playlist
from tests.jobs import Jobs
from tests.shelf import Shelf
from tests.site import Site, probe

WITH_A_GAP = b"""#EXTM3U
#EXT-X-TARGETDURATION:1
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
#EXT-X-TARGETDURATION:1
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
    assert clean_playlist(WITH_A_GAP) == WITHOUT


def test_all_other_lines_of_a_playlist_are_left_as_they_are() -> None:
    assert clean_playlist(WITHOUT) == WITHOUT
    assert clean_playlist(b"\xef\xbb\xbf" + WITHOUT) == WITHOUT


def test_a_list_of_segments_gets_the_target_duration_that_it_lacks() -> None:
    listed = b"#EXTM3U\n#EXTINF:1.5,\na.ts\n#EXTINF:2.2,\nb.ts\n"
    assert clean_playlist(listed) == listed.replace(b"#EXTM3U\n", b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n")
    assert clean_playlist(b"#EXTM3U\n") == b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n"
    ended = b"#EXTM3U\n#EXTINF:1,\na?b\n#EXT-X-ENDLIST\n"
    assert b"#EXT-X-TARGETDURATION:1\n" in clean_playlist(ended)


def test_a_list_of_files_or_of_lists_gets_no_target_duration() -> None:
    for page in (
        b"#EXTM3U\n#EXTINF:123,An artist - A title\nhttp://a.test/a.mp3\n",
        b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nb.m3u8\n",
    ):
        assert clean_playlist(page) == page


async def test_a_film_whose_playlist_lacks_its_target_duration_is_downloaded(
    jobs: Jobs, site: Site, shelf: Shelf, tmp_path: Path
) -> None:
    listed = "".join(f"#EXTINF:1,\n{site.url(f'/hls/ts/{n}.ts')}\n" for n in range(4))
    url = shelf.put("a.m3u8", f"#EXTM3U\n#EXT-X-VERSION:3\n{listed}#EXT-X-ENDLIST\n".encode())
    outcome = await jobs.download(tmp_path / "t", url, outputs=["video"])
    assert (await probe(outcome.file("video"))).pictures == 100


async def test_a_broadcast_with_a_gap_is_had_without_it(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/texts/gap.m3u8"), outputs=["video"])
    assert (await probe(outcome.file("video"))).pictures == 75
    assert not site.seen("/gone.ts")


async def test_a_byte_order_mark_is_passed_over(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.download(tmp_path / "t", site.url("/texts/bom.m3u8"), outputs=["video"])
    assert (await probe(outcome.file("video"))).pictures == 100
