"""Random kills of nodes and of the database, nodes that hang, and connections that break."""

import random
import time
from pathlib import Path

import pytest

from tests.cluster.aftermath import check
from tests.cluster.storm import HOSTS, Storm, storm
from tests.lasting import part_of
from tests.site import open_site

LASTS = part_of(300.0)  # seconds of the storm
CALM = 1.0, 6.0  # least and most seconds between two strikes, so that nodes can work between them


@pytest.mark.long
@pytest.mark.minutes(6)
@pytest.mark.parametrize(
    "place",
    [pytest.param("bucket", id="a bucket and disks of their own"), pytest.param("folder", id="one folder")],
)
async def test_whatever_dies_and_whenever_every_task_ends_once_as_was_wanted_and_nothing_is_left(
    media: Path, tmp_path: Path, request: pytest.FixtureRequest, place: str
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # pytest shows it if the test fails
    s3 = request.getfixturevalue("s3") if place == "bucket" else None
    began = time.time()

    def is_over(_: Storm) -> bool:
        return time.time() > began + LASTS

    async with open_site(media, 0, *HOSTS) as site, storm(tmp_path, site, s3, seed, CALM) as raging:
        began = time.time()
        try:
            await raging.run(is_over)
        finally:
            print(raging.struck, dict(raging.killed), len(raging.crowd.witnesses), "tasks")
        await check(raging, media, tmp_path, began)
