"""Requests with tokens of people: who is let in, which tasks belong to whom, and what ends with a token."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSCloseCode, web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from server.api.session import DIRECTORY, LOG_INS, MAX_WRONG
from server.app import create_app
from server.core.principal import PersonRole
from server.people import directory as people_directory
from server.people import people_rows as rows
from server.people.audit_routes import AUDIT_ROWS
from server.people.directory import PeopleDirectory
from server.people.person import Leaving, fresh_token, hash_of
from server.settings import AccessSettings, DownloadSettings, ServerSettings, Settings, StorageSettings
from tests.inside import inside

Client = TestClient[web.Request, web.Application]
SHARED = "the token of the settings"
BODY = {"url": "http://127.0.0.9:9/v.mp4", "auto_start": False}
OURS = {"Sec-Fetch-Site": "same-origin"}


@asynccontextmanager
async def opened(
    tmp_path: Path, access: AccessSettings | None = None, **server: Any
) -> AsyncIterator[Client]:
    settings = Settings(
        server=ServerSettings(**server),
        storage=StorageSettings(data_dir=tmp_path / "data"),
        downloads=DownloadSettings(min_free_disk=0),
        access=access or AccessSettings(),
    )
    async with asyncio.timeout(60), TestClient(TestServer(create_app(settings))) as client:
        yield client


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with opened(tmp_path) as client:
        yield client


def directory(client: Client) -> PeopleDirectory:
    found = client.app[DIRECTORY]
    assert isinstance(found, PeopleDirectory)
    return found


async def add(client: Client, name: str, role: PersonRole = "user") -> dict[str, str]:
    """Add a person with a token; return the headers that the person sends."""
    token = fresh_token()
    await directory(client).change(lambda tables: rows.add_person(tables, name, role, 0.0))
    await directory(client).change(lambda tables: rows.add_token(tables, name, "first", hash_of(token), 0.0))
    return {"Authorization": f"Bearer {token}"}


async def test_the_first_person_locks_the_door_and_the_last_one_opens_it(client: Client) -> None:
    assert (await client.get("/api/tasks")).status == 200
    anna = await add(client, "anna")
    refused = await client.get("/api/tasks")
    assert (refused.status, (await refused.json())["ways"]) == (401, ["token"])
    assert (await client.get("/api/tasks", headers=anna)).status == 200
    await directory(client).change(lambda tables: rows.leave(tables, "anna", Leaving("keep")))
    assert (await client.get("/api/tasks", headers=anna)).status == 401
    await directory(client).change(lambda tables: rows.forget(tables, "anna"))
    assert (await client.get("/api/tasks")).status == 200


async def test_where_nobody_was_added_nothing_of_it_is_told_or_stored(client: Client) -> None:
    status = await (await client.post("/api/process", json=BODY)).json()
    assert not {"owner", "created_by"} & status.keys()
    assert await (await client.get("/api/session")).json() == {"login_required": False, "logged_in": False}


async def test_a_task_says_who_has_asked_for_it(tmp_path: Path) -> None:
    async with opened(tmp_path, tokens=(SecretStr(SHARED),)) as client:
        anna = await add(client, "anna")
        status = await (await client.post("/api/process", json=BODY, headers=anna)).json()
        assert status["created_by"] == "anna"
        assert "owner" not in status
        batch = {"requests": [BODY]}
        results = await (await client.post("/api/process/batch", json=batch, headers=anna)).json()
        assert results["results"][0]["task"]["created_by"] == "anna"
        nameless = {"Authorization": f"Bearer {SHARED}"}
        other = await (await client.post("/api/process", json=BODY, headers=nameless)).json()
        assert "created_by" not in other


async def test_with_separate_lists_admins_are_told_whose_a_task_is(tmp_path: Path) -> None:
    async with opened(tmp_path, AccessSettings(separate_lists=True)) as client:
        anna, root = await add(client, "anna"), await add(client, "root", "admin")
        asked = await client.post("/api/process", json=BODY, headers=anna)
        status = await asked.json()
        assert "owner" not in status
        place = asked.headers["Location"]
        as_admin, as_user = await client.get(place, headers=root), await client.get(place, headers=anna)
        assert (await as_admin.json())["owner"] == "anna"
        assert "owner" not in await as_user.json()
        assert as_admin.headers["ETag"] != as_user.headers["ETag"]


async def test_tokens_of_the_settings_stay_admins_without_a_name(tmp_path: Path) -> None:
    async with opened(tmp_path, tokens=(SecretStr(SHARED),)) as client:
        await add(client, "anna")
        nameless = {"Authorization": f"Bearer {SHARED}"}
        assert (await client.get("/api/tasks", headers=nameless)).status == 200


async def test_what_is_open_in_the_name_of_a_revoked_token_ends_at_once(client: Client) -> None:
    anna, bob = await add(client, "anna"), await add(client, "bob")
    task = await (await client.post("/api/process", json=BODY, headers=anna)).json()
    async with (
        client.ws_connect("/ws", headers=anna) as hers,
        client.ws_connect("/ws", headers=bob) as his,
    ):
        stream = await client.get(f"/api/events/{task['task_id']}", headers=anna)
        await stream.content.readuntil(b"\n\n")
        place = f"/api/status/{task['task_id']}"
        known = {"If-None-Match": (await client.get(place, headers=anna)).headers["ETag"]}
        poll = asyncio.create_task(client.get(f"{place}?wait=50", headers=anna | known))
        # Waits for two sockets, an event stream and the long poll.
        while sum(map(len, client.app[LOG_INS]._lines.values())) < 4:
            await asyncio.sleep(0.01)
        await directory(client).change(lambda tables: rows.revoke_token(tables, "anna", "first"))
        assert (await client.get("/api/tasks", headers=anna)).status == 401
        message = await hers.receive()
        assert (message.type.name, hers.close_code) == ("CLOSE", WSCloseCode.POLICY_VIOLATION)
        assert await stream.content.read() == b""
        assert (await poll).status == 401
        await client.post("/api/process", json=BODY, headers=bob)
        assert (await his.receive_json())["created_by"] == "bob"


async def test_a_token_that_expires_in_a_far_year_is_listed_and_lets_in(client: Client) -> None:
    """An earlier command made such tokens with `--expires 9999999d`, and lists failed on them."""
    anna, token = await add(client, "anna"), fresh_token()
    far = 9_999_999 * 86_400.0
    await directory(client).change(
        lambda tables: rows.add_token(tables, "anna", "far", hash_of(token), 0.0, far)
    )
    listed = await client.get("/api/me/tokens", headers=anna)
    assert listed.status == 200
    assert (await listed.json())["tokens"][1]["expires_at"] == "9999-12-31T23:59:59Z"
    assert (await client.get("/api/me", headers={"Authorization": f"Bearer {token}"})).status == 200


async def test_a_session_of_a_person_ends_with_the_token_that_began_it(client: Client) -> None:
    anna = await add(client, "anna")
    token = anna["Authorization"].removeprefix("Bearer ")
    response = await client.post("/api/session", json={"token": token})
    assert response.status == 204
    assert (await client.get("/api/tasks")).status == 200  # the client sends its cookie
    made = await (await client.post("/api/process", json=BODY, headers=OURS)).json()
    assert made["created_by"] == "anna"
    assert (await client.post("/api/process", json=BODY)).status == 403
    await directory(client).change(lambda tables: rows.revoke_token(tables, "anna", "first"))
    assert (await client.get("/api/tasks")).status == 401


async def test_sessions_of_people_outlive_the_server(tmp_path: Path) -> None:
    async with opened(tmp_path) as client:
        anna = await add(client, "anna")
        token = anna["Authorization"].removeprefix("Bearer ")
        response = await client.post("/api/session", json={"token": token})
        cookie = {"Cookie": response.headers["Set-Cookie"].partition(";")[0]}
    async with opened(tmp_path) as client:
        assert (await client.get("/api/tasks", headers=cookie)).status == 200
        assert (await client.get("/api/tasks")).status == 401


async def test_ten_wrong_tokens_slow_nobody_with_a_right_one(client: Client) -> None:
    anna = await add(client, "anna")
    statuses = [
        (await client.get("/api/tasks", headers={"Authorization": f"Bearer {fresh_token()}"})).status
        for _ in range(12)
    ]
    assert statuses == [401] * 10 + [429] * 2
    assert (await client.get("/api/tasks", headers=anna)).status == 200


async def test_a_role_that_is_taken_away_closes_what_is_open(client: Client) -> None:
    root = await add(client, "root", "admin")
    async with client.ws_connect("/ws", headers=root) as socket:
        await directory(client).change(lambda tables: rows.set_role(tables, "root", "user"))
        await socket.receive()
        assert socket.close_code == WSCloseCode.POLICY_VIOLATION


async def test_the_header_of_a_trusted_proxy_names_a_person_and_of_nobody_else(tmp_path: Path) -> None:
    access = AccessSettings(user_header="Remote-User", create_people=True)
    async with opened(tmp_path, access, trusted_proxies=("127.0.0.1",)) as client:
        assert (await client.get("/api/tasks")).status == 401
        anna = {"Remote-User": "Anna"}
        assert (await client.get("/api/tasks", headers=anna)).status == 200
        assert [*directory(client).people] == ["anna"]
        [added], _ = await client.app[AUDIT_ROWS].page(None, 10, time.time())
        assert (added.who, added.what, added.subject) == ("anna", "person_added", "anna user")
        for other in ("../etc", "..", ".anna", "anna.", "", "anna,anna", "\N{KELVIN SIGN}ate", "\xa0anna"):
            assert (await client.get("/api/tasks", headers={"Remote-User": other})).status == 401
        # Refused without `Sec-Fetch-Site`: the request may come from any site.
        assert (await client.post("/api/process", json=BODY, headers=anna)).status == 403
        made = await client.post("/api/process", json=BODY, headers=anna | OURS)
        assert (await made.json())["created_by"] == "anna"
    async with opened(tmp_path, access, trusted_proxies=("127.0.0.9",)) as client:
        assert (await client.get("/api/tasks", headers=anna)).status == 401
    closed = AccessSettings(user_header="Remote-User")
    async with opened(tmp_path, closed, trusted_proxies=("127.0.0.1",)) as client:
        assert (await client.get("/api/tasks", headers=anna)).status == 200
        assert (await client.get("/api/tasks", headers={"Remote-User": "bob"})).status == 401


@pytest.mark.wide
async def test_what_another_node_has_just_made_lets_in_before_this_node_hears_of_it(
    clean_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hears = asyncio.Event()

    async def hears_nothing(_: PeopleDirectory) -> None:
        await hears.wait()

    monkeypatch.setattr(PeopleDirectory, "follow", hears_nothing)
    monkeypatch.setattr(people_directory, "TRUSTED_FOR", 3600.0)
    server = ServerSettings(tokens=(SecretStr(SHARED),), trusted_proxies=("127.0.0.1",))
    access = AccessSettings(user_header="Remote-User")
    root = {"Authorization": f"Bearer {SHARED}"}
    storage = StorageSettings(data_dir=tmp_path / "data", database=clean_database)
    async with (
        inside(tmp_path, storage=storage, server=server, access=access) as here,
        inside(tmp_path, storage=storage, server=server, access=access) as there,
    ):

        async def add(name: str, **fields: str) -> str:
            async with here.client.post("/api/people", json={"name": name} | fields, headers=root) as answer:
                return str((await answer.json())["token"])

        async def name_of(headers: dict[str, str]) -> str:
            async with there.client.get("/api/me", headers=OURS | headers) as answer:
                return str((await answer.json())["name"])

        assert await name_of({"Authorization": f"Bearer {await add('anna')}"}) == "anna"
        await add("bob")
        assert await name_of({"Remote-User": "bob"}) == "bob"
        async with here.client.post("/api/session", json={"token": await add("carla")}) as answer:
            cookie = answer.headers["Set-Cookie"].partition(";")[0]
        there.client.cookie_jar.clear()
        assert await name_of({"Cookie": cookie}) == "carla"
        await add("dora")
        secret = {"password": "correct horse battery"}
        async with here.client.patch("/api/people/dora", json=secret, headers=root) as answer:
            assert answer.status == 200
        async with there.client.post("/api/session", json={"name": "dora"} | secret) as answer:
            assert answer.status == 204
        there.client.cookie_jar.clear()
        # An address with many wrong tokens makes no node read the database for another one.
        await add("emma")
        for number in range(MAX_WRONG):
            wrong = {"Authorization": f"Bearer clipwire_{number}"}
            async with there.client.get("/api/me", headers=wrong) as answer:
                assert answer.status == 401
        late = {"Authorization": f"Bearer {await add('frida')}"}
        async with there.client.get("/api/me", headers=late) as answer:
            assert answer.status == 429
        people = there.app[DIRECTORY]
        assert isinstance(people, PeopleDirectory)
        assert [*people.people] == ["anna", "bob", "carla", "dora", "emma"]


async def test_of_nobody_it_is_said_that_there_is_nobody(tmp_path: Path) -> None:
    """Also when the server looks whether the person is the last admin."""
    async with opened(tmp_path) as client:
        removal = await client.delete("/api/people/nobody?tasks=keep")
        change = await client.patch("/api/people/nobody", json={"role": "user"})
        assert (removal.status, change.status) == (404, 404)
        assert (await removal.json())["code"] == "person_not_found"
