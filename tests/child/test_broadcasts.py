"""Whether the stream that a page leads to is a broadcast: many pages do not say so."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from server.child.extract import broadcasts
from tests.jobs import Jobs, broken, running_jobs
from tests.shelf import Shelf
from tests.site import Site
from tests.site import probe as film

BROADCAST = "/hls/broadcast/index.m3u8"


@pytest.fixture(scope="module")
def jobs() -> Iterator[Jobs]:
    with running_jobs() as jobs:
        yield jobs


def segments(site: Site) -> int:
    """Return how many different segments of one second were requested."""
    return len({request.path for request in site.requests if request.path.startswith("/hls/long/")})


def page_with(site: Site, source: str) -> str:
    """Return a page whose extractor does not find out whether its stream is live."""
    return site.url(f"/page?kind=video&src={quote(source)}")


@pytest.mark.wide
async def test_a_broadcast_that_a_page_leads_to_is_refused_unless_it_is_asked_for(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    outcome = await jobs.download(tmp_path / "t", page_with(site, "/hls/live/index.m3u8"))
    assert broken(outcome)[0] == "live_rejected"
    assert not site.seen("/hls/ts/0.ts")


@pytest.mark.wide
async def test_a_broadcast_that_a_page_leads_to_is_recorded(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    url = page_with(site, f"{BROADCAST}?end=7")
    outcome = await jobs.download(tmp_path / "t", url, live="record", outputs=["video"])
    assert (await film(outcome.file("video"))).duration == pytest.approx(segments(site), abs=0.3)
    assert segments(site) > 3, "more than was there when it began"
    assert outcome.last["video_info"]["live"] is True


@pytest.mark.wide
async def test_a_playlist_without_an_end_that_does_not_go_on_is_a_film(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    url = page_with(site, f"{BROADCAST}?step=4&quiet=4")
    outcome = await jobs.download(tmp_path / "t", url, outputs=["video"])
    assert (await film(outcome.file("video"))).duration == pytest.approx(4, abs=0.3)
    assert len(site.seen(BROADCAST)) == 3, "the playlist that was read for that goes along"


@pytest.mark.wide
async def test_a_film_whose_playlist_has_no_end_is_a_film_by_its_own_link_too(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    """The whole film is fetched. Of a broadcast only the newest segments would be recorded, and only on
    request.
    """
    outcome = await jobs.download(
        tmp_path / "t", site.url(f"{BROADCAST}?step=20&quiet=20&gone=999"), outputs=["video"]
    )
    assert (await film(outcome.file("video"))).duration == pytest.approx(20, abs=0.3)
    assert "live" not in outcome.last["video_info"]


@pytest.mark.wide
async def test_links_that_are_signed_anew_make_no_broadcast_of_a_film(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    url = page_with(site, f"{BROADCAST}?step=4&quiet=4&signed=yes")
    outcome = await jobs.download(tmp_path / "t", url, outputs=["video"])
    assert (await film(outcome.file("video"))).duration == pytest.approx(4, abs=0.3)


def test_a_playlist_has_grown_if_it_has_more_segments_or_others() -> None:
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n"
    first = f"{head}#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:4,\na/7.ts?s=1\n#EXTINF:4,\na/8.ts?s=1\n"
    resigned = first.replace("s=1", "s=2").replace("a/", "b/") + "# made at 10:00:01\n"
    assert broadcasts.newest(first) == broadcasts.newest(resigned)
    more = first + "#EXTINF:4,\na/9.ts?s=1\n"
    moved = first.replace("SEQUENCE:7", "SEQUENCE:8")
    renamed = first.replace("8.ts", "9.ts").replace("7.ts", "8.ts")
    assert len({*map(broadcasts.newest, (first, more, moved, renamed))}) == 4
    part = f"{head}#EXTINF:4,\n#EXT-X-BYTERANGE:100@0\na.ts\n"
    assert broadcasts.newest(part) != broadcasts.newest(part.replace("100@0", "100@100"))


@pytest.mark.parametrize("page", [False, True])
@pytest.mark.parametrize("live", ["reject", "record", "wait"])
@pytest.mark.parametrize("tags", ["", "#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n"])
async def test_a_playlist_that_is_empty_is_a_broadcast_that_has_not_begun(
    jobs: Jobs, shelf: Shelf, tmp_path: Path, tags: str, live: str, page: bool
) -> None:
    url = shelf.put("a.m3u8", f"#EXTM3U\n{tags}".encode(), "application/vnd.apple.mpegurl")
    if page:
        body = '<html><head><title>A</title></head><body><video src="a.m3u8"></video></body></html>'
        url = shelf.put("page", body.encode(), "text/html")
    assert broken(await jobs.download(tmp_path / "t", url, live=live)) == ("not_live", False, None)


@pytest.mark.wide
async def test_a_playlist_that_has_an_end_is_read_no_more_often_for_that(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    outcome = await jobs.download(tmp_path / "t", page_with(site, "/hls/ts/index.m3u8"), outputs=["video"])
    assert (await film(outcome.file("video"))).pictures == 100
    assert len(site.seen("/hls/ts/index.m3u8")) == 2


async def test_a_dash_that_is_live_is_refused_where_a_page_leads_to_it(
    jobs: Jobs, shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    manifest = (media / "dash/manifest.mpd").read_text()
    lives = re.sub(r'type="static"', 'type="dynamic" minimumUpdatePeriod="PT1S"', manifest)
    lives = re.sub(r'mediaPresentationDuration="[^"]+"', "", lives)
    lives = lives.replace("<Period ", '<Period duration="PT4S" ')
    shelf.put("a.mpd", lives.encode(), "application/dash+xml")
    page = shelf.put(
        "page",
        b'<!doctype html><html><head><title>A</title></head><body><video src="a.mpd"></video></body>',
        "text/html",
    )
    assert broken(await jobs.download(tmp_path / "t", page))[0] == "live_rejected"
