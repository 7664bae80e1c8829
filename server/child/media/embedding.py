"""Embeds subtitles, tags, chapters and a cover in the files that are made.

The result is that of yt-dlp's postprocessors, but made in the one run of ffmpeg that makes the file, which
keeps its own subtitles. Tags, chapters and a cover are read from files in ffmpeg's own format for metadata:
unlike options of the command line these have no limit of length, can be seen by no other user, and can hold
the cover where a container has that among its tags.

Decisions: docs/decisions/subtitles-tags-clips.md
"""

import base64
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from yt_dlp.utils import ISO639Utils

from server.child.media.making import Of, Word
from server.child.media.parts import Part
from server.child.media.probe import Media
from server.child.media.timeline import ChapterSpan

_SPECIAL: Final = re.compile(r"([\\=;#\n])")
_ESCAPED: Final = r"\\\1"
_FRONT_COVER: Final = 3  # a picture type (RFC 9639, 8.8)
_NOT_IN_VORBIS: Final = ("comment", "synopsis")
"""ffmpeg would write `comment` as DESCRIPTION, which the description needs; its link is in `purl`, too."""


@dataclass(frozen=True, slots=True)
class Tags:
    """What a file says about its film; `language` is that of the sound."""

    values: Mapping[str, str]
    chapters: Sequence[ChapterSpan] = ()
    cover: Path | None = None
    language: str | None = None

    @property
    def cover_type(self) -> str:
        return "image/png" if self.cover and self.cover.suffix == ".png" else "image/jpeg"


@dataclass(frozen=True, slots=True)
class WrittenTags:
    """`tags` in files that are inputs of ffmpeg; each container uses one of them."""

    tags: Tags
    plain: Part
    """With chapters, for containers that have chapters and covers of their own kind."""
    flac: Part
    """With Vorbis comments, in which chapters are tags like others."""
    ogg: Part
    """Like `flac`, with the cover among the comments."""

    @property
    def cover(self) -> Part | None:
        path = self.tags.cover
        return Part(path, Media(path.suffix[1:]), plain=False) if path else None


def write_tags(tags: Tags, directory: Path) -> WrittenTags:
    """Write `tags` into files in `directory`, from which ffmpeg reads them."""
    lines = _lines(tags.values)
    for chapter in tags.chapters:
        start, end = round(chapter.start * 1000), round(chapter.end * 1000)
        lines += ["[CHAPTER]", "TIMEBASE=1/1000", f"START={start}", f"END={end}"]
        lines += _lines({"title": chapter.title} if chapter.title else {})
    vorbis = {name: value for name, value in tags.values.items() if name not in _NOT_IN_VORBIS}
    for number, chapter in enumerate(tags.chapters, 1):
        minutes, thousandths = divmod(round(chapter.start * 1000), 60_000)
        vorbis[f"CHAPTER{number:03}"] = f"{minutes // 60:02}:{minutes % 60:02}:{thousandths / 1000:06.3f}"
        vorbis[f"CHAPTER{number:03}NAME"] = chapter.title or f"{number}"
    picture = dict[str, str]()
    if tags.cover:  # as a picture block of FLAC (RFC 9639, 8.8); its dimensions are 0: not stated
        data, kind = tags.cover.read_bytes(), tags.cover_type.encode()
        block = struct.pack(f">II{len(kind)}sI", _FRONT_COVER, len(kind), kind, 0)
        block += struct.pack(">5I", 0, 0, 0, 0, len(data)) + data
        picture["METADATA_BLOCK_PICTURE"] = base64.b64encode(block).decode()
    return WrittenTags(
        tags,
        _write(lines, directory / "tags.txt"),
        _write(_lines(vorbis), directory / "tags.flac.txt"),
        _write(_lines(vorbis | picture), directory / "tags.ogg.txt"),
    )


def _write(lines: list[str], path: Path) -> Part:
    path.write_text("\n".join((";FFMETADATA1", *lines, "")), encoding="utf-8", newline="")
    return Part(path, Media("ffmetadata"), plain=False, reading=("-f", "ffmetadata"))


def _lines(values: Mapping[str, str]) -> list[str]:
    return [f"{name}={_SPECIAL.sub(_ESCAPED, value)}" for name, value in values.items()]


MAX_SUBTITLES: Final = 32
"""In one file: ffmpeg starts three threads for each, and a child's memory is limited."""

Map = tuple[Part, str]
"""A part, and ffmpeg's specifier of one of its streams."""

_LIKE_MP4: Final = ("mp4", "mov", "m4a")
OGG: Final = ("opus", "ogg")
_COVER_IS_STREAM: Final = (*_LIKE_MP4, "mp3", "flac")
"""Containers in which a cover is a video stream."""
_COVER_IS_ATTACHMENT: Final = ("mkv", "mka")
_WITHOUT_COVER: Final = ("webm", "wav")
_SOUND_ONLY: Final = ("m4a", "mp3", "flac")
TAGGED: Final = frozenset((*_COVER_IS_STREAM, *_COVER_IS_ATTACHMENT, *OGG, *_WITHOUT_COVER))
_MP4_BRANDS: Final = ("major_brand", "minor_version", "compatible_brands")
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
    """What is to be embedded."""

    subtitles: tuple[Embedded, ...] = ()
    tags: WrittenTags | None = None

    @property
    def of_sound(self) -> "Extras":
        """What is to be embedded in a file of sound alone."""
        return Extras(tags=self.tags)


NOTHING: Final = Extras()


@dataclass(frozen=True, slots=True)
class AddedStreams:
    """Streams to map before the file's own subtitles, and after all others; `words` are ffmpeg's options."""

    subtitles: list[Map]
    last: list[Map]
    words: list[Word]


def takes_any(container: str, extras: Extras) -> bool:
    """Whether `container` can have any of `extras`."""
    return bool(extras.subtitles and container in _SUBTITLES) or bool(extras.tags and container in TAGGED)


def add(container: str, extras: Extras, source: Part) -> AddedStreams:
    """Add what `container` can have of `extras`; `source` is the part whose own tags and covers are kept."""
    taken = extras.subtitles[:MAX_SUBTITLES] if container in _SUBTITLES else ()
    added = AddedStreams([], [], [])
    for at, subtitle in enumerate(taken):
        kind = _DEMUXERS[subtitle.path.suffix]
        text = Part(subtitle.path, Media(kind), plain=False, reading=("-f", kind))
        added.subtitles.append((text, "s:0"))
        tags = {"language": language_code(subtitle.language)}
        if subtitle.title:
            tags |= {"title": subtitle.title, "handler_name": subtitle.title}
        words = [word for name, value in tags.items() for word in (f"-metadata:s:s:{at}", f"{name}={value}")]
        added.words.extend([f"-c:s:{at}", _SUBTITLES[container], *words])
    if not extras.tags or container not in TAGGED:
        return added
    written = extras.tags
    added.words.extend(_tag_options(container, written, source))
    if written.cover is None:
        added.last.extend((source, name) for name in _own_covers(source) if container in _COVER_IS_STREAM)
    elif container in _COVER_IS_STREAM:
        at = 1 if source.media.video and container not in _SOUND_ONLY else 0
        added.last.append((written.cover, "v:0"))
        named = [f"-metadata:s:v:{at}", "title=Album cover", f"-metadata:s:v:{at}", "comment=Cover (front)"]
        added.words.extend([f"-disposition:v:{at}", "attached_pic", *named])
    elif container in _COVER_IS_ATTACHMENT:
        fonts = sum(track.kind == "attachment" for track in source.media.tracks)
        added.words.extend(attach_cover(written, fonts if container == "mkv" else 0))
    return added


def notes_on_left_out(container: str, extras: Extras) -> list[str]:
    """Return a note for each kind of extras that `container` cannot have."""
    notes = []
    if extras.subtitles and container not in _SUBTITLES:
        notes.append(f"subtitles cannot be in {container}: not embedded")
    elif (count := len(extras.subtitles)) > MAX_SUBTITLES:
        notes.append(f"subtitles: the first {MAX_SUBTITLES} of {count} languages are embedded")
    if extras.tags and container not in TAGGED:
        notes.append(f"tags cannot be in {container}: not embedded")
    elif extras.tags and extras.tags.cover and container in _WITHOUT_COVER:
        notes.append(f"a cover cannot be in {container}: not embedded")
    return notes


def language_code(language: str) -> str:
    """Return the ISO 639-2 code of a language tag, as containers store it; `und` if it has none."""
    primary = re.split("[-_]", language.lower())[0]
    code = ISO639Utils.short2long(primary) if len(primary) == 2 else primary
    return code if code and re.fullmatch("[a-z]{3}", code) else "und"


def _tag_options(container: str, written: WrittenTags, source: Part) -> list[Word]:
    """Return ffmpeg's options for `written`, and for the tags of `source` that `written` lacks.

    In Ogg, tags belong to the stream.
    """
    words: list[Word] = []
    if container in OGG:
        of_stream = "-map_metadata:s:a:0"
        words += [of_stream, Of(written.ogg, "g"), of_stream, Of(source, "s:a:0")]
    else:
        file = written.flac if container == "flac" else written.plain
        words += ["-map_metadata", Of(file, "g"), "-map_metadata", Of(source, "g")]
    if container not in _LIKE_MP4:
        words += [word for name in _MP4_BRANDS for word in ("-metadata", f"{name}=")]
    if written.tags.chapters:
        # ffmpeg writes chapters to Ogg with wrong times, and to FLAC not at all: there they are tags.
        words += ["-map_chapters", "-1" if container in (*OGG, "flac") else Of(written.plain)]
    if written.tags.language:
        words += ["-metadata:s:a:0", f"language={language_code(written.tags.language)}"]
    return [*words, *_OPTIONS.get(container, ())]


def attach_cover(written: WrittenTags, number: int = 0) -> list[str]:
    """Return ffmpeg's options for the cover, if there is one, as attachment `number` of a Matroska file."""
    if written.cover is None:
        return []
    kind = written.tags.cover_type
    name = f"cover.{kind.rpartition('/')[2].replace('jpeg', 'jpg')}"
    tag = f"-metadata:s:t:{number}"
    return ["-attach", f"file:{written.cover.path}", tag, f"mimetype={kind}", tag, f"filename={name}"]


def _own_covers(source: Part) -> list[str]:
    """Return ffmpeg's specifiers of the covers in `source`.

    The index of an MP4, which `mp4` reads, does not have its cover: there it may be the next picture.
    """
    pictures = [track.kind for track in source.media.tracks if track.kind in ("video", "cover")]
    covers = [f"v:{at}?" for at, kind in enumerate(pictures) if kind == "cover"]
    may_be_next = source.media.container in _LIKE_MP4 and len(pictures) < 2
    return covers or ([f"v:{len(pictures)}?"] if may_be_next else [])
