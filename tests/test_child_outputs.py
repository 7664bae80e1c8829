"""Which files come out of which parts, and how: moved, copied by ffmpeg, or encoded."""

from pathlib import Path
from typing import Any

import pytest

from server.child.media import parts
from server.child.media.outputs import Plan, plan
from server.child.media.parts import Part
from server.child.media.probe import Media, is_cut_off, sniff
from server.child.process.failed import JobFailed
from tests.jobs import wished

FOLDER = Path("/out")


def part(
    container: str, video: str | None, audio: str | None, *, plain: bool = True, rate: int | None = None
) -> Part:
    return Part(
        Path(f"/jobs/{video}-{audio}.{container}"),
        Media(container, 4.0, video, audio, audio_rate=rate),
        plain,
    )


FILM = part("mp4", "h264", "aac")
STREAM = part("ts", "h264", "aac", plain=False)
WEBM = part("webm", "vp9", "opus")
PICTURE, SOUND = part("mp4", "h264", None, plain=False), part("mp4", None, "aac", plain=False)


def made(result: Plan) -> str:
    return " ".join(result.arguments(FOLDER))


@pytest.mark.parametrize(
    ("given", "wishes", "name", "how"),
    [
        ([FILM], {}, "video.mp4", "moved"),
        ([FILM], {"video_format": "any"}, "video.mp4", "moved"),
        ([FILM], {"video_format": "mkv"}, "video.mkv", "copied"),
        ([FILM], {"video_format": "webm"}, "video.mp4", "moved"),
        ([part("mov", "h264", "aac")], {}, "video.mp4", "copied"),
        ([part("mov", "h264", "pcm_s16le")], {}, "video.mov", "moved"),
        ([part("m4a", "h264", "aac")], {}, "video.mp4", "moved"),
        ([part("flv", "flv1", "mp3")], {}, "video.flv", "moved"),
        ([WEBM], {}, "video.mp4", "copied"),
        ([WEBM], {"video_format": "webm"}, "video.webm", "moved"),
        ([STREAM], {}, "video.mp4", "copied"),
        ([STREAM], {"video_format": "any"}, "video.mp4", "copied"),
        ([STREAM], {"video_format": "webm"}, "video.mp4", "copied"),
        ([part("ts", "vc1", "dts", plain=False)], {}, "video.mkv", "copied"),
        ([PICTURE, SOUND], {}, "video.mp4", "copied"),
        ([PICTURE, part("webm", None, "vorbis")], {}, "video.mkv", "copied"),
    ],
)
def test_a_video_is_never_encoded(given: list[Part], wishes: dict[str, Any], name: str, how: str) -> None:
    result = plan(wished(outputs=["video"], **wishes), given)
    assert result.files == {"video": name}
    assert ("moved" if result.moves else "copied") == how
    assert not result.made or "-c copy" in made(result)


@pytest.mark.parametrize(
    ("given", "wishes", "name", "how"),
    [
        ([FILM], {}, "audio.mp3", "-c:a libmp3lame -q:a 2"),
        ([FILM], {"audio_quality": 96}, "audio.mp3", "-c:a libmp3lame -b:a 96k"),
        ([FILM], {"audio_quality": 512}, "audio.mp3", "-c:a libmp3lame -b:a 320k"),
        ([FILM], {"audio_format": "m4a"}, "audio.m4a", "-c copy"),
        ([FILM], {"audio_format": "opus"}, "audio.opus", "-c:a libopus -b:a 128k"),
        ([FILM], {"audio_format": "flac", "audio_quality": 96}, "audio.flac", "-c:a flac"),
        ([FILM], {"audio_format": "wav"}, "audio.wav", "-c:a pcm_s16le"),
        ([FILM], {"audio_format": "best"}, "audio.m4a", "-c copy"),
        ([WEBM], {"audio_format": "best"}, "audio.opus", "-c copy"),
        ([WEBM], {"audio_format": "opus"}, "audio.opus", "-c copy"),
        ([part("mkv", "h264", "ac3")], {"audio_format": "best"}, "audio.mka", "-c copy"),
        ([part("mp3", None, "mp3")], {}, "audio.mp3", "moved"),
        ([part("mp3", None, "mp3")], {"audio_format": "best"}, "audio.mp3", "moved"),
        ([part("mp4", None, "aac")], {"audio_format": "best"}, "audio.m4a", "moved"),
        ([part("m4a", None, "aac")], {"audio_format": "m4a"}, "audio.m4a", "moved"),
        (
            [part("mp3", None, "mp3", rate=320)],
            {"audio_quality": 128},
            "audio.mp3",
            "-c:a libmp3lame -b:a 128k",
        ),
        ([part("mp3", None, "mp3", rate=128)], {"audio_quality": 128}, "audio.mp3", "moved"),
        ([PICTURE, SOUND], {"audio_format": "m4a"}, "audio.m4a", "-c copy"),
    ],
)
def test_sound_is_copied_where_it_fits(
    given: list[Part], wishes: dict[str, Any], name: str, how: str
) -> None:
    result = plan(wished(outputs=["audio"], **wishes), given)
    assert result.files == {"audio": name}
    assert how in (made(result) or "moved")


def test_video_and_audio_are_made_in_one_run_and_read_each_part_once() -> None:
    result = plan(wished(), [PICTURE, SOUND])
    assert made(result).count("-i ") == 2
    assert "-map 0:v:0 -map 1:a:0 -c copy -movflags +faststart file:/out/video.mp4" in made(result)
    assert "-map 1:a:0 -c:a libmp3lame -q:a 2 file:/out/audio.mp3" in made(result)


def test_sound_comes_from_its_own_stream_even_if_the_picture_has_some() -> None:
    sound = part("webm", None, "opus")
    result = plan(wished(outputs=["audio"], audio_format="opus"), [FILM, sound])
    assert [used.path for used in result.inputs] == [sound.path]


@pytest.mark.parametrize(
    ("given", "outputs", "expected"),
    [
        ([PICTURE], ["video", "audio"], {"video"}),
        ([PICTURE], ["audio"], "no_audio"),
        ([SOUND], ["video", "audio"], {"audio"}),
        ([SOUND], ["video"], "no_video"),
    ],
)
def test_what_is_missing_is_left_out_unless_nothing_remains(
    given: list[Part], outputs: list[str], expected: set[str] | str
) -> None:
    if isinstance(expected, str):
        with pytest.raises(JobFailed, match=expected):
            plan(wished(outputs=outputs), given)
    else:
        assert set(plan(wished(outputs=outputs), given).files) == expected


# The parts in the job's directory.

STREAM_INFO = {"extractor_key": "A", "id": "1", "format_id": "137", "ext": "mp4", "filesize": 10}


def test_a_parts_name_says_what_it_is_and_not_where_it_is() -> None:
    name = parts.name_of(STREAM_INFO | {"url": "http://a.test/?sig=1"})
    assert name == parts.name_of(STREAM_INFO | {"url": "http://b.test/?sig=2"})
    others = [STREAM_INFO | {key: "other"} for key in STREAM_INFO]
    others.append(STREAM_INFO | {"direct": True, "timestamp": 7})
    assert len({name, *map(parts.name_of, others)}) == 1 + len(others)


def test_a_parts_name_is_harmless() -> None:
    assert parts.name_of(STREAM_INFO | {"ext": "../../x"}).endswith(".media")


def test_only_what_belongs_to_the_choice_stays(tmp_path: Path) -> None:
    for name in (
        "a.mp4.part",
        "a.mp4.ytdl",
        "a.mp4.part-Frag3",
        "b.mp4.part",
        "preview.jpg",
        "thumbnail.source",
    ):
        (tmp_path / name).touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "video.mp4").touch()
    parts.prepare(tmp_path, ["a.mp4"])
    kept = {"a.mp4.part", "a.mp4.ytdl", "a.mp4.part-Frag3", "preview.jpg", "out"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert not list((tmp_path / "out").iterdir())


def test_a_part_that_was_moved_out_comes_back(tmp_path: Path) -> None:
    parts.prepare(tmp_path, ["a.mp4"])
    (tmp_path / "a.mp4").write_bytes(b"all of it")
    parts.move_out(Part(tmp_path / "a.mp4", Media("mp4")), tmp_path / "out" / "video.mp4")
    parts.prepare(tmp_path, ["a.mp4"])
    assert (tmp_path / "a.mp4").read_bytes() == b"all of it"
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "out"}


# What a file really is.


@pytest.mark.parametrize(
    ("name", "container"),
    [
        ("video.mp4", "mp4"),
        ("audio.m4a", "m4a"),
        ("audio.mp3", "mp3"),
        ("clip.webm", "webm"),
        ("hls/ts/0.ts", "ts"),
        ("hls/fmp4/init.mp4", "mp4"),
        ("thumbnail.jpg", None),
        ("dash/manifest.mpd", None),
    ],
)
def test_a_container_is_known_by_its_first_bytes(media: Path, name: str, container: str | None) -> None:
    assert sniff((media / name).read_bytes()[:1024]) == container


def test_a_file_that_ends_too_early_is_noticed(media: Path, tmp_path: Path) -> None:
    whole = (media / "video.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[:-1000])
    (tmp_path / "whole.mp4").write_bytes(whole)
    (tmp_path / "other.mp4").write_bytes((media / "clip.webm").read_bytes()[:-1000])
    assert is_cut_off(tmp_path / "cut.mp4")
    assert not is_cut_off(tmp_path / "whole.mp4")
    assert not is_cut_off(tmp_path / "other.mp4")
