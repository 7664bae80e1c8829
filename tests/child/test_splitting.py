"""Chapters as separate files: which part of the film each has, and which tags."""

import re
from pathlib import Path
from typing import Any

import pytest

from server.child.media import splitting
from server.child.media.timeline import ChapterSpan
from server.child.process.job_failed import JobFailed
from tests.child.test_media import COPY, made
from tests.child.test_tags import CHAPTERS, TITLE, film
from tests.jobs import probe, told
from tests.shelf import Shelf
from tests.site import probe as look_into
from tests.subtitles import HELLO, SRT, cues, streams
from tests.tags import about, cover

SPLIT: dict[str, Any] = {"split_chapters": True}


async def test_each_chapter_is_a_film_with_a_title_of_its_own(
    shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    wishes = SPLIT | {"outputs": ["video"], "embed_metadata": True}
    outcome = await told(tmp_path / "t", shelf, film(shelf, media), **wishes)
    assert list(outcome.last["files"]) == ["video", "chapter.1", "chapter.2"]
    assert outcome.last["files"]["chapter.2"]["type"] == "video/mp4"
    assert about(outcome.file("video")).chapters == CHAPTERS
    for number, (start, end, title) in enumerate(CHAPTERS, 1):
        path = outcome.file(f"chapter.{number}")
        seen = await look_into(path)
        assert seen.codecs == ["aac", "h264", "mjpeg"]
        assert end - start - 0.1 <= seen.duration <= end - start + 1.1, "it may begin a key frame early"
        found = about(path)
        assert (found.tags["title"], found.tags["track"]) == (title, f"{number}/2")
        assert (found.tags["artist"], found.chapters) == ("Jemand", [])
        assert cover(path) == (media / "thumbnail.jpg").read_bytes()


@pytest.mark.parametrize(
    "wishes",
    [
        {"outputs": ["video"]},
        {"outputs": ["video"], "video_format": "mkv"},
        {"outputs": ["audio"], "audio_format": "mp3"},
        {"outputs": ["audio"], "audio_format": "opus"},
    ],
)
async def test_each_chapter_has_its_title_also_without_other_tags(
    wishes: dict[str, Any], shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    outcome = await told(tmp_path / "t", shelf, film(shelf, media), **SPLIT, **wishes)
    for number, (_, _, title) in enumerate(CHAPTERS, 1):
        tags = about(outcome.file(f"chapter.{number}")).tags
        assert (tags["title"], tags["track"]) == (title, f"{number}/2")
        assert "artist" not in tags
        assert outcome.last["files"][f"chapter.{number}"]["title"] == title
    [whole] = wishes["outputs"]
    assert "title" not in outcome.last["files"][whole]
    assert about(outcome.file(whole)).tags.get("title") != CHAPTERS[0][2]


async def test_a_film_without_chapters_stays_whole(shelf: Shelf, media: Path, tmp_path: Path) -> None:
    outcome = await told(tmp_path / "t", shelf, film(shelf, media, chapters=[]), outputs=["video"], **SPLIT)
    assert list(outcome.last["files"]) == ["video"]
    assert "chapters: there are none" in outcome.log


@pytest.mark.long
@pytest.mark.parametrize("wanted", ["mp3", "m4a", "opus", "flac", "wav"])
@pytest.mark.parametrize("tagged", [False, True])
async def test_sound_is_split_where_its_chapters_are(
    wanted: str, tagged: bool, shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    wishes = SPLIT | {"outputs": ["audio"], "audio_format": wanted, "embed_metadata": tagged}
    outcome = await told(tmp_path / "t", shelf, film(shelf, media), **wishes)
    assert list(outcome.last["files"]) == ["audio", "chapter.1", "chapter.2"]
    for number, (start, end, title) in enumerate(CHAPTERS, 1):
        path = outcome.file(f"chapter.{number}")
        probe(path)
        assert (await look_into(path)).duration == pytest.approx(end - start, abs=0.08)
        assert not tagged or about(path).tags["title"] == title
        if tagged and wanted != "wav":
            assert cover(path) == (media / "thumbnail.jpg").read_bytes()


@pytest.mark.long
async def test_a_cover_stays_one_and_fonts_stay_in_the_whole(
    shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.ttf").write_bytes(b"font")
    font = ["-attach", str(tmp_path / "a.ttf"), "-metadata:s:t:0", "mimetype=font/ttf"]
    own = made(media / "video.mp4", tmp_path / "own.mkv", [*COPY, *font, "-metadata:s:t:0", "filename=a.ttf"])
    told_of = film(shelf, media)
    told_of["formats"] = [{"format_id": "0", "url": shelf.put("own.mkv", own)}]
    wishes = SPLIT | {"outputs": ["video"], "video_format": "mkv", "embed_metadata": True}
    outcome = await told(tmp_path / "t", shelf, told_of, **wishes)
    assert re.findall("filename *: (.+)", probe(outcome.file("video")).partition("Output")[0]) == [
        "a.ttf",
        "cover.jpg",
    ]
    for kind in ("video", "chapter.1", "chapter.2"):
        assert cover(outcome.file(kind)) == (media / "thumbnail.jpg").read_bytes()
        assert probe(outcome.file(kind)).partition("Output")[0].count("attached pic") == 1


@pytest.mark.long
@pytest.mark.parametrize("container", ["mp4", "mkv"])
async def test_subtitles_follow_into_the_chapters(
    container: str, shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    tracks = {"de": [{"ext": "srt", "url": shelf.put("de.srt", SRT.encode())}]}
    chapters = [
        {"start_time": 0, "end_time": 1.9, "title": "a"},
        {"start_time": 1.9, "end_time": 4, "title": "b"},
    ]
    wishes = SPLIT | {"outputs": ["video"], "video_format": container, "subtitles": {"embed": True}}
    told_of = film(shelf, media, subtitles=tracks, chapters=chapters)
    outcome = await told(tmp_path / "t", shelf, told_of, **wishes)
    assert [language for language, _ in streams(outcome.file("chapter.2"))] == ["deu"]
    assert cues(outcome.file("chapter.1")) == HELLO[:1]
    # MKV does not hide the frames from the key frame to the begin of the chapter.
    early = 0.9 if container == "mkv" else 0.0
    begin, end, words = cues(outcome.file("chapter.2"))[0]
    assert (begin, end) == pytest.approx((0.1 + early, 1.1 + early), abs=0.05)
    assert words == "Bye"


@pytest.mark.long
async def test_chapters_that_only_the_file_knows_are_taken_from_it(
    shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    said = tmp_path / "said.txt"
    said.write_text(
        ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/10\nSTART=0\nEND=20\ntitle=A \\= 1\n"
        "[CHAPTER]\nTIMEBASE=1/10\nSTART=20\nEND=40\n"
    )
    own = made(media / "video.mp4", tmp_path / "own.mkv", ["-i", str(said), *COPY, "-map_chapters", "1"])
    told_of = film(shelf, media, chapters=None)
    told_of["formats"] = [{"format_id": "0", "url": shelf.put("own.mkv", own)}]
    wishes = SPLIT | {"outputs": ["audio"], "audio_format": "flac", "embed_metadata": True}
    outcome = await told(tmp_path / "t", shelf, told_of, **wishes)
    assert list(outcome.last["files"]) == ["audio", "chapter.1", "chapter.2"]
    assert [title for *_, title in about(outcome.file("audio")).chapters] == ["A = 1", "2"]
    assert about(outcome.file("chapter.1")).tags["title"] == "A = 1"
    assert about(outcome.file("audio")).tags["title"] == TITLE


def test_a_chapter_that_cannot_be_made_costs_itself_alone(tmp_path: Path) -> None:
    chapters = [ChapterSpan(at, at + 1) for at in range(3)]
    said: list[str] = []

    def ffmpeg(arguments: list[str]) -> None:
        if "chapter-002" in arguments[-1]:
            raise JobFailed("conversion_failed")

    assert splitting.split(tmp_path / "video.mp4", chapters, (), None, ffmpeg, said.append) == {
        "chapter.1": "chapter-001.mp4",
        "chapter.3": "chapter-003.mp4",
    }
    assert said == ["WARNING: chapter 2 could not be made, and is left out"]


def test_a_full_disk_is_no_fault_of_a_chapter(tmp_path: Path) -> None:
    def ffmpeg(_: list[str]) -> None:
        raise JobFailed("disk_full")

    with pytest.raises(JobFailed, match="disk_full"):
        splitting.split(tmp_path / "video.mp4", [ChapterSpan(0, 1)], (), None, ffmpeg, print)


def test_the_number_of_chapter_files_is_limited(tmp_path: Path) -> None:
    said: list[str] = []
    many = [ChapterSpan(at, at + 1) for at in range(splitting.MAX_CHAPTERS + 1)]
    made = splitting.split(tmp_path / "video.mp4", many, (), None, lambda _: None, said.append)
    assert len(made) == splitting.MAX_CHAPTERS
    assert said == ["WARNING: chapters: the first 200 of 201 become files"]


@pytest.mark.long
@pytest.mark.parametrize("exact", [True, False])
async def test_of_a_clip_the_chapters_are_those_that_are_left(
    exact: bool, shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    clip = {"start": 0.3, "end": 3.5, "exact": exact}
    texts = {"de": [{"ext": "srt", "url": shelf.put("de.srt", SRT.encode())}]}
    wishes = SPLIT | {"embed_metadata": True, "clip": clip, "subtitles": {"embed": True}}
    told_of = film(shelf, media, subtitles=texts)
    outcome = await told(tmp_path / "t", shelf, told_of, outputs=["video"], **wishes)
    assert list(outcome.last["files"]) == ["video", "chapter.1", "chapter.2"]
    assert "made with less in it" not in outcome.log
    first, second = about(outcome.file("video")).chapters
    begins = 0.3  # an MP4 hides the frames before the clip
    assert (first[1], second[0], second[1]) == pytest.approx(
        (1.5 - begins, 1.5 - begins, 3.5 - begins), abs=0.1
    )
    assert (first[2], second[2]) == (CHAPTERS[0][2], CHAPTERS[1][2])
    assert cues(outcome.file("video"))[0][0] == pytest.approx(0.5 - begins, abs=0.1)
    assert (await look_into(outcome.file("chapter.1"))).duration == pytest.approx(1.5 - begins, abs=0.2)
    assert cues(outcome.file("chapter.1"))[0][0] == pytest.approx(0.5 - begins, abs=0.1)
