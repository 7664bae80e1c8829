"""Parts: fetched streams, as files in the job's directory that outlive an attempt.

The name of a part's file identifies one stream at the source. A file of another name belongs to an earlier
choice of streams and is removed, so that no download is resumed with the bytes of another. Notes, files of
the same name with a suffix, say what a later attempt has to know about a part.

`join` makes one film of sections that were fetched separately: parts of a video, or periods of a DASH
manifest. Each section is merged first, so that its picture and its sound begin together; then ffmpeg reads
all of them as one file. Nothing is encoded, so sections of different codecs cannot be joined.
"""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from server.child.media import probe
from server.child.media.probe import Media
from server.child.process.job_failed import JobFailed
from server.core.jobs import JobClip

OUT = "out"
_MOVED = ".moved"  # a note: the name of the finished file that the part has become
_LENGTH = ".whole"  # a note: the length of the complete part, in bytes
_ASIDE = ".aside"  # the part itself, while it is fetched once more
_GAPS = ".gaps"  # a note: the source lacks fragments of the part
SOURCE = ".source"
"""The suffix of the note about the source of an unfinished part, or of one of its fragments."""

_EXT = re.compile("[a-z0-9]{1,8}")
_NO_PARTS = frozenset(("preview.jpg", "preview.small.jpg"))  # files that `prepare` keeps


@dataclass(frozen=True, slots=True)
class Part:
    """`plain` means that the file has the source's bytes; else it was joined from fragments, or made here.

    `reading` are ffmpeg's input options for the file; `only_in` is the only container that can have it, if
    there is but one. `begins` is the second of the film at which it begins.
    """

    path: Path
    media: Media
    plain: bool = True
    reading: tuple[str, ...] = ()
    only_in: str | None = None
    begins: float = 0.0


def chosen_streams(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the info dicts of the streams to fetch: one, or picture and sound."""
    common = {name: value for name, value in info.items() if name not in ("requested_formats", "formats")}
    return [common | stream for stream in info.get("requested_formats") or [common]]


def name_of(stream: Mapping[str, Any], section: int = 0, clip: JobClip | None = None) -> str:
    """Return the name of a part's file: the same in every attempt, although the stream's URL may change.

    It differs by the number of the `section`, and by `clip`, since other segments are fetched for another.
    """
    identity = [stream.get(key) for key in ("extractor_key", "id", "format_id", "ext", "filesize")]
    identity += [section] if section else []
    identity += [clip.start, clip.end] if clip else []
    if stream.get("direct"):  # then `timestamp` is the file's Last-Modified
        identity.append(stream.get("timestamp"))
    digest = hashlib.sha256(repr(identity).encode(errors="surrogatepass")).hexdigest()[:20]
    ext = stream.get("ext") or ""
    return f"{digest}.{ext if _EXT.fullmatch(ext) else 'media'}"


def prepare(directory: Path, names: Iterable[str], *, resumes: bool = True) -> None:
    """Delete all but the preview and the parts called `names`, and make an empty folder `OUT`.

    A complete part that has not its noted length was truncated by a power cut: it becomes unfinished. Without
    `resumes`, unfinished parts are deleted: yt-dlp would go on with them without checking that the source is
    the same.
    """
    for note in [path for path in directory.iterdir() if path.name.endswith(_MOVED)]:
        target = directory / OUT / Path(note.read_text(errors="replace")).name
        if target.is_file():
            target.rename(note.with_name(note.name.removesuffix(_MOVED)))
        note.unlink()
    wanted = tuple(names)
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in _NO_PARTS and not path.name.startswith(wanted):
            path.unlink()
    for path in map(directory.joinpath, wanted):
        if path.is_file() and not _has_noted_length(path):
            back_to_unfinished(path)
        if not resumes and not path.is_file():
            for unfinished in directory.glob(f"{path.name}.*"):
                unfinished.unlink()
    (directory / OUT).mkdir(mode=0o700)


def has_begun(path: Path) -> bool:
    """Whether this attempt or an earlier one has fetched any byte of the part at `path`."""
    for each in path.parent.glob(f"{path.name}.part*"):
        with suppress(FileNotFoundError):  # yt-dlp's threads append and delete fragments meanwhile
            if each.suffix != SOURCE and each.stat().st_size:
                return True
    return False


def note_gap(path: Path) -> None:
    """Note for this attempt and later ones that the source lacks a fragment of the part at `path`."""
    gap_note_of(path).touch()


def gap_note_of(path: Path) -> Path:
    """Return the path of the note that the part at `path` has gaps; the note exists only if it has."""
    return path.with_name(path.name + _GAPS)


def note_length(path: Path) -> None:
    """Note the length of the complete part at `path`, so that a later attempt notices a truncation."""
    path.with_name(path.name + _LENGTH).write_text(str(path.stat().st_size))


def move_out(part: Part, target: Path) -> None:
    """Make `part` a finished file; a note in its old place lets the next attempt move it back."""
    part.path.with_name(part.path.name + _MOVED).write_text(target.name)
    part.path.rename(target)


def back_to_unfinished(path: Path) -> None:
    """Make the part at `path` an unfinished one, so that the next attempt resumes it at its end."""
    path.rename(path.with_name(path.name + ".part"))
    path.with_name(path.name + _LENGTH).unlink(missing_ok=True)


def aside_of(path: Path) -> Path:
    """Return where the part at `path` is while it is fetched once more."""
    return path.with_name(path.name + _ASIDE)


def lay_aside(path: Path) -> None:
    """Rename the part at `path` while it is fetched once more."""
    _delete_notes(path)
    note_length(path.rename(aside_of(path)))


def is_laid_aside(path: Path) -> bool:
    """Whether the complete part at `path` was being fetched once more when an earlier attempt ended."""
    aside = aside_of(path)
    return aside.is_file() and _has_noted_length(aside) and not path.exists()


def take_back(path: Path) -> None:
    """Undo `lay_aside`."""
    aside_of(path).replace(path)
    note_length(path)


def delete_part(path: Path) -> None:
    """Delete the complete part at `path`, so that it is fetched anew; what is laid aside stays."""
    path.unlink()
    _delete_notes(path)


def _delete_notes(path: Path) -> None:
    for note in path.parent.glob(f"{path.name}.*"):
        if not note.name.startswith(path.name + _ASIDE):
            note.unlink()


def _has_noted_length(path: Path) -> bool:
    note = path.with_name(path.name + _LENGTH)
    return note.is_file() and note.read_text(errors="replace") == str(path.stat().st_size)


_LIST: Final = "joined.ffconcat"

Section = Sequence[Part]


def concatenation(path: Path, pieces: Sequence[Path], like: probe.Media) -> Part:
    """Write the list of `pieces`, files beside `path`, to `path`, for ffmpeg's concat demuxer.

    Returns a part that reads all of them as one file, with the streams of `like`.
    """
    names = "".join(f"file {piece.name}\n" for piece in pieces)
    path.write_text(f"ffconcat version 1.0\n{names}")
    return Part(path, like, plain=False, reading=("-f", "concat"))


def join(directory: Path, sections: Sequence[Section], ffmpeg: str, run: Callable[[list[str]], None]) -> Part:
    """Join all `sections` to one part; raises `JobFailed` if their codecs differ, or if one is empty."""
    # Files with the same streams in the same order need not be merged.
    files = [section[0] for section in sections if len(section) == 1 and not section[0].reading]
    layouts = {(part.media.container, part.media.tracks) for part in files}
    if len(files) == len(sections) and len(layouts) == 1:
        merged = files
    else:
        merged = [_merge_section(directory, at, section, ffmpeg, run) for at, section in enumerate(sections)]
    first = merged[0].media
    codecs = [(part.media.video, part.media.audio) for part in merged]
    if len(set(codecs)) > 1:
        raise JobFailed("conversion_failed", f"sections of different codecs cannot be joined: {codecs}")
    durations = [part.media.duration for part in merged]
    duration = sum(each for each in durations if each) if all(durations) else None
    sizes = {(part.media.width, part.media.height) for part in merged}
    joined = concatenation(
        directory / _LIST, [part.path for part in merged], replace(first, duration=duration)
    )
    return joined if len(sizes) == 1 else replace(joined, only_in="mkv")


def _merge_section(
    directory: Path, at: int, section: Section, ffmpeg: str, run: Callable[[list[str]], None]
) -> Part:
    """Merge `section` to one file of one picture and one sound."""
    picture = next((part for part in section if part.media.video), None)
    sound = next((part for part in reversed(section) if part.media.audio), None)
    sources = list(dict.fromkeys(part for part in (picture, sound) if part))  # may be the same part
    if not sources:
        raise JobFailed("no_media", f"section {at} is empty")
    target = directory / f"merged-{at:04}.mkv"
    inputs = [word for part in sources for word in (*part.reading, "-i", f"file:{part.path}")]
    maps = ["-map", "0:V:0"] if picture else []
    maps += ["-map", f"{len(sources) - 1}:a:0"] if sound else []
    run([*inputs, *maps, "-c", "copy", f"file:{target}"])
    return Part(target, probe.inspect(target, ffmpeg), plain=False)
