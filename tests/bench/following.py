"""Subscriptions whose sources have nothing new, as mostly: what a look costs, and a thousand of them."""

import asyncio
import resource
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.client import Client, client_of
from tests.bench.figures import Figure, alternate, middle
from tests.bench.lab import Lab
from tests.bench.programs import PATIENCE, Clipwire
from tests.plugins import PluginFolder
from tests.site import Site, open_site
from tests.site.followed import Film, Followed

LIST, FEED = 3000, 100  # entries
SUBSCRIPTIONS = 1000
LOOKS = 10  # of each, in each of the runs
RUNS = 3
AN_HOUR, CORES = 3600, 2
AT_ONCE = 100


async def following(lab: Lab) -> list[Figure]:
    plugins = PluginFolder(lab.new_folder("plugins") / "own")
    plugins.write_told()  # an extractor for lists of the site
    settings = {
        "CLIPWIRE_DOWNLOADS__PLUGINS": str(plugins.path),
        "CLIPWIRE_SUBSCRIPTIONS__PAUSE": "0s",
        "CLIPWIRE_SUBSCRIPTIONS__MAX": "2000",
    }
    async with open_site(lab.media) as site:
        return await _measured(lab, site, plugins, settings)


async def _measured(lab: Lab, site: Site, plugins: PluginFolder, settings: dict[str, str]) -> list[Figure]:
    count = lab.count(SUBSCRIPTIONS, 6)
    site.followed["feed"] = Followed(_films(lab.count(FEED, 5)), conditional=True)
    site.followed["list"] = Followed(_films(lab.count(LIST, 60)), key="Told")
    short = Followed(_films(30), key="Told", conditional=True)
    site.followed |= {f"s{number}": short for number in range(count)}
    paths = {"feed": "/followed/feed.rss", "list": "/told/followed-list"}
    figures: list[Figure] = []
    async with Clipwire(lab.new_folder("following"), **settings) as server, client_of(server) as client:
        followed = _Followed(site, server, client)
        entries = f"{lab.count(LIST, 60):,}"
        for name, what in (("feed", "an unchanged feed"), ("list", f"an unchanged list of {entries}")):
            mine = [await followed.subscribe(paths[name])]
            asked = list[float]()

            async def ours(mine: list[str] = mine, asked: list[float] = asked) -> float:
                cpu, requests = await followed.cost(mine, lab.count(LOOKS, 2))
                asked.append(requests)
                return cpu

            command = partial(_command_line, site.url(paths[name]), plugins.path)
            runs = await alternate(lab.count(RUNS, 1), ours, command)
            cpu, reference = (middle(each) * 1e3 for each in runs)
            figures += [
                Figure(f"a look at {what}: CPU", cpu, "ms", reference=reference, at_most=0.3),
                Figure(f"a look at {what}: requests", max(asked), "", at_most=1 + (name == "list")),
            ]
        many = [
            await followed.subscribe(f"/followed/s{n}.rss" if n % 2 else f"/told/followed-s{n}", wait=False)
            for n in range(count)
        ]
        await followed.settled()
        before = server.cpu_with_children()
        await asyncio.sleep(lab.seconds(10))
        idle = (server.cpu_with_children() - before) / lab.seconds(10)
        cpu, _ = await followed.cost(many[: lab.count(AT_ONCE, 4)], 1)
        share = (idle + cpu * SUBSCRIPTIONS / AN_HOUR) / CORES * 100
        what = f"{SUBSCRIPTIONS:,} subscriptions at one hour, half of them feeds"
        figures += [
            Figure(f"{what}: CPU of {CORES} cores", share, "%", at_most=3),
            Figure(f"{what}, none due: CPU of {CORES} cores", idle / CORES * 100, "%", at_most=0.1),
        ]
    return figures


class _Followed:
    def __init__(self, site: Site, server: Clipwire, client: Client) -> None:
        self._site = site
        self._server = server
        self._client = client

    async def subscribe(self, path: str, *, wait: bool = True) -> str:
        """Its id, once its entries are known."""
        body = {"url": self._site.url(path)}
        async with self._client.session.post("/api/subscriptions", json=body) as answer:
            assert answer.status == 201, await answer.text()
            mine: str = (await answer.json())["subscription_id"]
        if wait:
            await self._until_idle([mine])
        return mine

    async def cost(self, mine: list[str], looks: int) -> tuple[float, float]:
        """Seconds of CPU, and requests, of a look at one of these subscriptions."""
        before, asked = self._server.cpu_with_children(), len(self._site.requests)
        for _ in range(looks):
            for one in mine:
                async with self._client.session.post(f"/api/subscriptions/{one}/check") as answer:
                    assert answer.status == 202
            await self._until_idle(mine)
        count = len(mine) * looks
        cpu = (self._server.cpu_with_children() - before) / count
        return cpu, (len(self._site.requests) - asked) / count

    async def settled(self) -> None:
        async with asyncio.timeout(10 * PATIENCE):
            while any(each["stage"] in ("seeding", "checking") for each in await self._all()):
                await asyncio.sleep(1)

    async def _until_idle(self, mine: list[str]) -> None:
        """Once the looks that were asked for are over: then their next ones are an hour away."""
        async with asyncio.timeout(PATIENCE):
            for one in mine:
                while not _is_looked_at(await self._client.get(f"/api/subscriptions/{one}")):
                    await asyncio.sleep(0.02)

    async def _all(self) -> list[dict[str, Any]]:
        found, cursor = list[dict[str, Any]](), ""
        while True:
            page = await self._client.get(f"/api/subscriptions?limit=200{cursor}")
            found += page["subscriptions"]
            if "next_cursor" not in page:
                return found
            cursor = f"&cursor={page['next_cursor']}"


def _is_looked_at(subscription: dict[str, Any]) -> bool:
    """Whether its next look is most of an hour away."""
    assert subscription["stage"] != "failing", subscription
    soon = datetime.now(UTC) + timedelta(minutes=30)
    return subscription["stage"] == "idle" and datetime.fromisoformat(subscription["next_check_at"]) > soon


async def _command_line(url: str, plugins: Path) -> float:
    """Seconds of CPU that yt-dlp's command line takes to say what is new at `url`."""

    def run() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        first = ("--flat-playlist", "--playlist-items", "1:30", "--print", "id")
        own = ("--ignore-config", "--quiet", "--plugin-dirs", str(plugins))
        command = (sys.executable, "-m", "yt_dlp", *own, *first, url)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return await asyncio.to_thread(run)


def _films(count: int) -> list[Film]:
    return [
        Film(f"f{n}", f"Film {n}", f"/video.mp4?times={n}", at=1_700_000_000.0 + n * 3600, guid=f"g{n}")
        for n in range(count, 0, -1)
    ]
