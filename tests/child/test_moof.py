"""A fragmented file is read without ffmpeg, and with the same result as ffmpeg's."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from server.child.media import mp4
from server.child.media.probe import Media, Track, inspect, read_index

PICTURE, SOUND = Track("video", "h264"), Track("audio", "aac")
NO_FFMPEG = "/nowhere/ffmpeg"


def stream(media: Path, number: int) -> bytes:
    """Return a stream of the site's DASH, joined from its segments as yt-dlp does it."""
    pieces = sorted((media / "dash").glob(f"chunk-stream{number}-*.m4s"))
    return b"".join(piece.read_bytes() for piece in (media / f"dash/init-stream{number}.m4s", *pieces))


def both(media: Path) -> bytes:
    names = ("init.mp4", "0.m4s", "1.m4s", "2.m4s", "3.m4s")
    return b"".join((media / "hls/fmp4" / name).read_bytes() for name in names)


@pytest.mark.parametrize(
    ("film", "seconds", "expected"),
    [
        (lambda media: stream(media, 0), 4.0, Media("mp4", 4.0, "h264", None, 320, 180, tracks=(PICTURE,))),
        (lambda media: stream(media, 1), 4.02, Media("mp4", 4.02, None, "aac", tracks=(SOUND,))),
        (both, 4.02, Media("mp4", 4.02, "h264", "aac", 320, 180, tracks=(PICTURE, SOUND))),
    ],
)
def test_a_fragmented_film_needs_no_ffmpeg_to_be_understood(
    media: Path, tmp_path: Path, film: Callable[[Path], bytes], seconds: float, expected: Media
) -> None:
    path = tmp_path / "film"
    path.write_bytes(film(media))
    seen = inspect(path, NO_FFMPEG)
    assert seen.duration == pytest.approx(seconds, abs=0.01)
    assert (seen.container, seen.video, seen.audio) == (expected.container, expected.video, expected.audio)
    assert (seen.width, seen.height, seen.tracks) == (expected.width, expected.height, expected.tracks)


def test_missing_fragments_do_not_count(media: Path, tmp_path: Path) -> None:
    path = tmp_path / "film"
    whole = stream(media, 0)
    path.write_bytes(whole[: whole.rindex(b"moof") - 4])
    movie = mp4.read(path)
    assert movie
    assert movie.duration == 3.0


def test_an_index_tells_that_a_film_is_whole_only_if_all_samples_are_in_it(
    media: Path, tmp_path: Path
) -> None:
    path = tmp_path / "film"
    path.write_bytes(both(media))
    fragmented, whole = read_index(path), read_index(media / "video.mp4")
    assert fragmented
    assert not fragmented.has_all
    assert whole
    assert whole.has_all


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # The number of a track that the file does not describe.
        (b"tfhd\x00\x02\x00\x38\x00\x00\x00\x01", b"tfhd\x00\x02\x00\x38\x00\x00\x00\x07"),
        # A fragment that claims more samples than fit into it.
        (b"trun", b"trun\x01\x00\x0f\x05\x7f\xff\xff\xff"),
        (b"mdhd", b"mdhe"),  # no box with the time units
        (b"moof", b"skip"),  # no fragment at all
    ],
)
def test_ffmpeg_is_asked_where_something_is_odd(media: Path, tmp_path: Path, old: bytes, new: bytes) -> None:
    path, whole = tmp_path / "film", stream(media, 0)
    assert old in whole
    for at in [found.start() for found in re.finditer(re.escape(old), whole)]:
        whole = whole[:at] + new + whole[at + len(new) :]
    path.write_bytes(whole)
    assert mp4.read(path) is None


def test_ffmpeg_is_asked_where_the_first_picture_is_none(media: Path, tmp_path: Path) -> None:
    path, whole = tmp_path / "film", stream(media, 0)
    begin = whole.index(b"mdat") + 4
    path.write_bytes(whole[:begin] + bytes(5000) + whole[begin + 5000 :])
    movie = mp4.read(path)
    assert movie
    assert not mp4.is_plausible(path, movie)
