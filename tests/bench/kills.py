"""The random kills of `tests.test_kills`, for as long as one likes.

    python -m tests.bench.kills [--kills 1000] [--seed N]

Nothing is measured but whether all went well. The seed is printed: it gives the same kinds of kills in the
same order again, though the machine decides what they hit.
"""

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.kills import check_data, check_files, make_film, rampage, swept
from tests.site import make_media, open_site

STEP = 100  # kills after which the tasks so far must have ended well


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.kills", description="Kill processes at random."
    )
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    chosen = parser.parse_args(arguments)
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # the site's, whose clients are killed
    print(f"{chosen.kills} kills, seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="clipwire-kills-") as folder:
        asyncio.run(kill(Path(folder), chosen.kills, chosen.seed))
    return 0


async def kill(folder: Path, kills: int, seed: int) -> None:
    """Raises `AssertionError` at the first thing that is not as it should be."""
    film = make_film(make_media(folder / "made"), folder / "media")
    began = time.monotonic()
    async with open_site(film) as site, rampage(folder / "service", site, film, seed) as running:
        while running.toll.total < kills:
            await running.run(min(running.toll.total + STEP, kills))
            await running.settle(within=300)
            for witness in running.witnesses:
                witness.check()
            await check_files(running, folder)
            took = time.monotonic() - began
            print(f"{took:6.0f} s  {len(running.witnesses)} tasks  {running.toll.killed}", flush=True)
        assert running.service.complaints() == []
        await running.service.restart()
        await swept(running.service.data)
        assert await running.service.stop() == 0
        check_data(running.service.data, running.witnesses)


if __name__ == "__main__":
    sys.exit(main())
