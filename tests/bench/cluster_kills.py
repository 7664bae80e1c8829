"""The storms of `tests.cluster.test_cluster_kills`, one by one: `python -m tests.bench.kills --cluster`."""

import itertools
import time
from collections import Counter
from pathlib import Path

from tests.cluster.aftermath import check
from tests.cluster.s3 import S3, running_s3
from tests.cluster.storm import HOSTS, Storm, storm
from tests.site import make_media, open_site

STEP = 100  # kills after which all tasks must be well, and new nodes begin with a new database
CALM = 0.1, 1.5  # least and most seconds between strikes


async def kill_nodes(folder: Path, kills: int, seed: int) -> None:
    """Run storms with a bucket and with one folder in turn. Raises `AssertionError` at the first fault."""
    media, began = make_media(folder / "made"), time.monotonic()
    killed, struck, tasks = Counter[str](), Counter[str](), 0
    with running_s3() as s3:
        for number in itertools.count():
            left = kills - killed.total()
            if left <= 0:
                break
            place = folder / str(number)
            place.mkdir()
            files = s3 if number % 2 == 0 else None
            raging = await _step(place, media, files, seed + number, min(STEP, left))
            killed += raging.killed
            struck.update(raging.struck)
            tasks += len(raging.crowd.witnesses)
            took = time.monotonic() - began
            print(f"{took:6.0f} s  {killed.total()} kills  {tasks} tasks  {dict(killed)}", flush=True)
            print(f"{'':8}  {dict(struck)}", flush=True)


async def _step(folder: Path, media: Path, s3: S3 | None, seed: int, kills: int) -> Storm:
    async with open_site(media, 0, *HOSTS) as site, storm(folder, site, s3, seed, CALM) as raging:
        began = time.time()
        try:
            await raging.run(lambda raging: raging.killed.total() >= kills)
            await check(raging, media, folder, began)
        except BaseException:
            print(f"seed {seed}: {raging.struck}")
            for node in raging.sky.cluster.nodes:
                print(node.folder.name, *node.log[-200:], sep="\n  ")
            raise
    return raging
