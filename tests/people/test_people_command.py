"""`clipwire people`, beside a server that runs and without one."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, WSCloseCode, web
from aiohttp.test_utils import TestServer

from server.api.keys import TASKS
from server.app import create_app
from server.assembly.people_outside import people_transaction
from server.people import belongings
from server.settings import DownloadSettings, Settings, StorageSettings
from server.storage.statements import Row, Statements
from tests.commands.shell import Ran, Shell
from tests.people.test_people_tokens import BODY
from tests.service import ROOT

TOKEN = re.compile(r"clipwire_[A-Za-z0-9_-]{43}\n")


class Place:
    """A data directory, the command that uses it, and a server on it."""

    def __init__(self, data: Path, database: str = "sqlite") -> None:
        self.settings = Settings(
            storage=StorageSettings(data_dir=data, database=database),
            downloads=DownloadSettings(min_free_disk=0),
        )
        self.shell = Shell(
            ROOT,
            CLIPWIRE_STORAGE__DATA_DIR=str(data),
            CLIPWIRE_STORAGE__DATABASE=database,
            CLIPWIRE_CONFIG="/dev/null",
        )

    async def people(self, *arguments: str) -> Ran:
        return await self.shell.run("people", *arguments)

    async def token(self, *arguments: str) -> dict[str, str]:
        """Run a command that prints a token and nothing else; return the headers with this token."""
        status, out, err = await self.people(*arguments)
        assert (status, err) == (0, "")
        assert TOKEN.fullmatch(out)
        return {"Authorization": f"Bearer {out.strip()}"}

    @asynccontextmanager
    async def server(self) -> AsyncIterator[tuple[ClientSession, Callable[[str], str], web.Application]]:
        app = create_app(self.settings)
        async with TestServer(app) as server, ClientSession() as session:
            yield session, lambda path: str(server.make_url(path)), app


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "data")


async def test_people_are_managed_without_a_server(place: Place) -> None:
    anna = await place.token("add", "anna", "--role", "admin")
    await place.token("token", "add", "anna", "phone", "--expires", "90d")
    assert (await place.people("add", "anna"))[0] == 1
    status, out, err = await place.people("list", "--json")
    assert (status, err) == (0, "")
    [told] = map(json.loads, out.splitlines())
    assert (told["name"], told["role"], told["tokens"]) == ("anna", "admin", 2)
    _, out, _ = await place.people("token", "list", "anna", "--json")
    labels = {each["label"]: each for each in map(json.loads, out.splitlines())}
    assert "expires_at" in labels["phone"]
    assert "expires_at" not in labels["first"]
    assert (await place.people("token", "revoke", "anna", "phone"))[0] == 0
    _, out, _ = await place.shell.in_sh('exec "$@"', "people", "token", "list", "anna")
    assert "phone" not in out
    async with place.server() as (session, url, _):
        assert (await session.get(url("/api/me"))).status == 401
        me = await (await session.get(url("/api/me"), headers=anna)).json()
        assert (me["name"], me["role"], me["way"]) == ("anna", "admin", "token")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "Anna"), "Anna is no name of a person"),
        (("add", "--", "-x"), "-x is no name of a person"),
        (("set-role", "bob", "admin"), "There is no such person"),
        (("remove", "bob", "--keep", "--delete"), "--give-to"),
        (("remove", "bob"), "--give-to"),
        (("remove", "bob", "--give-to", "bob"), "another person is expected"),
        (("token", "add", "bob", "phone", "--expires", "soon"), "soon is no length of time"),
        (("token", "add", "bob", "phone", "--expires", "0d"), "0d is no length of time from 1m to 3650d"),
        (("token", "add", "bob", "phone", "--expires", "3651d"), "3651d is no length of time from 1m"),
        (("token", "revoke", "bob", "phone"), "There is no such person"),
    ],
)
async def test_what_does_not_fit_is_told_in_one_line(
    place: Place, arguments: tuple[str, ...], said: str
) -> None:
    status, out, err = await place.people(*arguments)
    assert status in (1, 2)
    assert out == ""
    assert said in err.splitlines()[0]


@pytest.mark.wide
async def test_a_server_that_runs_hears_of_changes_before_the_command_ends(place: Place) -> None:
    async with place.server() as (session, url, _):
        assert (await session.get(url("/api/tasks"))).status == 200
        anna = await place.token("add", "anna")
        assert (await session.get(url("/api/tasks"))).status == 401
        async with session.ws_connect(url("/ws"), headers=anna) as socket:
            closed = asyncio.create_task(socket.receive())
            assert (await place.people("token", "revoke", "anna", "first"))[0] == 0
            assert (await session.get(url("/api/tasks"), headers=anna)).status == 401
            await closed
            assert socket.close_code == WSCloseCode.POLICY_VIOLATION


@pytest.mark.wide
async def test_nodes_hear_of_changes(clean_database: str, tmp_path: Path) -> None:
    here, there = Place(tmp_path / "here", clean_database), Place(tmp_path / "here", clean_database)
    async with (
        here.server() as (session, url, _),
        there.server() as (_, other_url, _),
    ):
        anna = await here.token("add", "anna")

        async def answered(status: int) -> None:
            for each in (url, other_url):
                while (await session.get(each("/api/tasks"), headers=anna)).status != status:
                    await asyncio.sleep(0.01)

        await answered(200)
        assert (await session.get(other_url("/api/tasks"))).status == 401
        socket = await session.ws_connect(other_url("/ws"), headers=anna)
        closed = asyncio.create_task(socket.receive())
        assert (await here.people("token", "revoke", "anna", "first"))[0] == 0
        await answered(401)
        await closed
        assert socket.close_code == WSCloseCode.POLICY_VIOLATION


@pytest.mark.wide
@pytest.mark.parametrize("what", ["keep", "give", "delete"])
async def test_what_somebody_leaves_behind_is_dealt_with(
    place: Place, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(belongings, "SETTLED_AFTER", 0.0)
    monkeypatch.setattr(belongings, "TASKS_PER_ROUND", 2)
    root = await place.token("add", "root", "--role", "admin")
    anna = await place.token("add", "anna")
    async with place.server() as (session, url, app):
        ids = []
        for _ in range(5):
            made = await session.post(url("/api/process"), json=BODY, headers=anna)
            ids.append((await made.json())["task_id"])
        tasks = app[TASKS]
        assert {(await tasks.status(task_id)).owner for task_id in ids} == {"anna"}
        option = {"keep": ("--keep",), "give": ("--give-to", "root"), "delete": ("--delete",)}[what]
        assert (await place.people("remove", "anna", *option))[0] == 0
        assert (await session.get(url("/api/tasks"), headers=anna)).status == 401
        while (await session.get(url("/api/people/anna"), headers=root)).status != 404:
            await asyncio.sleep(0.01)
        left = await tasks.statuses(ids)
        if what == "delete":
            assert left == []
        else:
            owner = "root" if what == "give" else None
            assert [(status.owner, status.created_by) for status in left] == [(owner, "anna")] * 5
        assert (await place.people("add", "anna"))[0] == 0  # the name can be used again


async def test_what_belonged_to_nobody_can_be_adopted(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(belongings, "TASKS_PER_ROUND", 2)
    async with place.server() as (session, url, app):
        ids = [(await (await session.post(url("/api/process"), json=BODY)).json())["task_id"] for _ in "abc"]
        anna = await place.token("add", "anna")
        assert (await place.people("adopt", "anna"))[0] == 0
        tasks = app[TASKS]
        while {status.owner for status in await tasks.statuses(ids)} != {"anna"}:
            await asyncio.sleep(0.01)
        await session.post(url("/api/process"), json=BODY, headers=anna)

        async def owners(tables: Statements) -> list[Row]:
            return await tables.fetch("SELECT owner, count(*) FROM tasks GROUP BY owner")

        async with people_transaction(place.settings, changes=False) as tables:
            assert await owners(tables) == [("anna", 4)]
