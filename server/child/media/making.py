"""Carries out a plan: one run of ffmpeg for all files that have to be made, with fallbacks if that fails.

An output that cannot be made does not affect the others. A film that cannot be made as planned is tried with
fewer streams and tags, and then kept as it was fetched; the task's log has each fallback.

What was made is flushed to the disk, so that it survives a power cut.

Decisions: docs/decisions/subtitles-tags-clips.md
"""

import hashlib
import os
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from server.child.media import parts
from server.child.media.parts import Part
from server.child.process.job_failed import JobFailed


@dataclass(frozen=True, slots=True)
class Of:
    """A word of ffmpeg's command line that refers to an input, or to its `stream`, by the input's number.

    The number is known only when all inputs of the run are: `among` returns the word.
    """

    part: Part
    stream: str = ""

    def among(self, inputs: list[Part]) -> str:
        return f"{inputs.index(self.part)}{self.stream and ':'}{self.stream}"


Word = str | Of


@dataclass(frozen=True, slots=True)
class Recipe:
    """ffmpeg's arguments for one output file, `name`: the `words` that precede it."""

    name: str
    words: list[Word]

    @property
    def inputs(self) -> list[Part]:
        return [word.part for word in self.words if isinstance(word, Of)]


@dataclass(slots=True)
class PlannedOutput:
    """An output of this `kind`, made by the first of `recipes` that works; if none does, `instead` is a part
    to keep as it is, and its name.
    """

    kind: str
    recipes: list[Recipe]
    instead: tuple[Part, str] | None = None


@dataclass(slots=True)
class OutputPlan:
    """Which outputs are made by ffmpeg, and which parts are moved.

    `moves` are (kind, part, name). They follow ffmpeg's run, which may read the same parts. `notes` are for
    the task's log.
    """

    made: list[PlannedOutput] = field(default_factory=list)
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
        """Return ffmpeg's arguments to make all outputs; empty if none is made."""
        return arguments(folder, *(made.recipes[0] for made in self.made))


def recipe(name: str, maps: Iterable[tuple[Part, str]], options: Iterable[Word]) -> Recipe:
    """Return the recipe for the file `name` with the streams `maps`: parts, and ffmpeg's specifiers."""
    words = [word for part, stream in maps for word in ("-map", Of(part, stream))]
    front = ["-movflags", "+faststart"] if name.endswith((".mp4", ".m4a", ".mov")) else []
    return Recipe(name, [*words, *options, *front])


def arguments(folder: Path, *recipes: Recipe) -> list[str]:
    """Return ffmpeg's arguments, with no other inputs than `recipes` need, since others may be damaged."""
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


_NOT_EMPTY: Final = ("-abort_on", "empty_output")
"""A stream may end before a clip begins. By default ffmpeg then writes a file with nothing in it."""


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
            run([*_NOT_EMPTY, *plan.arguments(folder)])
    except JobFailed as error:
        failed = _require_fallback(error)
        # Make each output by a run of its own; `plan` becomes what was made.
        known_to_fail = [plan.made[0].recipes[0]] if len(plan.made) == 1 else []
        for made in list(plan.made):
            plan.made.remove(made)
            (folder / made.recipes[0].name).unlink(missing_ok=True)
            left = [recipe for recipe in made.recipes if recipe not in known_to_fail]
            if recipe := _first_that_works(left, folder, run):
                if recipe is not made.recipes[0]:
                    log(f"{made.kind}: made with less in it, as {recipe.name}")
                plan.made.append(PlannedOutput(made.kind, [recipe]))
            elif made.instead:
                log(f"{made.kind}: kept as the source has it")
                plan.moves.append((made.kind, *made.instead))
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
            run([*_NOT_EMPTY, *arguments(folder, recipe)])
        except JobFailed as error:
            _require_fallback(error)
            (folder / recipe.name).unlink(missing_ok=True)
        else:
            return recipe
    return None


def _require_fallback(error: JobFailed) -> JobFailed:
    """Return `error` if another recipe may work; raise it if the machine is at fault."""
    if error.code != "conversion_failed":
        raise error
    return error


_BLOCK: Final = 256 * 1024  # bytes: still in the processor's cache when the second checksum reads them


@dataclass(frozen=True, slots=True)
class Checksums:
    """Those of a file: `sha256` in hexadecimal digits, and the `crc32` that a ZIP entry needs."""

    sha256: str
    crc32: int


def flush(path: Path) -> Checksums:
    """Flush a file's content to the disk; return its checksums, computed while the disk works."""
    with path.open("rb", buffering=0) as file, ThreadPoolExecutor(1) as pool:
        flushing = pool.submit(os.fsync, file.fileno())
        digest, crc, buffer = hashlib.sha256(), 0, memoryview(bytearray(_BLOCK))
        while read := file.readinto(buffer):
            digest.update(buffer[:read])
            crc = zlib.crc32(buffer[:read], crc)
        checksums = Checksums(digest.hexdigest(), crc)
        flushing.result()
        return checksums


def flush_names(folder: Path) -> None:
    """Flush the entries of a directory, not the files, to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
