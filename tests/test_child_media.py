"""Files of many kinds, made by ffmpeg: each comes out right; what is no film does not come out at all."""

import io
import subprocess
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from server.child.media import mp4
from server.child.media.probe import is_something_else, sniff
from tests.jobs import Jobs, broken, probe
from tests.tools import FFMPEG

COPY = ["-c", "copy"]
SOUND = ["-vn", "-c:a"]
VIDEO = {"outputs": ["video"]}
AUDIO = {"outputs": ["audio"], "audio_format": "best"}
TRUE_COLOURS = "yuv422p10le"


class Shelf:
    """A site of the things that a test puts on it: name -> media type and content."""

    def __init__(self, port: int, things: dict[str, tuple[str, bytes]]) -> None:
        self._port, self._things = port, things

    def put(self, name: str, content: bytes, kind: str = "application/octet-stream") -> str:
        """Return the URL."""
        self._things[name] = kind, content
        return f"http://127.0.0.1:{self._port}/{name}"


@pytest.fixture
async def shelf() -> AsyncIterator[Shelf]:
    things: dict[str, tuple[str, bytes]] = {}

    async def give(request: web.Request) -> web.Response:
        kind, content = things[request.match_info["name"]]
        return web.Response(body=content, headers={"Content-Type": kind})

    app = web.Application()
    app.add_routes([web.get("/{name}", give)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Shelf(runner.addresses[0][1], things)
    finally:
        await runner.cleanup()


def made(source: Path, target: Path, arguments: list[str]) -> bytes:
    subprocess.run(
        [FFMPEG, "-v", "error", "-nostdin", "-i", str(source), *arguments, str(target)], check=True
    )
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
        ("a.3gp", COPY, VIDEO, ("video.mp4", "video/mp4", "Video: h264", "Audio: aac")),
        (
            "a.3gp",
            ["-s", "176x144", "-c:v", "h263", "-c:a", "copy"],
            VIDEO,
            ("video.3gp", "video/3gpp", "Video: h263"),
        ),
        ("a.m4v", COPY, VIDEO, ("video.mp4", "video/mp4", "Video: h264", "Audio: aac")),
        ("a.mkv", COPY, VIDEO, ("video.mp4", "video/mp4", "Video: h264", "Audio: aac")),
        (
            "a.mkv",
            ["-c:v", "libx265", "-x265-params", "log-level=none", "-c:a", "copy"],
            VIDEO,
            ("video.mp4", "video/mp4", "Video: hevc"),
        ),
        ("a.mkv", ["-c:v", "ffv1", "-c:a", "copy"], VIDEO, ("video.mkv", "video/x-matroska", "Video: ffv1")),
        ("a.webm", ["-c:v", "libsvtav1", "-preset", "12"], VIDEO, ("video.mp4", "video/mp4", "Video: av1")),
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
        ("a.flv", COPY, VIDEO, ("video.mp4", "video/mp4", "Video: h264", "Audio: aac")),
        ("a.ts", COPY, VIDEO, ("video.mp4", "video/mp4", "Video: h264", "Audio: aac")),
        ("a.mpg", ["-c:v", "mpeg2video"], VIDEO, ("video.mpg", "video/mpeg", "Video: mpeg2video", "mp2")),
        ("a.wmv", [], VIDEO, ("video.wmv", "video/x-ms-wmv", "Video: msmpeg4v3", "Audio: wmav2")),
        ("a.ogv", [], VIDEO, ("video.ogv", "video/ogg", "Video: theora")),
        ("a.nut", COPY, VIDEO | {"video_format": "any"}, ("video.nut", "application/octet-stream", "h264")),
        ("a.ogg", [*SOUND, "libvorbis"], AUDIO, ("audio.ogg", "audio/ogg", "Audio: vorbis")),
        ("a.opus", [*SOUND, "libopus"], AUDIO, ("audio.opus", "audio/ogg", "Audio: opus")),
        ("a.mp3", [*SOUND, "libmp3lame"], AUDIO, ("audio.mp3", "audio/mpeg", "Audio: mp3")),
        ("a.m4a", [*SOUND, "copy"], AUDIO, ("audio.m4a", "audio/mp4", "Audio: aac")),
        ("a.m4a", [*SOUND, "alac"], AUDIO, ("audio.m4a", "audio/mp4", "Audio: alac")),
        ("a.wav", [*SOUND, "pcm_s16le"], AUDIO, ("audio.wav", "audio/wav", "Audio: pcm_s16le")),
        ("a.flac", [*SOUND, "flac"], AUDIO, ("audio.flac", "audio/flac", "Audio: flac")),
        ("a.aac", [*SOUND, "copy"], AUDIO, ("audio.m4a", "audio/mp4", "Audio: aac")),
        ("a.aiff", [*SOUND, "pcm_s16be"], AUDIO, ("audio.mka", "audio/x-matroska", "Audio: pcm_s16be")),
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
    """Whatever its server says: here it says nothing."""
    source = media / ("clip.webm" if name == "a.webm" else "video.mp4")
    url = shelf.put(name, made(source, tmp_path / name, ["-t", "1", *how]))
    outcome = await jobs.download(tmp_path / "t", url, **wishes)
    path, kind, *streams = expected
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
async def test_what_is_no_film_is_refused_at_once(
    jobs: Jobs, shelf: Shelf, tmp_path: Path, what: str
) -> None:
    kind, content = OTHERS[what]
    for name in ("a.txt", "a.mp4"):
        outcome = await jobs.download(tmp_path / name, shelf.put(name, content, kind), outputs=["video"])
        assert broken(outcome) == ("unsupported_url", False, None)
        assert not list((tmp_path / name).glob("*.part"))


@pytest.mark.parametrize("what", ["a word", "text", "JSON", "zip"])
async def test_an_info_job_refuses_it_as_well(jobs: Jobs, shelf: Shelf, tmp_path: Path, what: str) -> None:
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
def test_what_only_begins_like_a_container_is_none(head: bytes) -> None:
    assert sniff(head) is None


def test_the_word_of_a_server_counts_only_where_nobody_knows_better() -> None:
    unknown = bytes(range(256))
    assert not is_something_else("application/octet-stream", unknown)
    assert not is_something_else("", unknown)
    assert is_something_else("Text/Plain; charset=utf-8", unknown)
    assert is_something_else("application/ld+json", unknown)
    assert not is_something_else("text/plain", b"\x1a\x45\xdf\xa3" + unknown)
