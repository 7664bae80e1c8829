"""The command line of `make bench`: see `tests.bench`."""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from tests.bench.against import against, checked_out
from tests.bench.figures import Figure, save, table
from tests.bench.lab import Lab, open_lab
from tests.bench.noise import CORES, is_crowded
from tests.bench.programs import ROOT

# Each name is that of a module, with a coroutine function of this name that takes the `Lab`.
NAMES = (
    "polling", "submits", "fanout", "downloads", "waiting", "asleep", "starts", "serving", "corpus",
    "journeys",
)  # fmt: skip
# These benchmarks take many minutes, and run only if `--only` names them.
LONG = ("week", "overload")
RESULTS = Path("bench-results")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure Clipwire.")
    parser.add_argument(
        "--only", nargs="+", choices=(*NAMES, *LONG), default=NAMES, metavar="NAME",
        help=f"{', '.join(NAMES)}; and those that take many minutes, which run only if they are named: "
        + ", ".join(LONG),
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=60.0, help="of week: how long it lasts")
    parser.add_argument(
        "--rest", type=float, default=5.0, help="of overload: minutes until it looks at what is left"
    )
    parser.add_argument("--check", action="store_true", help="exit status 1 unless all targets are met")
    parser.add_argument("--against", metavar="COMMIT", help="compare with that commit, in turns")
    parser.add_argument("--rounds", type=int, default=5, help="with --against: runs of each side")
    parser.add_argument("--smoke", action="store_true", help="tiny numbers: does it run?")
    parser.add_argument("--json", type=Path, default=RESULTS / "latest.json", help="where the figures go")
    chosen = parser.parse_args(arguments)
    crowded = is_crowded()
    if crowded:
        print(f"More wants to run here than the {CORES} cores can: no target counts as met.", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="clipwire-bench-") as folder:
        place = Path(folder)
        if chosen.against:
            checked_out(chosen.against, place / "other")
            print(asyncio.run(_compare(chosen.only, place, chosen.rounds, smoke=chosen.smoke)))
            return 0
        figures = asyncio.run(
            _measure(chosen.only, place, chosen.json.parent, chosen.minutes, chosen.rest, smoke=chosen.smoke)
        )
    figures = [replace(figure, is_crowded=crowded) for figure in figures]
    print(table(figures))
    save(figures, chosen.json)
    chosen.json.with_suffix(".md").write_text(table(figures) + "\n")
    return int(chosen.check and any(figure.has_target and not figure.met for figure in figures))


async def _compare(names: Sequence[str], folder: Path, rounds: int, *, smoke: bool) -> str:
    _end_on_sigterm()
    async with open_lab(folder, folder / "media", smoke=smoke) as lab:
        return await against(folder / "other", rounds, lambda tree: run(names, lab, tree))


async def _measure(
    names: Sequence[str], folder: Path, results: Path, minutes: float, rest: float, *, smoke: bool
) -> list[Figure]:
    _end_on_sigterm()
    media = folder / "media"
    async with open_lab(folder, media, smoke=smoke, minutes=minutes, rest=rest, results=results) as lab:
        return await run(names, lab)


async def run(names: Sequence[str], lab: Lab, tree: Path = ROOT) -> list[Figure]:
    """Run the benchmarks one after the other; each one's figures are shown as soon as they are there."""
    figures: list[Figure] = []
    for name in names:
        began = time.monotonic()
        mine = replace(lab, tree=tree, foreign=[])
        found: list[Figure] = await getattr(import_module(f"tests.bench.{name}"), name)(mine)
        noise = max(mine.foreign, default=None)
        if noise is not None:
            found = [replace(figure, foreign=noise) for figure in found]
        print(f"{name}: {time.monotonic() - began:.0f} s\n{table(found)}", file=sys.stderr)
        figures += found
    return figures


def _end_on_sigterm() -> None:
    """End the started processes on SIGTERM, too; asyncio itself does so on SIGINT."""
    this = asyncio.current_task()
    assert this
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)


if __name__ == "__main__":
    sys.exit(main())
