"""Which requests are admitted: host names, origins, tokens and sessions."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSServerHandshakeError, web
from aiohttp.test_utils import TestClient, make_mocked_request
from multidict import CIMultiDict
from pydantic import SecretStr

from server.api.connections import CONNECTIONS
from server.api.route import Access
from server.api.security import Doors
from server.api.session import COOKIE, MAX_WRONG, Minute
from server.app import ROUTES, create_app
from server.settings import DownloadSettings, LimitSettings, ServerSettings, Settings, StorageSettings

Client = TestClient[web.Request, web.Application]
Connect = Callable[[web.Application], Awaitable[Client]]
TOKEN = "right-token-123"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
BODY = {"url": "http://127.0.0.9:9/v.mp4", "auto_start": False}


async def opened(aiohttp_client: Connect, tmp_path: Path, **server: Any) -> Client:
    settings = Settings(
        server=ServerSettings(**server),
        storage=StorageSettings(data_dir=tmp_path / "data"),
        downloads=DownloadSettings(min_free_disk=0),
    )
    return await aiohttp_client(create_app(settings))


@pytest.fixture
async def open_house(aiohttp_client: Connect, tmp_path: Path) -> Client:
    return await opened(aiohttp_client, tmp_path, allowed_hosts=("clip.example",))


@pytest.fixture
async def guarded(aiohttp_client: Connect, tmp_path: Path) -> Client:
    return await opened(aiohttp_client, tmp_path, tokens=(SecretStr("other"), SecretStr(TOKEN)))


async def test_only_our_own_names_are_answered(open_house: Client) -> None:
    for host, status in {
        "127.0.0.1:8080": 200,
        "localhost": 200,
        "app.localhost:1": 200,
        "192.168.1.5:8080": 200,
        "[::1]:8080": 200,
        "clip.example": 200,
        "CLIP.example:443": 200,
        "evil.example": 403,
        "clip.example.evil.example": 403,
        "127.0.0.1.evil.example": 403,
        "[::1": 403,
    }.items():
        response = await open_house.get("/api/tasks", headers={"Host": host})
        assert response.status == status, host
        assert (await open_house.get("/healthz", headers={"Host": host})).status == 200, host


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"Origin": "http://clip.example"}, 202),
        ({"Origin": "https://clip.example"}, 202),
        ({"Origin": "http://clip.example", "Sec-Fetch-Site": "same-origin"}, 202),
        ({"Sec-Fetch-Site": "none"}, 202),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://clip.example.evil.example"}, 403),
        ({"Origin": "http://clip.example:81"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://clip.example", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_changes_are_for_our_own_page(open_house: Client, headers: dict[str, str], status: int) -> None:
    headers = {"Host": "clip.example"} | headers
    made = await open_house.post("/api/process", json=BODY, headers=headers)
    assert made.status == status
    read = await open_house.get("/api/tasks", headers=headers)
    assert read.status == 200
    if status == 403:
        for path in ("/ws", "/ws/any"):
            with pytest.raises(WSServerHandshakeError) as refused:
                await open_house.ws_connect(path, headers=headers)
            assert refused.value.status == 403
    else:
        await (await open_house.ws_connect("/ws", headers=headers)).close()


@pytest.mark.parametrize("name", ["Origin", "Sec-Fetch-Site"])
async def test_who_names_two_origins_comes_from_none_of_ours(open_house: Client, name: str) -> None:
    ours, foreign = ("http://clip.example", "http://evil.example")
    if name == "Sec-Fetch-Site":
        ours, foreign = "same-origin", "cross-site"
    for values in ((ours, foreign), (foreign, ours)):
        headers = CIMultiDict([("Host", "clip.example"), *((name, value) for value in values)])
        assert (await open_house.post("/api/process", json=BODY, headers=headers)).status == 403


async def test_another_origin_can_be_allowed(aiohttp_client: Connect, tmp_path: Path) -> None:
    client = await opened(aiohttp_client, tmp_path, allowed_origins=("https://tools.example",))
    headers = {"Origin": "https://tools.example", "Sec-Fetch-Site": "cross-site"}
    assert (await client.post("/api/process", json=BODY, headers=headers)).status == 202


EXTENSIONS = (
    "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    "moz-extension://5a6ec45b-6d46-4fb5-b8ff-1d0e0e5bd6d1",
)


@pytest.mark.parametrize("site", [{}, {"Sec-Fetch-Site": "cross-site"}])
@pytest.mark.parametrize("origin", EXTENSIONS)
async def test_an_extension_with_a_right_token_is_let_in(
    guarded: Client, origin: str, site: dict[str, str]
) -> None:
    ours = {"Origin": origin} | site | BEARER
    made = await guarded.post("/api/process", json=BODY, headers=ours)
    assert made.status == 202
    assert (await guarded.post("/api/session", json={"token": TOKEN}, headers=ours)).status == 204
    task_id = (await made.json())["task_id"]
    stream = await guarded.get(f"/api/events/{task_id}", headers=ours)
    assert stream.status == 200
    stream.close()
    async with guarded.ws_connect(f"/ws/{task_id}", headers=ours) as ws:
        assert (await ws.receive_json())["task_id"] == task_id


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": EXTENSIONS[0]},
        {"Origin": EXTENSIONS[0], "Authorization": "Bearer wrong"},
        {"Origin": EXTENSIONS[1], "Authorization": "Bearer "},
        {"Origin": EXTENSIONS[0], "Authorization": f"Basic {TOKEN}"},
        {"Origin": f"{EXTENSIONS[0]},https://evil.example", **BEARER},
        {"Origin": "chrome-extension://", **BEARER},
        {"Origin": "evil-chrome-extension://a", **BEARER},
        {"Origin": "safari-web-extension://a", **BEARER},
        {"Origin": "https://evil.example", **BEARER},
        {"Origin": "null", **BEARER},
    ],
)
async def test_without_one_an_extension_stays_out_and_with_one_everything_else(
    guarded: Client, headers: dict[str, str]
) -> None:
    for path, body in (("/api/process", BODY), ("/api/session", {"token": TOKEN})):
        refused = await guarded.post(path, json=body, headers=headers)
        assert (refused.status, (await refused.json())["code"]) == (403, "origin_forbidden")
    assert "Access-Control-Allow-Origin" not in refused.headers
    assert (await guarded.get("/api/events", headers=headers)).status == 403


async def test_where_no_tokens_are_set_no_extension_is_let_in(open_house: Client) -> None:
    for more in ({}, BEARER):
        headers = {"Origin": EXTENSIONS[0]} | more
        assert (await open_house.post("/api/process", json=BODY, headers=headers)).status == 403


async def test_an_extension_cannot_try_out_tokens(guarded: Client) -> None:
    headers = {"Origin": EXTENSIONS[0], "Authorization": "Bearer wrong"}
    answers = [await guarded.post("/api/process", json=BODY, headers=headers) for _ in range(12)]
    assert [answer.status for answer in answers] == [403] * 10 + [429] * 2
    right = {"Origin": EXTENSIONS[0]} | BEARER
    assert (await guarded.post("/api/process", json=BODY, headers=right)).status == 202


async def test_one_extension_can_be_allowed_where_no_tokens_are_set(
    aiohttp_client: Connect, tmp_path: Path
) -> None:
    client = await opened(aiohttp_client, tmp_path, allowed_origins=EXTENSIONS[:1])
    for origin, status in zip(EXTENSIONS, (202, 403), strict=True):
        headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
        assert (await client.post("/api/process", json=BODY, headers=headers)).status == status


async def test_every_answer_carries_the_security_headers(open_house: Client) -> None:
    for path in ("/", "/api/nowhere", "/static/index.html", "/healthz", "/api/tasks"):
        headers = (await open_house.get(path)).headers
        assert headers.getall("X-Frame-Options") == ["DENY"], path
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_the_handshake_of_a_socket_carries_them_too(open_house: Client) -> None:
    socket = await open_house.ws_connect("/ws")
    assert socket._response.headers["X-Frame-Options"] == "DENY"
    await socket.close()


# Routes with a secret in their path; see `tests/feeds/test_feed_routes.py`,
# `tests/links/test_link_routes.py`.
WITH_SECRETS = {
    "/feeds/{secret}.opml",
    "/feeds/{secret}/{feed}.xml",
    "/feeds/{secret}/{feed}/chapters/{task_id}.json",
    "/feeds/{secret}/{feed}/cover-{tag}.jpg",
    "/feeds/{secret}/{feed}/files/{name}",
    "/feeds/{secret}/{feed}/pictures/{task_id}.jpg",
    "/links/{link_id}/{signature}",
}
# The routes with which a log-in at a provider begins and ends.
OF_PROVIDERS = {"/api/session/oidc", "/api/session/oidc/callback"}
OPEN = {"/", "/healthz", "/metrics", "/api/session", "/static/{path}"} | OF_PROVIDERS | WITH_SECRETS


# `/metrics` asks for a token itself, see `tests/api/test_metrics.py`.
def test_the_page_the_probe_the_log_in_and_secret_paths_are_all_that_is_open() -> None:
    assert {route.path for route in ROUTES if route.access is Access.SECRET} == WITH_SECRETS
    assert {route.path for route in ROUTES if route.access not in (Access.TOKEN, Access.STREAM)} == OPEN


GUARDED = [
    *(
        (route.definition.method, re.sub(r"{\w+}", "x", route.path))
        for route in ROUTES
        if route.path not in OPEN
    ),
    ("GET", "/nowhere"),
]


async def test_every_route_but_the_log_in_needs_a_token(guarded: Client) -> None:
    for method, path in GUARDED:
        response = await guarded.request(method, path)
        assert response.status == 401, (method, path)
        assert response.headers["WWW-Authenticate"].startswith("Bearer"), (method, path)
    for method, path in GUARDED:
        async with guarded.request(method, path, headers=BEARER) as response:
            assert response.status != 401, (method, path)


async def test_the_log_in_page_and_the_probe_are_open(guarded: Client) -> None:
    for path in ("/", "/healthz", "/static/index.html"):
        assert (await guarded.get(path)).status == 200, path


@pytest.mark.parametrize("base_path", ["/static", "/static/clip", "/clipwire", "/clipwire/static"])
async def test_what_is_open_is_decided_by_the_route_and_not_by_the_text_of_a_path(
    aiohttp_client: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base_path: str
) -> None:
    monkeypatch.setattr("server.app.check_base_path", lambda _: None)  # the check would refuse the first two
    client = await opened(aiohttp_client, tmp_path, tokens=(SecretStr(TOKEN),), base_path=base_path)
    for method, path in GUARDED:
        response = await client.request(method, base_path + path, allow_redirects=False)
        assert response.status == 401 or (method == "GET" and response.status == 404), (method, path)
    assert (await client.get(base_path + "/api/tasks")).status == 401
    assert (await client.post(base_path + "/api/process", json=BODY)).status == 401
    for path in ("/", "/healthz", "/api/session", "/static/index.html"):
        assert (await client.get(base_path + path)).status == 200


async def test_after_ten_wrong_tokens_more_are_told_to_wait_but_the_right_one_is_not(guarded: Client) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    for _ in range(MAX_WRONG):
        assert (await guarded.get("/api/tasks", headers=wrong)).status == 401
        # A missing token does not count as a wrong one.
        assert (await guarded.get("/api/tasks")).status == 401
    response = await guarded.get("/api/tasks", headers=wrong)
    assert response.status == 429
    assert 1 <= int(response.headers["Retry-After"]) <= 61
    assert (await guarded.post("/api/session", json={"token": "wrong"})).status == 429
    assert (await guarded.get("/api/tasks", headers=BEARER)).status == 200


async def test_idempotency_keys_of_two_tokens_do_not_meet(guarded: Client) -> None:
    key = {"Idempotency-Key": "k"}
    one = await guarded.post("/api/process", json=BODY, headers=BEARER | key)
    two = await guarded.post("/api/process", json=BODY, headers={"Authorization": "Bearer other"} | key)
    assert (await one.json())["task_id"] != (await two.json())["task_id"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("7.7.7.7:1000", "7.7.7.8:1000"), ("[2001:db8::1]:1000", "[2001:db8::2]:1000"), ("2001:db8::1", "::2")],
)
def test_a_proxy_may_tell_the_port_of_a_client_too(one: str, other: str) -> None:
    doors = Doors(ServerSettings(trusted_proxies=("127.0.0.1",)))

    def client(hop: str) -> str:
        request = make_mocked_request("GET", "/", headers={"X-Forwarded-For": hop})
        return doors.client(request.clone(remote="127.0.0.1"))

    assert client(one) == client(one.replace(":1000", ":2000"))
    assert len({client(one), client(other), "127.0.0.1"}) == 3


def test_the_last_line_of_a_header_is_the_trusted_proxys() -> None:
    doors = Doors(ServerSettings(trusted_proxies=("127.0.0.1",)))
    headers = CIMultiDict(
        [
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "evil.test"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Host", "c.test"),
        ]
    )
    request = make_mocked_request("GET", "/", headers=headers).clone(remote="127.0.0.1")
    assert doors.origin(request) == "http://c.test"


async def test_a_trusted_proxy_says_who_asks_and_for_whom(aiohttp_client: Connect, tmp_path: Path) -> None:
    client = await opened(
        aiohttp_client,
        tmp_path,
        tokens=(SecretStr(TOKEN),),
        trusted_proxies=("127.0.0.0/8",),
        allowed_hosts=("c.test",),
    )
    wrong = {"Authorization": "Bearer wrong", "X-Forwarded-Host": "c.test", "Host": "inner.test"}
    for _ in range(MAX_WRONG):
        await client.get("/api/tasks", headers=wrong | {"X-Forwarded-For": "6.6.6.6, 7.7.7.7"})
    blocked = await client.get("/api/tasks", headers=wrong | {"X-Forwarded-For": "1.1.1.1, 7.7.7.7"})
    other = await client.get("/api/tasks", headers=wrong | {"X-Forwarded-For": "7.7.7.7, 8.8.8.8"})
    assert (blocked.status, other.status) == (429, 401)
    for scheme, secure in (("https", True), ("http, https", True), ("https, http", False)):
        https = {"X-Forwarded-Proto": scheme, "X-Forwarded-Host": "c.test"}
        response = await client.post("/api/session", json={"token": TOKEN}, headers=https)
        assert ("Secure" in response.headers["Set-Cookie"]) == secure, "the last one is the trusted proxy's"


async def test_who_is_no_proxy_is_not_believed(open_house: Client) -> None:
    headers = {"Host": "evil.example", "X-Forwarded-Host": "clip.example"}
    assert (await open_house.get("/api/tasks", headers=headers)).status == 403


@pytest.mark.parametrize("header", ["Authorization", "Cookie"])
async def test_bytes_that_are_no_text_are_a_wrong_token(guarded: Client, header: str) -> None:
    prefix = {"Authorization": b"Bearer ", "Cookie": COOKIE.encode() + b"="}[header]
    request = (
        b"GET /api/tasks HTTP/1.1\r\nHost: localhost\r\n" + header.encode() + b": " + prefix + b"\xe9\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", guarded.port)
    writer.write(request)
    assert (await reader.readline()).split()[1] == b"401"
    writer.close()


async def test_a_page_of_an_allowed_origin_can_use_the_api(aiohttp_client: Connect, tmp_path: Path) -> None:
    client = await opened(
        aiohttp_client, tmp_path, allowed_origins=("https://tools.example",), tokens=(SecretStr(TOKEN),)
    )
    asks = {"Origin": "https://tools.example", "Sec-Fetch-Site": "cross-site"}
    preflight = await client.options("/api/process", headers=asks | {"Access-Control-Request-Method": "POST"})
    assert preflight.status == 204
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    made = await client.post("/api/process", json=BODY, headers=asks | BEARER)
    for answer in (preflight, made, await client.get("/api/tasks", headers=asks)):
        assert answer.headers["Access-Control-Allow-Origin"] == "https://tools.example"
        assert "Access-Control-Allow-Credentials" not in answer.headers
    foreign = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    refused = await client.options("/api/process", headers=foreign)
    assert refused.status in (401, 403, 405)
    assert "Access-Control-Allow-Origin" not in refused.headers


async def test_one_client_holds_so_many_sockets_and_no_more(aiohttp_client: Connect, tmp_path: Path) -> None:
    settings = Settings(
        storage=StorageSettings(data_dir=tmp_path / "data"), limits=LimitSettings(sockets_per_client=2)
    )
    client = await aiohttp_client(create_app(settings))
    async with client.ws_connect("/ws"):
        async with client.ws_connect("/ws"):
            with pytest.raises(WSServerHandshakeError) as refused:
                await client.ws_connect("/ws")
            assert refused.value.status == 429
            assert refused.value.headers
            assert int(refused.value.headers["Retry-After"]) > 0
        while client.app[CONNECTIONS]._sockets["127.0.0.1"] > 1:
            await asyncio.sleep(0.01)
        await (await client.ws_connect("/ws")).close()


def test_counts_are_forgotten_after_a_minute_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    minute = Minute(lambda: now)
    assert [minute.count("a"), minute.count("a"), minute.count("b")] == [1, 2, 1]
    now += 59.9
    assert (minute.count("a"), minute.left("a")) == (3, 1)
    now += 0.2
    assert minute.count("a") == 1
    monkeypatch.setattr("server.api.session.MAX_ADDRESSES", 10)
    for number in range(100):
        minute.count(str(number))
    assert len(minute._counts) <= 10


async def test_a_foreign_page_is_refused_while_sockets_are_open(open_house: Client) -> None:
    async with open_house.ws_connect("/ws") as ws:
        evil = {"Origin": "http://evil.example"}
        assert (await open_house.post("/api/process", json=BODY, headers=evil)).status == 403
        with pytest.raises(TimeoutError):
            await ws.receive(timeout=0.05)
