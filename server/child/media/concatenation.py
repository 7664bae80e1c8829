"""Joins sections that were fetched one by one into one film: parts of a video, or periods of a DASH manifest.

Each section is merged first, so that its picture and its sound begin together; then ffmpeg reads all of them
as one file. Nothing is encoded, so sections of different codecs cannot be joined.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from server.child.media import probe
from server.child.media.parts import Part
from server.child.process.job_failed import JobFailed

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
    if _are_alike(sections):
        merged = [section[0] for section in sections]
    else:
        merged = [_merged(directory, at, section, ffmpeg, run) for at, section in enumerate(sections)]
    first = merged[0].media
    found = [_streams(part.media) for part in merged]
    if len(set(found)) > 1:
        raise JobFailed("conversion_failed", f"sections of different codecs cannot be joined: {found}")
    known = [part.media.duration for part in merged]
    duration = sum(each for each in known if each) if all(known) else None
    sizes = {(part.media.width, part.media.height) for part in merged}
    joined = concatenation(
        directory / _LIST, [part.path for part in merged], replace(first, duration=duration)
    )
    return joined if len(sizes) == 1 else replace(joined, only_in="mkv")


def _are_alike(sections: Sequence[Section]) -> bool:
    """Whether each is one file, of one kind and with the same streams in the same order."""
    files = [section[0] for section in sections if len(section) == 1 and not section[0].reading]
    kinds = {(part.media.container, part.media.tracks) for part in files}
    return len(files) == len(sections) and len(kinds) == 1


def _streams(media: probe.Media) -> tuple[str | None, str | None]:
    return media.video, media.audio


def _merged(
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
