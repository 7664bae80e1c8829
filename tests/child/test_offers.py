"""What `/api/info` shows of a link: entries in pages, sizes, languages, chapters, broadcasts; also of sources
that lie.
"""

import json
import time
from functools import cache
from math import inf, nan
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given

from server.api.openapi.document import describe
from server.app import ROUTES
from server.child.extract.offers import entry, extracted
from server.core.process_request import ProcessRequest
from server.tasks.children import MAX_LINE
from tests.child.test_describe import ANYTHING
from tests.jobs import Jobs, broken, told_info, told_list
from tests.shelf import Shelf
from tests.site import Site

NO_PAGE: dict[str, Any] = {}
LINK = {"_type": "url", "ie_key": "Generic"}


def entries(count: int, **said: Any) -> list[dict[str, Any]]:
    return [
        LINK | {"url": f"http://a.test/{n}.mp4", "title": f"Film {n}"} | said for n in range(1, count + 1)
    ]


def playlist(count: int, **said: Any) -> dict[str, Any]:
    return {"_type": "playlist", "id": "1", "title": "Films", "entries": entries(count), **said}


def film(**said: Any) -> dict[str, Any]:
    formats = [{"format_id": "1", "url": "http://a.test/1.mp4", "ext": "mp4", "tbr": 800}]
    return {"id": "1", "title": "Film", "formats": formats, **said}


def check_answer(info: dict[str, Any]) -> None:
    """Fail unless the answer is strict JSON, small enough, and as the OpenAPI document describes it."""
    text = json.dumps(info, allow_nan=False)
    assert len(text) < MAX_LINE - 500_000
    as_described().validate(json.loads(text))


@cache
def as_described() -> jsonschema_rs.Draft202012Validator:
    schemas = describe(ROUTES)["components"]["schemas"]
    shape = {"$ref": "#/components/schemas/Info", "components": {"schemas": schemas}}
    return jsonschema_rs.Draft202012Validator(shape)


@pytest.mark.wide
async def test_a_list_is_told_in_pages_with_the_places_that_a_request_can_name(
    shelf: Shelf, tmp_path: Path
) -> None:
    first = await told_info(tmp_path / "a", shelf, playlist(7), limit=3)
    assert [entry["index"] for entry in first["entries"]] == [1, 2, 3]
    assert (first["total_entries"], first["more"]) == (7, True)
    second = await told_info(tmp_path / "b", shelf, playlist(7), limit=3, cursor="3")
    chosen = [entry for entry in second["entries"] if entry["index"] in (4, 6)]
    assert [entry["title"] for entry in chosen] == ["Film 4", "Film 6"]
    last = await told_info(tmp_path / "c", shelf, playlist(7), limit=3, cursor="6")
    assert [entry["index"] for entry in last["entries"]] == [7]
    assert "more" not in last
    beyond = await told_info(tmp_path / "d", shelf, playlist(7), cursor="7")
    assert beyond["entries"] == []
    items = ",".join(str(entry["index"]) for entry in chosen)
    listed = await told_list(tmp_path / "e", shelf, playlist(7), playlist_items=items)
    assert [entry["url"] for entry in listed.entries] == [entry["url"] for entry in chosen]
    for info in (first, second, last, beyond):
        check_answer({name: value for name, value in info.items() if name != "more"})


async def test_places_are_right_where_entries_are_missing(shelf: Shelf, tmp_path: Path) -> None:
    holes = playlist(4)
    holes["entries"][1] = None
    info = await told_info(tmp_path / "a", shelf, holes)
    assert [(entry["index"], entry["title"]) for entry in info["entries"]] == [
        (1, "Film 1"),
        (3, "Film 3"),
        (4, "Film 4"),
    ]


async def test_an_entry_that_makes_no_sense_harms_no_other(shelf: Shelf, tmp_path: Path) -> None:
    odd: list[Any] = [
        {"_type": "url"},
        {"_type": "url", "url": 5, "title": []},
        {"_type": "url", "url": "nowhere:", "ie_key": "Nobody"},
        {"_type": "playlist"},
        None,
        {"id": 5},
    ]
    mixed = playlist(1) | {"entries": [*odd, *entries(1)]}
    info = await told_info(tmp_path / "a", shelf, mixed)
    assert [each["index"] for each in info["entries"]][-1] == 7
    assert info["entries"][-1]["url"] == "http://a.test/1.mp4"
    check_answer(info)


async def test_a_link_is_shown_only_if_it_leads_to_that_entry(
    jobs: Jobs, site: Site, shelf: Shelf, tmp_path: Path
) -> None:
    async with jobs.look(tmp_path / "a", site.url("/page/playlist")) as job:
        info = (await job.run()).last["info"]
    assert [each.get("url") for each in info["entries"]] == [None, None], "it would give the first film"
    inner = {"_type": "playlist", "title": "Inner", "webpage_url": "http://a.test/inner", "entries": []}
    film = {"id": "b", "title": "Film", "url": "http://a.test/b.mp4", "webpage_url": "http://a.test/b"}
    info = await told_info(tmp_path / "b", shelf, playlist(0) | {"entries": [inner, film]})
    assert [each.get("url") for each in info["entries"]] == ["http://a.test/inner", None]


async def test_no_page_goes_beyond_what_is_taken_of_a_list(shelf: Shelf, tmp_path: Path) -> None:
    most = {"max_playlist": 5}
    info = await told_info(tmp_path / "a", shelf, playlist(9), limit=4, cursor="4", **most)
    assert [entry["index"] for entry in info["entries"]] == [5]
    assert info["more"]
    far = await told_info(tmp_path / "b", shelf, playlist(9), cursor="9999999", **most)
    assert far["entries"] == []


async def test_an_endless_list_is_read_as_far_as_the_page_goes(shelf: Shelf, tmp_path: Path) -> None:
    shelf.put("told/more", b"{}", "application/json")
    info = await told_info(tmp_path / "a", shelf, playlist(10, endless=True), limit=25, cursor="20")
    assert [entry["index"] for entry in info["entries"]] == list(range(21, 46))
    assert "total_entries" not in info


async def test_the_size_of_a_format_is_exact_or_said_not_to_be(shelf: Shelf, tmp_path: Path) -> None:
    base = {"url": "http://a.test/1.mp4", "ext": "mp4"}
    formats = [
        base | {"format_id": "guessed", "tbr": 800},
        base | {"format_id": "about", "filesize_approx": 12345.6},
        base | {"format_id": "known", "filesize": 777, "filesize_approx": 12, "language": "en"},
        base | {"format_id": "sheet", "ext": "mhtml", "vcodec": "none", "acodec": "none"},
    ]
    info = await told_info(tmp_path / "a", shelf, film(formats=formats, duration=10))
    sizes = {
        each["format_id"]: (each.get("filesize"), each.get("filesize_approx")) for each in info["formats"]
    }
    assert sizes == {"guessed": (None, 1_000_000), "about": (None, 12346), "known": (777, None)}


async def test_subtitles_of_people_and_of_machines_are_told_apart(shelf: Shelf, tmp_path: Path) -> None:
    tracks = [{"url": "http://a.test/a.vtt", "ext": "vtt"}, {"url": "http://a.test/a.srt", "ext": "srt"}]
    info = await told_info(
        tmp_path / "a",
        shelf,
        film(subtitles={"en": tracks, "de": tracks[:1]}, automatic_captions={"fr": tracks}),
    )
    assert info["subtitles"] == {"en": ["vtt", "srt"], "de": ["vtt"]}
    assert info["automatic_subtitles"] == {"fr": ["vtt", "srt"]}


async def test_a_broadcast_says_how_it_stands_and_when_it_begins(shelf: Shelf, tmp_path: Path) -> None:
    announced = film(live_status="is_upcoming", release_timestamp=1_800_000_000, formats=[])
    info = await told_info(tmp_path / "a", shelf, announced)
    assert (info["live_status"], info["begins_at"]) == ("is_upcoming", "2027-01-15T08:00:00Z")
    assert "live" not in info
    running = await told_info(tmp_path / "b", shelf, film(is_live=True, release_timestamp=1_700_000_000))
    assert (running["live"], running["live_status"]) == (True, "is_live")
    assert running["begins_at"] == "2023-11-14T22:13:20Z"
    assert "begins_at" not in await told_info(tmp_path / "c", shelf, film(release_timestamp=1_700_000_000))


async def test_a_broadcast_that_no_page_calls_one_is_seen_to_be_one(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    for path, live in (("/hls/live/index.m3u8", True), ("/hls/ts/index.m3u8", None)):
        async with jobs.look(tmp_path / path.split("/")[2], site.url(path)) as job:
            outcome = await job.run()
        assert outcome.last["info"].get("live") is live, path


@pytest.mark.parametrize("value", [nan, inf, -inf, -1, 1e300, "5", True, None, [], {}])
def test_a_number_that_is_none_is_left_out(value: Any) -> None:
    numbers = ("filesize", "filesize_approx", "width", "height", "fps", "tbr")
    formats = [{"format_id": "1"} | dict.fromkeys(numbers, value)]
    chapters = [{"title": "a", "start_time": value, "end_time": value}]
    info = {"formats": formats, "chapters": chapters, "duration": value, "release_timestamp": value}
    check_answer(extracted(info | {"live_status": "is_live"}, None, NO_PAGE))
    check_answer(extracted({}, None, {"entries": [entry(1, {"duration": value}, None)]}))


@pytest.mark.wide
@given(ANYTHING)
def test_whatever_an_extractor_says_of_one_of_many_the_answer_is_as_described(said: Any) -> None:
    names = ("format_id", "ext", "filesize", "tbr", "format_note", "title", "url", "duration", "start_time")
    odd = dict.fromkeys((*names, "thumbnail", "thumbnails", "timestamp", "upload_date", "width"), said)
    info = {"formats": [odd], "chapters": [odd], "live_status": said, "subtitles": {"en": [odd]}}
    shown = [entry(1, odd, None), entry(2, {"thumbnails": [odd, said]}, None)]
    check_answer(extracted(info, None, {"entries": shown}))


@pytest.mark.long
def test_the_largest_answer_fits_between_child_and_server() -> None:
    long = "😀" * 5000
    formats = [dict.fromkeys(("format_id", "ext", "vcodec", "acodec", "language", "format_note"), long)] * 900
    tracks = {f"{n:03}" + long[:47]: [{"ext": f"{each}{long}"} for each in range(30)] for n in range(900)}
    info = {"title": long, "formats": formats, "subtitles": tracks, "automatic_captions": tracks}
    check_answer(extracted(info | {"chapters": [{"title": long}] * 900}, None, NO_PAGE))
    link = "http://a.test/" + "x" * 4000
    told = {"title": long, "uploader": long, "thumbnail": link}
    shown = [entry(place, told, link) for place in range(1, 501)]
    check_answer(extracted({"title": long}, None, {"entries": shown}))


@pytest.mark.long
async def test_a_source_without_measure_is_told_in_a_measured_way(shelf: Shelf, tmp_path: Path) -> None:
    huge = playlist(100_000, title="a\x00b" + "x" * 5_000_000)
    huge["entries"][0]["title"] = "nul\x00" + "y" * 5_000_000
    began = time.monotonic()
    info = await told_info(tmp_path / "a", shelf, huge)
    assert time.monotonic() - began < 20
    assert (len(info["entries"]), info["total_entries"]) == (500, 100_000)
    assert info["entries"][0]["title"].startswith("nuly")
    check_answer({name: value for name, value in info.items() if name != "more"})


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"thumbnails": [{"url": "http://a/1", "width": 120}, {"url": "http://a/2", "width": 1280}]}, "2"),
        ({"thumbnails": [{"url": "http://a/1", "width": 320}, {"url": "http://a/2", "width": 1280}]}, "1"),
        ({"thumbnails": [{"url": "http://a/1"}, {"url": "http://a/2"}], "thumbnail": "http://a/3"}, "2"),
        ({"thumbnail": "http://a/3"}, "3"),
        ({"thumbnails": [{"url": "file:///a/3"}]}, None),
        ({}, None),
    ],
)
def test_of_an_entrys_pictures_the_smallest_that_fills_a_row_is_shown(
    said: dict[str, Any], shown: str | None
) -> None:
    assert entry(1, said, None).get("thumbnail") == (f"http://a/{shown}" if shown else None)


def test_an_entry_has_the_day_on_which_it_was_published() -> None:
    assert entry(1, {"upload_date": "20260131"}, None)["published_at"] == "2026-01-31"
    assert entry(1, {"timestamp": 1_700_000_000}, None)["published_at"] == "2023-11-14T22:13:20Z"


def test_an_id_that_is_shown_can_be_asked_for() -> None:
    formats = [{"format_id": name} for name in ("137", "hls-1\x00b", "a" * 600, "", None, 5, "a b", "b/c")]
    shown = [each["format_id"] for each in extracted({"formats": formats}, None, NO_PAGE)["formats"]]
    assert shown == ["137", "hls-1b", "a" * 500]
    for name in shown:
        ProcessRequest(url="http://a/", format=name)


async def test_a_fault_in_an_extractor_that_reads_a_list_is_none_of_ours(
    jobs: Jobs, shelf: Shelf, tmp_path: Path
) -> None:
    content = json.dumps(playlist(1) | {"entries": ["this is no entry"]}).encode()
    url = shelf.put("told/it", content, "application/json")
    async with jobs.look(tmp_path / "a", url) as job:
        assert broken(await job.run())[0] == "extraction_failed"
    assert broken(await jobs.expand(tmp_path / "b", url))[0] == "no_media"
