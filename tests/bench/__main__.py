"""The command line: see `tests.bench`."""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.bench.against import against
from tests.bench.clips import clip
from tests.bench.cluster import CLUSTER
from tests.bench.corpus import corpus
from tests.bench.crawling import crawling
from tests.bench.documented import PAGE, documented, fallen_behind
from tests.bench.downloads import downloads
from tests.bench.fanout import fanout, feed
from tests.bench.figures import Figure, save, table
from tests.bench.following import following
from tests.bench.getting import getting
from tests.bench.idle import coming_and_going, idle
from tests.bench.journeys import journeys
from tests.bench.lab import Lab, open_lab
from tests.bench.library import library
from tests.bench.lists import lists
from tests.bench.long_runs import long_run
from tests.bench.many import batch, together
from tests.bench.million import million
from tests.bench.page import page, page_memory
from tests.bench.polling import polling
from tests.bench.serving import serving
from tests.bench.submits import submits
from tests.bench.waiting import waiting

ALL: tuple[Callable[[Lab], Awaitable[list[Figure]]], ...] = (
    polling, fanout, feed, downloads, getting, submits, lists, following, library, million, waiting,
    idle, coming_and_going, serving, crawling, long_run, batch, together, clip, corpus, page, page_memory,
    journeys, *CLUSTER,
)  # fmt: skip
BENCHMARKS = {each.__name__: each for each in ALL}
GROUPS = {"cluster": [each.__name__ for each in CLUSTER]}
RESULTS = Path("bench-results")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure Clipwire.")
    choices = [*BENCHMARKS, *GROUPS]
    parser.add_argument("--only", nargs="+", choices=choices, default=list(BENCHMARKS), metavar="NAME",
                        help=", ".join(choices))  # fmt: skip
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit status 1 if a target is missed, or a figure is a tenth worse than documented",
    )
    parser.add_argument("--against", metavar="COMMIT", help="compare with that commit, in turns")
    parser.add_argument("--rounds", type=int, default=5, help="with --against: runs of each side")
    parser.add_argument("--smoke", action="store_true", help="tiny numbers: does it run?")
    parser.add_argument("--json", type=Path, default=RESULTS / "latest.json", help="where the figures go")
    chosen = parser.parse_args(arguments)
    names = [each for name in chosen.only for each in GROUPS.get(name, [name])]
    if chosen.against:
        with tempfile.TemporaryDirectory(prefix="clipwire-against-") as folder:
            print(against(chosen.against, names, chosen.rounds, Path(folder), smoke=chosen.smoke))
        return 0
    figures = asyncio.run(measure(names, smoke=chosen.smoke))
    print(table(figures))
    save(figures, chosen.json)
    if not chosen.check:
        return 0
    behind = fallen_behind(figures, documented(PAGE.read_text()))
    print("".join(f"BEHIND: {sentence}\n" for sentence in behind), end="")
    return int(bool(behind) or any(figure.met is False for figure in figures))


async def measure(names: list[str], *, smoke: bool) -> list[Figure]:
    """Run the benchmarks one after the other; each one's figures are shown as soon as they are there."""
    figures: list[Figure] = []
    this = asyncio.current_task()
    assert this
    # Then what was started ends as well; asyncio itself sees to SIGINT.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    with tempfile.TemporaryDirectory(prefix="clipwire-bench-") as folder:
        async with open_lab(Path(folder), Path(folder) / "media", smoke=smoke) as lab:
            for name in names:
                began = time.monotonic()
                found = await BENCHMARKS[name](lab)
                print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
                print("\n".join("  " + "  ".join(figure.row()) for figure in found), file=sys.stderr)
                figures += found
    return figures


if __name__ == "__main__":
    sys.exit(main())
