"""Servers that follow the channels of `tests.site.year`, and are killed all the time.

`Survival.run` plays the year; `check` compares what the API and the disk have in the end with what the site
has shown. No kill comes after a fixed time: it comes at a request, or at a moment of `tests.moments`.
"""

import asyncio
import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

from server.files.local import LocalFiles
from server.library.library_folder import UnfinishedFile
from server.library.placement_rows import PlacementRows
from server.subscriptions.check_rows import CheckRows
from server.subscriptions.item_rows import ItemRows
from server.subscriptions.subscription_checker import SubscriptionChecker
from server.subscriptions.subscription_rows import SubscriptionRows
from server.tasks.children import ForkServer
from server.tasks.recorder import Recorder
from server.tasks.service import Tasks
from tests.moments import Moment
from tests.service import Payload, Service, gone
from tests.site.year import KEPT, Channel, Year

MAX_NEW = 10
REQUEST = {"outputs": ["video"], "video_format": "any"}
SETTINGS = {
    "CLIPWIRE_SUBSCRIPTIONS__PAUSE": "0s",
    "CLIPWIRE_SUBSCRIPTIONS__MAX_NEW": str(MAX_NEW),
    "CLIPWIRE_DOWNLOADS__ALLOWED_PRIVATE_HOSTS": '["127.0.0.0/8"]',
    "CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": "0",
}
# Days that pass one after the other at the end, so that all retries become due.
CALM = (0.3, 0.5, 1.5, 4.0, 8.0, 8.0)
_ASKED_AT_ONCE = 24  # most requests of one server that may be under way when a host begins to refuse
_PATIENCE = 240.0  # seconds in which everything that is due must be done


_CALLS: tuple[Callable[..., object], ...] = (
    CheckRows.claim,
    CheckRows.settle,
    CheckRows.fail,
    SubscriptionChecker.hold_tasks,
    Tasks.take_on,
    Tasks.retry,
    Tasks.put_off,
    ForkServer.start,
    LocalFiles.publish,
    LocalFiles.tidy_up,
    PlacementRows.reserve,
    PlacementRows.settle,
    UnfinishedFile.put,
)
_EVENTS = ("Started", "Completed", "Failed")


def _before(call: Callable[..., object], when: str = "True") -> Moment:
    owner, _, method = call.__qualname__.partition(".")
    return Moment(call.__module__, owner, method, when)


MOMENTS = (
    *(_before(call) for call in _CALLS),
    *(_before(Recorder.record, f"isinstance(args[2], {event})") for event in _EVENTS),
)


class Survival:
    """Plays the year on `servers`. `set_ahead` sets how many seconds the servers' clock is ahead at their
    next start.

    `has_users`: users skip, forget, fetch and delete entries, unsubscribe and subscribe again, while servers
    are killed.
    """

    def __init__(
        self,
        servers: Sequence[Service],
        year: Year,
        set_ahead: Callable[[float], Awaitable[None]],
        moments: Sequence[Moment] = MOMENTS,
        *,
        has_users: bool = False,
    ) -> None:
        self.year = year
        self._servers = servers
        self._set_ahead = set_ahead
        self._moments = moments
        self._chance = random.Random(f"{year.seed} kills")
        self._ids: dict[str, str] = {}
        self.killed: Counter[str] = Counter()
        self.done: Counter[str] = Counter()  # how many entries users acted on, by action
        self._deeds: Mapping[float, Callable[[], Awaitable[None]]] = (
            {}
            if not has_users
            else {
                0.15: self._forget,
                0.2: self._skip,
                0.25: self._delete,
                0.35: self._skip,
                0.4: self._come_back_for_all,
                0.5: self._skip,
                0.6: self._fetch_skipped,
                0.65: self._forget,
                0.7: self._skip,
                0.8: self._come_back_for_nothing,
                0.9: self._fetch_skipped,
            }
        )

    async def run(self, kills_a_turn: int) -> None:
        await self._subscribe()
        for turn in range(1, self.year.turns + 1):
            await self._dawn()
            for _ in range(kills_a_turn):
                await self._kill_one()
            await self._settled()
            # Users fetch what was held of the first burst, and nothing of later ones.
            if turn in self.year.at(0.3):
                await self._act("bursting", {"action": "fetch", "state": "waiting"})
                await self._kill_one()
                await self._settled()
            await self._learn()
            for part, deed in self._deeds.items():
                if turn in self.year.at(part):
                    await deed()
                    await self._settled()
                    await self._learn()
        for days in CALM:
            self.year.turn = self.year.turns
            await self._dawn(days)
            await self._settled()
            await self._learn()

    # --- turns ---

    @property
    def _any(self) -> Service:
        return self._chance.choice(self._servers)

    async def _subscribe(self) -> None:
        for channel in self.year.channels:
            async with self._any.client.post("/api/subscriptions", json=_wished(channel)) as answer:
                assert answer.status == 201, await answer.text()
                self._ids[channel.name] = (await answer.json())["subscription_id"]
        await self._settled()
        self._began = 0.0
        await self._learn()

    async def _dawn(self, days: float | None = None) -> None:
        """Kill all servers, let `days` pass, and start the servers again."""
        await asyncio.gather(*(server.kill() for server in self._servers))
        self._count("at dawn", len(self._servers))
        self.year.dawn(days)
        self._began = self.year.now
        await self._set_ahead(self.year.ahead)
        await asyncio.gather(*(server.start() for server in self._servers))

    async def _kill_one(self) -> None:
        """Kill a server at a moment or at one of the next requests, or when nothing is due if neither
        comes.
        """
        server = self._any
        if self._chance.random() < 0.5:
            moment = self._chance.choice(self._moments)
            await moment.comes(server)
            started = server.processes()
            await self._rest(lambda: not server.runs)
            if not server.runs:
                await server.ended()
                await gone(started)
                self._count(f"{moment.owner}.{moment.method}", 1)
                await server.start()
                return
        else:
            last = self.year.requests + self._chance.randint(0, 12)
            await self._rest(lambda: self.year.requests >= last)
        await server.kill()
        self._count("at a request", 1)
        await server.start()

    def _count(self, how: str, kills: int) -> None:
        self.year.kills += kills
        self.killed[how] += kills

    async def _rest(self, comes_first: Callable[[], bool]) -> None:
        """Wait until nothing is due, or until `comes_first` is true."""
        resting = asyncio.create_task(self._settled(), name="rest")
        while not (resting.done() or comes_first()):
            await asyncio.wait((resting,), timeout=0.01)
        if resting.done():
            await resting
        else:
            resting.cancel()
            await asyncio.wait((resting,))

    async def _settled(self) -> None:
        """Wait until no check and no download is due."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while why := await self._is_due():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            log = "\n".join(line for server in self._servers for line in server.log[-30:])
            raise AssertionError(f"still due: {why}\n{log}") from None

    async def _is_due(self) -> object:
        """Return a subscription or a task that is due, or None."""
        server = next((each for each in self._servers if each.runs), self._servers[0])
        with suppress(aiohttp.ClientError, ConnectionError):
            now = self.year.now
            for one in (await self._get(server, "/api/subscriptions?limit=200"))["subscriptions"]:
                if one["stage"] == "checking" or _time(one["next_check_at"]) <= now:
                    return one
            for task in (await self._get(server, "/api/tasks?status=processing&limit=200"))["tasks"]:
                if "not_before" not in task or _time(task["not_before"]) <= now:
                    return task
            return None
        return "no answer"

    async def _learn(self) -> None:
        for channel in self.year.channels:
            one = await self._get(self._any, f"/api/subscriptions/{self._ids[channel.name]}")
            if "succeeded_at" in one and _time(one["succeeded_at"]) >= self._began - 1:
                channel.learn(MAX_NEW)
        for task in await self._all("/api/tasks", "tasks"):
            if task["stage"] == "completed":
                self.year.completed.add(_film(task["url"]))

    async def _act(self, name: str, body: dict[str, Any]) -> None:
        path = f"/api/subscriptions/{self._ids[name]}/items/actions"
        async with self._any.client.post(path, json=body) as answer:
            assert answer.status == 200, await answer.text()

    # --- what users do ---

    async def _skip(self) -> None:
        """Skip the waiting entries of hosts that ban, and half of the held and waiting entries of a list."""
        for name, share in (("strict", 1.0), ("stricter", 1.0), ("channel", 0.5)):
            channel = self._channel(name)
            items = [*await self._items(channel, "queued"), *await self._items(channel, "waiting")]
            chosen = self._chance.sample(items, round(len(items) * share))
            moments = (Tasks.cancel, ItemRows.skip)
            results = await self._act_on(channel, "skip", chosen, moments)
            channel.skipped |= {_film(one["url"]) for one in results if one["state"] == "skipped"}

    async def _fetch_skipped(self) -> None:
        """Fetch half of the skipped entries."""
        for name in ("strict", "stricter", "channel"):
            channel = self._channel(name)
            skipped = await self._items(channel, "skipped")
            chosen = self._chance.sample(skipped, (len(skipped) + 1) // 2)
            moments = (ItemRows.fetch, Tasks.take_on, Tasks.retry)
            await self._act_on(channel, "fetch", chosen, moments)
            # A repeated request refuses entries that the request before the kill has queued; they are fetched
            # all the same.
            names = {_film(one["url"]) for one in chosen}
            channel.skipped -= names
            channel.wanted |= names

    async def _forget(self) -> None:
        """Forget entries: known ones become wanted, and those that a filter skipped are skipped again."""
        for name, state in (("announcing", "known"), ("signed", "skipped")):
            channel = self._channel(name)
            chosen = await self._items(channel, state)
            await self._act_on(channel, "forget", chosen, (ItemRows.forget,))
            channel.forget([_film(one["url"]) for one in chosen])

    async def _delete(self) -> None:
        channel = self._channel("left")
        fetched = await self._items(channel, "fetched")
        chosen = self._chance.sample(fetched, min(3, len(fetched)))
        moments = (ItemRows.set_state, ItemRows.expire, Tasks.delete)
        for one in await self._act_on(channel, "delete", chosen, moments):
            assert (one["state"], one["reason"]) == ("expired", "by_client"), one
            channel.deleted.add(_film(one["url"]))

    async def _come_back_for_all(self) -> None:
        """Unsubscribe, and subscribe again to all entries: fetched files stay and are not fetched again,
        deleted ones are.
        """
        channel = self._channel("left")
        await self._leave(channel, "keep")
        channel.begin_anew("all")
        self.year.completed -= channel.deleted
        channel.deleted = set()
        await self._come_back(channel)

    async def _come_back_for_nothing(self) -> None:
        channel = self._channel("left")
        await self._leave(channel, "delete")
        channel.begin_anew("none")
        channel.deleted |= {entry.name for entry in channel.entries} & self.year.completed
        await self._come_back(channel)

    async def _leave(self, channel: Channel, files: str) -> None:
        path = f"/api/subscriptions/{self._ids[channel.name]}?files={files}"
        status, _ = await self._insist("DELETE", path, None, (SubscriptionRows.remove, Tasks.delete))
        assert status in (204, 404)  # 404: an earlier request has removed it, but its answer was lost
        self.done["left"] += 1

    async def _come_back(self, channel: Channel) -> None:
        status, one = await self._insist(
            "POST", "/api/subscriptions", _wished(channel), (SubscriptionRows.add,)
        )
        assert status in (201, 409)
        self._ids[channel.name] = one["subscription_id"]

    def _channel(self, name: str) -> Channel:
        return next(channel for channel in self.year.channels if channel.name == name)

    async def _items(self, channel: Channel, state: str) -> list[Payload]:
        path = f"/api/subscriptions/{self._ids[channel.name]}/items"
        return [one for one in await self._all(path, "items") if one["state"] == state]

    async def _act_on(
        self,
        channel: Channel,
        action: str,
        items: Sequence[Payload],
        moments: Sequence[Callable[..., object]],
    ) -> list[Payload]:
        """Act on items of a channel; return the items that the answer shows."""
        if not items:
            return []
        path = f"/api/subscriptions/{self._ids[channel.name]}/items/actions"
        keys = [one["key"] for one in items]
        _, answered = await self._insist("POST", path, {"action": action, "keys": keys}, moments)
        self.done[action] += len(keys)
        return [one["item"] for one in answered["results"] if one["status"] == 200 and "item" in one]

    async def _insist(
        self, method: str, path: str, body: Payload | None, moments: Sequence[Callable[..., object]]
    ) -> tuple[int, Any]:
        """Send a request to a server that is killed during or after it, then to any server until one answers
        for good.
        """
        server = self._any
        await _before(self._chance.choice(moments)).comes(server)
        started = server.processes()
        answered: tuple[int, Any] | None = None
        with suppress(aiohttp.ClientError, ConnectionError):
            answered = await self._request(server, method, path, body)
        await server.kill()
        await gone(started)
        self._count("at a user's request", 1)
        await server.start()
        async with asyncio.timeout(_PATIENCE):
            while answered is None or answered[0] == 503 or "worker_silent" in str(answered[1]):
                answered = await self._request(self._any, method, path, body)
        return answered

    async def _request(
        self, server: Service, method: str, path: str, body: Payload | None
    ) -> tuple[int, Any]:
        async with server.client.request(method, path, json=body) as answer:
            return answer.status, await answer.json() if answer.status != 204 else None

    # --- what is there in the end ---

    async def check(self, folder: Path, library: Path | None) -> None:
        """Fail unless each entry that was visible is fetched, held or skipped, and nothing is there twice."""
        seen = sum(len(channel.seen) for channel in self.year.channels)
        print(f"{self.year.kills} kills {dict(self.killed)}, {seen} entries, {self.year.requests} requests")
        print(f"users: {dict(self.done)}")
        faults = self.year.faults
        tasks: dict[str, list[Payload]] = defaultdict(list)
        for task in await self._all("/api/tasks", "tasks"):
            tasks[_film(task["url"])].append(task)
        faults += [f"{film} has {len(each)} tasks" for film, each in tasks.items() if len(each) > 1]
        for channel in self.year.channels:
            found: dict[str, list[Payload]] = defaultdict(list)
            for item in await self._all(f"/api/subscriptions/{self._ids[channel.name]}/items", "items"):
                found[_film(item["url"])].append(item)
            one = await self._get(self._any, f"/api/subscriptions/{self._ids[channel.name]}")
            if one["url"] != channel.address:
                faults.append(f"{one['url']} is not {channel.address}")
            if "keep" in channel.wishes and one["items"].get("fetched", 0) > KEPT:
                faults.append(f"{channel.name} keeps {one['items']}")
            for name in channel.seen:
                if why := self._wrong(channel, name, found[name], tasks[name]):
                    faults.append(f"{channel.name}: {name} {why}")
        faults += self._asked_too_often()
        most = _ASKED_AT_ONCE * len(self._servers)
        bans = (ban.values() for host in self.year.hosts.values() for ban in host.refused)
        faults += [
            f"{count} requests to a host that refuses" for ban in bans for count in ban if count > most
        ]
        contents = {hashlib.sha256(self.year.bytes_of(name)).hexdigest(): name for name in self.year.films}
        completed = Counter(
            name for name, each in tasks.items() if any(task["stage"] == "completed" for task in each)
        )
        there = Counter(contents.get(_hash(path), path.name) for path in folder.rglob("*.mp4"))
        faults += [
            f"files of {name}: {there[name]}" for name in there | completed if there[name] != completed[name]
        ]
        if library is not None:
            signed = next(channel for channel in self.year.channels if "library" in channel.wishes)
            placed = Counter(contents.get(_hash(path), path.name) for path in library.rglob("*.mp4"))
            wanted = Counter(name for name in completed if name in signed.seen)
            faults += [
                f"placed: {name} {placed[name]}" for name in placed | wanted if placed[name] != wanted[name]
            ]
        assert not faults, "\n".join(faults[:60]) + f"\n{len(faults)} faults"

    def _wrong(self, channel: Channel, name: str, items: list[Payload], tasks: list[Payload]) -> str | None:
        if not items:
            return "is lost"
        entry = self.year.films[name]
        said = [f"{item['state']} {item.get('reason', '')}".strip() for item in items]
        with_task = [item for item in items if "task_id" in item]
        if len(with_task) > 1 and len({item["task_id"] for item in with_task}) > 1:
            return f"has several tasks: {said}"
        if any(item["state"] not in ("known", "fetched") and "reason" not in item for item in items):
            return f"has no reason: {said}"
        if name in channel.skipped:
            has_come = any(task["stage"] == "completed" for task in tasks)
            return None if said == ["skipped by_client"] and not has_come else f"is {said}, and was skipped"
        if name in channel.deleted:
            is_so = said in (["expired by_client"], ["fetched in_memory"], ["known"])
            return None if is_so and not tasks else f"is {said}, and was deleted"
        if channel.is_skipped(entry):
            return None if said in (["skipped not_title"], ["known"]) else f"is {said} and not skipped"
        if name not in channel.wanted:
            return None if said[-1] == "known" else f"is {said} and was there before"
        if entry.is_gone:
            return None if said == ["failed http_410"] else f"is {said} and gone"
        if "fetched" in said or any(each.startswith("fetched") for each in said):
            return None if tasks and tasks[0]["stage"] == "completed" else f"is {said} without a task"
        if "keep" in channel.wishes and said == ["expired retention"]:
            return f"has a task and is {said}" if tasks else None
        if name in channel.held:
            return None if all(each == "waiting held" for each in said) else f"is {said} and not held"
        return f"is {said} and not fetched: {[task.get('error') for task in tasks]}"

    def _asked_too_often(self) -> list[str]:
        """Return the films whose file was requested too often: more requests than kills and refusals
        explain.
        """
        return [
            f"{name} was asked for {len(asked)} times"
            for name, asked in self.year.asked.items()
            if len(asked)
            > 3 * (1 + sum(one.status != 200 for one in asked) + asked[-1].kills - asked[0].kills)
        ]

    async def _all(self, path: str, name: str) -> list[Payload]:
        found, cursor = list[Payload](), ""
        while True:
            page = await self._get(self._any, f"{path}?limit=200{cursor}")
            found += page[name]
            if "next_cursor" not in page:
                return found
            cursor = f"&cursor={page['next_cursor']}"

    async def _get(self, server: Service, path: str) -> Any:
        async with server.client.get(path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()


def _wished(channel: Channel) -> Payload:
    body = {"url": channel.address, "request": REQUEST, "interval": "6h", **channel.wishes}
    return body | ({"backlog": channel.backlog} if channel.backlog else {})


def _time(said: str) -> float:
    return datetime.fromisoformat(said).timestamp()


def _film(url: str) -> str:
    """Return the name of the film that a link leads to."""
    return url.partition("?")[0].rpartition("/")[2].removesuffix(".mp4").removeprefix("film-")


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
