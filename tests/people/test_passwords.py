"""Log-ins by password: who is let in, what the answers reveal, and in which order passwords are checked."""

import asyncio
import threading
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSCloseCode
from pydantic import SecretStr

from server.api.session import COOKIE, DIRECTORY, HOST_COOKIE, MAX_WRONG, LogIns, Minute
from server.core.errors import DatabaseBusy, TooManyRequests
from server.core.principal import Principal
from server.people import passwords
from server.people import people_rows as rows
from server.people.directory import PeopleDirectory
from server.people.passwords import Passwords
from server.people.person import Leaving, fresh_token, hash_of
from server.settings import StorageSettings
from tests.inside import Inside, inside
from tests.people.test_people_tokens import BODY, OURS, Client, add, directory, opened

RIGHT, OTHER = "correct horse battery", "another one of 10"


async def with_password(client: Client, name: str, password: str = RIGHT) -> dict[str, str]:
    person = await add(client, name)
    answer = await client.patch("/api/me", json={"password": password}, headers=person)
    assert answer.status == 200
    return person


async def log_in(client: Client, name: str, password: str, **headers: str) -> tuple[int, str]:
    """Log in; return the status and the cookie."""
    answer = await client.post("/api/session", json={"name": name, "password": password}, headers=headers)
    client.session.cookie_jar.clear()
    return answer.status, answer.headers.get("Set-Cookie", "")


def sent(cookie: str) -> dict[str, str]:
    return {"Cookie": cookie.partition(";")[0]} | OURS


async def test_a_password_lets_in_and_is_stored_as_argon2id_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as client:
        await with_password(client, "anna")
        status, cookie = await log_in(client, "anna", RIGHT)
        assert status == 204
        me = await (await client.get("/api/me", headers=sent(cookie))).json()
        assert (me["name"], me["way"], me["has_password"]) == ("anna", "password", True)
        stored = directory(client).people["anna"].password
        assert stored
        assert stored.startswith("$argon2id$")
    for file in (tmp_path / "data").glob("clipwire.db*"):
        assert RIGHT.encode() not in file.read_bytes()


async def test_a_page_that_still_asks_for_a_password_learns_that_there_is_nobody_left(tmp_path: Path) -> None:
    async with opened(tmp_path) as client:
        await with_password(client, "anna")
        people = directory(client)
        await people.change(lambda tables: rows.leave(tables, "anna", Leaving("keep")))
        assert await log_in(client, "anna", RIGHT) == (401, "")
        await people.change(lambda tables: rows.forget(tables, "anna"))
        assert await log_in(client, "anna", RIGHT) == (204, "")  # no log-in is needed
    async with opened(tmp_path, tokens=(SecretStr("of the settings"),)) as client:
        statuses = [(await log_in(client, "anna", RIGHT))[0] for _ in range(MAX_WRONG + 1)]
        assert statuses == [401] * MAX_WRONG + [429]
        assert (await client.post("/api/session", json={"name": "anna"})).status == 422


async def test_what_looks_the_same_on_another_keyboard_is_the_same(tmp_path: Path) -> None:
    async with opened(tmp_path) as client:
        await with_password(client, "anna", "pa\u0308sswo\u0308rd 123")
        assert (await log_in(client, "anna", "p\u00e4ssw\u00f6rd 123"))[0] == 204


@pytest.mark.parametrize("password", ["", "short", "123456789"])
async def test_a_password_has_ten_characters_of_any_kind(tmp_path: Path, password: str) -> None:
    async with opened(tmp_path) as client:
        anna = await add(client, "anna")
        answer = await client.patch("/api/me?lang=en", json={"password": password}, headers=anna)
        assert answer.status == 422
        said = [{"field": "password", "message": "must have at least 10 characters"}]
        assert (await answer.json())["errors"] == said
        assert (await client.patch("/api/me", json={"password": "aaaaaaaaaa"}, headers=anna)).status == 200


async def test_nobody_learns_who_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown name, a person without a password and a wrong password get the same answer, after the same
    work.
    """
    worked = list[bool]()
    compare = Passwords._matches

    def counted(self: Passwords, hashed: str | None, password: str) -> bool:
        found = compare(self, hashed, password)
        worked.append(found)
        return found

    monkeypatch.setattr(Passwords, "_matches", counted)
    async with opened(tmp_path) as client:
        await with_password(client, "anna")
        await add(client, "bob")
        answers = []
        for name in ("anna", "bob", "nobody"):
            body = {"name": name, "password": OTHER}
            answer = await client.post("/api/session", json=body, headers={"X-Request-Id": "same"})
            answers.append((answer.status, await answer.read()))
        assert answers == [answers[0]] * 3
        assert answers[0][0] == 401
        assert worked == [False] * 3


@pytest.mark.wide
async def test_wrong_passwords_slow_nobody_with_the_right_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as client:
        await with_password(client, "anna")
        wrong = [(await log_in(client, "anna", OTHER))[0] for _ in range(MAX_WRONG + 2)]
        assert wrong == [401] * MAX_WRONG + [429] * 2
        assert (await log_in(client, "anna", RIGHT))[0] == 204


async def test_a_password_is_changed_with_the_old_one_and_ends_all_other_log_ins(tmp_path: Path) -> None:
    async with opened(tmp_path) as client:
        await with_password(client, "anna")
        [mine, other] = [sent((await log_in(client, "anna", RIGHT))[1]) for _ in range(2)]
        for old in ({}, {"old_password": OTHER}):
            answer = await client.patch("/api/me", json={"password": OTHER} | old, headers=mine)
            assert (answer.status, (await answer.json())["code"]) == (403, "wrong_password")
        assert (await client.get("/api/me", headers=other)).status == 200
        answer = await client.patch("/api/me", json={"password": OTHER, "old_password": RIGHT}, headers=mine)
        assert answer.status == 200
        assert (await client.get("/api/me", headers=mine)).status == 200
        assert (await client.get("/api/me", headers=other)).status == 401
        assert (await log_in(client, "anna", RIGHT))[0] == 401
        assert (await log_in(client, "anna", OTHER))[0] == 204


@pytest.mark.wide
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_sockets_of_other_log_ins_end_on_every_node_whatever_fails_behind_the_change(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    is_alone = database == "sqlite"
    url = database if is_alone else request.getfixturevalue("clean_database")

    def node() -> AbstractAsyncContextManager[Inside]:
        return inside(tmp_path, storage=StorageSettings(data_dir=tmp_path / "data", database=url))

    async def fails(_: LogIns) -> None:
        raise DatabaseBusy

    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(node())
        there = here if is_alone else await stack.enter_async_context(node())
        people, token = here.app[DIRECTORY], fresh_token()
        assert isinstance(people, PeopleDirectory)
        hashed = await people.passwords.hashed(RIGHT, ("", "anna"))
        await people.change(lambda tables: rows.add_person(tables, "anna", "user", 0.0))
        await people.change(lambda tables: rows.set_password(tables, "anna", hashed))
        await people.change(lambda tables: rows.add_token(tables, "anna", "first", hash_of(token), 0.0))
        anna = {"Authorization": f"Bearer {token}"}
        async with here.client.post("/api/session", json={"name": "anna", "password": RIGHT}) as answer:
            other = sent(answer.headers["Set-Cookie"])
        here.client.cookie_jar.clear()
        async with (
            there.client.ws_connect("/ws", headers=other) as of_session,
            there.client.ws_connect("/ws", headers=anna) as of_token,
        ):
            monkeypatch.setattr(LogIns, "catch_up", fails)
            change = {"password": OTHER, "old_password": RIGHT}
            async with here.client.patch("/api/me", json=change, headers=anna) as answer:
                assert answer.status == 503
            async for _ in of_session:
                pass
            assert of_session.close_code == WSCloseCode.POLICY_VIOLATION
            async with here.client.post("/api/process", json=BODY, headers=anna) as answer:
                task_id = (await answer.json())["task_id"]
            while (await of_token.receive_json()).get("task_id") != task_id:
                pass
            async with there.client.get("/api/me", headers=other) as answer:
                assert answer.status == 401


async def test_an_admin_sets_and_takes_away_a_password(tmp_path: Path) -> None:
    async with opened(tmp_path) as client:
        root = await add(client, "root", "admin")
        await add(client, "anna")
        set_to = {"password": RIGHT}
        assert (await client.patch("/api/people/anna", json=set_to, headers=root)).status == 200
        _, cookie = await log_in(client, "anna", RIGHT)
        assert (await client.get("/api/me", headers=sent(cookie))).status == 200
        assert (await client.patch("/api/people/anna", json={"password": None}, headers=root)).status == 200
        assert (await client.get("/api/me", headers=sent(cookie))).status == 401
        assert (await log_in(client, "anna", RIGHT))[0] == 401


async def test_the_page_is_told_the_ways_to_log_in(tmp_path: Path) -> None:
    async with opened(tmp_path) as client:
        anna = await add(client, "anna")
        told = await (await client.get("/api/session")).json()
        assert told == {
            "login_required": True,
            "logged_in": False,
            "needed": True,
            "there": False,
            "ways": ["token"],
        }
        await client.patch("/api/me", json={"password": RIGHT}, headers=anna)
        assert (await (await client.get("/api/session")).json())["ways"] == ["token", "password"]
        _, cookie = await log_in(client, "anna", RIGHT)
        assert (await (await client.get("/api/session", headers=sent(cookie))).json())["there"]


async def test_log_ins_are_listed_and_ended_by_their_owner(tmp_path: Path) -> None:
    async with opened(tmp_path) as client:
        await with_password(client, "anna")
        bob = await with_password(client, "bob")
        phone = sent((await log_in(client, "anna", RIGHT, **{"User-Agent": "Phone/1"}))[1])
        laptop = sent((await log_in(client, "anna", RIGHT, **{"User-Agent": "Laptop/1"}))[1])
        listed = (await (await client.get("/api/me/sessions", headers=laptop)).json())["sessions"]
        assert [(one["agent"], one["is_current"], one["way"]) for one in listed] == [
            ("Laptop/1", True, "password"),
            ("Phone/1", False, "password"),
        ]
        assert listed[0]["address"] == "127.0.0.1"
        link = f"/api/me/sessions/{listed[1]['id']}"
        assert (await client.delete(link, headers=bob)).status == 404
        async with client.ws_connect("/ws", headers=phone) as socket:
            assert (await client.delete(link, headers=laptop)).status == 204
            await socket.receive()
        assert (await client.get("/api/me", headers=phone)).status == 401
        assert (await client.get("/api/me", headers=laptop)).status == 200
        assert (await client.delete(link, headers=laptop)).status == 404


async def test_a_log_in_ends_the_one_that_the_browser_had(tmp_path: Path) -> None:
    async with opened(tmp_path) as client:
        await with_password(client, "anna")
        first = sent((await log_in(client, "anna", RIGHT))[1])
        second = sent((await log_in(client, "anna", RIGHT, **first))[1])
        assert second != first
        assert (await client.get("/api/me", headers=first)).status == 401
        assert (await client.get("/api/me", headers=second)).status == 200


@pytest.mark.parametrize("base_path", ["", "/clips"])
async def test_behind_https_the_cookie_belongs_to_this_host_alone(tmp_path: Path, base_path: str) -> None:
    proxy = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
    async with opened(tmp_path, trusted_proxies=("127.0.0.1",), base_path=base_path) as client:
        await with_password(client, "anna")
        _, cookie = await log_in(client, "anna", RIGHT, **proxy)
        name = cookie.partition("=")[0]
        assert name.startswith(HOST_COOKIE)
        assert (name == HOST_COOKIE) == (base_path == "")
        assert {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
        assert (await client.get("/api/me", headers=sent(cookie) | proxy)).status == 200
        ended = await client.delete("/api/session", headers=sent(cookie) | proxy)
        gone = [each for each in ended.headers.getall("Set-Cookie") if each.startswith(f"{name}=;")]
        assert len(gone) == 1
        assert "Secure" in gone[0]
        assert (await client.get("/api/me", headers=sent(cookie) | proxy)).status == 401
        _, plain = await log_in(client, "anna", RIGHT)
        assert plain.startswith(f"{COOKIE}=")


async def test_behind_https_no_neighbouring_domain_chooses_who_one_is(tmp_path: Path) -> None:
    """A neighbouring domain can set a cookie for the common domain, but none whose name begins with
    `__Host-`.
    """
    proxy = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
    async with opened(tmp_path, trusted_proxies=("127.0.0.1",)) as client:
        for name in ("anna", "bob"):
            await with_password(client, name)
        annas, bobs = [(await log_in(client, name, RIGHT, **proxy))[1] for name in ("anna", "bob")]
        bobs = f"{COOKIE}={bobs.partition(';')[0].partition('=')[2]}"
        assert (await client.get("/api/me", headers=sent(bobs) | proxy)).status == 401
        both = sent(bobs) | {"Cookie": f"{bobs}; {annas.partition(';')[0]}"} | proxy
        assert (await (await client.get("/api/me", headers=both)).json())["name"] == "anna"


async def test_a_log_in_with_a_password_that_is_changed_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = LogIns.begin

    async with opened(tmp_path) as client:
        anna = await with_password(client, "anna")

        async def changed_first(self: LogIns, principal: Principal, about: str = "{}") -> str:
            change = {"password": OTHER, "old_password": RIGHT}
            assert (await client.patch("/api/me", json=change, headers=anna)).status == 200
            return await begin(self, principal, about)

        monkeypatch.setattr(LogIns, "begin", changed_first)
        assert await log_in(client, "anna", RIGHT) == (401, "")
        assert (await (await client.get("/api/me/sessions", headers=anna)).json())["sessions"] == []


async def test_a_log_in_is_not_that_of_a_later_person_of_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.people.belongings.SETTLED_AFTER", 0.0)
    async with opened(tmp_path) as client:
        root = await add(client, "root", "admin")
        await with_password(client, "anna")
        _, cookie = await log_in(client, "anna", RIGHT)
        assert (await client.delete("/api/people/anna?tasks=keep", headers=root)).status == 204
        while "anna" in directory(client).people:
            await asyncio.sleep(0.01)
        await add(client, "anna")
        assert (await client.get("/api/me", headers=sent(cookie))).status == 401


async def test_a_cookie_of_a_person_changes_things_only_from_our_own_page(tmp_path: Path) -> None:
    async with opened(tmp_path) as client:
        await with_password(client, "anna")
        _, cookie = await log_in(client, "anna", RIGHT)
        alone = {"Cookie": cookie.partition(";")[0]}
        for method, path, body in (
            ("POST", "/api/process", BODY),
            ("PATCH", "/api/me", {"password": OTHER, "old_password": RIGHT}),
            ("POST", "/api/me/tokens", {"label": "stolen"}),
        ):
            for sender in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
                answer = await client.request(method, path, json=body, headers=alone | sender)
                assert answer.status == 403


# --- the order of checks ---


class Gate:
    """Holds functions that run in threads; each opening lets one of them go on."""

    def __init__(self) -> None:
        self.began = list[str]()
        self._open = threading.Semaphore(0)

    def work(self, name: str) -> Any:
        def run() -> str:
            self.began.append(name)
            self._open.acquire()
            return name

        return run

    def let_one_end(self) -> None:
        self._open.release()


async def test_those_who_wait_take_turns_and_nobody_waits_behind_a_flood() -> None:
    turns, gate = passwords._Turns(1), Gate()
    flood = [
        asyncio.create_task(turns.take(("flood", "anna"), gate.work("flood")))
        for _ in range(1 + passwords.MAX_OF_NAME)
    ]
    await asyncio.sleep(0)
    right = asyncio.create_task(turns.take(("right", "anna"), gate.work("right")))
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests):
        await turns.take(("flood", "anna"), gate.work("flood"))
    for _ in range(3):
        gate.let_one_end()
    await right
    assert gate.began[:3].index("right") <= 2
    for _ in flood:
        gate.let_one_end()
    await asyncio.gather(*flood)
    assert turns._free == 1


async def test_whoever_tries_many_names_waits_behind_themselves() -> None:
    turns, gate = passwords._Turns(1), Gate()
    names = [f"{number}" for number in range(1 + passwords.MAX_OF_ADDRESS)]
    flood = [asyncio.create_task(turns.take(("flood", name), gate.work(name))) for name in names]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests):
        await turns.take(("flood", "one more"), gate.work("one more"))
    right = asyncio.create_task(turns.take(("right", "anna"), gate.work("right")))
    await asyncio.sleep(0)
    for _ in range(3):
        gate.let_one_end()
    await right
    assert gate.began.index("right") <= 2
    for _ in names:
        gate.let_one_end()
    await asyncio.gather(*flood)


async def test_suspects_come_after_all_others_and_take_no_place_of_theirs() -> None:
    turns, gate = passwords._Turns(2), Gate()

    flood = [
        asyncio.create_task(turns.take((f"{number}", "anna"), gate.work("flood"), is_suspect=True))
        for number in range(5)
    ]
    await asyncio.sleep(0)
    others = [
        asyncio.create_task(turns.take((name, "anna"), gate.work(name)))
        for name in ("first", "second", "third")
    ]
    await asyncio.sleep(0)
    assert turns._free == 0, "one of the flood works, and keeps none of the others waiting"
    for _ in (*flood, *others):
        gate.let_one_end()
    await asyncio.gather(*flood, *others)
    assert gate.began[4:] == ["flood"] * 4
    assert turns._free == 2
    assert not turns._is_suspect_at_work


async def test_who_tries_ten_wrong_ones_is_a_suspect_for_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[bool]()
    take = passwords._Turns.take

    async def noted(self: passwords._Turns, who: Any, work: Any, *, is_suspect: bool = False) -> Any:
        asked.append(is_suspect)
        return await take(self, who, work, is_suspect=is_suspect)

    async with opened(tmp_path) as client:
        await with_password(client, "anna")
        monkeypatch.setattr(passwords._Turns, "take", noted)
        monkeypatch.setattr(Passwords, "_matches", lambda self, hashed, password: password == RIGHT)
        for number in range(MAX_WRONG):
            await log_in(client, f"nobody{number}", OTHER)
        assert (await log_in(client, "anna", RIGHT))[0] == 204, "they get in"
    assert asked == [False] * MAX_WRONG + [True]


async def test_all_but_the_first_ten_of_a_burst_are_suspects_before_any_is_known_to_be_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, worked_out = list[bool](), asyncio.Event()

    async def held(self: passwords._Turns, who: Any, work: Any, *, is_suspect: bool = False) -> bool:
        asked.append(is_suspect)
        await worked_out.wait()
        return False

    async with opened(tmp_path) as client:
        await with_password(client, "anna")
        monkeypatch.setattr(passwords._Turns, "take", held)
        people = directory(client)
        tried = [
            asyncio.create_task(people.of_password(f"nobody{number}", OTHER, "192.0.2.1"))
            for number in range(MAX_WRONG + 1)
        ]
        other = asyncio.create_task(people.of_password("anna", OTHER, "192.0.2.2"))
        await asyncio.sleep(0)
        worked_out.set()
        await asyncio.gather(*tried, other, return_exceptions=True)
    assert asked == [False] * MAX_WRONG + [True, False]
    assert not people._being_compared


def test_who_goes_on_with_wrong_ones_stays_a_suspect() -> None:
    now = [0.0]
    minute = Minute(lambda: now[0], is_extended=True)
    for now[0] in (0.0, 30.0, 70.0, 120.0):
        minute.count("here")
    now[0] = 179.0
    assert minute.so_far("here") == 4
    now[0] = 180.0
    assert minute.so_far("here") == 0


async def test_who_leaves_while_it_is_worked_out_leaves_no_place_to_others_before_that_ends() -> None:
    turns, gate = passwords._Turns(1), Gate()
    gone = asyncio.create_task(turns.take(("a", "anna"), gate.work("a")))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert turns._free == 0
    other = asyncio.create_task(turns.take(("b", "anna"), gate.work("b")))
    await asyncio.sleep(0)
    for _ in range(2):
        gate.let_one_end()
    await other
    assert gate.began == ["a", "b"]


async def test_who_gives_up_waiting_takes_no_place() -> None:
    turns, gate = passwords._Turns(1), Gate()
    first = asyncio.create_task(turns.take(("a", "anna"), gate.work("a")))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(turns.take((name, "anna"), gate.work(name))) for name in "bcd"]
    await asyncio.sleep(0)
    waiting[0].cancel()
    for _ in range(3):
        gate.let_one_end()
    await first
    assert await asyncio.gather(*waiting, return_exceptions=True) != []
    assert [task.cancelled() for task in waiting] == [True, False, False]
    assert turns._free == 1
