"""Tags, chapters and covers in files of every kind, as players read them."""

import base64
from pathlib import Path
from typing import Any

import mutagen
import pytest
from mutagen.flac import Picture

from server.child.extract.video_info import LONGEST, chapters_of, tags_of
from server.child.media.embedding import NOTHING, Extras, Tags, notes_on_left_out, write_tags
from server.child.media.timeline import ChapterSpan, trim_chapters
from tests.child.test_media import COPY, made
from tests.jobs import broken, told
from tests.shelf import Shelf
from tests.site import SECONDS, Site
from tests.tags import about, cover

TITLE, ARTIST = 'Ein Film; "mit" = \\ # ☃', "Jemand"
DESCRIPTION = "First line\nSecond = line; with # all \\ of it"
LINK = "http://a.test/watch?v=1&x=#y"
CHAPTERS = [(0.0, 1.5, "One = 1"), (1.5, 4.0, "Two")]


def film(shelf: Shelf, media: Path, name: str = "video.mp4", **more: Any) -> dict[str, Any]:
    """Return what an extractor says of a film, with all fields that it may know."""
    picture = shelf.put("thumbnail.jpg", (media / "thumbnail.jpg").read_bytes())
    chapters = [{"start_time": start, "end_time": end, "title": title} for start, end, title in CHAPTERS]
    return {
        "id": "a",
        "title": TITLE,
        "uploader": ARTIST,
        "upload_date": "20240131",
        "description": DESCRIPTION,
        "webpage_url": LINK.replace("//", "//someone:secret@"),
        "chapters": chapters,
        "thumbnails": [{"url": picture}],
        "formats": [{"format_id": "0", "url": shelf.put(name, (media / name).read_bytes())}],
        **more,
    }


def check_says_all(path: Path) -> None:
    found = about(path)
    assert (found.tags["title"], found.tags["artist"]) == (TITLE, ARTIST)
    assert (found.tags["date"], found.description, found.link) == ("2024-01-31", DESCRIPTION, LINK)
    assert [title for *_, title in found.chapters] == [title for *_, title in CHAPTERS]
    second = 0.5 if path.suffix == ".webm" else 1.5
    assert [start for start, *_ in found.chapters] == pytest.approx([0.0, second], abs=0.03)
    assert "major_brand" not in found.tags or path.suffix in (".mp4", ".m4a")


@pytest.mark.wide
async def test_video_and_audio_say_what_they_are(shelf: Shelf, media: Path, tmp_path: Path) -> None:
    outcome = await told(tmp_path / "t", shelf, film(shelf, media), embed_metadata=True)
    for kind in ("video", "audio"):
        check_says_all(outcome.file(kind))
        assert cover(outcome.file(kind)) == (media / "thumbnail.jpg").read_bytes()
    assert outcome.last["video_info"]["duration"] == SECONDS
    assert DESCRIPTION.splitlines()[1] not in outcome.log
    assert "about" not in outcome.last


async def test_a_film_for_the_library_is_told_about(shelf: Shelf, media: Path, tmp_path: Path) -> None:
    film_of_tags = film(shelf, media) | {"tags": ["one", "two"]}
    outcome = await told(tmp_path / "t", shelf, film_of_tags, outputs=["video"], tells_about=True)
    said = outcome.last["about"]
    assert {**said, "chapters": None} == {
        "description": DESCRIPTION,
        "tags": ["one", "two"],
        "chapters": None,
    }
    marks = [(one["start"], one["end"], one["title"]) for one in said["chapters"]]
    assert marks == [(start, end, title) for start, end, title in CHAPTERS]


@pytest.mark.wide
async def test_chapters_are_told_at_their_times_in_the_files(
    shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    (_, _, _), (start, end, title) = CHAPTERS
    clip = {"start": start, "end": end, "exact": True}
    wishes: dict[str, Any] = {"outputs": ["video"], "tells_about": True, "clip": clip}
    outcome = await told(tmp_path / "t", shelf, film(shelf, media), **wishes)
    [mark] = outcome.last["about"]["chapters"]
    assert (mark["start"], mark["title"]) == (0.0, title)
    assert mark["end"] == pytest.approx(end - start, abs=0.1)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "wishes"),
    [
        ("video.mp4", {"video_format": "mkv"}),
        ("clip.webm", {"video_format": "webm"}),
        ("video.mp4", {"audio_format": "m4a"}),
        ("video.mp4", {"audio_format": "opus"}),
        ("video.mp4", {"audio_format": "flac"}),
        ("audio.mp3", {"audio_format": "mp3"}),
        ("audio.m4a", {"audio_format": "best"}),
    ],
)
async def test_each_container_has_the_tags_in_its_own_form(
    name: str, wishes: dict[str, Any], shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    kind = next(iter(wishes)).partition("_")[0]
    wishes |= {"outputs": [kind], "embed_metadata": True}
    halves = [{"start_time": 0, "title": "One = 1"}, {"start_time": 0.5, "title": "Two"}]
    more = {"chapters": halves} if name == "clip.webm" else {}  # this film lasts only a second
    outcome = await told(tmp_path / "t", shelf, film(shelf, media, name, **more), **wishes)
    path = outcome.file(kind)
    check_says_all(path)
    if path.suffix == ".webm":
        assert "a cover cannot be in webm" in outcome.log
    else:
        assert cover(path) == (media / "thumbnail.jpg").read_bytes()


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("audio.opus", {"title": [TITLE], "artist": [ARTIST], "date": ["2024-01-31"], "purl": [LINK]}),
        ("audio.flac", {"title": [TITLE], "description": [DESCRIPTION], "chapter002": ["00:00:01.500"]}),
        ("audio.m4a", {"©nam": [TITLE], "©ART": [ARTIST], "©day": ["2024-01-31"], "desc": [DESCRIPTION]}),
        ("audio.mp3", {"TIT2": [TITLE], "TPE1": [ARTIST], "TDRC": ["2024-01-31"]}),
    ],
)
async def test_another_reader_than_ffmpeg_finds_the_tags_too(
    name: str, expected: dict[str, list[str]], shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    wishes: dict[str, Any] = {"outputs": ["audio"], "audio_format": name[6:], "embed_metadata": True}
    outcome = await told(tmp_path / "t", shelf, film(shelf, media), **wishes)
    found = mutagen.File(outcome.file("audio"))
    assert {tag: [str(one) for one in found.tags[tag]] for tag in expected} == expected
    picture = (media / "thumbnail.jpg").read_bytes()
    match name[6:]:
        case "m4a":
            assert bytes(found.tags["covr"][0]) == picture
        case "mp3":
            assert found.tags.getall("APIC")[0].data == picture
        case "flac":
            assert [(one.type, one.data) for one in found.pictures] == [(3, picture)]
        case "opus":
            block = Picture(base64.b64decode(found.tags["metadata_block_picture"][0]))  # type: ignore[no-untyped-call]
            assert (block.type, block.mime, block.data) == (3, "image/jpeg", picture)


@pytest.mark.long
async def test_what_a_file_says_of_itself_is_kept_where_nothing_else_is_known(
    shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    tags = ["-metadata", "album=Its album", "-metadata", "title=Its title"]
    picture = ["-map", "0", "-map", "1", *COPY, "-metadata:s:v", "comment=Cover (front)"]
    sources = ["-i", str(media / "thumbnail.png")]
    own = made(media / "audio.mp3", tmp_path / "own.mp3", [*sources, *picture, *tags])
    bare = film(shelf, media) | {"thumbnails": None, "chapters": None}
    bare["formats"] = [{"format_id": "0", "url": shelf.put("own.mp3", own)}]
    outcome = await told(tmp_path / "t", shelf, bare, outputs=["audio"], embed_metadata=True)
    found = about(outcome.file("audio"))
    assert (found.tags["album"], found.tags["title"]) == ("Its album", TITLE)
    assert cover(outcome.file("audio")) == (media / "thumbnail.png").read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("name", ["thumbnail.png", "thumbnail.webp", "none.jpg", "thumbnail.jpg"])
async def test_a_picture_that_players_do_not_show_becomes_one_that_they_do(
    name: str, shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    data = (media / name).read_bytes() if name != "none.jpg" else b"<html>"
    told_of = film(shelf, media) | {"thumbnails": [{"url": shelf.put(name, data)}]}
    outcome = await told(tmp_path / "t", shelf, told_of, outputs=["audio"], embed_metadata=True)
    pictures = mutagen.File(outcome.file("audio")).tags.getall("APIC")
    kinds = {"thumbnail.png": ["image/png"], "none.jpg": []}.get(name, ["image/jpeg"])
    assert [one.mime for one in pictures] == kinds


async def test_a_file_that_takes_no_tags_stays_as_it_is(shelf: Shelf, media: Path, tmp_path: Path) -> None:
    flv = made(media / "video.mp4", tmp_path / "film.flv", COPY)
    told_of = film(shelf, media)
    told_of["formats"] = [{"format_id": "0", "url": shelf.put("film.flv", flv)}]
    wishes: dict[str, Any] = {"outputs": ["video"], "video_format": "any", "embed_metadata": True}
    outcome = await told(tmp_path / "t", shelf, told_of, **wishes)
    assert outcome.file("video").read_bytes() == flv
    assert "tags cannot be in flv: not embedded" in outcome.log


# --- which tags are made of a source's fields ---


def test_tags_are_those_of_yt_dlp_with_a_date_that_players_know() -> None:
    info = {
        "title": "Film",
        "upload_date": "20240131",
        "artists": ["One", "Two", None, 3],
        "uploader": "Nobody",
        "track_number": 7,
        "categories": ("A", "B"),
        "series": "Serial",
        "episode": "",
        "episode_id": "e1",
    }
    assert tags_of(info) == {
        "title": "Film",
        "date": "2024-01-31",
        "artist": "One, Two, 3",
        "track": "7",
        "genre": "A, B",
        "album": "Serial",
        "show": "Serial",
        "episode_id": "e1",
    }
    assert tags_of({"title": "Film", "track": "Song"})["title"] == "Song"


@pytest.mark.parametrize(
    "value",
    [None, "", " \x00", True, float("nan"), {"a": 1}, [], [[]], b"x", "x" * 99_999, "\ud800", "a\x1b[2J"],
)
def test_no_value_of_a_source_does_harm(value: Any) -> None:
    said = tags_of(dict.fromkeys(("title", "description", "artist", "webpage_url", "upload_date"), value))
    assert all(len(one) <= LONGEST and one.isprintable() for one in said.values())


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([(0, 5, "a"), (5, 10, "b")], [(0, 5, "a"), (5, 10, "b")]),
        ([(5, None, "b"), (0, None, "a")], [(0, 5, "a"), (5, 10, "b")]),
        ([(0, 7, "a"), (5, 99, "b")], [(0, 5, "a"), (5, 10, "b")]),
        ([(2, 3, "a"), (5, 6, None)], [(2, 3, "a"), (5, 6, None)]),
        ([(0, 4, "a"), (0, 4, "b"), (4, 4, "c"), (10, 12, "d")], [(0, 4, "b"), (4, 10, "c")]),
        ([(-1, 3, "a"), (float("nan"), 3, "b"), ("1", 3, "c"), (True, 3, "d"), (1e300, 3, "e")], []),
        ([(0, float("inf"), "a")], [(0, 10, "a")]),
    ],
)
def test_chapters_are_in_order_without_overlaps_and_within_the_film(
    said: list[tuple[Any, Any, Any]], expected: list[tuple[float, float, str | None]]
) -> None:
    told_of = [{"start_time": start, "end_time": end, "title": title} for start, end, title in said]
    found = trim_chapters(chapters_of({"chapters": [*told_of, None, "x", "x"][: len(told_of) + 2]}), 10.0)
    assert [(one.start, one.end, one.title) for one in found] == expected


@pytest.mark.wide
def test_the_number_of_chapters_is_limited() -> None:
    many = [{"start_time": at, "title": "x" * 1000} for at in range(5000)]
    found = trim_chapters(chapters_of({"chapters": many}), None)
    assert len(found) == 1000
    assert all(len(one.title or "") <= 500 for one in found)
    assert chapters_of({"chapters": many, "entries": []}) == []


def test_what_a_container_has_no_place_for_is_told(tmp_path: Path) -> None:
    (tmp_path / "cover.png").write_bytes(b"\x89PNG")
    extras = Extras(tags=write_tags(Tags({}, (ChapterSpan(0, 1),), tmp_path / "cover.png"), tmp_path))
    assert notes_on_left_out("mp4", extras) == notes_on_left_out("avi", NOTHING) == []
    assert notes_on_left_out("webm", extras) == ["a cover cannot be in webm: not embedded"]
    assert notes_on_left_out("avi", extras) == ["tags cannot be in avi: not embedded"]


@pytest.mark.long
async def test_a_recording_says_what_it_is_and_has_no_chapters(
    shelf: Shelf, site: Site, media: Path, tmp_path: Path
) -> None:
    """The chapters and subtitles of a broadcast do not fit the part that was recorded."""
    stream = {"url": site.url("/hls/broadcast/index.m3u8?end=4"), "protocol": "m3u8_native", "ext": "mp4"}
    texts = {"en": [{"ext": "srt", "url": shelf.url("en.srt")}]}
    told_of = film(
        shelf, media, subtitles=texts, live_status="is_live", formats=[stream | {"format_id": "0"}]
    )
    wishes: dict[str, Any] = {"live": "record", "embed_metadata": True, "split_chapters": True}
    outcome = await told(tmp_path / "t", shelf, told_of, outputs=["video", "subtitles"], **wishes)
    assert list(outcome.last["files"]) == ["video"]
    found = about(outcome.file("video"))
    assert found.tags["title"].startswith(TITLE)  # yt-dlp appends the time of the broadcast
    assert (found.tags["artist"], found.chapters) == (ARTIST, [])
    assert "a recording has neither subtitles nor chapters" in outcome.log
    assert cover(outcome.file("video")) == (media / "thumbnail.jpg").read_bytes()
    alone = await told(tmp_path / "u", shelf, told_of, outputs=["subtitles"], live="record")
    assert broken(alone)[0] == "no_subtitles"
    assert shelf.asked["en.srt"] == 0
