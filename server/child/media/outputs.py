"""From the fetched parts to the files that were asked for.

`plan` is pure. What already fits is moved and keeps the source's bytes; everything else comes out of one run
of ffmpeg, which copies streams wherever the container takes them and encodes only sound.
"""

from dataclasses import dataclass, field
from pathlib import Path

from server.child.media.parts import Part
from server.child.process.failed import JobFailed
from server.jobs import Wishes

# container -> the codecs of pictures and of sound that players expect in it
_FITS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "mp4": (
        frozenset(("h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video")),
        frozenset(("aac", "mp3", "opus", "flac", "alac", "ac3", "eac3")),
    ),
    "webm": (frozenset(("vp8", "vp9", "av1")), frozenset(("opus", "vorbis"))),
}
# audio_format -> its codec, the containers in which that codec need only be moved, how ffmpeg encodes it
_SOUND: dict[str, tuple[str, frozenset[str], list[str]]] = {
    "mp3": ("mp3", frozenset(("mp3",)), ["-c:a", "libmp3lame"]),
    "m4a": ("aac", frozenset(("m4a", "mp4")), ["-c:a", "aac"]),
    "opus": ("opus", frozenset(("opus",)), ["-c:a", "libopus"]),
    "flac": ("flac", frozenset(("flac",)), ["-c:a", "flac"]),
    "wav": ("pcm_s16le", frozenset(("wav",)), ["-c:a", "pcm_s16le"]),
}
# audio_format -> ffmpeg's options where no `audio_quality` is asked for; the encoder's highest rate, kbit/s
_RATES: dict[str, tuple[list[str], int]] = {
    "mp3": (["-q:a", "2"], 320),
    "m4a": (["-b:a", "160k"], 512),
    "opus": (["-b:a", "128k"], 256),
}
_NATURAL = {  # codec -> the file type for `"audio_format": "best"`, which keeps the source's codec
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
}


@dataclass(frozen=True, slots=True)
class Made:
    """A file that ffmpeg writes: `arguments` stand before its name."""

    name: str
    arguments: list[str]


@dataclass(slots=True)
class Plan:
    """`files` is kind -> name; `moves` come after ffmpeg, which may still read the parts."""

    inputs: list[Part] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    moves: list[tuple[Part, str]] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def arguments(self, folder: Path) -> list[str]:
        """ffmpeg's command line for all that is made, empty if nothing is."""
        if not self.made:
            return []
        inputs = [word for part in self.inputs for word in (*part.reading, "-i", f"file:{part.path}")]
        outputs = [word for made in self.made for word in (*made.arguments, f"file:{folder / made.name}")]
        return [*inputs, *outputs]

    def _map(self, part: Part, stream: str) -> list[str]:
        if part not in self.inputs:
            self.inputs.append(part)
        return ["-map", f"{self.inputs.index(part)}:{stream}"]

    def make(self, kind: str, name: str, maps: list[tuple[Part, str]], options: list[str]) -> None:
        words = [word for part, stream in maps for word in self._map(part, stream)]
        front = ["-movflags", "+faststart"] if name.endswith((".mp4", ".m4a", ".mov")) else []
        self.made.append(Made(name, [*words, *options, *front]))
        self.files[kind] = name

    def move(self, kind: str, part: Part, name: str) -> None:
        self.moves.append((part, name))
        self.files[kind] = name


def plan(wishes: Wishes, parts: list[Part]) -> Plan:
    """Say how each output that was asked for comes to be; raises `JobFailed` if none can.

    Of picture and sound the one that the source does not have is left out, if the other is there.
    """
    picture = next((part for part in parts if part.media.video), None)
    sounds = sorted((part for part in parts if part.media.audio), key=lambda part: part is picture)
    sound = sounds[0] if sounds else None
    result = Plan()
    if "video" in wishes.outputs and picture:
        _plan_video(result, wishes.video_format, picture, sound)
    if "audio" in wishes.outputs and sound:
        _plan_audio(result, wishes, sound)
    if not result.files:
        raise JobFailed("no_video" if "video" in wishes.outputs else "no_audio")
    return result


def encodes_sound(wishes: Wishes) -> bool:
    """Whether it is likely that sound must be encoded, which takes as long as a good part of a download."""
    return "audio" in wishes.outputs and wishes.audio_format != "best"


def type_of(name: str) -> str:
    return TYPES.get(name.rpartition(".")[2], "application/octet-stream")


def _plan_video(result: Plan, wanted: str, picture: Part, sound: Part | None) -> None:
    codecs = picture.media.video or "", sound.media.audio if sound else None
    source = _container_of(picture)
    whole = picture.plain and sound in (picture, None)
    target = wanted if wanted != "any" and _fits(wanted, *codecs) else None
    if whole and target in (None, source):
        if target is None and wanted != "any":
            result.notes.append(
                f"{' and '.join(filter(None, codecs))} cannot be in {wanted}: kept as {source}"
            )
        result.move("video", picture, f"video.{source}")
        return
    target = target or next(name for name in ("mp4", "webm", "mkv") if _fits(name, *codecs))
    maps = [(picture, "v:0")]
    if sound:
        maps.append((sound, "a" if sound is picture else "a:0"))
    result.make("video", f"video.{target}", maps, ["-c", "copy"])


def _container_of(picture: Part) -> str:
    """The suffix for a file of this container with a picture in it: some have another one for sound alone."""
    return {"m4a": "mp4", "ogg": "ogv", "opus": "ogv"}.get(picture.media.container, picture.media.container)


def _fits(container: str, video: str, audio: str | None) -> bool:
    if container == "mkv":
        return True
    videos, audios = _FITS[container]
    return video in videos and (audio is None or audio in audios)


def _plan_audio(result: Plan, wishes: Wishes, sound: Part) -> None:
    codec = sound.media.audio or ""
    wanted, rate = wishes.audio_format, wishes.audio_quality
    if wanted == "best":
        wanted = _NATURAL.get(codec, "mka")
    good, containers, encode = _SOUND.get(wanted, (codec, frozenset((wanted,)), []))
    if wishes.audio_format == "best":
        good = codec
    name = f"audio.{wanted}"
    if codec != good or _is_too_much(sound, rate):
        result.make("audio", name, [(sound, "a:0")], [*encode, *_rate(wanted, rate)])
    elif sound.plain and not sound.media.video and sound.media.container in containers:
        result.move("audio", sound, name)
    else:
        result.make("audio", name, [(sound, "a:0")], ["-c", "copy"])


def _is_too_much(sound: Part, rate: int | None) -> bool:
    """Whether the source has clearly more kbit/s than are wanted."""
    return bool(rate and sound.media.audio_rate and sound.media.audio_rate > rate * 1.15)


def _rate(wanted: str, rate: int | None) -> list[str]:
    if wanted not in _RATES:
        return []
    usual, most = _RATES[wanted]
    return ["-b:a", f"{min(rate, most)}k"] if rate else usual
