"""Parts: fetched streams, as files in the job's directory that outlive an attempt.

A part's name stands for exactly one stream at the source. A file of another name belongs to an earlier choice
of streams and is removed, so that no download is resumed with the bytes of another.

`join` makes one film of sections that were fetched one by one: parts of a video, or periods of a DASH
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
_MOVED = ".moved"
_WHOLE = ".whole"
_ASIDE = ".aside"
_GAPS = ".gaps"
SOURCE = ".source"
"""The suffix of the note about the source of an unfinished part, or of one of its fragments."""
_EXT = re.compile("[a-z0-9]{1,8}")
_KEPT = frozenset(("preview.jpg",))


@dataclass(frozen=True, slots=True)
class Part:
    """`plain` means that the file has the source's bytes; else it was joined from fragments, or made here.

    `reading` are ffmpeg's input options for it; `only_in` is the container that alone takes it, if there is
    one. `begins` is the second of the film at which it begins.
    """

    path: Path
    media: Media
    plain: bool = True
    reading: tuple[str, ...] = ()
    only_in: str | None = None
    begins: float = 0.0


def chosen_streams(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The info dicts of the streams to fetch: one, or picture and sound."""
    whole = {name: value for name, value in info.items() if name not in ("requested_formats", "formats")}
    return [whole | stream for stream in info.get("requested_formats") or [whole]]


def name_of(stream: Mapping[str, Any], section: int = 0, clip: JobClip | None = None) -> str:
    """The part's file name: in every attempt the same for a stream of a video, though its URL may change.

    With another `clip` it is another name, since other segments are fetched.
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
    """Delete all but the preview and the parts called `names`, and make an empty `out`.

    A complete part whose length is not the one noted was truncated by a power cut: it becomes unfinished.
    Unless it `resumes`, unfinished parts are deleted: yt-dlp would go on with them without checking that the
    source is the same.
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
        elif path.name not in _KEPT and not path.name.startswith(wanted):
            path.unlink()
    for path in map(directory.joinpath, wanted):
        if path.is_file() and not _is_vouched_for(path):
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
    """The path of the note that the part at `path` has gaps; the note exists only if it has."""
    return path.with_name(path.name + _GAPS)


def note_length(path: Path) -> None:
    """Note the length of the complete part at `path`, by which a later attempt sees a truncation by a power
    cut.
    """
    path.with_name(path.name + _WHOLE).write_text(str(path.stat().st_size))


def move_out(part: Part, target: Path) -> None:
    """Make `part` a finished file; a note in its old place lets the next attempt move it back."""
    part.path.with_name(part.path.name + _MOVED).write_text(target.name)
    part.path.rename(target)


def back_to_unfinished(path: Path) -> None:
    """Make the part at `path` an unfinished one, so that the next attempt resumes it at its end."""
    path.rename(path.with_name(path.name + ".part"))
    path.with_name(path.name + _WHOLE).unlink(missing_ok=True)


def aside_of(path: Path) -> Path:
    """Where the part at `path` is while it is fetched anew."""
    return path.with_name(path.name + _ASIDE)


def lay_aside(path: Path) -> None:
    """Rename the part at `path` while it is fetched anew."""
    _drop_notes(path)
    note_length(path.rename(aside_of(path)))


def is_laid_aside(path: Path) -> bool:
    """Whether the part at `path` was being fetched anew, complete as it had been, when its attempt ended."""
    aside = aside_of(path)
    return aside.is_file() and _is_vouched_for(aside) and not path.exists()


def take_back(path: Path) -> None:
    """Undo `lay_aside`."""
    aside_of(path).replace(path)
    note_length(path)


def delete_part(path: Path) -> None:
    """Delete the complete part at `path`, so that it is fetched anew; what is laid aside of it stays."""
    path.unlink()
    _drop_notes(path)


def _drop_notes(path: Path) -> None:
    for note in path.parent.glob(f"{path.name}.*"):
        if not note.name.startswith(path.name + _ASIDE):
            note.unlink()


def _is_vouched_for(path: Path) -> bool:
    note = path.with_name(path.name + _WHOLE)
    return note.is_file() and note.read_text(errors="replace") == str(path.stat().st_size)


_LIST: Final = "joined.ffconcat"

Section = Sequence[Part]


def concatenation(path: Path, pieces: Sequence[Path], like: probe.Media) -> Part:
    """A part that reads `pieces`, files beside `path`, as one, with the streams of `like`.

    Writes the list of `pieces` to `path`.
    """
    names = "".join(f"file {piece.name}\n" for piece in pieces)
    path.write_text(f"ffconcat version 1.0\n{names}")
    return Part(path, like, plain=False, reading=("-f", "concat"))


def join(directory: Path, sections: Sequence[Section], ffmpeg: str, run: Callable[[list[str]], None]) -> Part:
    """All `sections` as one part; raises `JobFailed` if their codecs differ, or if one is empty."""
    # Whether each is one file, of one kind and with the same streams in the same order.
    files = [section[0] for section in sections if len(section) == 1 and not section[0].reading]
    kinds = {(part.media.container, part.media.tracks) for part in files}
    if len(files) == len(sections) and len(kinds) == 1:
        merged = files
    else:
        merged = [_merge_section(directory, at, section, ffmpeg, run) for at, section in enumerate(sections)]
    first = merged[0].media
    found = [(part.media.video, part.media.audio) for part in merged]
    if len(set(found)) > 1:
        raise JobFailed("conversion_failed", f"sections of different codecs cannot be joined: {found}")
    known = [part.media.duration for part in merged]
    duration = sum(each for each in known if each) if all(known) else None
    sizes = {(part.media.width, part.media.height) for part in merged}
    joined = concatenation(
        directory / _LIST, [part.path for part in merged], replace(first, duration=duration)
    )
    return joined if len(sizes) == 1 else replace(joined, only_in="mkv")


def _merge_section(
    directory: Path, at: int, section: Section, ffmpeg: str, run: Callable[[list[str]], None]
) -> Part:
    """`section` as one file of one picture and one sound."""
    picture = next((part for part in section if part.media.video), None)
    sound = next((part for part in reversed(section) if part.media.audio), None)
    found = list(dict.fromkeys(part for part in (picture, sound) if part))
    if not found:
        raise JobFailed("no_media", f"section {at} is empty")
    target = directory / f"merged-{at:04}.mkv"
    inputs = [word for part in found for word in (*part.reading, "-i", f"file:{part.path}")]
    maps = ["-map", "0:V:0"] if picture else []
    maps += ["-map", f"{len(found) - 1}:a:0"] if sound else []
    run([*inputs, *maps, "-c", "copy", f"file:{target}"])
    return Part(target, probe.inspect(target, ffmpeg), plain=False)
