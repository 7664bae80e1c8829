"""The whole service places films in a library: on another file system, while it is killed, and when the
library is full.
"""

import asyncio
import os
import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from server.library.library_folder import MARKER
from tests.lasting import part_of
from tests.library import media_servers
from tests.service import Payload, Service, Services
from tests.site import Site

LIBRARY = {"layout": "movies"}
KILLS = round(part_of(60))


def all_of(root: Path) -> list[str]:
    return sorted(
        str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() and path.name != MARKER
    )


async def placed(service: Service, task_id: str, within: float = 60) -> Payload:
    """Wait until the files of a task are placed; return its status."""
    status: Payload = {}
    try:
        async with asyncio.timeout(within):
            while (status := await service.status(task_id)).get("library", {}).get("state") != "placed":
                assert status["stage"] != "failed", status
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"{status}\n" + "\n".join(service.log[-20:]))
    return status


def submits(site: Site, number: int) -> dict[str, Any]:
    return {
        "url": site.url(f"/1mb.mp4?rate={3_000_000 + number}"),
        "outputs": ["video"],
        "video_format": "any",
        "library": LIBRARY,
    }


@pytest.mark.long
@pytest.mark.minutes(2)
async def test_each_film_is_placed_once_over_kills(services: Services, site: Site, tmp_path: Path) -> None:
    """Films are copied, so that a kill can interrupt a copy."""
    chance, root = random.Random(2), tmp_path / "library"
    root.mkdir()
    settings = {"CLIPWIRE_LIBRARY__PATH": str(root), "CLIPWIRE_LIBRARY__METHOD": "copy"}
    async with services.lend(**settings) as service:
        tasks: list[str] = []
        for number in range(KILLS):
            for _ in range(3):
                body = submits(site, len(tasks))
                tasks.append((await service.submit(body.pop("url"), **body))["task_id"])
            await asyncio.sleep(chance.uniform(0.2, 2.5))  # the kill comes at a random moment
            await service.kill()
            sizes = Counter(
                path.stat().st_size for path in root.rglob("*.mp4") if not path.name.startswith(".")
            )
            assert len(sizes) <= 1, f"what has its name is whole: {sizes}, kill {number}"
            await service.start()
            await service.ready(60)
        paths = [path for task in tasks for path in (await placed(service, task))["library"]["paths"]]
        assert sorted(paths) == all_of(root), "each once, and nothing else is left"
        assert len(set(paths)) == len(paths)
        assert len([path for path in paths if path.endswith(".mp4")]) == len(tasks)


@pytest.mark.wide
async def test_a_film_from_a_page_is_placed_as_media_servers_expect_it(
    services: Services, site: Site, tmp_path: Path
) -> None:
    """The description and the picture come from the page, through the child."""
    root, url = tmp_path / "library", site.url("/page?uploader=Class5+E4&title=A+film:+S01E02")
    root.mkdir()
    body: dict[str, Any] = {"outputs": ["video", "thumbnail"], "library": {"folder": "YouTube"}}
    async with services.lend(CLIPWIRE_LIBRARY__PATH=str(root), CLIPWIRE_LIBRARY__TIME_ZONE="UTC") as service:
        task_id = (await service.submit(url, **body))["task_id"]
        status = await placed(service, task_id)
        [film] = [path for path in status["library"]["paths"] if path.endswith(".mp4")]
        [(season, episode, *_)] = media_servers.episodes(film.rpartition("/")[2])
        base = film.removesuffix(".mp4")
        show = "/".join(film.split("/")[:2])
        assert all_of(root) == sorted(
            [
                *(film, f"{base}.nfo", f"{base}-thumb.jpg"),
                *(f"{show}/poster.jpg", f"{show}/season{season}-poster.jpg", f"{show}/tvshow.nfo"),
            ]
        )
        told = ElementTree.fromstring((root / f"{base}.nfo").read_bytes())
        assert (told.findtext("season"), told.findtext("episode")) == (str(season), str(episode))
        assert told.findtext("plot") == "A film with a tone"
        assert told.findtext("title") == status["video_info"]["title"]
        assert (root / film).stat().st_size == status["file_info"]["video"]["size"]
        picture = (root / f"{base}-thumb.jpg").read_bytes()
        assert picture == (root / show / "poster.jpg").read_bytes()
        assert len(picture) == status["file_info"]["thumbnail"]["size"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    root = tmp_path / "small"
    root.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(root)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("a full disk was not tried: this user may mount no file system")
    try:
        yield root
    finally:
        subprocess.run(["umount", "-l", str(root)], check=False)


@pytest.mark.minutes(0.5)
@pytest.mark.long
async def test_a_full_library_waits_and_is_filled_when_there_is_room(
    services: Services, site: Site, small_disk: Path
) -> None:
    ballast = small_disk / "ballast"
    async with services.lend(CLIPWIRE_LIBRARY__PATH=str(small_disk)) as service:
        ballast.write_bytes(b"x" * 1000_000)
        body = {"url": site.url("/1mb.mp4"), "outputs": ["video"], "video_format": "any", "library": LIBRARY}
        task_id = (await service.submit(str(body.pop("url")), **body))["task_id"]
        await service.wait(task_id, "completed")
        while not any("No space left" in line for line in service.log):
            await asyncio.sleep(0.05)
        status = await service.status(task_id)
        assert (status["stage"], status["library"]) == ("completed", {"state": "waiting", "paths": []})
        assert not list(small_disk.rglob("*.part")), "no half of it is left"
        ballast.unlink()
        placed_now = await placed(service, task_id, 60)
        [film] = [path for path in placed_now["library"]["paths"] if path.endswith(".mp4")]
        assert (small_disk / film).stat().st_size == status["file_info"]["video"]["size"]
        assert os.stat(small_disk / film).st_nlink == 1
        await service.clear()
