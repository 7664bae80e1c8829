"""Carries out a plan: one run of ffmpeg for all files that have to be made, with fallbacks if that fails.

An output that cannot be made does not affect the others. A film that cannot be made as planned is tried with
fewer streams and tags, and then kept as it was fetched; the task's log has each fallback.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from server.child.media import parts
from server.child.media.parts import Part
from server.child.process.job_failed import JobFailed

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
class Plan:
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
    writing = [word for one in recipes for word in (*_numbered(one, inputs), f"file:{folder / one.name}")]
    return [*reading, *writing] if recipes else []


def _distinct(recipes: Iterable[Recipe]) -> list[Part]:
    return list(dict.fromkeys(part for one in recipes for part in one.inputs))


def _numbered(one: Recipe, inputs: list[Part]) -> list[str]:
    return [word.among(inputs) if isinstance(word, Of) else word for word in one.words]


def carry_out(
    plan: Plan, folder: Path, run: Callable[[list[str]], None], log: Callable[[str], None]
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
        _make_each(plan, folder, run, log)
    for _, part, name in plan.moves:
        parts.move_out(part, folder / name)
    if failed and not plan.files:
        raise failed
    return plan.files


def _make_each(
    plan: Plan, folder: Path, run: Callable[[list[str]], None], log: Callable[[str], None]
) -> None:
    """Make each output by a run of its own, by the first way that works; `plan` becomes what was made."""
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
