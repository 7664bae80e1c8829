"""People who use a service for a week, and remember what they asked for; see `week`.

`Town` submits, cancels, retries, deletes, reads and subscribes, each in the name of one of many people, and
remembers each task that was accepted: none may vanish before it has been seen to end, and each ends as its
kind does.
"""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import aiohttp

from tests.bench.client import FINAL

FILMS_KEPT = 3  # films that each subscription keeps: their tasks do not end with the retention of the others
ADMIN = "an admin's token of the week"
AT_ONCE = 200  # most tasks of one request
TROUBLES_SHOWN = 20
LONGEST_QUEUE = 200  # unfinished tasks at which people wait, so that a slow machine is not flooded
Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request. `{n}` in `path` is one of the numbers of `Town`, so that there is a limited number
    of films.

    `then` is done with the task once it is accepted, or, if `after_end`, once it has ended as it should.
    """

    path: str
    ends: tuple[str, ...] = ("completed",)
    outputs: tuple[str, ...] = ("video",)
    entries: int = 0
    then: Callable[["Town", "Accepted"], Awaitable[None]] | None = None
    after_end: bool = False


@dataclass(slots=True, eq=False)
class Accepted:
    task_id: str
    person: Person
    kind: Kind
    is_deleted: bool = False
    then_done: bool = False
    newest: str = "queued"


class Town:
    """The town. While `run` runs, `people` submit `tasks_a_second`, entries of lists included."""

    def __init__(self, url: str, site: str, tasks_a_second: float, films: int, seed: int) -> None:
        self._site = site
        self._pause = 1 / tasks_a_second
        self._chance = random.Random(seed)
        self._numbers = itertools.cycle(range(films))
        self._kinds = itertools.cycle(self._chance.sample(KINDS, len(KINDS)))
        self._errands: set[asyncio.Task[None]] = set()
        self.session = aiohttp.ClientSession(
            url, connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(60)
        )
        self.people: list[Person] = []
        self.unfinished: dict[str, Accepted] = {}
        self.newest_film: Accepted | None = None
        self.counts: Counter[str] = Counter()
        self.troubles: list[str] = []
        self.submits: list[float] = []
        """Seconds that submits took since this list was emptied."""

    async def close(self) -> None:
        for errand in self._errands:
            errand.cancel()
        await asyncio.gather(*self._errands, return_exceptions=True)
        await self.session.close()

    # --- people ---

    async def settle(self, count: int, subscriptions: int, interval: str) -> None:
        """Add `count` people and, in their names, as many `subscriptions`."""
        for number in range(count):
            person = await self._ask("POST", "/api/people", 201, json={"name": f"person{number}"})
            self.people.append(Person(person["name"], person["token"]))
        for number in range(subscriptions):
            wanted = {
                "url": f"{self._site}/followed/channel{number}.rss",
                "interval": interval,
                "request": {"outputs": ["video"]},
                "keep": {"last": FILMS_KEPT},
            }
            person = self.people[number % count]
            await self._ask("POST", "/api/subscriptions", 201, person, json=wanted)

    # --- their actions ---

    async def run(self) -> None:
        """Submit, until cancelled."""
        due = time.monotonic()
        while True:
            kind = next(self._kinds)
            due = max(due + self._pause * (1 + kind.entries), time.monotonic() - 1)
            if len(self.unfinished) < LONGEST_QUEUE:
                self._begin(partial(self._submit, kind), "submit")
            await asyncio.sleep(due - time.monotonic())

    @property
    def is_busy(self) -> bool:
        return bool(self._errands or self.unfinished)

    async def finish_errands(self) -> None:
        while self._errands:
            await asyncio.wait(self._errands)

    def _begin(self, errand: Callable[[], Awaitable[None]], name: str) -> None:
        task = asyncio.create_task(self._without_raising(errand), name=name)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _without_raising(self, errand: Callable[[], Awaitable[None]]) -> None:
        try:
            await errand()
        except Exception as exc:  # one surprise must not end the whole hour; it is reported at the end
            self.trouble(f"{type(exc).__name__}: {exc}")

    async def _submit(self, kind: Kind) -> None:
        """Submit a task; repeat the request with the same key until it is answered, since the server may be
        killed meanwhile.
        """
        person = self._chance.choice(self.people)
        body: dict[str, object] = {"url": self._site + kind.path.format(n=next(self._numbers))}
        body |= {"outputs": list(kind.outputs)} | ({"playlist": True} if kind.entries else {})
        headers = {**person.headers, "Idempotency-Key": str(uuid4())}
        while True:
            began = time.perf_counter()
            status, answer = await self._answer("POST", "/api/process", headers=headers, json=body)
            if status in (503, 507):  # the server is stopping, or has no room: the request is repeated later
                self.counts[f"refused with {status}"] += 1
                await asyncio.sleep(1.0)
                continue
            break
        if status != 202:
            return self.trouble(f"a submit was answered with {status}: {answer}")
        self.submits.append(time.perf_counter() - began)
        self.counts["submitted"] += 1
        accepted = Accepted(answer["task_id"], person, kind)
        self.unfinished[accepted.task_id] = accepted
        if kind.then and not kind.after_end:
            await kind.then(self, accepted)
        return None

    async def cancel(self, task: Accepted) -> None:
        await asyncio.sleep(self._chance.uniform(0, 2))
        await self._act(task, "cancel")

    async def pause_and_resume(self, task: Accepted) -> None:
        await asyncio.sleep(self._chance.uniform(0, 0.5))
        await self._act(task, "pause")
        await asyncio.sleep(self._chance.uniform(0, 2))
        await self._act(task, "resume")

    async def delete(self, task: Accepted) -> None:
        await asyncio.sleep(self._chance.uniform(0, 1))
        task.is_deleted = True
        path = f"/api/tasks/{task.task_id}"
        status, _ = await self._answer("DELETE", path, headers=task.person.headers)
        while status == 503:  # the server is stopping: the request is repeated later
            await asyncio.sleep(1.0)
            status, _ = await self._answer("DELETE", path, headers=task.person.headers)
        if status not in (204, 404):  # 404: the task was deleted, but the answer was lost with the server
            return self.trouble(f"a deletion was answered with {status}")
        self.unfinished.pop(task.task_id, None)
        self.counts["deleted"] += 1
        return None

    async def retry(self, task: Accepted) -> None:
        self.unfinished[task.task_id] = task
        await self._act(task, "retry")

    async def _act(self, task: Accepted, action: str) -> None:
        path = f"/api/tasks/{task.task_id}/{action}"
        status, answer = await self._answer("POST", path, headers=task.person.headers)
        # Without a repetition the task would stay paused for ever.
        while status == 503:  # the server is stopping
            await asyncio.sleep(1.0)
            status, answer = await self._answer("POST", path, headers=task.person.headers)
        if status not in (200, 409):  # 409: the task has ended meanwhile
            self.trouble(f"{action} was answered with {status}: {answer}")
        self.counts[action] += 1

    async def _read(self, task: Accepted, payload: Payload) -> None:
        """Read of a task that has ended what the page reads."""
        paths = [*payload["files"].values(), f"/api/tasks/{task.task_id}/log", "/api/tasks?q=video&limit=20"]
        paths += [f"/api/download.zip?ids={task.task_id}", f"/api/tasks/{task.task_id}/thumbnail", "/api/me"]
        path = self._chance.choice(paths)
        async with self.session.get(path, headers=task.person.headers) as answer:
            await answer.read()
            if answer.status not in (200, 404):  # not every task has a thumbnail
                self.trouble(f"{path} was answered with {answer.status}")
        self.counts["reads"] += 1

    # --- checks ---

    async def look(self) -> None:
        """Request all tasks that have not been seen to end: each must be there."""
        for ids in _chunks(list(self.unfinished), AT_ONCE):
            asked = [self.unfinished[task_id] for task_id in ids if task_id in self.unfinished]
            names = ",".join(task.task_id for task in asked)
            answer = await self._ask("GET", f"/api/tasks?ids={names}", 200)
            there = {payload["task_id"]: payload for payload in answer["tasks"]}
            for task in asked:
                if payload := there.get(task.task_id):
                    self._take(task, payload)
                elif not task.is_deleted:
                    self.unfinished.pop(task.task_id)
                    self.counts["lost"] += 1
                    self.trouble(f"lost: {task.task_id}, {task.newest}, {task.kind}")

    def _take(self, task: Accepted, payload: Payload) -> None:
        task.newest = payload["stage"]
        if task.newest not in FINAL or task.is_deleted or task.task_id not in self.unfinished:
            return
        del self.unfinished[task.task_id]
        self.counts[task.newest] += 1
        if task.newest not in task.kind.ends:
            self.counts["ended otherwise"] += 1
            self.trouble(f"ended as {task.newest} instead of {task.kind.ends}: {payload}")
        elif task.kind.entries and payload["entries"]["completed"] != task.kind.entries:
            self.counts["ended otherwise"] += 1
            self.trouble(f"a list with {payload['entries']} instead of {task.kind.entries}")
        elif task.kind.then and task.kind.after_end and not task.then_done:
            task.then_done = True
            self._begin(partial(task.kind.then, self, task), "afterwards")
        elif payload["files"]:
            # A task that is to be deleted could be gone while its status is measured.
            if task.kind.then is not Town.delete:
                self.newest_film = task
            self._begin(partial(self._read, task, payload), "read")

    def trouble(self, what: str) -> None:
        self.troubles.append(what)
        if len(self.troubles) <= TROUBLES_SHOWN:
            print(f"  {what[:600]}", flush=True)

    # --- requests ---

    async def _ask(
        self, method: str, path: str, wanted: int, person: Person | None = None, **body: Any
    ) -> Any:
        """Send a request as an admin, or as `person`; return the JSON of the answer. Raises `RuntimeError`
        for another status than `wanted`.
        """
        headers = (person or Person("", ADMIN)).headers
        status, answer = await self._answer(method, path, headers=headers, **body)
        if status != wanted:
            raise RuntimeError(f"{path} was answered with {status}: {answer}")
        return answer

    async def _answer(self, method: str, path: str, **asked: Any) -> tuple[int, Any]:
        """Return the status and the JSON of the answer; repeat the request while the server is away."""
        while True:
            try:
                async with self.session.request(method, path, **asked) as answer:
                    body = await answer.json(content_type=None) if answer.status != 204 else None
                    return answer.status, body
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError):
                self.counts["asked again"] += 1
                await asyncio.sleep(0.2)


def _chunks(ids: list[str], size: int) -> Iterable[list[str]]:
    return (ids[begin : begin + size] for begin in range(0, len(ids), size))


_FILM = Kind("/video.mp4?signature={n}")
KINDS = (
    *(_FILM,) * 24,
    *(Kind("/page?kind=video&src=%2Fvideo.mp4%3Fsignature%3Dp{n}"),) * 3,
    *(Kind("/video.mp4?signature=d{n}", then=Town.delete, ends=FINAL),) * 2,
    # Each answer may name only a part; the rest is requested again.
    *(Kind("/video.mp4?cut=150000&signature=c{n}"),) * 2,
    Kind("/video.mp4?signature=s{n}", outputs=("video", "audio")),
    Kind("/hls/ts/index.m3u8?signature=h{n}"),
    Kind("/feed?count=6&delay=0.1&list={n}", entries=6),
    Kind("/1mb.mp4?rate=150000&signature=x{n}", ends=FINAL, then=Town.cancel),
    Kind("/1mb.mp4?signature=y{n}", then=Town.pause_and_resume),
    Kind("/video.mp4?status=404&signature=f{n}", ends=("failed",), then=Town.retry, after_end=True),
)
