"""The random kills of `tests.end_to_end.test_kills`, for as long as one likes.

    python -m tests.bench.kills [--kills 1000] [--seed N] [--reached | --crowd | --cluster]

It measures nothing, and only tells whether all went well. It prints a seed, which repeats the kinds of kills
and their order; the machine decides which moment they hit.
"""

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from pathlib import Path

import tests.bundled  # noqa: F401  first: whoever looks for an ffmpeg finds this one
from tests.bench.cluster_kills import kill_nodes
from tests.crowds import open_crowd
from tests.kills import check_end, check_files, make_film
from tests.reached import all_kinds
from tests.site import make_media

STEP = 100  # kills after which all tasks so far must have ended well


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.kills", description="Kill processes at random."
    )
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--reached", action="store_true", help="sources that take more than a plain request")
    parser.add_argument("--crowd", action="store_true", help="lists, batches, subtitles, clips, sponsors")
    parser.add_argument("--cluster", action="store_true", help="many nodes, and what they stand on")
    chosen = parser.parse_args(arguments)
    # Silences the test site, whose clients are killed.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    print(f"{chosen.kills} kills, seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="clipwire-kills-") as folder:
        place = Path(folder)
        if chosen.cluster:
            asyncio.run(kill_nodes(place, chosen.kills, chosen.seed))
        else:
            asyncio.run(kill(place, chosen.kills, chosen.seed, reached=chosen.reached, crowd=chosen.crowd))
    return 0


async def kill(folder: Path, kills: int, seed: int, *, reached: bool, crowd: bool) -> None:
    """Kill until the number is reached. Raises `AssertionError` at the first fault."""
    film = make_film(make_media(folder / "made"), folder / "media")
    began = time.monotonic()
    opened = open_crowd(folder, film, seed) if crowd else all_kinds(folder, film, seed, reached=reached)
    async with opened as running:
        while running.toll.total < kills:
            await running.run(min(running.toll.total + STEP, kills))
            await running.settle(within=300)
            running.check()
            await check_files(running, folder)
            took = time.monotonic() - began
            print(f"{took:6.0f} s  {len(running.witnesses)} tasks  {running.toll.killed}", flush=True)
        await check_end(running)


if __name__ == "__main__":
    sys.exit(main())
