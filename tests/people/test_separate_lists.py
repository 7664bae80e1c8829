"""What each person sees, gets and is notified of, if lists are separate. `test_matrix` tests who may request
what.
"""

import asyncio
import itertools
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.api import keys
from server.api.session import DIRECTORY
from server.core.library import Library
from server.library.library_names import place_of
from server.library.library_routes import _SAMPLES
from server.people.directory import PeopleDirectory
from server.people.person import NAME
from tests.inside import TASK
from tests.people.test_matrix import COOKIES, World, server_of, world


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.wide)])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    database = "sqlite" if request.param == "sqlite" else request.getfixturevalue("clean_database")
    async with world(tmp_path, database, is_furnished=False) as found:
        yield found


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, "sqlite", is_furnished=False) as found:
        yield found


async def ask(house: World, who: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
    """Send a request as `who`; return the status, and the JSON of the answer."""
    async with house.server.client.request(
        method, path, json=body, headers=house.roles[who] | headers
    ) as answer:
        text = await answer.text()
        with suppress(ValueError):
            return answer.status, json.loads(text)
        return answer.status, text


async def submit(house: World, who: str, path: str = "/api/process", **fields: object) -> str:
    status, task = await ask(house, who, "POST", path, TASK | fields)
    assert status == 202, task
    task_id: str = task["task_id"]
    return task_id


async def ids(house: World, who: str, query: str = "") -> list[str]:
    status, found = await ask(house, who, "GET", f"/api/tasks{query}")
    assert status == 200, found
    return [task["task_id"] for task in found["tasks"]]


@pytest.mark.parametrize("house", ["sqlite", "postgresql"], indirect=True)
async def test_lists_counts_and_searches_have_ones_own_tasks_alone(house: World) -> None:
    hers = [await submit(house, "anna", url=f"http://127.0.0.9:9/{name}.mp4") for name in ("sea", "hill")]
    his = await submit(house, "bob", url="http://127.0.0.9:9/sea.mp4")
    nobodys = await submit(house, "shared", url="http://127.0.0.9:9/sea.mp4")
    for query in ("", "?stage=paused", "?sort=state", "?folded=1", "?sort=state&folded=1", "?q=127.0.0.9"):
        assert await ids(house, "anna", query) == hers[::-1], query
        assert await ids(house, "bob", query) == [his], query
        assert await ids(house, "root", query) == [nobodys, his, *hers[::-1]], query
    assert await ids(house, "anna", "?q=sea") == [hers[0]]
    assert await ids(house, "anna", f"?ids={his},{hers[1]},{nobodys}") == [hers[1]]
    assert await ids(house, "anna", "?limit=1") == [hers[1]]
    for query in ("", "?folded=1"):
        assert (await ask(house, "anna", "GET", f"/api/queue{query}"))[1]["stages"]["paused"] == 2
        assert (await ask(house, "root", "GET", f"/api/queue{query}"))[1]["stages"]["paused"] == 4
    assert await ids(house, "root", "?owner=anna") == hers[::-1]
    assert (await ask(house, "root", "GET", "/api/queue?owner=bob"))[1]["stages"]["paused"] == 1
    assert (await ask(house, "anna", "GET", "/api/tasks?owner=bob"))[1]["code"] == "admin_only"
    for path in ("/api/tasks", "/api/queue", "/api/cookies", "/api/subscriptions", "/api/webhooks"):
        status, problem = await ask(house, "root", "GET", f"{path}?owner=anan")
        assert (status, problem["code"]) == (422, "invalid_query"), f"{path}: no list of somebody unknown"
    status, done = await ask(
        house, "bob", "POST", "/api/tasks/actions", {"action": "cancel", "stage": "paused"}
    )
    assert (status, [one["task"]["task_id"] for one in done["results"]]) == (200, [his])
    assert await ids(house, "anna", "?stage=cancelled&sort=state") == []
    assert await ids(house, "bob", "?sort=state") == [his]


async def test_sockets_and_event_streams_tell_of_ones_own_tasks_alone(house: World) -> None:
    client, roles = house.server.client, house.roles
    async with (
        client.ws_connect("/ws", headers=roles["anna"]) as hers,
        client.ws_connect("/ws", headers=roles["root"]) as all_of_them,
        client.get("/api/events", headers=roles["anna"]) as stream,
    ):
        his, task = await submit(house, "bob"), await submit(house, "anna")
        await ask(house, "bob", "DELETE", f"/api/tasks/{his}")
        await ask(house, "anna", "DELETE", f"/api/tasks/{task}")
        told, of_all = list[dict[str, Any]](), list[dict[str, Any]]()
        while not told or not told[-1].get("removed"):
            told.append(await hers.receive_json())
        while sum(bool(one.get("removed")) for one in of_all) < 2:
            of_all.append(await all_of_them.receive_json())
        text = b""
        while b'"removed"' not in text:
            text += await stream.content.readany()
        assert {one["task_id"] for one in told} == {task}
        assert {one["task_id"] for one in of_all} == {his, task}
        assert task.encode() in text
        assert his.encode() not in text
    # A client that reconnects gets what it has missed of its own tasks.
    began = re.search(rb"id: (\d+)", text)
    assert began
    headers = roles["anna"] | {"Last-Event-ID": began[1].decode()}
    async with client.get("/api/events", headers=headers) as again:
        text = b""
        while b'"removed"' not in text:
            text += await again.content.readany()
        last = (await submit(house, "anna")).encode()
        while last not in text:
            text += await again.content.readany()
    assert task.encode() in text
    assert his.encode() not in text


async def test_keys_and_shared_tasks_are_each_persons_own(small: World) -> None:
    same: dict[str, Any] = {"reuse": True, "url": "http://127.0.0.9:9/same.mp4"}
    hers = await submit(small, "anna", **same)
    assert await submit(small, "bob", **same) != hers
    status, again = await ask(small, "anna", "POST", "/api/process", TASK | same)
    assert (status, again["task_id"]) == (200, hers)
    key = {"Idempotency-Key": "one"}
    _, first = await ask(small, "anna", "POST", "/api/process", TASK, **key)
    _, other = await ask(small, "bob", "POST", "/api/process", TASK, **key)
    assert first["task_id"] != other["task_id"]


async def test_an_admin_may_act_for_somebody(small: World) -> None:
    task = await submit(small, "root", "/api/process?owner=anna")
    _, told = await ask(small, "root", "GET", f"/api/status/{task}")
    assert (told["owner"], told["created_by"]) == ("anna", "root")
    assert await ids(small, "anna") == [task]
    for who, owner, code in (("root", "nobody", "invalid_query"), ("bob", "anna", "admin_only")):
        for path in ("/api/process", "/api/process/batch", "/api/subscriptions"):
            status, problem = await ask(small, who, "POST", f"{path}?owner={owner}", TASK)
            assert problem["code"] == code, (status, path)
    body = {"url": "http://127.0.0.9:9/list", "enabled": False}
    _, made = await ask(small, "root", "POST", "/api/subscriptions?owner=anna", body)
    assert (made["owner"], made["created_by"]) == ("anna", "root")
    _, found = await ask(small, "anna", "GET", "/api/subscriptions")
    assert [one["subscription_id"] for one in found["subscriptions"]] == [made["subscription_id"]]
    assert "owner" not in found["subscriptions"][0]


async def test_two_people_may_follow_one_source_with_feeds_of_one_name(house: World) -> None:
    body = {"url": "http://127.0.0.9:9/list", "enabled": False, "feed": {"name": "pods"}}
    made = {
        who: (await ask(house, who, "POST", "/api/subscriptions", body)) for who in ("anna", "bob", "root")
    }
    assert {status for status, _ in made.values()} == {201}
    addresses = {who: one["feed"]["url"].partition("/feeds/")[2] for who, (_, one) in made.items()}
    assert len(set(addresses.values())) == 3
    for who, address in addresses.items():
        status, text = await ask(house, "nobody", "GET", f"/feeds/{address}")
        assert status == 200
        assert "<rss" in text, who
    again = await ask(house, "anna", "POST", "/api/subscriptions", body | {"feed": None})
    assert again[1]["code"] == "subscribed"
    _, found = await ask(house, "bob", "POST", "/api/feeds/renew")
    assert addresses["bob"].partition("/")[0] not in found["opml"]
    assert (await ask(house, "nobody", "GET", f"/feeds/{addresses['bob']}"))[0] == 404
    assert (await ask(house, "nobody", "GET", f"/feeds/{addresses['anna']}"))[0] == 200
    secret = found["opml"].partition("/feeds/")[2]
    _, listed = await ask(house, "nobody", "GET", f"/feeds/{secret}")
    assert listed.count("<outline") == 1


async def test_cookies_are_each_persons_own(small: World) -> None:
    client = small.server.client
    for who in ("anna", "shared"):
        headers = small.roles[who] | {"Content-Type": "text/plain"}
        async with client.put("/api/cookies/mine", data=COOKIES, headers=headers) as answer:
            assert answer.status == 204
    status, problem = await ask(small, "bob", "POST", "/api/process", TASK | {"cookies": "mine"})
    assert (status, problem["errors"][0]["field"]) == (422, "cookies")
    assert (await ask(small, "bob", "POST", "/api/info", {"url": TASK["url"], "cookies": "mine"}))[0] == 422
    await submit(small, "anna", cookies="mine")
    _, all_of_them = await ask(small, "root", "GET", "/api/cookies")
    assert [(one["name"], one.get("owner")) for one in all_of_them["cookies"]] in (
        [("mine", "anna"), ("mine", None)],
        [("mine", None), ("mine", "anna")],
    )
    _, hers = await ask(small, "anna", "GET", "/api/cookies")
    assert [(one["name"], one.get("owner")) for one in hers["cookies"]] == [("mine", None)]
    cookies = small.server.app[keys.COOKIES]
    assert await cookies.names() == ["anna@mine", "mine"]


async def test_the_memory_is_each_persons_own(small: World) -> None:
    link = "http://127.0.0.9:9/once.mp4"
    await small.server.finished(b"film", await submit(small, "anna", url=link, outputs=["video"]))
    assert (await ask(small, "anna", "GET", f"/api/media?url={link}"))[0] == 200
    assert (await ask(small, "bob", "GET", f"/api/media?url={link}"))[0] == 404
    assert (await ask(small, "root", "GET", f"/api/media?url={link}"))[0] == 404
    assert (await ask(small, "root", "GET", f"/api/media?url={link}&owner=anna"))[0] == 200


async def test_what_no_name_or_id_can_be_is_not_there(house: World) -> None:
    """PostgreSQL refuses a NUL, and no client may write a line into the log."""
    for who, method, path, status in (
        ("root", "PATCH", "/api/people/a%00b", 404),
        ("root", "DELETE", "/api/people/a%00b?tasks=keep", 404),
        ("root", "DELETE", "/api/people/a%00b/tokens/a%00b", 404),
        ("anna", "DELETE", "/api/people/a%00%0Ab?tasks=keep", 403),
        ("anna", "DELETE", "/api/links/a%00b", 404),
    ):
        assert (await ask(house, who, method, path, {}))[0] == status
    [last, *_] = (await ask(house, "root", "GET", "/api/audit"))[1]["events"]
    assert (last["what"], last["on"]) == ("person_removed_refused", "a\ufffd\ufffdb")


async def settled(house: World, name: str) -> None:
    """Wait until everything that belonged to `name` is given to others or deleted."""
    directory = house.server.app[DIRECTORY]
    assert isinstance(directory, PeopleDirectory)
    while (person := directory.people.get(name)) and (person.adopts or person.leaving):
        await asyncio.sleep(0.02)


async def test_what_is_given_away_is_anothers_with_all_that_belongs_to_it(
    house: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.people.belongings.SETTLED_AFTER", 0.0)
    key = {"Idempotency-Key": "one"}
    _, task = await ask(house, "anna", "POST", "/api/process", TASK, **key)
    body = {"url": "http://127.0.0.9:9/list", "enabled": False, "feed": {"name": "pods"}}
    _, made = await ask(house, "anna", "POST", "/api/subscriptions", body)
    headers = house.roles["anna"] | {"Content-Type": "text/plain"}
    async with house.server.client.put("/api/cookies/mine", data=COOKIES, headers=headers):
        pass
    assert (await ask(house, "root", "DELETE", "/api/people/anna?tasks=give&to=bob"))[0] == 204
    await settled(house, "anna")
    assert await ids(house, "bob") == [task["task_id"]]
    _, found = await ask(house, "bob", "GET", "/api/subscriptions")
    assert [one["subscription_id"] for one in found["subscriptions"]] == [made["subscription_id"]]
    assert found["subscriptions"][0]["feed"]["url"] != made["feed"]["url"]
    assert (await ask(house, "bob", "GET", "/api/cookies"))[1]["cookies"][0]["name"] == "mine"
    # A new person of the same name gets none of it.
    await house.add("anna")
    assert await ids(house, "anna") == []
    _, other = await ask(house, "anna", "POST", "/api/process", TASK, **key)
    assert other["task_id"] != task["task_id"]
    secret = made["feed"]["url"].partition("/feeds/")[2]
    assert (await ask(house, "nobody", "GET", f"/feeds/{secret}"))[0] == 404


async def test_who_adopts_gets_what_was_nobodys(house: World) -> None:
    link = "http://127.0.0.9:9/once.mp4"
    task = await submit(house, "shared", url=link, outputs=["video"])
    await house.server.finished(b"film", task)
    body = {"url": "http://127.0.0.9:9/list", "enabled": False, "feed": {"name": "pods"}}
    _, made = await ask(house, "shared", "POST", "/api/subscriptions", body)
    assert await ids(house, "bob") == []
    assert (await ask(house, "bob", "GET", f"/api/media?url={link}"))[0] == 404
    assert (await ask(house, "root", "POST", "/api/people/bob/adopt"))[0] == 204
    await settled(house, "bob")
    assert await ids(house, "bob") == [task]
    _, found = await ask(house, "bob", "GET", "/api/subscriptions")
    assert [one["subscription_id"] for one in found["subscriptions"]] == [made["subscription_id"]]
    assert found["subscriptions"][0]["feed"]["url"] == made["feed"]["url"], "apps that have it go on with it"
    assert (await ask(house, "bob", "GET", f"/api/media?url={link}"))[0] == 200
    assert (await ask(house, "shared", "GET", f"/api/media?url={link}"))[0] == 404


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.wide)])
async def test_lists_become_separate_and_shared_and_separate_again(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    database = "sqlite" if kind == "sqlite" else request.getfixturevalue("clean_database")
    body = {"url": "http://127.0.0.9:9/list", "enabled": False, "feed": {"name": "pods"}}
    everybody = ("anna", "bob", "root")

    async def seen(house: World) -> dict[str, list[str]]:
        return {who: sorted(await ids(house, who)) for who in everybody}

    async def feed_of(house: World, who: str) -> str:
        _, found = await ask(house, who, "GET", "/api/subscriptions")
        address: str = found["subscriptions"][0]["feed"]["url"].partition("/feeds/")[2]
        assert (await ask(house, "nobody", "GET", f"/feeds/{address}"))[0] == 200
        return address

    async with world(tmp_path, database, is_furnished=False, separate_lists=False) as house:
        tasks = {who: await submit(house, who) for who in everybody}
        shared = dict.fromkeys(everybody, sorted(tasks.values()))
        assert await seen(house) == shared
        assert (await ask(house, "anna", "POST", "/api/subscriptions", body))[0] == 201
        assert await feed_of(house, "bob")
    separate = {who: [tasks[who]] for who in ("anna", "bob")} | {"root": shared["root"]}
    async with server_of(tmp_path, database) as server:
        house = World(server, house.roles)
        assert await seen(house) == separate
        assert (await ask(house, "bob", "GET", f"/api/status/{tasks['anna']}"))[0] == 404
        assert (await ask(house, "bob", "POST", "/api/subscriptions", body))[0] == 201
        feeds = {who: await feed_of(house, who) for who in ("anna", "bob")}
        headers = house.roles["anna"] | {"Content-Type": "text/plain"}
        async with server.client.put("/api/cookies/mine", data=COOKIES, headers=headers) as answer:
            assert answer.status == 204
    async with server_of(tmp_path, database, separate_lists=False) as server:
        house = World(server, house.roles)
        assert await seen(house) == shared
        assert (await ask(house, "bob", "GET", f"/api/status/{tasks['anna']}"))[0] == 200
        assert await feed_of(house, "root"), "two have one name: the address opens one of them"
        assert (await ask(house, "bob", "GET", "/api/cookies"))[1]["cookies"] == [], (
            "they are no file for all"
        )
    async with server_of(tmp_path, database) as server:
        house = World(server, house.roles)
        assert await seen(house) == separate
        assert {who: await feed_of(house, who) for who in ("anna", "bob")} == feeds
        assert [one["name"] for one in (await ask(house, "anna", "GET", "/api/cookies"))[1]["cookies"]] == [
            "mine"
        ]


def folder_for(name: str, template: str = "{user}/{title}") -> str:
    return place_of(Library(name=template), replace(_SAMPLES[0], user=name)).folder


def test_no_two_people_have_one_folder() -> None:
    parts = ("con", "sample", "trailer", "ite", "extras", "-", "_", ".")
    names = {"".join(some) for count in (1, 2, 3) for some in itertools.product(parts, repeat=count)}
    assert all(re.fullmatch(NAME, name) for name in names)
    folders = Counter(folder_for(name).casefold() for name in names)
    assert len(folders) == len(names), [folder for folder, count in folders.items() if count > 1]


def test_people_keep_the_folders_that_they_have() -> None:
    kept = {"anna": "anna", "con": "con_", "com1.x": "com1_.x", "sample-a": "sample·a", "a_b-c.d": "a_b-c.d"}
    assert {name: folder_for(name) for name in kept} == kept
    assert folder_for("con_") == "con__"


@pytest.mark.parametrize("name", ["anna", "anna_", "-anna", "_"])
def test_what_is_left_out_of_a_folder_is_no_part_of_a_name(name: str) -> None:
    assert folder_for(name, "{user} - {playlist}/{title}") == name
    assert folder_for(name, "{playlist} - {user}/{title}") == name


def test_a_template_may_have_the_name_of_the_person() -> None:
    film = _SAMPLES[0]
    wanted = Library(name="{user}/{title}")
    assert place_of(wanted, replace(film, user="anna")).folder == "anna"
    assert place_of(wanted, film).folder == ""
