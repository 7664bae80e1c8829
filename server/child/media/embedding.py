"""What is embedded in a file besides picture and sound: subtitles, tags, chapters, a cover.

It is done as by yt-dlp's postprocessors, but in the one run of ffmpeg that makes the file, and the file keeps
its own subtitles.

Decisions: docs/decisions/subtitles-tags-clips.md
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from yt_dlp.utils import ISO639Utils

from server.child.media.making import Of, Word
from server.child.media.parts import Part
from server.child.media.probe import Media
from server.child.media.tagging import Tagged

MOST_SUBTITLES: Final = 32
"""ffmpeg starts three threads for each, and a child's memory is limited."""

Map = tuple[Part, str]

_LIKE_MP4: Final = ("mp4", "mov", "m4a")
OGG: Final = ("opus", "ogg")
_PICTURED: Final = (*_LIKE_MP4, "mp3", "flac")
"""Containers in which a cover is a video stream."""
_ATTACHED: Final = ("mkv", "mka")
_WITHOUT_COVER: Final = ("webm", "wav")
_OF_SOUND: Final = ("m4a", "mp3", "flac")
TAGGED: Final = frozenset((*_PICTURED, *_ATTACHED, *OGG, *_WITHOUT_COVER))
_OF_MP4: Final = ("major_brand", "minor_version", "compatible_brands")
_OPTIONS: Final = {"mp3": ("-id3v2_version", "3", "-write_id3v1", "1")}  # tags that most players read

# container -> the codec of its subtitles
_SUBTITLES: Final = {"mp4": "mov_text", "mov": "mov_text", "webm": "webvtt", "mkv": "srt"}
_DEMUXERS: Final = {".srt": "srt", ".vtt": "webvtt"}


@dataclass(frozen=True, slots=True)
class Embedded:
    """Subtitles at `path`, whose suffix is their format; `language` is a language tag."""

    path: Path
    language: str
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Extras:
    """`subtitles` go into the film only, not into a file of sound."""

    subtitles: tuple[Embedded, ...] = ()
    tagged: Tagged | None = None

    @property
    def of_sound(self) -> "Extras":
        return Extras(tagged=self.tagged)


NOTHING: Final = Extras()


@dataclass(frozen=True, slots=True)
class Added:
    """Streams to map before the file's own subtitles, and after all others; `words` are ffmpeg's options."""

    subtitles: list[Map]
    last: list[Map]
    words: list[Word]


def has_room(container: str, extras: Extras) -> bool:
    """Whether `container` takes any of `extras`."""
    return bool(extras.subtitles and container in _SUBTITLES) or bool(extras.tagged and container in TAGGED)


def add(container: str, extras: Extras, source: Part) -> Added:
    """What `container` takes of `extras`; `source` is the part whose own tags and covers are kept."""
    taken = extras.subtitles[:MOST_SUBTITLES] if container in _SUBTITLES else ()
    added = Added([(_part(subtitle), "s:0") for subtitle in taken], [], [])
    for at, subtitle in enumerate(taken):
        added.words.extend(_described(at, subtitle, container))
    if extras.tagged and container in TAGGED:
        added.words.extend(_tags(container, extras.tagged, source))
        _add_cover(container, extras.tagged, source, added)
    return added


def left_out(container: str, extras: Extras) -> list[str]:
    """A note for each kind of extras that `container` does not take."""
    notes = []
    if extras.subtitles and container not in _SUBTITLES:
        notes.append(f"subtitles cannot be in {container}: not embedded")
    elif (count := len(extras.subtitles)) > MOST_SUBTITLES:
        notes.append(f"subtitles: the first {MOST_SUBTITLES} of {count} languages are embedded")
    if extras.tagged and container not in TAGGED:
        notes.append(f"tags cannot be in {container}: not embedded")
    elif extras.tagged and extras.tagged.cover and container in _WITHOUT_COVER:
        notes.append(f"a cover cannot be in {container}: not embedded")
    return notes


def language_code(language: str) -> str:
    """The ISO 639-2 code, as containers store it; `und` if `language` has none."""
    primary = re.split("[-_]", language.lower())[0]
    code = ISO639Utils.short2long(primary) if len(primary) == 2 else primary
    return code if code and re.fullmatch("[a-z]{3}", code) else "und"


def _part(subtitle: Embedded) -> Part:
    kind = _DEMUXERS[subtitle.path.suffix]
    return Part(subtitle.path, Media(kind), plain=False, reading=("-f", kind))


def _described(at: int, subtitle: Embedded, container: str) -> list[str]:
    """Options for `subtitle`, which is number `at` of those in the file."""
    tags = {"language": language_code(subtitle.language)}
    if subtitle.title:
        tags |= {"title": subtitle.title, "handler_name": subtitle.title}
    words = [word for name, value in tags.items() for word in (f"-metadata:s:s:{at}", f"{name}={value}")]
    return [f"-c:s:{at}", _SUBTITLES[container], *words]


def _tags(container: str, tagged: Tagged, source: Part) -> list[Word]:
    """Options for our tags, and for the other tags of `source`. In Ogg, tags belong to the stream."""
    words: list[Word] = []
    if container in OGG:
        place = "-map_metadata:s:a:0"
        words += [place, Of(tagged.ogg, "g"), place, Of(source, "s:a:0")]
    else:
        file = tagged.flac if container == "flac" else tagged.plain
        words += ["-map_metadata", Of(file, "g"), "-map_metadata", Of(source, "g")]
    if container not in _LIKE_MP4:
        words += [word for name in _OF_MP4 for word in ("-metadata", f"{name}=")]
    if tagged.tags.chapters:
        # ffmpeg writes chapters to Ogg with wrong times, and to FLAC not at all: there they are tags.
        words += ["-map_chapters", "-1" if container in (*OGG, "flac") else Of(tagged.plain)]
    if tagged.tags.language:
        words += ["-metadata:s:a:0", f"language={language_code(tagged.tags.language)}"]
    return [*words, *_OPTIONS.get(container, ())]


def _add_cover(container: str, tagged: Tagged, source: Part, added: Added) -> None:
    if tagged.cover is None:
        added.last.extend((source, name) for name in _own_covers(source) if container in _PICTURED)
    elif container in _PICTURED:
        at = 1 if source.media.video and container not in _OF_SOUND else 0
        added.last.append((tagged.cover, "v:0"))
        named = [f"-metadata:s:v:{at}", "title=Album cover", f"-metadata:s:v:{at}", "comment=Cover (front)"]
        added.words.extend([f"-disposition:v:{at}", "attached_pic", *named])
    elif container in _ATTACHED:
        fonts = sum(track.kind == "attachment" for track in source.media.tracks)
        added.words.extend(attached(tagged, fonts if container == "mkv" else 0))


def attached(tagged: Tagged, number: int = 0) -> list[str]:
    """Options for the cover as attachment `number` of a Matroska file."""
    if tagged.cover is None:
        return []
    kind = tagged.tags.of_cover
    name = f"cover.{kind.rpartition('/')[2].replace('jpeg', 'jpg')}"
    tag = f"-metadata:s:t:{number}"
    return ["-attach", f"file:{tagged.cover.path}", tag, f"mimetype={kind}", tag, f"filename={name}"]


def _own_covers(source: Part) -> list[str]:
    """ffmpeg's specifiers of the covers in `source`; in an MP4 they are not in the index that `mp4` reads."""
    pictures = [track.kind for track in source.media.tracks if track.kind in ("video", "cover")]
    seen = [f"v:{at}?" for at, kind in enumerate(pictures) if kind == "cover"]
    unseen = source.media.container in _LIKE_MP4 and len(pictures) < 2
    return seen or ([f"v:{len(pictures)}?"] if unseen else [])
