"""Log-ins by OpenID Connect, at a certified provider: oidc-provider, on this machine."""

import asyncio
import json
import os
import re
import shutil
import sqlite3
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from aiohttp import ClientResponse, ClientSession, CookieJar, web
from aiohttp.test_utils import TestServer, unused_port
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from pydantic import SecretStr
from yarl import URL

from server.api.session import DIRECTORY
from server.app import create_app
from server.core.ports import MAX_SESSIONS_OF_PERSON
from server.people import people_rows as rows
from server.people.audit_routes import AUDIT_ROWS
from server.people.directory import PeopleDirectory
from server.people.oidc_client import LogInRefused, OidcClient, Registration, Transaction
from server.settings import (
    AccessSettings,
    DownloadSettings,
    OidcSettings,
    ServerSettings,
    Settings,
    StorageSettings,
)
from tests.service import children_of, described
from tests.tools import npm_tool, without

SECRETS = {
    "clipwire": SecretStr("a secret: with/signs&more"),
    "elliptic": SecretStr("another secret"),
    "public": None,
}
STARTS_WITHIN = 120.0  # seconds that the provider may take to start; it takes one
OURS = {"Sec-Fetch-Site": "same-origin"}


@asynccontextmanager
async def provider(callback: str, page: str) -> AsyncIterator[str]:
    """Start a provider; yield its issuer."""
    node = shutil.which("node") or without("node", "apt-get install npm")
    script, folder = Path(__file__).with_name("oidc_provider.mjs"), npm_tool("oidc-provider")
    with TemporaryFile() as errors:
        process = await asyncio.create_subprocess_exec(
            *(node, str(script), str(folder), callback, page),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={"NODE_ENV": "test"},
        )
        assert process.stdout
        try:
            issuer = ""
            with suppress(TimeoutError):
                async with asyncio.timeout(STARTS_WITHIN):
                    issuer = (await process.stdout.readline()).decode().strip()
            if not issuer:
                errors.seek(0)
                state = described(children_of(os.getpid()))
                raise AssertionError(f"the provider does not start: {state}, {errors.read()[-2000:]!r}")
            yield issuer
        finally:
            process.kill()
            await process.wait()


class Place:
    """A server, the provider that it uses, and browsers."""

    def __init__(self, origin: str, issuer: str, app: web.Application) -> None:
        self.origin, self.issuer, self.app = origin, issuer, app

    @property
    def people(self) -> PeopleDirectory:
        found = self.app[DIRECTORY]
        assert isinstance(found, PeopleDirectory)
        return found

    @asynccontextmanager
    async def browser(self) -> AsyncIterator["Browser"]:
        async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:
            yield Browser(session, self)

    async def log_in(self, name: str) -> dict[str, Any]:
        """Log in as `name`; return what the server then says of the person, or the address to which the
        browser is sent.
        """
        async with self.browser() as browser:
            place = await browser.log_in(name)
            if "log_in_error" in place:
                return {"refused": parse_qs(urlsplit(place).query)["log_in_error"][0]}
            return await browser.me()


class Browser:
    def __init__(self, session: ClientSession, place: Place) -> None:
        self.session, self.place = session, place

    async def log_in(self, name: str) -> str:
        """Log in as `name`; return the address to which the server sends the browser in the end."""
        return await self.come_back(await self.link_back(name))

    async def come_back(self, link: str) -> str:
        answer = await self.session.get(URL(link, encoded=True), allow_redirects=False)
        assert answer.status == 302
        return answer.headers["Location"]

    async def link_back(self, name: str) -> str:
        """Log in at the provider as `name`; return the link by which the provider sends the browser back."""
        answer = await self.session.get(f"{self.place.origin}/api/session/oidc", allow_redirects=False)
        assert answer.status == 302
        return await self.through_provider(answer.headers["Location"], name)

    async def through_provider(self, link: str, name: str) -> str:
        for _ in range(12):
            if link.startswith(f"{self.place.origin}/"):
                return link
            answer = await self.session.get(URL(link, encoded=True), allow_redirects=False)
            if answer.status == 200:
                answer = await self._fill_in(link, await answer.text(), name)
            assert answer.status in (302, 303), await answer.text()
            link = str(answer.url.join(URL(answer.headers["Location"], encoded=True)))
        raise AssertionError(f"the provider goes in a circle: {link}")

    async def _fill_in(self, link: str, page: str, name: str) -> ClientResponse:
        action = re.search(r'<form[^>]* action="([^"]+)"', page)
        fields = dict(re.findall(r'<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"', page))
        if "prompt" in page and 'name="login"' in page:
            fields |= {"prompt": "login", "login": name, "password": "any"}
        target = URL(link).join(URL(action[1])) if action else URL(link)
        return await self.session.post(target, data=fields, allow_redirects=False)

    async def me(self) -> dict[str, Any]:
        answer = await self.session.get(f"{self.place.origin}/api/me")
        assert answer.status == 200
        told: dict[str, Any] = await answer.json()
        return told


@asynccontextmanager
async def opened(tmp_path: Path, client_id: str = "clipwire", **access: Any) -> AsyncIterator[Place]:
    port = unused_port()
    origin = f"http://127.0.0.1:{port}"
    async with provider(f"{origin}/api/session/oidc/callback", f"{origin}/") as issuer:
        group = access.pop("admin_group", None)
        oidc = OidcSettings(
            issuer=issuer, client_id=client_id, client_secret=SECRETS[client_id], admin_group=group
        )
        app = create_app(
            Settings(
                server=ServerSettings(),
                storage=StorageSettings(data_dir=tmp_path / "data"),
                downloads=DownloadSettings(min_free_disk=0),
                access=AccessSettings(oidc=oidc, **access),
            )
        )
        async with TestServer(app, port=port):
            yield Place(origin, issuer, app)


@pytest.mark.wide
@pytest.mark.parametrize("client_id", SECRETS)
async def test_whom_the_provider_names_is_logged_in(tmp_path: Path, client_id: str) -> None:
    async with opened(tmp_path, client_id, create_people=True) as place:
        async with place.browser() as browser:
            assert (await browser.session.get(f"{place.origin}/api/me")).status == 401
            assert await browser.log_in("Anna") == "/"
            me = await browser.me()
            assert (me["name"], me["role"], me["way"]) == ("anna", "user", "oidc")
            kept = {cookie.key: cookie for cookie in browser.session.cookie_jar}
            assert kept["clipwire_session"]["samesite"] == "Strict"
            assert "clipwire_oidc" not in kept  # the cookie was valid for one log-in only
        assert place.people.people["anna"].subject == f"{place.issuer} Anna"
        told = await place.log_in("Anna")
        assert told["name"] == "anna"
        assert [*place.people.people] == ["anna"]


async def test_only_who_is_expected_gets_in(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        assert await place.log_in("anna") == {"refused": "unknown"}
        assert not place.people.people
        await place.people.change(lambda tables: rows.add_person(tables, "anna", "user", 0.0))
        assert (await place.log_in("anna"))["name"] == "anna"
        # Another person who shows the same name.
        assert await place.log_in("anna+another") == {"refused": "unknown"}
        assert await place.log_in("not a name") == {"refused": "no_name"}


@pytest.mark.wide
async def test_a_name_alone_makes_nobody_an_admin(tmp_path: Path) -> None:
    async with opened(tmp_path, create_people=True) as place:
        await place.people.change(lambda tables: rows.add_person(tables, "boss", "admin", 0.0))
        assert await place.log_in("boss") == {"refused": "unknown"}


async def test_groups_become_roles_at_each_log_in(tmp_path: Path) -> None:
    async with opened(tmp_path, create_people=True, admin_group="clipwire-admins") as place:
        assert (await place.log_in("root"))["role"] == "admin"
        assert (await place.log_in("anna"))["role"] == "user"
        await place.people.change(lambda tables: rows.set_role(tables, "anna", "admin"))
        await place.people.change(lambda tables: rows.set_role(tables, "root", "user"))
        assert (await place.log_in("anna"))["role"] == "user"
        assert (await place.log_in("root"))["role"] == "admin"
        events, _ = await place.app[AUDIT_ROWS].page(None, 10, time.time())
        assert [(one.who, one.what, one.subject) for one in reversed(events)] == [
            ("root", "person_added", "root admin"),
            ("root", "log_in", ""),
            ("anna", "person_added", "anna user"),
            ("anna", "log_in", ""),
            ("anna", "role_changed", "anna user"),
            ("anna", "log_in", ""),
            ("root", "role_changed", "root admin"),
            ("root", "log_in", ""),
        ]


async def test_a_log_in_cannot_be_slipped_in_repeated_or_mixed_up(tmp_path: Path) -> None:
    async with opened(tmp_path, create_people=True) as place:
        async with place.browser() as attacker, place.browser() as victim:
            link = await attacker.link_back("mallory")
            parts = urlsplit(link)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            assert query["iss"] == place.issuer

            def changed(**others: str | None) -> str:
                told = {name: value for name, value in (query | others).items() if value is not None}
                return parts._replace(query=urlencode(told)).geturl()

            # The log-in was begun in another browser.
            assert "log_in_error=expired" in await victim.come_back(link)
            other = await victim.link_back("victim")
            mixed = {"code": query["code"]}
            query_of_victim = parse_qs(urlsplit(other).query)
            swapped = changed(state=query_of_victim["state"][0], **mixed)
            # PKCE refuses the code of another log-in.
            assert "log_in_error=refused" in await victim.come_back(swapped)
        async with place.browser() as browser:
            link = await browser.link_back("anna")
            parts = urlsplit(link)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            cookies = {cookie.key: cookie.value for cookie in browser.session.cookie_jar}
            for wrong in (
                {"iss": "https://evil.example"},
                {"iss": None},
                {"state": "x"},
                {"error": "access_denied"},
            ):
                assert "log_in_error" in await browser.come_back(changed(**wrong))
                browser.session.cookie_jar.update_cookies(cookies, URL(place.origin))
            assert await browser.come_back(link) == "/"
            browser.session.cookie_jar.update_cookies(cookies, URL(place.origin))
            assert "log_in_error" in await browser.come_back(link)  # a code can be used once


@pytest.mark.wide
async def test_a_log_out_leads_to_the_provider(tmp_path: Path) -> None:
    async with opened(tmp_path, create_people=True) as place, place.browser() as browser:
        await browser.log_in("anna")
        answer = await browser.session.delete(f"{place.origin}/api/session", headers=OURS)
        assert answer.status == 200
        link = (await answer.json())["log_out_at"]
        assert link.startswith(f"{place.issuer}/session/end?")
        assert (await browser.session.get(f"{place.origin}/api/me")).status == 401
        assert (await browser.session.get(URL(link, encoded=True))).status == 200


@pytest.mark.wide
async def test_many_log_ins_leave_nothing_behind_but_their_last_sessions(tmp_path: Path) -> None:
    async with opened(tmp_path, create_people=True) as place, place.browser() as browser:
        for _ in range(5):
            await browser.log_in("anna")
        sessions = await (await browser.session.get(f"{place.origin}/api/me/sessions")).json()
        assert len(sessions["sessions"]) == 1
        async with ClientSession() as stranger:
            for _ in range(20):  # log-ins that are begun and never finished
                answer = await stranger.get(f"{place.origin}/api/session/oidc", allow_redirects=False)
                assert answer.status == 302
        assert [*place.people.people] == ["anna"]


@pytest.mark.long
async def test_log_ins_of_ever_new_browsers_leave_a_line_of_the_audit_log_and_nothing_else(
    tmp_path: Path,
) -> None:
    def rows_of_tables() -> dict[str, int]:
        with closing(sqlite3.connect(tmp_path / "data" / "clipwire.db")) as database:
            names = database.execute(
                "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE TABLE%'"
            ).fetchall()
            return {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for (name,) in names}

    async with opened(tmp_path, create_people=True) as place:
        for _ in range(MAX_SESSIONS_OF_PERSON + 1):
            await place.log_in("anna")
        before = rows_of_tables()
        assert before["sessions"] == MAX_SESSIONS_OF_PERSON
        for _ in range(10):
            await place.log_in("anna")
        after = rows_of_tables()
        assert {name for name in before if before[name] != after[name]} <= {"audit"}


async def test_a_provider_that_is_away_or_another_is_said_so(tmp_path: Path) -> None:
    port = unused_port()
    settings = Settings(
        storage=StorageSettings(data_dir=tmp_path / "data"),
        downloads=DownloadSettings(min_free_disk=0),
        access=AccessSettings(oidc=OidcSettings(issuer=f"http://127.0.0.1:{port}", client_id="clipwire")),
    )
    app = create_app(settings)
    async with TestServer(app) as server, ClientSession() as session:
        link = server.make_url("/api/session/oidc")
        answer = await session.get(link, allow_redirects=False)
        assert answer.headers["Location"] == "/?log_in_error=away"

        async def other(_: web.Request) -> web.Response:
            return web.json_response({"issuer": "https://evil.example"})

        evil = web.Application()
        evil.router.add_get("/.well-known/openid-configuration", other)
        async with TestServer(evil, port=port):
            answer = await session.get(link, allow_redirects=False)
            assert answer.headers["Location"] == "/?log_in_error=away"
        told = await (await session.get(server.make_url("/api/session"))).json()
        assert told["ways"] == ["token", "oidc"]


async def test_where_there_is_no_provider_there_is_no_way_there(tmp_path: Path) -> None:
    settings = Settings(
        storage=StorageSettings(data_dir=tmp_path / "data"), downloads=DownloadSettings(min_free_disk=0)
    )
    async with TestServer(create_app(settings)) as server, ClientSession() as session:
        for path in ("/api/session/oidc", "/api/session/oidc/callback"):
            assert (await session.get(server.make_url(path), allow_redirects=False)).status == 404


async def test_only_what_the_provider_has_signed_for_this_log_in_holds() -> None:
    registration = Registration(
        "https://login.example", "clipwire", "a secret of 32 bytes and some more", None
    )
    client, transaction = OidcClient(registration), Transaction.begin()
    key, other = (RSAKey.generate_key(2048, {"kid": name}) for name in ("key", "other"))
    public = key.as_dict(private=False)
    client._keys, client._keys_fetched_at = {"keys": [public]}, time.monotonic()
    now = int(time.time())
    right: dict[str, Any] = {
        "iss": "https://login.example",
        "aud": "clipwire",
        "sub": "1",
        "exp": now + 60,
        "iat": now,
        "nonce": transaction.nonce,
    }

    async def checked(claims: dict[str, Any], key: Any = key, **header: str) -> dict[str, Any]:
        algorithm = header.pop("alg", "RS256")
        token = jwt.encode({"alg": algorithm, "kid": "key"} | header, claims, key, algorithms=[algorithm])
        return await client._check_id_token({}, token, transaction)

    assert (await checked(right))["sub"] == "1"
    assert await checked(right | {"aud": ["clipwire", "another"], "azp": "clipwire"})
    for wrong in (
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"aud": ["clipwire"], "azp": "another"},
        {"exp": now - 3600},
        {"iat": now + 3600},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": ""},
        {"exp": None},
    ):
        claims = {name: value for name, value in (right | wrong).items() if value is not None}
        with pytest.raises(LogInRefused):
            await checked(claims)
    with pytest.raises(LogInRefused):
        await checked(right, other)
    by_secret = OctKey.import_key(registration.secret)
    with pytest.raises(LogInRefused):
        await checked(right, by_secret, alg="HS256")
    unsigned = ".".join(
        (
            *(
                urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
                for part in ({"alg": "none"}, right)
            ),
            "",
        )
    )
    for token in (unsigned, "", "a.b.c"):
        with pytest.raises(LogInRefused):
            await client._check_id_token({}, token, transaction)


@pytest.mark.parametrize("cookie", ["", "x", "bnVsbA", "WzEsMl0", "WyJhIiwiYiIsImMiLDFd"])
def test_a_cookie_that_is_none_or_old_begins_nothing(cookie: str) -> None:
    assert Transaction.read(cookie) is None


def test_what_the_browser_keeps_comes_back_as_it_was() -> None:
    transaction = Transaction.begin()
    assert Transaction.read(transaction.cookie()) == transaction
