"""Lists, batches, subtitles, clips and SponsorBlock for `tests.kills`, which has only plain films."""

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from tests.kills import WAITING, Kind, Rampage, Witness
from tests.service import Told
from tests.site import SECONDS, open_site
from tests.site.sponsors import CUT

_TRACK = "track=/texts/words.vtt"
_SLOW = "/1mb.mp4?rate=700000"
_PIECES = "/hls/ts/index.m3u8?rate=80000"
_AT_ONCE = 4  # requests of one batch


def _page(path: str, **query: str) -> str:
    more = "".join(f"&{name}={quote(value)}" for name, value in query.items())
    return f"/page?kind=video&{_TRACK}{more}&src={quote(path, safe='')}"


def _list(*entries: Kind) -> Kind:
    links = "".join(f"&entry={quote(entry.path, safe='')}" for entry in entries)
    return Kind(f"/feed?delay=0.3{links}", body={"playlist": True}, entries=entries)


_ENTRIES = (
    Kind(_SLOW, same_as="1mb.mp4"),
    Kind("/1mb.mp4?wait=0.6", same_as="1mb.mp4"),
    Kind(_PIECES),
    Kind("/1mb.mp4?ranges=no&rate=2000000", same_as="1mb.mp4"),
)
KINDS = (
    Kind("/8mb.mp4?rate=6000000", same_as="8mb.mp4"),
    _list(*_ENTRIES),
    Kind(_page(_SLOW), same_as="1mb.mp4", texts=("en",)),
    Kind(_page(_PIECES), body={"subtitles": {"embed": True}}, within=("eng",)),
    Kind(_page(_SLOW), outputs=(), texts=("en",)),
    Kind("/long.mp4?rate=1000000", body={"clip": {"start": 10, "end": 14, "exact": True}}),
    Kind(_PIECES, body={"clip": {"start": 1, "end": 3, "exact": True}}, seconds=2),
    Kind(
        f"/told/sponsored?src={quote(_SLOW, safe='')}",
        body={"sponsorblock": ["sponsor"]},
        seconds=SECONDS - (CUT[1] - CUT[0]),
    ),
    _list(_ENTRIES[2]),
)


class Crowd(Rampage):
    """A `Rampage` that also kills the server while it reads a list or accepts a batch."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._batches = itertools.count(1)
        self.ways |= {
            Crowd._kill_server_while_a_list_is_read: 4,
            Crowd._kill_server_while_it_takes_a_batch: 4,
        }

    async def settle(self, within: float) -> None:
        async with asyncio.timeout(within):
            while watchers := [watcher for watcher in self._watchers if not watcher.done()]:
                await asyncio.gather(*watchers)
                self._adopt()
            await super().settle(within)

    async def _fill(self) -> None:
        """Submit until the queue is full, first a batch if there is room for one."""
        self._adopt()
        if sum(not witness.done for witness in self.witnesses) <= WAITING - _AT_ONCE:
            await self._submit_batch()
        await super()._fill()

    async def _until_all_may_be_lost(self) -> None:
        self._adopt()
        await super()._until_all_may_be_lost()

    async def _kill_server_while_a_list_is_read(self) -> None:
        kind = next(kind for kind in KINDS if kind.entries)
        url = self._site.url(kind.path)
        self._accepted(await self.service.submit(url, **kind.wishes), kind)
        await asyncio.sleep(self._random.uniform(0, 0.6))
        await self._kill_server()

    async def _kill_server_while_it_takes_a_batch(self) -> None:
        """Kill the server while it accepts a batch. The batch is sent again with the same key; all answers
        must name the same tasks.
        """
        kinds, body, key = self._batch()
        asking = asyncio.create_task(self._ask_for(body, key), name=key)
        await asyncio.sleep(self._random.uniform(0, 0.03))
        await self._kill_server()
        answers = [await self._ask_for(body, key)]
        with suppress(aiohttp.ClientError, ConnectionError):
            answers.append(await asking)
        assert len({tuple(task["task_id"] for task in answer) for answer in answers}) == 1, answers
        self._take(kinds, answers[0])

    async def _submit_batch(self) -> None:
        kinds, body, key = self._batch()
        self._take(kinds, await self._ask_for(body, key))

    def _batch(self) -> tuple[list[Kind], dict[str, Any], str]:
        asked = [self._next() for _ in range(_AT_ONCE)]
        body = {"requests": [request for _, request in asked]}
        return [kind for kind, _ in asked], body, f"batch-{next(self._batches)}"

    async def _ask_for(self, body: dict[str, Any], key: str) -> list[dict[str, Any]]:
        headers = {"Idempotency-Key": key}
        async with self.service.client.post("/api/process/batch", json=body, headers=headers) as answer:
            results = (await answer.json())["results"]
        assert [result["status"] for result in results] == [202] * len(results), results
        return [result["task"] for result in results]

    def _take(self, kinds: list[Kind], tasks: list[dict[str, Any]]) -> None:
        assert len({task["task_id"] for task in tasks}) == len(kinds)
        for kind, task in zip(kinds, tasks, strict=True):
            self._accepted(task, kind)

    def _adopt(self) -> None:
        """Watch the tasks that the entries of lists have become."""
        known = {witness.task_id: witness for witness in self.witnesses}
        for task_id, playlist_id, index in self._entries():
            if task_id not in known:
                self._watch(Witness(task_id, known[playlist_id].kind.entries[index - 1]))

    def _entries(self) -> Iterator[tuple[str, str, int]]:
        with closing(sqlite3.connect(self.service.data / "clipwire.db")) as database:
            yield from database.execute(
                "SELECT task_id, playlist_id, playlist_index FROM tasks WHERE playlist_id IS NOT NULL"
            )

    def check(self) -> None:
        """Check all tasks as `Rampage` does; then fail unless each entry of a list became one task, with the
        right index.
        """
        self._adopt()
        super().check()
        kinds = {witness.task_id: witness.kind for witness in self.witnesses}
        found: dict[str, list[tuple[int, str]]] = {}
        for task_id, playlist_id, index in self._entries():
            found.setdefault(playlist_id, []).append((index, kinds[task_id].path))
        for witness in self.witnesses:
            if entries := witness.kind.entries:
                expected = [(place, entry.path) for place, entry in enumerate(entries, 1)]
                assert sorted(found[witness.task_id]) == expected
                counts = {"total": len(entries), "completed": len(entries), "failed": 0}
                assert witness.newest["entries"] == counts, witness.newest


@asynccontextmanager
async def open_crowd(folder: Path, film: Path, seed: int) -> AsyncIterator[Crowd]:
    async with open_site(film) as site:
        settings = {
            "CLIPWIRE_DOWNLOADS__MAX_CONCURRENT": "5",
            "CLIPWIRE_DOWNLOADS__SPONSORBLOCK_API": site.url(""),
        }
        async with Told(folder / "service", **settings) as service:
            running = Crowd(service, site, film, seed, KINDS)
            try:
                yield running
            finally:
                await running.close()
