"""Every route, requested by everybody: with separate lists, the things of others do not exist for a person.
This is tested on both databases, and on three nodes in turn for somebody who has logged in at a real OpenID
provider.

A route of the description that is not in `ROWS` fails the first test. Each row says what its route is about:

* `OWN`: one thing of Anna's. Bob is answered as for a thing that there is not, byte for byte.
* `LISTS`: things of those who ask. Bob's answer tells of nothing of Anna's.
* `ADMINS`: what concerns everybody. Users are refused.
* `PEOPLE`: whoever is logged in is let in; what it is about belongs to who asks, or to nobody.
* `SECRET`: who has the address needs no token.
* `OPEN`: needs no log-in.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp.test_utils import unused_port
from pydantic import SecretStr

from server.api import session
from server.api.session import COOKIE, DIRECTORY, LOG_INS
from server.app import routes_of
from server.assembly.features import FEATURES
from server.core.principal import PersonRole, Principal, scope_of_person
from server.people import people_rows as rows
from server.people.directory import PeopleDirectory
from server.people.person import fresh_token, hash_of
from server.settings import (
    AccessSettings,
    DownloadSettings,
    LibrarySettings,
    OidcSettings,
    ServerSettings,
    StorageSettings,
    WebhookSettings,
)
from server.storage.statements import Tables
from server.subscriptions.subscription_routes import SUBSCRIPTIONS
from tests.inside import TASK, Inside, inside
from tests.people.test_oidc import SECRETS, Place, provider

Kind = Literal["OWN", "LISTS", "ADMINS", "PEOPLE", "SECRET", "OPEN"]
SHARED = "the token of the settings"
OURS = {"Sec-Fetch-Site": "same-origin"}
# The ways in which Anna logs in, and the role that sees everything.
USERS, ADMINS = ("anna", "proxy", "oidc"), ("root",)
STRANGERS = ("nobody", "revoked", "expired")
AT_ONCE = 8  # routes that are tested at the same time
_REQUEST_ID = re.compile(r'"request_id":"[^"]*"')
_ITEM = """
    INSERT INTO items
        (subscription_id, key, number, state, task_id, tries, pinned, found_at, fetched_at, about)
    VALUES (?, 'a', 1, 'fetched', ?, 0, 0, 1.0, 1.0, '{"url": "http://127.0.0.9:9/a", "title": "A"}')"""
COOKIES = "127.0.0.9\tFALSE\t/\tFALSE\t0\tname\tvalue\n"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class Row:
    """A route of the description. `path` and `body` name Anna's things in braces. `shows` is what her list
    contains. `fresh`: this thing is made anew for each role that may use it up. `of_admin` is what an admin
    adds to name the owner; None: each has their own.
    """

    kind: Kind
    path: str
    body: Any = None
    shows: str = ""
    fresh: str = ""
    of_admin: str | None = ""
    content_type: str = "application/json"


ROWS: dict[tuple[str, str], Row] = {
    ("POST", "/api/process"): Row("PEOPLE", "/api/process", TASK),
    ("POST", "/api/process/batch"): Row("PEOPLE", "/api/process/batch", {"requests": [TASK]}),
    ("GET", "/api/presets"): Row("PEOPLE", "/api/presets"),
    ("GET", "/api/profiles"): Row("PEOPLE", "/api/profiles"),
    ("POST", "/api/info"): Row("PEOPLE", "/api/info", {}),
    ("POST", "/api/info/thumbnails"): Row("PEOPLE", "/api/info/thumbnails", {}),
    ("GET", "/api/status/{task_id}"): Row("OWN", "/api/status/{done}"),
    ("GET", "/api/tasks"): Row("LISTS", "/api/tasks", shows="done"),
    ("PATCH", "/api/tasks/{task_id}"): Row("OWN", "/api/tasks/{task}", {"priority": 1}),
    ("DELETE", "/api/tasks/{task_id}"): Row("OWN", "/api/tasks/{task}", fresh="task"),
    ("POST", "/api/tasks/{task_id}/cancel"): Row("OWN", "/api/tasks/{task}/cancel", fresh="task"),
    ("POST", "/api/tasks/{task_id}/pause"): Row("OWN", "/api/tasks/{task}/pause"),
    ("POST", "/api/tasks/{task_id}/resume"): Row("OWN", "/api/tasks/{task}/resume", fresh="task"),
    ("POST", "/api/tasks/{task_id}/start"): Row("OWN", "/api/tasks/{task}/start"),
    ("POST", "/api/tasks/{task_id}/retry"): Row("OWN", "/api/tasks/{task}/retry"),
    ("POST", "/api/tasks/{task_id}/finish"): Row("OWN", "/api/tasks/{task}/finish"),
    ("GET", "/api/tasks/{task_id}/log"): Row("OWN", "/api/tasks/{done}/log"),
    ("GET", "/api/tasks/{task_id}/thumbnail"): Row("OWN", "/api/tasks/{done}/thumbnail"),
    ("POST", "/api/tasks/actions"): Row(
        "OWN", "/api/tasks/actions", {"action": "pause", "ids": ["{task}"]}, of_admin=""
    ),
    ("GET", "/api/tasks/{task_id}/remedies"): Row("OWN", "/api/tasks/{done}/remedies"),
    ("POST", "/api/tasks/{task_id}/remedies/{name}"): Row("OWN", "/api/tasks/{done}/remedies/retry_later"),
    ("GET", "/api/queue"): Row("LISTS", "/api/queue", shows="count"),
    ("POST", "/api/queue/resume"): Row("ADMINS", "/api/queue/resume"),
    ("POST", "/api/queue/pause"): Row("ADMINS", "/api/queue/pause"),
    ("GET", "/ws/{task_id}"): Row("OWN", "/ws/{done}"),
    ("GET", "/ws"): Row("PEOPLE", "/ws"),
    ("GET", "/api/events/{task_id}"): Row("OWN", "/api/events/{done}"),
    ("GET", "/api/events"): Row("PEOPLE", "/api/events"),
    ("GET", "/api/download/{name}"): Row("OWN", "{file}"),
    ("GET", "/api/tasks/{task_id}/stream"): Row("OWN", "/api/tasks/{done}/stream"),
    ("GET", "/api/tasks/{task_id}/files/{kind}/qr.svg"): Row("OWN", "/api/tasks/{done}/files/video/qr.svg"),
    ("GET", "/api/download.zip"): Row("OWN", "/api/download.zip?ids={done}"),
    ("GET", "/api/cookies"): Row("LISTS", "/api/cookies", shows="cookies"),
    ("PUT", "/api/cookies/{name}"): Row("PEOPLE", "/api/cookies/other", COOKIES, content_type="text/plain"),
    ("DELETE", "/api/cookies/{name}"): Row(
        "OWN", "/api/cookies/{cookies}", fresh="cookies", of_admin="?owner=anna"
    ),
    ("POST", "/api/subscriptions"): Row("PEOPLE", "/api/subscriptions", {}),
    ("GET", "/api/subscriptions"): Row("LISTS", "/api/subscriptions", shows="subscription"),
    ("GET", "/api/subscriptions/{subscription_id}"): Row("OWN", "/api/subscriptions/{subscription}"),
    ("PATCH", "/api/subscriptions/{subscription_id}"): Row(
        "OWN", "/api/subscriptions/{subscription}", {"name": "of Anna"}
    ),
    ("DELETE", "/api/subscriptions/{subscription_id}"): Row(
        "OWN", "/api/subscriptions/{subscription}", fresh="subscription"
    ),
    ("POST", "/api/subscriptions/{subscription_id}/check"): Row(
        "OWN", "/api/subscriptions/{subscription}/check"
    ),
    ("POST", "/api/subscriptions/actions"): Row(
        "OWN", "/api/subscriptions/actions", {"action": "check", "ids": ["{subscription}"]}
    ),
    ("GET", "/api/subscriptions/{subscription_id}/items"): Row(
        "OWN", "/api/subscriptions/{subscription}/items"
    ),
    ("POST", "/api/subscriptions/{subscription_id}/items/actions"): Row(
        "OWN", "/api/subscriptions/{subscription}/items/actions", {"action": "pin", "keys": ["a"]}
    ),
    ("GET", "/api/subscriptions.opml"): Row("LISTS", "/api/subscriptions.opml", shows="source"),
    ("POST", "/api/subscriptions.opml"): Row("PEOPLE", "/api/subscriptions.opml", {}),
    ("GET", "/api/subscriptions/{subscription_id}/picture"): Row(
        "OWN", "/api/subscriptions/{subscription}/picture"
    ),
    ("GET", "/feeds/{secret}/{feed}.xml"): Row("SECRET", "/feeds/{secret}/pods.xml"),
    ("GET", "/feeds/{secret}.opml"): Row("SECRET", "/feeds/{secret}.opml"),
    ("GET", "/feeds/{secret}/{feed}/files/{name}"): Row("SECRET", "/feeds/{secret}/pods/files/{name}"),
    ("GET", "/feeds/{secret}/{feed}/pictures/{task_id}.jpg"): Row(
        "SECRET", "/feeds/{secret}/pods/pictures/{done}.jpg"
    ),
    ("GET", "/feeds/{secret}/{feed}/chapters/{task_id}.json"): Row(
        "SECRET", "/feeds/{secret}/pods/chapters/{done}.json"
    ),
    ("GET", "/feeds/{secret}/{feed}/cover-{tag}.jpg"): Row("SECRET", "/feeds/{secret}/pods/cover-none.jpg"),
    ("GET", "/api/feeds"): Row("LISTS", "/api/feeds", shows="secret", of_admin=None),
    ("POST", "/api/feeds/renew"): Row("PEOPLE", "/api/feeds/renew"),
    ("GET", "/api/media"): Row("OWN", "/api/media?url={link}", of_admin="&owner=anna"),
    ("POST", "/api/media"): Row("PEOPLE", "/api/media", "youtube 0123456789a\n", content_type="text/plain"),
    ("POST", "/api/tasks/{task_id}/place"): Row("OWN", "/api/tasks/{task}/place"),
    ("POST", "/api/library/preview"): Row("PEOPLE", "/api/library/preview", {}),
    ("POST", "/api/library/actions"): Row("ADMINS", "/api/library/actions", {}),
    ("GET", "/api/webhooks"): Row("LISTS", "/api/webhooks", shows="webhook"),
    ("POST", "/api/webhooks/{webhook_id}/retry"): Row("OWN", "/api/webhooks/{webhook}/retry"),
    ("POST", "/api/tasks/{task_id}/links"): Row("OWN", "/api/tasks/{done}/links", {"kind": "video"}),
    ("GET", "/api/tasks/{task_id}/links"): Row("OWN", "/api/tasks/{done}/links"),
    ("DELETE", "/api/links/{link_id}"): Row("OWN", "/api/links/{file_link}", fresh="file_link"),
    ("GET", "/api/links/{link_id}/qr.svg"): Row("OWN", "/api/links/{file_link}/qr.svg"),
    ("GET", "/links/{link_id}/{signature}"): Row("SECRET", "{file_address}"),
    ("GET", "/api/me"): Row("PEOPLE", "/api/me"),
    ("PATCH", "/api/me"): Row("PEOPLE", "/api/me", {}),
    ("GET", "/api/me/tokens"): Row("PEOPLE", "/api/me/tokens"),
    ("POST", "/api/me/tokens"): Row("PEOPLE", "/api/me/tokens", {}),
    ("DELETE", "/api/me/tokens/{label}"): Row("PEOPLE", "/api/me/tokens/none"),
    ("GET", "/api/me/sessions"): Row("PEOPLE", "/api/me/sessions"),
    ("DELETE", "/api/me/sessions/{session_id}"): Row("PEOPLE", "/api/me/sessions/none"),
    ("GET", "/api/people"): Row("ADMINS", "/api/people"),
    ("POST", "/api/people"): Row("ADMINS", "/api/people", {}),
    ("GET", "/api/people/{name}"): Row("ADMINS", "/api/people/anna"),
    ("PATCH", "/api/people/{name}"): Row("ADMINS", "/api/people/anna", {}),
    ("DELETE", "/api/people/{name}"): Row("ADMINS", "/api/people/none?tasks=keep"),
    ("POST", "/api/people/{name}/adopt"): Row("ADMINS", "/api/people/none/adopt"),
    ("GET", "/api/people/{name}/tokens"): Row("ADMINS", "/api/people/anna/tokens"),
    ("POST", "/api/people/{name}/tokens"): Row("ADMINS", "/api/people/anna/tokens", {}),
    ("DELETE", "/api/people/{name}/tokens/{label}"): Row("ADMINS", "/api/people/anna/tokens/none"),
    ("GET", "/api/session/oidc"): Row("OPEN", "/api/session/oidc"),
    ("GET", "/api/session/oidc/callback"): Row("OPEN", "/api/session/oidc/callback"),
    ("GET", "/api/audit"): Row("ADMINS", "/api/audit"),
    ("GET", "/api/session"): Row("OPEN", "/api/session"),
    ("POST", "/api/session"): Row("OPEN", "/api/session", {}),
    ("DELETE", "/api/session"): Row("OPEN", "/api/session"),
    ("GET", "/healthz"): Row("OPEN", "/healthz"),
    ("GET", "/readyz"): Row("PEOPLE", "/readyz"),
    ("GET", "/metrics"): Row("ADMINS", "/metrics"),
    ("GET", "/api/openapi.json"): Row("PEOPLE", "/api/openapi.json"),
    ("GET", "/api/docs"): Row("PEOPLE", "/api/docs"),
    ("GET", "/"): Row("OPEN", "/"),
}


def test_the_matrix_has_every_route_of_the_description_and_no_other() -> None:
    routes = routes_of(FEATURES)
    described = {(route.definition.method, route.path) for route in routes if route.operations}
    assert described == set(ROWS)


@dataclass
class World:
    """A service with roles and Anna's things. `roles` has the headers that each role sends; `things` has the
    ids of Anna's things, and `unknown` ids of things that do not exist.
    """

    server: Inside
    roles: dict[str, dict[str, str]]
    others: Sequence[Inside] = ()  # other nodes of the same cluster: each request goes to the next node
    asked: int = 0
    things: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    made: int = 0

    async def ask(
        self, role: str, method: str, row: Row, things: Mapping[str, str], more: str = ""
    ) -> "Answer":
        path, headers = _filled(row.path, things) + more, dict(self.roles[role])
        nodes = (self.server, *self.others)
        client = nodes[self.asked % len(nodes)].client
        self.asked += 1
        if path.startswith("/ws"):
            try:
                async with client.ws_connect(path, headers=headers):
                    return Answer(101, "")
            except aiohttp.WSServerHandshakeError as refused:
                return Answer(refused.status, "")
        body = row.body
        if body is not None:
            headers["Content-Type"] = row.content_type
            body = _filled(body if isinstance(body, str) else json.dumps(body), things)
        is_long = path.startswith("/api/events")
        async with client.request(method, path, data=body, headers=headers, allow_redirects=False) as answer:
            text = "" if is_long and answer.status == 200 else (await answer.read()).decode(errors="replace")
            return Answer(answer.status, text)

    async def add(
        self, name: str, role: PersonRole = "user", expires_at: float | None = None
    ) -> dict[str, str]:
        """Give the person a token, and add the person if there is none of this name; return the headers with
        the token.
        """
        directory = self.server.app[DIRECTORY]
        assert isinstance(directory, PeopleDirectory)
        token, label = fresh_token(), "old" if expires_at else "first"
        if name not in directory.people:
            await directory.change(lambda tables: rows.add_person(tables, name, role, 0.0))
        await directory.change(
            lambda tables: rows.add_token(tables, name, label, hash_of(token), 0.0, expires_at)
        )
        self.roles[name] = {"Authorization": f"Bearer {token}"}
        return self.roles[name]

    async def make(self, thing: str) -> dict[str, str]:
        """Make a new thing of Anna's; return all her things with it."""
        client, headers, things = self.server.client, self.roles["anna"], dict(self.things)
        self.made += 1
        match thing:
            case "task":
                things["task"] = await self._submit()
            case "cookies":
                things["cookies"] = f"log-in-{self.made}"
                path = f"/api/cookies/{things['cookies']}"
                async with client.put(
                    path, data=COOKIES, headers={**headers, "Content-Type": "text/plain"}
                ) as answer:
                    assert answer.status == 204
            case "subscription":
                body = {"url": f"http://127.0.0.9:9/{self.made}", "enabled": False}
                async with client.post("/api/subscriptions", json=body, headers=headers) as answer:
                    assert answer.status == 201, await answer.text()
                    things["subscription"] = (await answer.json())["subscription_id"]
            case "file_link":
                path = f"/api/tasks/{things['done']}/links"
                async with client.post(path, json={"kind": "video"}, headers=headers) as answer:
                    link = await answer.json()
                    things["file_link"] = link["id"]
                    things["file_address"] = urlsplit(link["url"]).path
        return things

    async def _submit(self, **fields: object) -> str:
        async with self.server.client.post(
            "/api/process", json=TASK | fields, headers=self.roles["anna"]
        ) as answer:
            assert answer.status == 202, await answer.text()
            task_id: str = (await answer.json())["task_id"]
            return task_id

    async def begin(self) -> None:
        """Make one thing of each kind."""
        link = self.things["link"] = "http://127.0.0.9:9/annas.mp4"
        self.things["source"] = "http://127.0.0.9:9/annas-pods"
        told = "http://127.0.0.9:9/told"
        done = self.things["done"] = await self._submit(url=link, webhook=told, outputs=["video"])
        file = self.things["file"] = await self.server.finished(b"a film", done)
        self.things["name"] = file.rpartition("/")[2]
        body = {"url": self.things["source"], "enabled": False, "feed": {"name": "pods"}}
        anna = self.roles["anna"]
        async with self.server.client.post("/api/subscriptions", json=body, headers=anna) as answer:
            made = await answer.json()
            subscription = self.things["subscription"] = made["subscription_id"]
            self.things["secret"] = urlsplit(made["feed"]["url"]).path.split("/")[2]

        async def item(tables: Tables) -> None:
            await tables.run(_ITEM, (subscription, done))

        await self.server.app[SUBSCRIPTIONS].store._transactions.write(item)
        for thing in ("task", "cookies", "file_link"):
            self.things |= await self.make(thing)
        async with self.server.client.get("/api/webhooks", headers=anna) as answer:
            self.things["webhook"] = (await answer.json())["webhooks"][0]["id"]
        self.unknown = {
            **dict.fromkeys(("done", "task", "subscription"), UNKNOWN),
            "file": "/api/download/video_none_0123456789ab.mp4",
            "name": "video_none_0123456789ab.mp4",
            "cookies": "none",
            "link": "http://127.0.0.9:9/none.mp4",
            "secret": "none",
            "webhook": "msg_none",
            "file_link": "none",
            "file_address": "/links/none/none",
        }


@dataclass(frozen=True)
class Answer:
    status: int
    text: str

    @property
    def code(self) -> str | None:
        try:
            found = json.loads(self.text)
        except ValueError:
            return None
        return found.get("code") if isinstance(found, dict) else None

    def without(self, things: Mapping[str, str]) -> tuple[int, str]:
        """Return the status and the text of the answer, with the ids in it replaced by their names."""
        text = self.text
        for name, value in things.items():
            text = text.replace(value, f"<{name}>")
        return self.status, _REQUEST_ID.sub("", text)


def _filled(text: str, things: Mapping[str, str]) -> str:
    for name, value in things.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def server_of(
    folder: Path,
    database: str,
    *,
    separate_lists: bool = True,
    port: int = 0,
    oidc: OidcSettings | None = None,
) -> AbstractAsyncContextManager[Inside]:
    return inside(
        folder,
        port=port,
        server=ServerSettings(tokens=(SecretStr(SHARED),), trusted_proxies=("127.0.0.1",)),
        storage=StorageSettings(data_dir=folder / "data", database=database),
        downloads=DownloadSettings(min_free_disk=0),
        library=LibrarySettings(path=folder / "library"),
        webhooks=WebhookSettings(secret=SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
        access=AccessSettings(
            separate_lists=separate_lists, user_header="Remote-User", oidc=oidc or OidcSettings()
        ),
    )


@asynccontextmanager
async def three_nodes(folder: Path, database: str) -> AsyncIterator[World]:
    """A `world` on three nodes, where Anna has logged in at a real provider."""
    port = unused_port()
    origin = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        issuer = await stack.enter_async_context(
            provider(f"{origin}/api/session/oidc/callback", f"{origin}/")
        )
        oidc = OidcSettings(issuer=issuer, client_id="clipwire", client_secret=SECRETS["clipwire"])
        others = [await stack.enter_async_context(server_of(folder, database, oidc=oidc)) for _ in range(2)]
        everybody = await stack.enter_async_context(
            world(folder, database, others=others, port=port, oidc=oidc)
        )
        async with Place(origin, issuer, everybody.server.app).browser() as browser:
            assert await browser.log_in("anna") == "/"
            [cookie] = [one for one in browser.session.cookie_jar if one.key == COOKIE]
        everybody.roles["oidc"] = {"Cookie": f"{COOKIE}={cookie.value}", **OURS}
        for node in others:
            directory = node.app[DIRECTORY]
            assert isinstance(directory, PeopleDirectory)
            await directory.compare()
        yield everybody


@asynccontextmanager
async def world(
    folder: Path,
    database: str,
    *,
    is_furnished: bool = True,
    separate_lists: bool = True,
    others: Sequence[Inside] = (),
    **how: Any,
) -> AsyncIterator[World]:
    """Open a world; it has one of each of Anna's things if it `is_furnished`."""
    async with server_of(folder, database, separate_lists=separate_lists, **how) as server:
        directory = server.app[DIRECTORY]
        assert isinstance(directory, PeopleDirectory)

        everybody = World(server, {}, others)
        add = everybody.add
        revoked = await add("anna")
        await directory.change(lambda tables: rows.revoke_token(tables, "anna", "first"))
        way: Principal = Principal("anna", "user", "oidc", scope_of_person("anna"))
        cookie = await server.app[LOG_INS].begin(way)
        everybody.roles |= {
            "nobody": {},
            "revoked": revoked,
            "expired": await add("anna", expires_at=1.0),
            "shared": {"Authorization": f"Bearer {SHARED}"},
            "proxy": {"Remote-User": "anna", **OURS},
            "oidc": {"Cookie": f"{COOKIE}={cookie}", **OURS},
        }
        for name in ("anna", "bob"):
            await add(name)
        await add("root", "admin")
        shared = everybody.roles["shared"]
        async with server.client.post("/api/queue/pause", headers=shared) as answer:
            assert answer.status == 200
        if is_furnished:
            await everybody.begin()
        yield everybody


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.wide),
        pytest.param("three nodes", marks=pytest.mark.long),
    ]
)
async def everybody(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    database = "sqlite" if request.param == "sqlite" else request.getfixturevalue("clean_database")
    opened = three_nodes if request.param == "three nodes" else world
    async with opened(tmp_path, database) as found:
        yield found


async def test_each_route_answers_each_role_as_the_matrix_says(
    everybody: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MAX_WRONG", 10_000)
    described = {(method.upper(), route.path) for route in routes_of(FEATURES) for method in route.operations}
    wrong = list[str]()
    order: tuple[Kind, ...] = ("PEOPLE", "ADMINS", "SECRET", "LISTS", "OWN", "OPEN")
    last = [
        ("POST", "/api/feeds/renew"),
        ("DELETE", "/api/session"),
    ]  # after these requests no address or cookie is valid any more
    places = asyncio.Semaphore(AT_ONCE)

    async def look(method: str, path: str, row: Row) -> None:
        for each in (method, "HEAD") if ("HEAD", path) in described else (method,):
            async with places:
                wrong.extend(f"{each} {path}: {fault}" for fault in await faults(everybody, each, row))

    for kind in order:
        rows_of_kind = [(name, row) for name, row in ROWS.items() if row.kind == kind and name not in last]
        await asyncio.gather(*(look(*name, row) for name, row in rows_of_kind))
    for name in last:
        await look(*name, ROWS[name])
    assert not wrong, "\n".join(wrong)


async def faults(world: World, method: str, row: Row) -> list[str]:
    """Return the ways in which the answers differ from what `row` says."""
    found = list[str]()

    def expect(is_so: bool, role: str, answer: Answer, what: str) -> None:
        if not is_so:
            found.append(f"{role} {what}: {answer.status} {answer.text[:300]}")

    answers = await asyncio.gather(
        *(world.ask(role, method, row, world.things) for role in STRANGERS),
        world.ask("bob", method, row, world.unknown),
        world.ask("bob", method, row, world.things),
    )
    unknown, his = answers[-2:]
    for role, answer in zip(STRANGERS, answers, strict=False):
        if row.kind in ("OPEN", "SECRET"):
            expect(answer.status not in (401, 403), role, answer, "is let in")
        else:
            expect(answer.status == 401, role, answer, "is not let in")
    match row.kind:
        case "SECRET":
            expect(unknown.status == 404, "bob", unknown, "gets nothing by another secret")
            is_told = method == "HEAD" or his.without(world.things) != unknown.without(world.unknown)
            expect(is_told, "bob", his, "gets what the address opens")
        case "ADMINS":
            for role in ("bob", *USERS):
                answer = await world.ask(role, method, row, world.things)
                expect(answer.status == 403, role, answer, "is refused")
        case "PEOPLE" | "OPEN":
            expect(his.status not in (401, 403), "bob", his, "is let in")
        case "LISTS":
            expect(his.status == 200, "bob", his, "is let in")
            told = [name for name, value in world.things.items() if value in his.text]
            expect(not told, "bob", his, f"is told of {told}")
        case "OWN":
            expect(
                his.without(world.things) == unknown.without(world.unknown), "bob", his, f"unlike {unknown}"
            )

    async def ask_as(role: str) -> None:
        is_admin = role in ADMINS
        if row.kind == "ADMINS" and not is_admin:
            return
        things = await world.make(row.fresh) if row.fresh and method != "HEAD" else world.things
        answer = await world.ask(role, method, row, things, (row.of_admin or "") if is_admin else "")
        expect(answer.status not in (401, 403) and answer.status < 600, role, answer, "is let in")
        expect(answer.status != 500, role, answer, "fails")
        if row.kind == "OWN" and method != "HEAD":  # the answer to HEAD has no body
            expect(answer.without(things) != unknown.without(world.unknown), role, answer, "is told of hers")
        if row.kind == "LISTS" and not (is_admin and row.of_admin is None):
            shown = things.get(row.shows, "")
            expect(not shown or shown in answer.text, role, answer, f"is told of her {row.shows}")

    await asyncio.gather(*map(ask_as, (*USERS, *ADMINS)))
    return found
