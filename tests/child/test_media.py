"""Media files of many kinds, made by ffmpeg: each becomes the right output, and a file that is no film
becomes none.
"""

import io
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from hashlib import shake_128
from pathlib import Path
from typing import Any

import pytest

from server.child.media import mp4
from server.child.media.outputs import plan
from server.child.media.parts import Part
from server.child.media.probe import inspect, is_something_else, sniff
from tests.jobs import Jobs, broken, probe, wished
from tests.shelf import Shelf
from tests.tools import FFMPEG

COPY = ["-c", "copy"]
SOUND = ["-vn", "-c:a"]
VIDEO = {"outputs": ["video"]}
AUDIO = {"outputs": ["audio"], "audio_format": "best"}
TRUE_COLOURS = "yuv422p10le"


def made(source: Path, target: Path, arguments: list[str], reading: Sequence[str] = ()) -> bytes:
    command = [FFMPEG, "-v", "error", "-nostdin", *reading, "-i", str(source), *arguments, str(target)]
    subprocess.run(command, check=True)
    return target.read_bytes()


@pytest.mark.parametrize(
    ("name", "how", "wishes", "expected"),
    [
        ("a.mov", COPY, VIDEO, ("video.mp4", "video/mp4", "Video: h264", "Audio: aac")),
        ("a.mov", COPY, VIDEO | {"video_format": "any"}, ("video.mov", "video/quicktime", "Video: h264")),
        (
            "a.mov",
            ["-c:v", "prores", "-pix_fmt", TRUE_COLOURS],
            VIDEO,
            ("video.mov", "video/quicktime", "prores"),
        ),
        pytest.param(
            "a.3gp",
            COPY,
            VIDEO,
            ("video.mp4", "video/mp4", "Video: h264", "Audio: aac"),
            marks=pytest.mark.long,
        ),
        (
            "a.3gp",
            ["-s", "176x144", "-c:v", "h263", "-c:a", "copy"],
            VIDEO,
            ("video.3gp", "video/3gpp", "Video: h263"),
        ),
        pytest.param(
            "a.m4v",
            COPY,
            VIDEO,
            ("video.mp4", "video/mp4", "Video: h264", "Audio: aac"),
            marks=pytest.mark.long,
        ),
        ("a.mkv", COPY, VIDEO, ("video.mp4", "video/mp4", "Video: h264", "Audio: aac")),
        (
            "a.mkv",
            ["-c:v", "libx265", "-x265-params", "log-level=none", "-c:a", "copy"],
            VIDEO,
            ("video.mp4", "video/mp4", "Video: hevc"),
        ),
        ("a.mkv", ["-c:v", "ffv1", "-c:a", "copy"], VIDEO, ("video.mkv", "video/x-matroska", "Video: ffv1")),
        pytest.param(
            "a.webm",
            ["-c:v", "libsvtav1", "-preset", "12"],
            VIDEO,
            ("video.mp4", "video/mp4", "Video: av1"),
            marks=pytest.mark.long,
        ),
        (
            "a.avi",
            ["-c:v", "mpeg4", "-bf", "2", "-c:a", "mp3"],
            VIDEO,
            ("video.mp4", "video/mp4", "mpeg4"),
        ),
        (
            "a.avi",
            ["-c:v", "libx264", "-bf", "2", "-c:a", "mp3"],
            VIDEO | {"video_format": "mkv"},
            ("video.mkv", "video/x-matroska", "h264"),
        ),
        pytest.param(
            "a.flv",
            COPY,
            VIDEO,
            ("video.mp4", "video/mp4", "Video: h264", "Audio: aac"),
            marks=pytest.mark.long,
        ),
        ("a.ts", COPY, VIDEO, ("video.mp4", "video/mp4", "Video: h264", "Audio: aac")),
        ("a.mpg", ["-c:v", "mpeg2video"], VIDEO, ("video.mpg", "video/mpeg", "Video: mpeg2video", "mp2")),
        pytest.param(
            "a.wmv",
            [],
            VIDEO,
            ("video.wmv", "video/x-ms-wmv", "Video: msmpeg4v3", "Audio: wmav2"),
            marks=pytest.mark.long,
        ),
        ("a.ogv", [], VIDEO, ("video.ogv", "video/ogg", "Video: theora")),
        pytest.param(
            "a.nut",
            COPY,
            VIDEO | {"video_format": "any"},
            ("video.nut", "application/octet-stream", "h264"),
            marks=pytest.mark.long,
        ),
        pytest.param(
            "a.ogg",
            [*SOUND, "libvorbis"],
            AUDIO,
            ("audio.ogg", "audio/ogg", "Audio: vorbis"),
            marks=pytest.mark.long,
        ),
        ("a.opus", [*SOUND, "libopus"], AUDIO, ("audio.opus", "audio/ogg", "Audio: opus")),
        pytest.param(
            "a.mp3",
            [*SOUND, "libmp3lame"],
            AUDIO,
            ("audio.mp3", "audio/mpeg", "Audio: mp3"),
            marks=pytest.mark.long,
        ),
        pytest.param(
            "a.m4a", [*SOUND, "copy"], AUDIO, ("audio.m4a", "audio/mp4", "Audio: aac"), marks=pytest.mark.long
        ),
        pytest.param(
            "a.m4a",
            [*SOUND, "alac"],
            AUDIO,
            ("audio.m4a", "audio/mp4", "Audio: alac"),
            marks=pytest.mark.long,
        ),
        pytest.param(
            "a.wav",
            [*SOUND, "pcm_s16le"],
            AUDIO,
            ("audio.wav", "audio/wav", "Audio: pcm_s16le"),
            marks=pytest.mark.long,
        ),
        pytest.param(
            "a.flac",
            [*SOUND, "flac"],
            AUDIO,
            ("audio.flac", "audio/flac", "Audio: flac"),
            marks=pytest.mark.long,
        ),
        ("a.aac", [*SOUND, "copy"], AUDIO, ("audio.m4a", "audio/mp4", "Audio: aac")),
        pytest.param(
            "a.aiff",
            [*SOUND, "pcm_s16be"],
            AUDIO,
            ("audio.mka", "audio/x-matroska", "Audio: pcm_s16be"),
            marks=pytest.mark.long,
        ),
        ("a.amr", [*SOUND, "pcm_s16be", "-f", "aiff"], AUDIO, ("audio.mka", "audio/x-matroska", "Audio")),
    ],
)
async def test_every_container_comes_out_right(
    jobs: Jobs,
    shelf: Shelf,
    media: Path,
    tmp_path: Path,
    name: str,
    how: list[str],
    wishes: dict[str, Any],
    expected: tuple[str, ...],
) -> None:
    """The server of the file says no media type."""
    source = media / ("clip.webm" if name == "a.webm" else "video.mp4")
    url = shelf.put(name, made(source, tmp_path / name, ["-t", "1", *how]))
    outcome = await jobs.download(tmp_path / "t", url, **wishes)
    path, kind, *streams = expected
    assert outcome.last["kind"] == "produced", f"{outcome.last}\n{outcome.log}"
    [file] = outcome.last["files"].values()
    assert (file["path"], file["type"]) == (path, kind)
    report = probe(tmp_path / "t" / "out" / path)
    assert all(stream in report for stream in streams), report


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "not a film\n" * 1000)
    return buffer.getvalue()


TEXT = "text/plain"
OTHERS: dict[str, tuple[str, bytes]] = {
    "a word": ("text/html", b"hello"),
    "a paragraph": ("text/html", b"<p>hello"),
    "nothing": ("text/html", b""),
    "text": (TEXT, b"Good morning, this is no film.\n" * 50),
    "text of another country": (TEXT, "Доброе утро\n".encode("utf-16")),
    "text for a terminal": (TEXT, b"\x1b[31mred\x1b[0m\n" * 50),
    "text without a type": ("application/octet-stream", b"Good morning\n" * 50),
    "JSON": ("application/json", b'{"film": false}'),
    "JSON of a kind": ("application/activity+json; charset=utf-8", b'{"film": false}'),
    "PDF": ("application/pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(2000)),
    "zip": ("application/zip", zipped()),
    "zip without a type": ("application/octet-stream", zipped()),
}


@pytest.mark.parametrize("what", OTHERS)
async def test_a_file_that_is_no_film_is_refused_at_once(
    jobs: Jobs, shelf: Shelf, tmp_path: Path, what: str
) -> None:
    kind, content = OTHERS[what]
    for name in ("a.txt", "a.mp4"):
        outcome = await jobs.download(tmp_path / name, shelf.put(name, content, kind), outputs=["video"])
        assert broken(outcome) == ("unsupported_url", False, None)
        assert not list((tmp_path / name).glob("*.part"))


@pytest.mark.parametrize("what", ["a word", "text", "JSON", "zip"])
async def test_an_info_job_refuses_a_file_that_is_no_film_as_well(
    jobs: Jobs, shelf: Shelf, tmp_path: Path, what: str
) -> None:
    kind, content = OTHERS[what]
    async with jobs.look(tmp_path / "t", shelf.put("a", content, kind)) as job:
        assert broken(await job.run()) == ("unsupported_url", False, None)


@pytest.mark.parametrize("name", ["thumbnail.jpg", "thumbnail.png", "thumbnail.webp"])
@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("image/*", "unsupported_url"),
        ("application/octet-stream", "unsupported_url"),
        ("video/mp4", "no_media"),
    ],
)
async def test_a_picture_is_no_video_whatever_it_is_called(
    jobs: Jobs, shelf: Shelf, media: Path, tmp_path: Path, name: str, kind: str, code: str
) -> None:
    url = shelf.put("a.mp4", (media / name).read_bytes(), kind)
    assert broken(await jobs.download(tmp_path / "t", url, outputs=["video"])) == (code, False, None)


async def test_a_film_that_is_called_text_is_a_film(
    jobs: Jobs, shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    film = (media / "video.mp4").read_bytes()
    outcome = await jobs.download(tmp_path / "t", shelf.put("a", film, TEXT), outputs=["video"])
    assert outcome.file("video").read_bytes() == film


async def test_an_empty_film_may_be_there_next_time(jobs: Jobs, shelf: Shelf, tmp_path: Path) -> None:
    url = shelf.put("a.mp4", b"", "video/mp4")
    assert broken(await jobs.download(tmp_path / "t", url)) == ("incomplete", True, None)


def test_quicktime_has_two_handlers_in_a_track_and_the_first_counts(media: Path, tmp_path: Path) -> None:
    made(media / "video.mp4", tmp_path / "a.mov", COPY)
    movie = mp4.read(tmp_path / "a.mov")
    assert movie is not None
    assert [track.kind for track in movie.tracks] == ["vide", "soun"]


@pytest.mark.parametrize("behind", [b"a note", b"\xff\xff\xff\xf0<!-- served by a cache -->"])
async def test_bytes_behind_the_last_box_do_no_harm(
    jobs: Jobs, shelf: Shelf, media: Path, tmp_path: Path, behind: bytes
) -> None:
    film = (media / "video.mp4").read_bytes() + behind
    outcome = await jobs.download(tmp_path / "t", shelf.put("a.mp4", film), outputs=["video"])
    assert outcome.file("video").read_bytes() == film


async def test_sound_is_not_guessed_from_the_name_that_mp4_has_for_many_codecs(
    jobs: Jobs, shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    film = made(media / "video.mp4", tmp_path / "a.mp4", ["-c:v", "copy", "-c:a", "libmp3lame"])
    assert b"mp4a" in film
    outcome = await jobs.download(tmp_path / "t", shelf.put("a.mp4", film), audio_format="best")
    assert outcome.file("audio").name == "audio.mp3"
    assert "Audio: mp3" in probe(outcome.file("audio"))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
async def test_a_film_that_is_turned_has_the_size_that_is_shown(
    jobs: Jobs, shelf: Shelf, media: Path, tmp_path: Path, name: str
) -> None:
    made(media / "video.mp4", tmp_path / "turned.mp4", COPY, ["-display_rotation", "90"])
    url = shelf.put(name, made(tmp_path / "turned.mp4", tmp_path / name, COPY))
    said = (await jobs.download(tmp_path / "t", url, outputs=["video"])).last["video_info"]
    assert (said["width"], said["height"]) == (180, 320)


def test_a_picture_that_is_to_be_shown_wider_than_its_file_says_keeps_that(
    media: Path, tmp_path: Path
) -> None:
    part = Part(media / "video.mp4", inspect(media / "video.mp4", FFMPEG))
    arguments = plan(wished(outputs=["video"]), [part], aspect=4 / 3).arguments(tmp_path)
    subprocess.run([FFMPEG, "-v", "error", *arguments], check=True)
    assert "DAR 4:3" in probe(tmp_path / "video.mp4")


@pytest.mark.wide
async def test_what_fits_into_no_mp4_is_left_out_and_that_is_said(
    jobs: Jobs, shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.srt").write_text("1\n00:00:00,500 --> 00:00:02,000\nGood morning\n")
    streams = ["-map", "0:v", "-map", "0:a", "-map", "0:a", "-map", "1:s", "-c", "copy", "-c:a:1", "wmav2"]
    film = made(media / "video.mp4", tmp_path / "a.mkv", ["-i", str(tmp_path / "a.srt"), *streams])
    outcome = await jobs.download(tmp_path / "t", shelf.put("a.mkv", film), outputs=["video"])
    report = probe(outcome.file("video")).partition("Stream mapping")[0]
    assert outcome.file("video").name == "video.mp4"
    assert [word in report for word in ("Video: h264", "Audio: aac", "Subtitle: mov_text")] == [True] * 3
    assert "wmav2" not in report
    assert "left out of video.mp4: audio wmav2" in outcome.log


async def test_an_output_that_fails_costs_itself_alone(
    jobs: Jobs, shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    whole = (media / "video.mp4").read_bytes()
    film = whole.replace(_SAYS_AAC, _SAYS_MP3)  # the sound is AAC, and the file says MP3
    assert film != whole
    outcome = await jobs.download(tmp_path / "t", shelf.put("a.mp4", film), audio_format="flac")
    assert list(outcome.last["files"]) == ["video"]
    assert outcome.file("video").read_bytes() == film
    assert "audio: could not be made, and is left out" in outcome.log


# The number of the codec and the kind of stream, in the descriptor of the sound.
_SAYS_AAC, _SAYS_MP3 = b"\x40\x15\0\0\0", b"\x6b\x15\0\0\0"


@pytest.mark.parametrize("filling", ["zeros", "noise"])
@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
async def test_a_film_that_cannot_be_decoded_at_all_is_no_success(
    jobs: Jobs, shelf: Shelf, media: Path, tmp_path: Path, filling: str, name: str
) -> None:
    film = bytearray(made(media / "silent.mp4", tmp_path / name, COPY))
    for start, end in contents(film, name):
        film[start:end] = (
            shake_128(b"noise").digest(end - start) if filling == "noise" else bytes(end - start)
        )
    outcome = await jobs.download(tmp_path / "t", shelf.put(name, bytes(film)), outputs=["video"])
    assert broken(outcome)[:2] == ("no_media", False)


def contents(film: bytearray, name: str) -> Iterator[tuple[int, int]]:
    """Yield where a film has its samples: the inside of the media box, or of each packet behind its
    header.
    """
    if name.endswith(".mp4"):
        begin = film.index(b"mdat") + 4
        yield begin, begin - 8 + int.from_bytes(film[begin - 8 : begin - 4])
        return
    for at in range(5 * 188, len(film), 188):
        yield at + 60, at + 188


@pytest.mark.parametrize(
    "head",
    [
        b"Good",
        "hello".encode("utf-16"),
        b"\x00\x00\x00\x1cftypavif" + bytes(500),
        b"GIF89a" + bytes(500),
        b"\xff",
    ],
)
def test_a_file_that_only_begins_like_a_container_is_refused(head: bytes) -> None:
    assert sniff(head) is None


def test_a_gif_is_a_film_if_it_moves() -> None:
    assert sniff(b"GIF89a" + bytes(100) + b"\x21\xff\x0bNETSCAPE2.0" + bytes(100)) == "gif"
    assert not is_something_else("image/gif", b"GIF89a" + bytes(500)), "more of it has to be seen"


@pytest.mark.parametrize(("loop", "kind"), [("0", "produced"), ("-1", "broken")])
async def test_a_gif_that_moves_is_fetched_as_it_is(
    jobs: Jobs, shelf: Shelf, media: Path, tmp_path: Path, loop: str, kind: str
) -> None:
    gif = made(media / "silent.mp4", tmp_path / "a.gif", ["-s", "32x18", "-frames:v", "2", "-loop", loop])
    url = shelf.put("a.gif", gif, "image/gif")
    outcome = await jobs.download(tmp_path / "t", url)
    assert outcome.last["kind"] == kind
    if kind == "produced":
        assert outcome.file("video").read_bytes() == gif


def test_the_word_of_a_server_counts_only_where_nobody_knows_better() -> None:
    unknown = bytes(range(256))
    assert not is_something_else("application/octet-stream", unknown)
    assert not is_something_else("", unknown)
    assert is_something_else("Text/Plain; charset=utf-8", unknown)
    assert is_something_else("application/ld+json", unknown)
    assert not is_something_else("text/plain", b"\x1a\x45\xdf\xa3" + unknown)
