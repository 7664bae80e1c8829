"""Carries out a plan: one run of ffmpeg for all files that have to be made, with fallbacks if that fails.

What was made is flushed to the disk, so that it survives a power cut.

An output that cannot be made does not affect the others. A film that cannot be made as planned is tried with
fewer streams and tags, and then kept as it was fetched; the task's log has each fallback.

Subtitles, tags, chapters and a cover are embedded as by yt-dlp's postprocessors, but in the one run of ffmpeg
that makes the file, and the file keeps its own subtitles. Tags, chapters and a cover are read from files in
ffmpeg's own format for metadata: unlike options of the command line these have no limit of length, can be
seen by no other user, and can hold the cover where a container has that among its tags.

Decisions: docs/decisions/subtitles-tags-clips.md
"""

import base64
import hashlib
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from yt_dlp.utils import ISO639Utils

from server.child.media import parts
from server.child.media.parts import Part
from server.child.media.probe import Media
from server.child.media.timeline import ChapterSpan
from server.child.process.job_failed import JobFailed

_SPECIAL: Final = re.compile(r"([\\=;#\n])")
_ESCAPED: Final = r"\\\1"
_FRONT: Final = 3  # the picture type of a front cover
_NOT_IN_VORBIS: Final = ("comment", "synopsis")
"""ffmpeg writes `comment` as DESCRIPTION there, the description's name; the link in it is in `purl` too."""


@dataclass(frozen=True, slots=True)
class Tags:
    """`language` is that of the sound."""

    values: Mapping[str, str]
    chapters: Sequence[ChapterSpan] = ()
    cover: Path | None = None
    language: str | None = None

    @property
    def of_cover(self) -> str:
        return "image/png" if self.cover and self.cover.suffix == ".png" else "image/jpeg"


@dataclass(frozen=True, slots=True)
class Tagged:
    """`tags` in files that are inputs of ffmpeg; each container uses one of them."""

    tags: Tags
    plain: Part
    """With chapters, for containers that have chapters and covers of their own kind."""
    flac: Part
    """For Vorbis comments, in which chapters are tags like others."""
    ogg: Part
    """The same, with the cover among them."""

    @property
    def cover(self) -> Part | None:
        path = self.tags.cover
        return Part(path, Media(path.suffix[1:]), plain=False) if path else None


def write_tags(tags: Tags, directory: Path) -> Tagged:
    """Write the files to `directory`, beside the parts."""
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
        data, kind = tags.cover.read_bytes(), tags.of_cover.encode()
        block = struct.pack(f">II{len(kind)}sI", _FRONT, len(kind), kind, 0)
        block += struct.pack(">5I", 0, 0, 0, 0, len(data)) + data
        picture["METADATA_BLOCK_PICTURE"] = base64.b64encode(block).decode()
    return Tagged(
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


_OF_MEDIA = "conversion_failed"
"""The fault that has fallbacks. Others are the machine's, and would meet every output."""


@dataclass(frozen=True, slots=True)
class Of:
    """Stands for an input or its `stream`; the input's number is known only when all inputs are (`among`)."""

    part: Part
    stream: str = ""

    def among(self, inputs: list[Part]) -> str:
        return f"{inputs.index(self.part)}{self.stream and ':'}{self.stream}"


Word = str | Of


@dataclass(frozen=True, slots=True)
class Recipe:
    """ffmpeg's arguments for one output file: `words` precede its name."""

    name: str
    words: list[Word]

    @property
    def inputs(self) -> list[Part]:
        return [word.part for word in self.words if isinstance(word, Of)]


@dataclass(slots=True)
class Made:
    """An output, made by the first of `recipes` that works; else it is `untouched`: a part, and its name."""

    kind: str
    recipes: list[Recipe]
    untouched: tuple[Part, str] | None = None


@dataclass(slots=True)
class OutputPlan:
    """`moves` are (kind, part, name), made after ffmpeg's run, which may read the same parts."""

    made: list[Made] = field(default_factory=list)
    moves: list[tuple[str, Part, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def files(self) -> dict[str, str]:
        """Kind -> name, if all goes as planned."""
        return {made.kind: made.recipes[0].name for made in self.made} | {
            kind: name for kind, _, name in self.moves
        }

    @property
    def inputs(self) -> list[Part]:
        """The parts that ffmpeg reads, if all goes as planned."""
        return _distinct(made.recipes[0] for made in self.made)

    def arguments(self, folder: Path) -> list[str]:
        """ffmpeg's command line for all that is made; empty if that is nothing."""
        return arguments(folder, *(made.recipes[0] for made in self.made))


def recipe(name: str, maps: Iterable[tuple[Part, str]], options: Iterable[Word]) -> Recipe:
    words = [word for part, stream in maps for word in ("-map", Of(part, stream))]
    front = ["-movflags", "+faststart"] if name.endswith((".mp4", ".m4a", ".mov")) else []
    return Recipe(name, [*words, *options, *front])


def arguments(folder: Path, *recipes: Recipe) -> list[str]:
    """ffmpeg's command line, with no other inputs than `recipes` need, since others may be damaged."""
    inputs = _distinct(recipes)
    reading = [word for part in inputs for word in (*part.reading, "-i", f"file:{part.path}")]
    writing = [
        word
        for one in recipes
        for word in (
            *[word.among(inputs) if isinstance(word, Of) else word for word in one.words],
            f"file:{folder / one.name}",
        )
    ]
    return [*reading, *writing] if recipes else []


def _distinct(recipes: Iterable[Recipe]) -> list[Part]:
    return list(dict.fromkeys(part for one in recipes for part in one.inputs))


def make_files(
    plan: OutputPlan, folder: Path, run: Callable[[list[str]], None], log: Callable[[str], None]
) -> dict[str, str]:
    """Make the files of `plan` in `folder` and return them, kind -> name; raises `JobFailed` if all fail.

    `run` runs ffmpeg with the arguments that it gets, or raises `JobFailed`.
    """
    for note in plan.notes:
        log(note)
    failed: JobFailed | None = None
    try:
        if plan.made:
            run(plan.arguments(folder))
    except JobFailed as error:
        failed = _of_media(error)
        # Make each output by a run of its own, by the first way that works; `plan` becomes what was
        # made.
        known_to_fail = [plan.made[0].recipes[0]] if len(plan.made) == 1 else []
        for made in list(plan.made):
            plan.made.remove(made)
            (folder / made.recipes[0].name).unlink(missing_ok=True)
            left = [recipe for recipe in made.recipes if recipe not in known_to_fail]
            if recipe := _first_that_works(left, folder, run):
                if recipe is not made.recipes[0]:
                    log(f"{made.kind}: made with less in it, as {recipe.name}")
                plan.made.append(Made(made.kind, [recipe]))
            elif made.untouched:
                log(f"{made.kind}: kept as the source has it")
                plan.moves.append((made.kind, *made.untouched))
            else:
                log(f"WARNING: {made.kind}: could not be made, and is left out")
    for _, part, name in plan.moves:
        parts.move_out(part, folder / name)
    if failed and not plan.files:
        raise failed
    return plan.files


def _first_that_works(recipes: list[Recipe], folder: Path, run: Callable[[list[str]], None]) -> Recipe | None:
    for recipe in recipes:
        try:
            run(arguments(folder, recipe))
        except JobFailed as error:
            _of_media(error)
            (folder / recipe.name).unlink(missing_ok=True)
        else:
            return recipe
    return None


def _of_media(error: JobFailed) -> JobFailed:
    if error.code != _OF_MEDIA:
        raise error
    return error


_AT_ONCE: Final = 256 * 1024  # bytes: still in the processor's cache when the second checksum reads them


@dataclass(frozen=True, slots=True)
class Sums:
    """Checksums of a file: `sha256` in hexadecimal digits, and the `crc32` that a ZIP entry needs."""

    sha256: str
    crc32: int


def flush(path: Path) -> Sums:
    """Flush a file's content to the disk; return its checksums, computed while the disk works."""
    with path.open("rb", buffering=0) as file, ThreadPoolExecutor(1) as pool:
        flushing = pool.submit(os.fsync, file.fileno())
        digest, crc, buffer = hashlib.sha256(), 0, memoryview(bytearray(_AT_ONCE))
        while read := file.readinto(buffer):
            digest.update(buffer[:read])
            crc = zlib.crc32(buffer[:read], crc)
        sums = Sums(digest.hexdigest(), crc)
        flushing.result()
        return sums


def flush_names(folder: Path) -> None:
    """Flush the entries of a directory to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
class AddedStreams:
    """Streams to map before the file's own subtitles, and after all others; `words` are ffmpeg's options."""

    subtitles: list[Map]
    last: list[Map]
    words: list[Word]


def has_room(container: str, extras: Extras) -> bool:
    """Whether `container` takes any of `extras`."""
    return bool(extras.subtitles and container in _SUBTITLES) or bool(extras.tagged and container in TAGGED)


def add(container: str, extras: Extras, source: Part) -> AddedStreams:
    """What `container` takes of `extras`; `source` is the part whose own tags and covers are kept."""
    taken = extras.subtitles[:MOST_SUBTITLES] if container in _SUBTITLES else ()
    added = AddedStreams([], [], [])
    for at, subtitle in enumerate(taken):
        kind = _DEMUXERS[subtitle.path.suffix]
        text = Part(subtitle.path, Media(kind), plain=False, reading=("-f", kind))
        added.subtitles.append((text, "s:0"))
        # Options for `subtitle`, which is number `at` of those in the file.
        tags = {"language": language_code(subtitle.language)}
        if subtitle.title:
            tags |= {"title": subtitle.title, "handler_name": subtitle.title}
        words = [word for name, value in tags.items() for word in (f"-metadata:s:s:{at}", f"{name}={value}")]
        added.words.extend([f"-c:s:{at}", _SUBTITLES[container], *words])
    if not extras.tagged or container not in TAGGED:
        return added
    tagged = extras.tagged
    added.words.extend(_tags(container, tagged, source))
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
