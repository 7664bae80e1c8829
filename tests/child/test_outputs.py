"""Which files are made of the downloaded parts, and how: moved, copied by ffmpeg, or encoded."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from clipwire_client.wishes import Output as WishedOutput

from server.child.media import parts
from server.child.media.embedding import Embedded, Extras
from server.child.media.making import OutputPlan, make_files
from server.child.media.outputs import TYPES, plan
from server.child.media.parts import Part
from server.child.media.probe import Media, Track, is_cut_off, sniff
from server.child.media.timeline import ALL, Kept
from server.child.process.job_failed import JobFailed
from server.core.process_request import Output, ProcessRequest
from server.library.verification import FILMS
from tests.jobs import wished

FOLDER = Path("/out")


def part(
    container: str,
    video: str | None,
    audio: str | None,
    *more: Track,
    plain: bool = True,
    rate: int | None = None,
) -> Part:
    tracks = tuple(Track(kind, codec) for kind, codec in (("video", video), ("audio", audio)) if codec)
    media = Media(container, 4.0, video, audio, audio_rate=rate, tracks=(*tracks, *more))
    return Part(Path(f"/jobs/{video}-{audio}.{container}"), media, plain)


FILM = part("mp4", "h264", "aac")
STREAM = part("ts", "h264", "aac", plain=False)
WEBM = part("webm", "vp9", "opus")
PICTURE, SOUND = part("mp4", "h264", None, plain=False), part("mp4", None, "aac", plain=False)


def made(result: OutputPlan) -> str:
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
        ([PICTURE], {"mute": True}, "video.mp4", "copied"),
        ([FILM], {"mute": True}, "video.mp4", "copied"),
        ([WEBM], {"mute": True, "video_format": "any"}, "video.webm", "copied"),
        ([part("mov", "h264", "pcm_s16le")], {"mute": True, "video_format": "any"}, "video.mp4", "copied"),
        ([part("mp4", "h264", None)], {"mute": True}, "video.mp4", "moved"),
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


@pytest.mark.parametrize("output", sorted({*Output, *get_args(WishedOutput)}))
def test_an_output_is_known_wherever_one_is_named(output: str) -> None:
    """`test_end_to_end` tests that each output is made, `test_page` that the page offers it."""
    assert output in [*Output], "`Output` in server/core/process_request.py"
    assert output in get_args(WishedOutput), "`Output` in clients/python/clipwire_client/wishes.py"
    guide = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
    for row in ("outputs", "files"):
        told = re.search(rf"^\| `{row}` \|.*`{output.removesuffix('s')}", guide, re.MULTILINE)
        assert told, f"the row `{row}` in docs/api.md (`files` is written from server/api/payload.py)"


@pytest.mark.parametrize("wanted", get_args(ProcessRequest.model_fields["audio_format"].annotation))
def test_every_audio_format_that_can_be_asked_for_can_be_made(wanted: str) -> None:
    """The source's sound has a codec that no such file has; `mka` holds every sound that "best" is to
    keep.
    """
    result = plan(wished(outputs=["audio"], audio_format=wanted), [part("mkv", "h264", "dts")])
    file_type = result.files["audio"].removeprefix("audio.")
    assert file_type == (wanted if wanted != "best" else "mka")
    assert file_type in TYPES, "its media type, in server/child/media/outputs.py"
    assert ("-c:a " in made(result)) == (wanted != "best"), "how it is encoded: `_SOUND`, in the same module"


def test_every_type_of_media_file_can_be_verified_in_the_library() -> None:
    media = {ending for ending, kind in TYPES.items() if kind.startswith(("video/", "audio/"))}
    assert media - FILMS == set(), "`FILMS` in server/library/verification.py"


@pytest.mark.parametrize("clip", [None, {"start": 1, "end": 2, "exact": True}])
def test_a_muted_film_has_no_sound_and_the_file_of_the_sound_has_it(clip: dict[str, Any] | None) -> None:
    given = [replace(FILM, media=replace(FILM.media, tracks=(*FILM.media.tracks, Track("audio", "aac"))))]
    result = plan(wished(mute=True, clip=clip), given, kept=Kept().within(1, 2) if clip else ALL)
    film, sound = made(result).split("video.mp4")
    assert "-map 0:V:0" in film
    assert "0:a" not in film
    assert "-map 0:a:0" in sound


def test_video_and_audio_are_made_in_one_run_and_read_each_part_once() -> None:
    result = plan(wished(), [PICTURE, SOUND])
    assert made(result).count("-i ") == 2
    assert "-map 0:V:0 -map 1:a:0 -c copy -movflags +faststart file:/out/video.mp4" in made(result)
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
def test_a_missing_output_is_left_out_unless_nothing_remains(
    given: list[Part], outputs: list[str], expected: set[str] | str
) -> None:
    if isinstance(expected, str):
        with pytest.raises(JobFailed, match=expected):
            plan(wished(outputs=outputs), given)
    else:
        assert set(plan(wished(outputs=outputs), given).files) == expected


# --- conversions that fail ---


class Ffmpeg:
    """An ffmpeg that fails if its arguments contain one of `bad`; otherwise it makes all files that they
    name.
    """

    def __init__(self, *bad: str) -> None:
        self._bad = bad

    def __call__(self, arguments: list[str]) -> None:
        if any(f" {words} " in f" {' '.join(arguments)} " for words in self._bad):
            raise JobFailed("conversion_failed")
        for word in arguments:
            if "/out/" in word:
                Path(word.removeprefix("file:")).write_text("made")


RICH = part("mkv", "h264", "aac", Track("audio", "aac"), Track("subtitle", "subrip"), Track("data", "bin"))


@pytest.mark.parametrize(
    ("given", "bad", "expected"),
    [
        (RICH, (), {"video": "video.mp4", "audio": "audio.mp3"}),
        (RICH, ("-c:s mov_text",), {"video": "video.mp4", "audio": "audio.mp3"}),
        (RICH, ("+faststart",), {"video": "video.mkv", "audio": "audio.mp3"}),
        (RICH, ("libmp3lame",), {"video": "video.mp4"}),
        (STREAM, ("+faststart",), {"video": "video.mkv", "audio": "audio.mp3"}),
        (STREAM, ("+faststart", "-c copy"), {"audio": "audio.mp3"}),
        (STREAM, ("-i",), "conversion_failed"),
    ],
)
def test_what_a_container_does_not_take_is_left_out_and_then_the_file_is_kept_as_it_came(
    tmp_path: Path, given: Part, bad: tuple[str, ...], expected: dict[str, str] | str
) -> None:
    source = replace(given, path=tmp_path / "source")
    source.path.write_text("as it came")
    (tmp_path / "out").mkdir()
    said: list[str] = []
    if isinstance(expected, str):
        with pytest.raises(JobFailed, match=expected):
            make_files(plan(wished(), [source]), tmp_path / "out", Ffmpeg(*bad), said.append)
        return
    files = make_files(plan(wished(), [source]), tmp_path / "out", Ffmpeg(*bad), said.append)
    assert files == expected
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(files.values())
    assert bool(said) is (bool(bad) or given is RICH), "nothing is dropped silently"


def test_a_disk_that_is_full_is_not_taken_for_a_film_that_does_not_fit(tmp_path: Path) -> None:
    def full(_arguments: list[str]) -> None:
        raise JobFailed("disk_full")

    with pytest.raises(JobFailed, match="disk_full"):
        make_files(plan(wished(), [STREAM]), tmp_path, full, print)


# --- the parts in the job's directory ---

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
        "preview.small.jpg",
        "thumbnail.source",
    ):
        (tmp_path / name).touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "video.mp4").touch()
    parts.prepare(tmp_path, ["a.mp4"])
    kept = {"a.mp4.part", "a.mp4.ytdl", "a.mp4.part-Frag3", "preview.jpg", "preview.small.jpg", "out"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert not list((tmp_path / "out").iterdir())


def test_a_part_that_was_moved_out_comes_back(tmp_path: Path) -> None:
    parts.prepare(tmp_path, ["a.mp4"])
    (tmp_path / "a.mp4").write_bytes(b"all of it")
    parts.note_length(tmp_path / "a.mp4")
    parts.move_out(Part(tmp_path / "a.mp4", Media("mp4")), tmp_path / "out" / "video.mp4")
    parts.prepare(tmp_path, ["a.mp4"])
    assert (tmp_path / "a.mp4").read_bytes() == b"all of it"
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "a.mp4.whole", "out"}


def test_a_part_that_is_shorter_than_it_was_is_unfinished(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"all of it")
    parts.note_length(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").write_bytes(b"all")
    parts.prepare(tmp_path, ["a.mp4"])
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4.part", "out"}


# --- what a file really is ---


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
    assert is_cut_off(tmp_path / "other.mp4")
    assert not is_cut_off(media / "clip.webm")
    assert not is_cut_off(media / "audio.mp3")


@pytest.mark.parametrize("given", [[FILM], [PICTURE, SOUND]])
def test_if_extras_fail_the_film_comes_without_them(given: list[Part], tmp_path: Path) -> None:
    extras = Extras((Embedded(tmp_path / "bad.srt", "en"),))
    result = plan(wished(outputs=["video"]), given, None, extras)
    assert made(result).count("-i ") == len(given) + 1
    first, *others = result.made[0].recipes
    assert tmp_path / "bad.srt" in [one.path for one in first.inputs]
    assert not any(tmp_path / "bad.srt" in [one.path for one in other.inputs] for other in others)
    assert bool(result.made[0].instead) == (given == [FILM])
