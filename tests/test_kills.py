"""`kill -9` of anything, any time: at random, and at the moments that chance would hardly find."""

import random
from pathlib import Path

from tests.kills import check_data, check_files, make_film, rampage
from tests.site import open_site

KILLS = 60


async def test_whatever_is_killed_and_whenever_every_task_completes_and_nothing_is_left(
    media: Path, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # shown when it fails
    film = make_film(media, tmp_path / "media")
    async with open_site(film) as site, rampage(tmp_path / "service", site, film, seed) as running:
        await running.run(KILLS)
        print(running.toll.killed, len(running.witnesses))
        await running.settle(within=90)
        for witness in running.witnesses:
            witness.check()
        await check_files(running, tmp_path)
        assert running.service.complaints() == []
        await running.service.restart()  # what a killed process could not tidy up, the next start does
        assert await running.service.stop() == 0
        check_data(running.service.data, running.witnesses)
    print(running.toll.killed, len(running.witnesses))
