"""Plans which files are made of the fetched parts, and how.

`plan` starts no program; `server.child.media.making` carries the plan out. A part that already is a wanted
file is moved and keeps the source's bytes. One run of ffmpeg makes all other files; it copies streams
wherever the container can have them, and encodes only sound, but for an exact clip the picture as well.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from server.child.media import embedding
from server.child.media.embedding import NOTHING, Extras
from server.child.media.making import OutputPlan, PlannedOutput, Recipe, recipe
from server.child.media.parts import Part
from server.child.media.probe import Media, Track, read_index
from server.child.media.timeline import ALL, Kept, Span
from server.child.process.job_failed import JobFailed
from server.core.jobs import Wishes

# container -> the codecs of pictures and of sound that players expect in it
_CODECS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "mp4": (
        frozenset(("h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video")),
        frozenset(("aac", "mp3", "opus", "flac", "alac", "ac3", "eac3")),
    ),
    "webm": (frozenset(("vp8", "vp9", "av1")), frozenset(("opus", "vorbis"))),
}
_TEXTS = frozenset(("subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text"))
_BITMAPS = frozenset(("hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"))
_TEXT_CODECS = {"mp4": "mov_text", "mov": "mov_text", "webm": "webvtt"}


def fits(container: str, video: str, audio: str | None) -> bool:
    """Whether players expect these codecs in `container`."""
    if container == "mkv":
        return True
    videos, audios = _CODECS[container]
    return video in videos and (audio is None or audio in audios)


def select_streams(
    container: str, picture: Part, *, with_sound: bool
) -> tuple[list[str], list[str], list[str]]:
    """Select the streams of the file of `picture` that `container` can have; its sound only `with_sound`.

    Returns ffmpeg's specifiers of them, the options for the subtitles among them, and descriptions of the
    other streams. A specifier ends in `?` where ffmpeg may find no such stream: the index of an MP4 was read
    without ffmpeg.
    """
    taken, left, seen = ["V:0"], list[str](), Counter[str]()
    subtitles = [track.codec for track in picture.media.tracks if _takes(container, track)]
    for track in picture.media.tracks:
        at = seen[track.kind]
        seen[track.kind] += 1
        if track.kind in ("audio", "subtitle") and _takes(container, track):
            if with_sound or track.kind != "audio":
                taken.append(f"{track.kind[0]}:{at}?")
        elif track.kind == "attachment" and container == "mkv":  # the fonts of its subtitles
            taken.append(f"t:{at}?")
        elif (track.kind, at) != ("video", 0):
            left.append(f"{track.kind} {track.codec}".strip())
    # Matroska can have all subtitles unchanged, except MP4's `mov_text`.
    in_matroska = "srt" if "mov_text" in subtitles else "copy"
    codec = ["-c:s", _TEXT_CODECS.get(container, in_matroska)] if _TEXTS & set(subtitles) else []
    return taken, codec, left


def _takes(container: str, track: Track) -> bool:
    if track.kind == "subtitle":
        return track.codec in _TEXTS or (container == "mkv" and track.codec in _BITMAPS)
    return container in ("mkv", "mov") or track.codec in _CODECS[container][1]


_H264: Final = ["-c:v:0", "libx264", "-preset", "veryfast", "-crf", "18", "-c:a", "aac", "-b:a", "192k"]
_VP9: Final = [
    *("-c:v:0", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "6", "-row-mt", "1"),
    *("-crf", "28", "-b:v", "0", "-c:a", "libopus", "-b:a", "160k"),
]
_ENCODINGS: Final = {"mp4": _H264, "mkv": _H264, "webm": _VP9}
_TIME_BASE: Final = ("-enc_time_base:v", "1/90000")
"""By default ffmpeg rounds the time of each picture to the frame rate, so that it is off from the sound."""

_EVEN: Final = "crop=trunc(iw/2)*2:trunc(ih/2)*2,format=yuv420p"  # even sides and 4:2:0, as players expect


def container(wanted: str, source: str) -> str:
    """Return the container to encode to: `wanted` if that is possible, else the `source`'s, else MP4."""
    return next((each for each in (wanted, source) if each in _ENCODINGS), "mp4")


def encoding(target: str, spans: Sequence[Span]) -> list[str]:
    """Return ffmpeg's options to encode `spans` of picture and sound; the first begins at 0."""
    return [
        *_ENCODINGS[target],
        *_TIME_BASE,
        "-filter:v:0",
        f"{_filters_keeping(spans)},{_EVEN}",
        *sound_filters(spans),
    ]


def sound_filters(spans: Sequence[Span]) -> list[str]:
    """Return ffmpeg's options to keep `spans` of sound. It is cut at the decoder's frames: with smaller
    frames ffmpeg 9 hangs.
    """
    return ["-af", _filters_keeping(spans, "a")]


def _filters_keeping(spans: Sequence[Span], kind: str = "") -> str:
    """Return filters that keep `spans`. The option `-t` would count from the first frame, which may be a
    little later than 0.
    """
    end = f"{kind}trim=end={spans[-1][1]:.6f}"
    if len(spans) == 1:
        return end
    kept = "+".join(f"gte(t,{start:.6f})*lt(t,{stop:.6f})" for start, stop in spans)
    gaps = [(start, start - stop) for (_, stop), (start, _) in pairwise(spans)]
    left_out = "+".join(f"gte(T,{start:.6f})*{gap:.6f}" for start, gap in gaps)
    return f"{end},{kind}select='{kept}',{kind}setpts='PTS-({left_out})/TB'"


# audio_format -> its codec, the containers that can be moved as they are, how ffmpeg encodes it
_SOUND: dict[str, tuple[str, frozenset[str], list[str]]] = {
    "mp3": ("mp3", frozenset(("mp3",)), ["-c:a", "libmp3lame"]),
    "m4a": ("aac", frozenset(("m4a", "mp4")), ["-c:a", "aac"]),
    "opus": ("opus", frozenset(("opus",)), ["-c:a", "libopus"]),
    "flac": ("flac", frozenset(("flac",)), ["-c:a", "flac"]),
    "wav": ("pcm_s16le", frozenset(("wav",)), ["-c:a", "pcm_s16le"]),
}
# suffix -> how its sound is encoded for an exact clip, if it is not in `_SOUND`
_SOUND_OF_EXACT_CLIP: dict[str, list[str]] = {"ogg": ["-c:a", "libvorbis", "-q:a", "6"]}
# audio_format -> ffmpeg's options without an `audio_quality`; the encoder's highest rate, kbit/s
_RATES: dict[str, tuple[list[str], int]] = {
    "mp3": (["-q:a", "2"], 320),
    "m4a": (["-b:a", "160k"], 512),
    "opus": (["-b:a", "128k"], 256),
}
_LOSSLESS = ("flac", "wav")
"""Formats that lose nothing by encoding; a part of them, copied, would state the length of the whole."""
_NATURAL = {  # codec -> the suffix for `"audio_format": "best"`, which keeps the source's codec
    "aac": "m4a",
    "alac": "m4a",
    "mp3": "mp3",
    "opus": "opus",
    "vorbis": "ogg",
    "flac": "flac",
    "pcm_s16le": "wav",
}
TYPES = {
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "mkv": "video/x-matroska",
    "webm": "video/webm",
    "flv": "video/x-flv",
    "avi": "video/x-msvideo",
    "wmv": "video/x-ms-wmv",
    "mpg": "video/mpeg",
    "3gp": "video/3gpp",
    "ogv": "video/ogg",
    "mxf": "application/mxf",
    "ts": "video/mp2t",
    "gif": "image/gif",
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
    "opus": "audio/ogg",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "aac": "audio/aac",
    "mka": "audio/x-matroska",
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
}


def plan(
    wishes: Wishes,
    parts: list[Part],
    aspect: float | None = None,
    extras: Extras = NOTHING,
    kept: Kept = ALL,
) -> OutputPlan:
    """Plan how each wanted output is made of `parts`; raises `JobFailed` if none can be.

    If the source lacks picture or sound, that output is left out as long as there is another. `aspect` is the
    picture's width / height where its file states it wrong; `extras` are embedded in what is made. For an
    exact clip, `parts` are read from the first to the last moment of `kept`. With `mute` the film has no
    sound, but a file of sound alone has.
    """
    picture = next((part for part in parts if part.media.video), None)
    sounds = sorted((part for part in parts if part.media.audio), key=lambda part: part is picture)
    sound = sounds[0] if sounds else None
    film_sound = None if wishes.mute else sound
    result = OutputPlan()
    if "video" in wishes.outputs and picture and is_exact(wishes):
        target = container(wishes.video_format, _container_of(picture))
        encode = encoding(target, _spans_from_zero(kept))
        encode += ["-aspect", f"{aspect:f}"] if aspect else []
        full, notes = _recipe_of_everything(target, picture, film_sound, encode, extras, encoded=True)
        result.notes += [*notes, *embedding.notes_on_left_out(target, extras)]
        recipes = [full]
        if extras != NOTHING:
            recipes.append(_recipe_of_everything(target, picture, film_sound, encode, encoded=True)[0])
        result.made.append(PlannedOutput("video", recipes))
    elif "video" in wishes.outputs and picture:
        _plan_video(result, wishes.video_format, picture, film_sound, aspect, extras)
    if "audio" in wishes.outputs and sound:
        _plan_audio(result, wishes, kept, sound, extras.of_sound)
    if not result.files:
        raise JobFailed("no_video" if "video" in wishes.outputs else "no_audio")
    return result


def encodes(wishes: Wishes) -> bool:
    """Whether something will probably be encoded, which takes a large part of the job's time."""
    return is_exact(wishes) or ("audio" in wishes.outputs and wishes.audio_format != "best")


def is_exact(wishes: Wishes) -> bool:
    return bool(wishes.clip and wishes.clip.exact)


def _spans_from_zero(kept: Kept) -> list[Span]:
    begins = kept.spans[0][0]
    return [(start - begins, end - begins) for start, end in kept.spans]


def codec_of(path: Path, kind: str, wishes: Wishes, used: Sequence[Media]) -> str | None:
    """Return the codec of the picture of a file, or else of its sound; `used` are what it was made of.

    None for a `kind` that is neither film nor sound, and if only ffmpeg could tell.
    """
    if kind not in ("video", "audio"):
        return None
    if movie := read_index(path):
        codecs = {track.kind: track.codec for track in reversed(movie.tracks)}
        return codecs.get("vide") or codecs["soun"]
    suffix = path.suffix[1:]
    if kind == "audio" and suffix in _SOUND:
        return _SOUND[suffix][0]
    if is_exact(wishes):
        return {"mp4": "h264", "mkv": "h264", "webm": "vp9"}.get(suffix) if kind == "video" else None
    copied = (media.video if kind == "video" else media.audio for media in used)
    return next(filter(None, copied), None)


def type_of(name: str) -> str:
    """Return the media type of a file, by the suffix of its name."""
    return TYPES.get(name.rpartition(".")[2], "application/octet-stream")


def _plan_video(
    result: OutputPlan, wanted: str, picture: Part, sound: Part | None, aspect: float | None, extras: Extras
) -> None:
    video_codec, audio_codec = picture.media.video or "", sound.media.audio if sound else None
    source = _container_of(picture)
    is_muted = sound is None and picture.media.audio is not None
    is_complete = picture.plain and sound in (picture, None) and not is_muted
    target = wanted if wanted != "any" and fits(wanted, video_codec, audio_codec) else None
    if target is None and is_complete and wanted != "any":
        codecs = " and ".join(filter(None, (video_codec, audio_codec)))
        result.notes.append(f"{codecs} cannot be in {wanted}: kept as {source}")
    keeps_source = is_complete and target in (None, source) and not aspect
    if keeps_source and not embedding.takes_any(source, extras):
        result.notes += embedding.notes_on_left_out(source, extras)
        result.moves.append(("video", picture, f"video.{source}"))
        return
    if keeps_source or (is_muted and source in (*_CODECS, "mkv") and fits(source, video_codec, audio_codec)):
        target = target or source
    target = (
        picture.only_in
        or target
        or next(name for name in ("mp4", "webm", "mkv") if fits(name, video_codec, audio_codec))
    )
    copy = ["-c", "copy", *(("-aspect", f"{aspect:f}") if aspect else ())]
    full, notes = _recipe_of_everything(target, picture, sound, copy, extras)
    result.notes += [*notes, *embedding.notes_on_left_out(target, extras)]
    recipes = [full]
    if not keeps_source:
        recipes += [_recipe_of_everything(target, picture, sound, copy)[0]] if extras != NOTHING else []
        bare = [(picture, "V:0"), *([(sound, "a:0")] if sound else [])]
        recipes.append(recipe(f"video.{target}", bare, copy))
    if is_complete:
        result.made.append(PlannedOutput("video", recipes, (picture, f"video.{source}")))
    else:
        result.made.append(PlannedOutput("video", [*recipes, recipe("video.mkv", bare, copy)]))


def _recipe_of_everything(
    target: str,
    picture: Part,
    sound: Part | None,
    options: list[str],
    extras: Extras = NOTHING,
    *,
    encoded: bool = False,
) -> tuple[Recipe, list[str]]:
    """Return the recipe with every stream that `target` can have, and the `extras`; and notes on the others.

    If the sound is `encoded`, its codec does not matter, but only one sound is taken.
    """
    has_sound = sound is picture and not encoded
    taken, subtitles, left = select_streams(target, picture, with_sound=has_sound)
    separate_sound = [(sound, "a:0")] if sound and not has_sound else []
    added = embedding.add(target, extras, picture)
    media = [(picture, name) for name in taken if not name.startswith("s:")]
    # The options of the added subtitles have their numbers, so they come first: how many subtitles of its own
    # the file has is not certain.
    own = [(picture, name) for name in taken if name.startswith("s:")]
    maps = [*media, *separate_sound, *added.subtitles, *own, *added.last]
    if added.last:
        left = [one for one in left if not one.startswith("cover")]
    notes = [f"left out of video.{target}: {', '.join(left)}"] if left else []
    cover = ["-c:v:1", "copy"] if added.last and encoded else []
    return recipe(f"video.{target}", maps, [*options, *cover, *subtitles, *added.words]), notes


def _container_of(picture: Part) -> str:
    """Return the suffix of the container of a film: of sound alone, the same container has another suffix."""
    return {"m4a": "mp4", "ogg": "ogv", "opus": "ogv"}.get(picture.media.container, picture.media.container)


def _plan_audio(result: OutputPlan, wishes: Wishes, kept: Kept, sound: Part, extras: Extras) -> None:
    codec = sound.media.audio or ""
    wanted, rate = wishes.audio_format, wishes.audio_quality
    if wanted == "best":
        wanted = _NATURAL.get(codec, "mka")
    right_codec, containers, encode = _SOUND.get(wanted, (codec, frozenset((wanted,)), []))
    if wishes.audio_format == "best":
        right_codec = codec
    name = f"audio.{wanted}"
    exceeds_rate = bool(rate and sound.media.audio_rate and sound.media.audio_rate > rate * 1.15)
    copied = codec == right_codec and not exceeds_rate and not is_exact(wishes)
    if wanted in _LOSSLESS and not sound.plain:
        copied = False
    if wishes.audio_format == "best" and is_exact(wishes):
        if wanted in _SOUND_OF_EXACT_CLIP:
            encode = _SOUND_OF_EXACT_CLIP[wanted]
        else:
            wanted = wanted if wanted in _SOUND else "opus"  # for a codec without an encoder
            encode = _SOUND[wanted][2]
        name = f"audio.{wanted}"
    keeps_source = copied and sound.plain and not sound.media.video and sound.media.container in containers
    result.notes += embedding.notes_on_left_out(wanted, extras)
    if keeps_source and not embedding.takes_any(wanted, extras):
        result.moves.append(("audio", sound, name))
        return
    if is_exact(wishes):
        encode = [*encode, *sound_filters(_spans_from_zero(kept))]
    if wanted in _RATES:
        default, highest = _RATES[wanted]
        encode = [*encode, *(["-b:a", f"{min(rate, highest)}k"] if rate else default)]
    options = ["-c", "copy"] if copied else encode
    added = embedding.add(wanted, extras, sound)
    copied_cover = ["-c:v", "copy"] if added.last and not copied else []
    recipes = [recipe(name, [(sound, "a:0"), *added.last], [*options, *copied_cover, *added.words])]
    if extras != NOTHING and not keeps_source:
        recipes.append(recipe(name, [(sound, "a:0")], options))
    result.made.append(PlannedOutput("audio", recipes, (sound, name) if keeps_source else None))
