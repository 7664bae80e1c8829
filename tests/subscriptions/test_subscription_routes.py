"""Routes of subscriptions that need no check: bad input, patches, long polls and OPML."""

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import listparser
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from server.api.payload import instant
from server.app import create_app
from server.core.library import Library
from server.settings import (
    ConfigurationError,
    DownloadSettings,
    LibrarySettings,
    Settings,
    StorageSettings,
    SubscriptionsSettings,
)
from server.subscriptions import opml, subscription_routes, subscription_schemas
from server.subscriptions.profiles import Profiles
from server.subscriptions.subscription import Filters, Keep, SubscriptionSettings
from server.subscriptions.subscription_schemas import (
    SubscriptionFilters,
    SubscriptionKeep,
    SubscriptionLibrary,
)

Client = TestClient[web.Request, web.Application]
Connect = Callable[[web.Application], Awaitable[Client]]
URL = "http://127.0.0.9:9/feed"
OPML = {"Content-Type": "text/x-opml"}
NOBODY = "123e4567-e89b-12d3-a456-426614174000"
BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE o [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<opml><body><outline text="&c;" xmlUrl="http://a.test/"/></body></opml>"""


@pytest.fixture
async def client(aiohttp_client: Connect, tmp_path: Path) -> Client:
    settings = Settings(
        storage=StorageSettings(data_dir=tmp_path / "data"),
        downloads=DownloadSettings(min_free_disk=0),
        subscriptions=SubscriptionsSettings.model_validate({"max": 5}),
        presets={"phone": {"quality": "720"}},
    )
    return await aiohttp_client(create_app(settings))


async def subscribed(client: Client, url: str = URL, **fields: Any) -> dict[str, Any]:
    response = await client.post("/api/subscriptions", json={"url": url, "enabled": False, **fields})
    assert response.status == 201, await response.text()
    assert response.headers["Location"].startswith("/api/subscriptions/")
    payload: dict[str, Any] = await response.json()
    return payload


async def test_it_is_answered_before_anything_is_fetched(client: Client) -> None:
    made = await subscribed(client, name="Mine", request={"preset": "phone"}, interval="90m")
    assert made["stage"] == "paused"
    assert (made["name"], made["interval"], made["revision"], made["items"]) == ("Mine", "90m", 1, {})
    assert made["request"] == {"preset": "phone", "quality": "720"}, "a preset is resolved for good"
    assert (await (await client.get("/api/subscriptions")).json())["subscriptions"] == [made]


WRONG_FIELDS: list[tuple[dict[str, Any], set[str]]] = [
    ({"url": ""}, {"url"}),
    ({"url": "ftp://a/"}, {"url"}),
    ({"interval": "4m"}, {"interval"}),
    ({"interval": "31d"}, {"interval"}),
    ({"interval": "1 h"}, {"interval"}),
    ({"interval": 3600}, {"interval"}),
    ({"interval": ""}, {"interval"}),
    ({"name": ""}, {"name"}),
    ({"filters": {"title": ""}}, {"filters.title"}),
    ({"filters": {"title": "("}}, {"filters.title"}),
    ({"filters": {"title": "(" * 150}}, {"filters.title"}),
    ({"filters": {"title": "x" * 201}}, {"filters.title"}),
    ({"filters": {"not_title": "[z-a]"}}, {"filters.not_title"}),
    ({"filters": {"min_duration": 9, "max_duration": 3}}, {"filters.max_duration"}),
    ({"filters": {"since": "2026-02-01", "until": "2026-01-01"}}, {"filters.until"}),
    ({"filters": {"since": "2026-13-01"}}, {"filters.since"}),
    ({"filters": {"since": "2026-01-31T" + "0" * 30}}, {"filters.since"}),
    ({"filters": {"until": "2026-01-31T" + "0" * 30}}, {"filters.until"}),
    ({"backlog": {"since": "2026-01-31T" + "0" * 30}}, {"backlog.since"}),
    ({"filters": {"kinds": []}}, {"filters.kinds"}),
    ({"filters": {"kinds": ["film"]}}, {"filters.kinds.0"}),
    ({"filters": {"members": "yes"}}, {"filters.members"}),
    ({"filters": {"colour": "red"}}, {"filters.colour"}),
    ({"backlog": ""}, {"backlog"}),
    ({"backlog": {}}, {"backlog"}),
    ({"backlog": {"last": 0}}, {"backlog.last"}),
    ({"backlog": {"last": 1, "since": "2026-01-01"}}, {"backlog"}),
    ({"keep": {"last": 0}}, {"keep.last"}),
    ({"keep": {"days": -1}}, {"keep.days"}),
    ({"request": {"quality": "9000", "nonsense": 1}}, {"request.quality", "request.nonsense"}),
    ({"request": {"url": "http://a.test/"}}, {"request"}),
    ({"request": {"playlist": True}}, {"request"}),
    ({"request": {"cookies": "unknown"}}, {"request.cookies"}),
    ({"request": {"preset": "unknown"}}, {"request.preset"}),
    ({"request": []}, {"request"}),
    ({"nonsense": 1, "interval": "1s"}, {"nonsense", "interval"}),
]


async def test_wrong_fields_are_named(client: Client) -> None:
    for fields, wrong in WRONG_FIELDS:
        response = await client.post("/api/subscriptions", json={"url": URL, **fields})
        answer = await response.json(content_type=None)
        assert (response.status, answer["code"]) == (422, "invalid_request"), (fields, answer)
        assert {error["field"] for error in answer["errors"]} == wrong, fields
        assert all(error["message"] != "is not valid" for error in answer["errors"]), fields


async def test_an_interval_out_of_bounds_is_answered_with_the_bound(client: Client) -> None:
    for interval, bound in (("1s", "5m"), ("31d", "30d")):
        response = await client.post("/api/subscriptions?lang=en", json={"url": URL, "interval": interval})
        [error] = (await response.json(content_type=None))["errors"]
        assert error["message"].endswith(f" {bound}"), error


async def test_an_interval_may_go_by_the_rate_of_the_source(client: Client) -> None:
    made = await subscribed(client, interval="auto")
    assert made["interval"] == "auto"
    path = f"/api/subscriptions/{made['subscription_id']}"
    assert (await (await client.patch(path, json={"interval": "2h"})).json())["interval"] == "2h"
    assert (await (await client.patch(path, json={"interval": "auto"})).json())["interval"] == "auto"
    assert (await client.patch(path, json={"interval": "Auto"})).status == 422


async def test_a_source_is_subscribed_once_for_one_wish(client: Client) -> None:
    made = await subscribed(client)
    same = await client.post("/api/subscriptions", json={"url": f"{URL}#top", "interval": "2h"})
    answer = await same.json(content_type=None)
    assert (same.status, answer["code"]) == (409, "subscribed")
    assert answer["subscription_id"] == made["subscription_id"]
    other = await subscribed(client, filters={"title": "x"})
    patched = await client.patch(f"/api/subscriptions/{other['subscription_id']}", json={"filters": None})
    assert patched.status == 409
    for number in range(3):
        await subscribed(client, f"{URL}/{number}")
    refused = await client.post("/api/subscriptions", json={"url": f"{URL}/9"})
    assert (await refused.json(content_type=None))["code"] == "too_many_subscriptions"


async def test_a_patch_refuses_an_unknown_field_by_name_also_as_null(client: Client) -> None:
    body = {"url": "http://z.test/", "enabled": False}
    mine = (await (await client.post("/api/subscriptions", json=body)).json())["subscription_id"]
    answer = await client.patch(f"/api/subscriptions/{mine}", json={"shade": None, "keep": None})
    assert answer.status == 422
    assert [each["field"] for each in (await answer.json())["errors"]] == ["shade"]


async def test_a_patch_merges_and_null_is_the_default(client: Client) -> None:
    made = await subscribed(
        client, filters={"title": "a", "min_duration": 5}, backlog={"last": 3}, keep={"days": 3}
    )
    path = f"/api/subscriptions/{made['subscription_id']}"
    patch = {"filters": {"title": None, "max_duration": 9}, "backlog": {"since": "2026-01-31"}, "keep": None}
    after = await (await client.patch(path, json=patch)).json()
    assert after["filters"] == {"min_duration": 5, "max_duration": 9, "members": False}
    assert (after["backlog"], after["keep"], after["revision"]) == ({"since": "2026-01-31"}, {}, 2)
    assert (await (await client.get(path)).json()) == after
    unfit: list[dict[str, object]] = [{"url": "ftp://b.test/"}, {"url": 5}, {"url": ""}, {"url": None}]
    for wrong in [*unfit, {"interval": "1s"}, {"filters": {"title": "("}}, {"enabled": 1}]:
        response = await client.patch(path, json=wrong)
        assert response.status == 422, wrong
        [error] = (await response.json())["errors"]
        assert error["field"] in ("url", "interval", "filters.title", "enabled"), wrong
    assert (await (await client.get(path)).json())["revision"] == 2


@pytest.mark.parametrize(("name", "told"), [("\u202e a\n\u0000b ", "a b"), (" \t", URL), ("\u202e", URL)])
async def test_a_name_is_one_line_that_can_be_read(client: Client, name: str, told: str) -> None:
    made = await subscribed(client, name=name)
    assert made["name"] == told
    path = f"/api/subscriptions/{made['subscription_id']}"
    await client.patch(path, json={"name": "Other"})
    assert (await (await client.patch(path, json={"name": name})).json())["name"] == told


async def test_what_is_right_no_longer_keeps_nobody_from_changing_anything_else(
    aiohttp_client: Connect, tmp_path: Path
) -> None:
    """The folder of the library, the minimum interval or the stored cookies may have changed since."""

    def settings(least: str, library: Path | None) -> Settings:
        return Settings(
            storage=StorageSettings(data_dir=tmp_path / "data"),
            downloads=DownloadSettings(min_free_disk=0),
            subscriptions=SubscriptionsSettings.model_validate({"min_interval": least}),
            library=LibrarySettings(path=library),
        )

    (tmp_path / "library").mkdir()
    client = await aiohttp_client(create_app(settings("1m", tmp_path / "library")))
    cookies = b"# Netscape HTTP Cookie File\na.test\tFALSE\t/\tFALSE\t0\ta\tb\n"
    await client.put("/api/cookies/mine", data=cookies, headers={"Content-Type": "text/plain"})
    made = await subscribed(client, interval="1m", library={"folder": "A"}, request={"cookies": "mine"})
    path = f"/api/subscriptions/{made['subscription_id']}"
    await client.delete("/api/cookies/mine")
    await client.close()
    client = await aiohttp_client(create_app(settings("1h", None)))
    answer = await client.patch(path, json={"name": "Another"})
    assert answer.status == 200, await answer.text()
    assert (await answer.json()) == made | {"name": "Another", "revision": 2}
    for again in ({"interval": "1m"}, {"library": {"folder": "B"}}, {"request": {"quality": "720"}}):
        assert (await client.patch(path, json=again)).status == 422, again
    freed = {"interval": None, "library": None, "request": {"cookies": None}}
    assert (await client.patch(path, json=freed)).status == 200


async def test_two_patches_at_once_are_both_made(client: Client) -> None:
    made = await subscribed(client)
    path = f"/api/subscriptions/{made['subscription_id']}"
    patches = ({"name": "a"}, {"keep": {"last": 1}}, {"interval": "2h"}, {"backlog": "all"})
    for response in await asyncio.gather(*(client.patch(path, json=patch) for patch in patches)):
        assert response.status == 200
    after = await (await client.get(path)).json()
    assert (after["name"], after["keep"], after["interval"], after["backlog"]) == (
        "a",
        {"last": 1},
        "2h",
        "all",
    )
    assert after["revision"] == 5


OF_ONE = [
    ("GET", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("POST", "/check"),
    ("GET", "/items"),
    ("POST", "/items/actions"),
]


async def test_an_unknown_one_is_404(client: Client) -> None:
    for method, path in OF_ONE:
        body = {"action": "skip", "state": "known"} if path == "/items/actions" else {}
        for unknown in (NOBODY, "%00", "x" * 900):
            response = await client.request(method, f"/api/subscriptions/{unknown}{path}", json=body)
            answer = await response.json(content_type=None)
            assert (response.status, answer["code"]) == (404, "subscription_not_found"), (method, path)


WRONG_ITEM_ACTIONS: list[tuple[dict[str, Any], set[str]]] = [
    ({"action": "skip"}, {"keys"}),
    ({"action": "skip", "keys": []}, {"keys"}),
    ({"action": "skip", "keys": [""]}, {"keys.0"}),
    ({"action": "skip", "keys": ["a"], "state": "known"}, {"keys"}),
    ({"action": "burn", "state": "known"}, {"action"}),
    ({"action": "skip", "state": ""}, {"state"}),
    ({"action": "skip", "keys": ["a"] * 501}, {"keys"}),
]


async def test_wrong_actions_are_named(client: Client) -> None:
    made = await subscribed(client)
    for body, wrong in WRONG_ITEM_ACTIONS:
        response = await client.post(f"/api/subscriptions/{made['subscription_id']}/items/actions", json=body)
        answer = await response.json(content_type=None)
        assert response.status == 422, (body, answer)
        assert {error["field"] for error in answer["errors"]} == wrong, body


async def test_subscriptions_are_searched_and_sorted_by_a_query(client: Client) -> None:
    for name in ("Beta", "alpha", "Gamma"):
        await subscribed(client, f"http://{name}.test/", name=name)

    async def names(query: str) -> list[str]:
        answer = await (await client.get(f"/api/subscriptions?{query}")).json()
        return [each["name"] for each in answer["subscriptions"]]

    assert await names("sort=name") == ["alpha", "Beta", "Gamma"]
    assert await names("sort=name&limit=1&cursor=1") == ["Beta"]
    assert await names("q=ALPHA") == ["alpha"]
    assert await names("q=") == ["Gamma", "alpha", "Beta"]
    assert (await client.get("/api/subscriptions?sort=lost")).status == 422


async def test_wrong_queries_are_named(client: Client) -> None:
    made = await subscribed(client)
    for query in (
        "state=",
        "state=lost",
        "sort=",
        "sort=lost",
        "limit=0",
        "limit=201",
        "cursor=",
        "cursor=x",
    ):
        response = await client.get(f"/api/subscriptions/{made['subscription_id']}/items?{query}")
        assert response.status == 422, query
    assert (await client.delete(f"/api/subscriptions/{made['subscription_id']}?files=burn")).status == 422


async def test_what_a_client_has_is_304_and_a_wait_ends_with_a_change(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription_routes, "READ_EVERY", 0.05)
    made = await subscribed(client)
    path = f"/api/subscriptions/{made['subscription_id']}"
    etag = (await client.get(path)).headers["ETag"]
    has_it = {"If-None-Match": etag}
    assert (await client.get(path, headers=has_it)).status == 304
    assert (await client.get(f"{path}?wait=0.1", headers=has_it)).status == 304
    waiting = asyncio.create_task(client.get(f"{path}?wait=50", headers=has_it))
    await asyncio.sleep(0)
    assert (await client.patch(path, json={"name": "another"})).status == 200
    response = await waiting
    assert (response.status, (await response.json())["name"]) == (200, "another")
    waiting = asyncio.create_task(
        client.get(f"{path}?wait=50", headers={"If-None-Match": response.headers["ETag"]})
    )
    assert (await client.delete(path)).status == 204
    assert (await waiting).status == 404


async def test_each_subscription_to_a_held_host_says_so_at_once(client: Client) -> None:
    made = [await subscribed(client, f"{URL}/{number}", enabled=False) for number in range(2)]
    other = await subscribed(client, "http://127.0.0.8:9/feed", enabled=False)
    service = client.server.app[subscription_routes.SUBSCRIPTIONS]  # type: ignore[attr-defined]
    until = instant(await service.checks.hold("127.0.0.9", 600.0, service.now))
    for one in made:
        path = f"/api/subscriptions/{one['subscription_id']}"
        resumed = await (await client.patch(path, json={"enabled": True})).json()
        assert (resumed["waiting"], resumed["next_check_at"]) == ("host_held", until)
        checked = await client.post(f"{path}/check")
        assert (checked.status, (await checked.json())["next_check_at"]) == (202, until)
        paused = await (await client.patch(path, json={"enabled": False})).json()
        assert "waiting" not in paused
    assert "waiting" not in await (await client.get(f"/api/subscriptions/{other['subscription_id']}")).json()


@pytest.mark.parametrize(
    ("sent", "followed"),
    [
        ("feed://a.test/x", "http://a.test/x"),
        ("FEED:https://a.test/x", "https://a.test/x"),
        ("itpc://a.test/x", "http://a.test/x"),
    ],
)
async def test_a_link_for_feed_readers_is_followed_as_http(client: Client, sent: str, followed: str) -> None:
    made = await subscribed(client, sent, request={"preset": "phone"})
    assert (made["url"], made["request"]["quality"]) == (followed, "720")
    text = f'<opml><body><outline xmlUrl="{sent}"/></body></opml>'
    taken = await (await client.post("/api/subscriptions.opml", data=text, headers=OPML)).json()
    assert [each["status"] for each in taken["results"]] == [201]
    assert taken["results"][0]["subscription"]["url"] == followed
    refused = await client.post("/api/subscriptions", json={"url": "feed:ftp://a.test/x"})
    assert refused.status == 422


async def test_what_a_client_gets_anyway_makes_no_other_wish(client: Client) -> None:
    made = await subscribed(client, request={"quality": "720", "mute": True}, filters={"kinds": ["short"]})
    for request in ({"mute": True, "quality": "720"}, {"quality": "720", "mute": True, "codec": "auto"}):
        body = {"url": URL, "request": request, "filters": {"kinds": ["short", "short"], "members": False}}
        response = await client.post("/api/subscriptions", json=body)
        assert response.status == 409
        assert (await response.json())["subscription_id"] == made["subscription_id"]
    await subscribed(client, request={"quality": "720"}, filters={"kinds": ["short"]})


async def test_opml_comes_back_as_it_went_and_another_reader_takes_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, threads = opml.written, []

    def written(outlines: list[opml.Outline]) -> bytes:
        threads.append(threading.current_thread())
        return write(outlines)

    monkeypatch.setattr(opml, "written", written)
    await subscribed(client, "http://a.test/feed?a=1&b=2", name='Café "<&>" \x07 猫')
    await subscribed(client, "http://b.test/feed")
    exported = await client.get("/api/subscriptions.opml")
    text = await exported.read()
    assert exported.content_type == "text/x-opml"
    assert threads
    assert threading.main_thread() not in threads, "others are answered meanwhile"
    read = listparser.parse(text)
    assert read.bozo == 0
    assert [(feed.title, feed.url) for feed in read.feeds] == [
        ('Café "<&>" 猫', "http://a.test/feed?a=1&b=2"),
        ("http://b.test/feed", "http://b.test/feed"),
    ]
    assert [outline.url for outline in opml.read(text, 2)] == [feed.url for feed in read.feeds]
    again = await client.post("/api/subscriptions.opml", data=text, headers=OPML)
    assert [each["status"] for each in (await again.json())["results"]] == [409, 409]


async def test_as_many_outlines_are_taken_as_there_may_be_subscriptions(
    aiohttp_client: Connect, tmp_path: Path
) -> None:
    settings = Settings(
        storage=StorageSettings(data_dir=tmp_path / "data"),
        downloads=DownloadSettings(min_free_disk=0),
        subscriptions=SubscriptionsSettings.model_validate({"max": 1002}),
    )
    client = await aiohttp_client(create_app(settings))
    for count, status in ((1002, 200), (1003, 422)):
        outlines = b'<outline xmlUrl="ftp://refused.test/"/>' * count
        text = b"<opml><body>" + outlines + b"</body></opml>"
        response = await client.post("/api/subscriptions.opml", data=text, headers=OPML)
        assert response.status == status


async def test_each_outline_is_taken_or_refused_by_itself(client: Client) -> None:
    text = b"""<opml version="1.0"><head/><body><outline text="Folder">
        <outline title="One" type="rss" XMLURL="http://a.test/1"/>
        <outline text="Two" xmlUrl="ftp://a.test/2"/><outline text="Same" xmlUrl="http://a.test/1"/>
        <outline text="No link"/></outline></body></opml>"""
    response = await client.post(
        "/api/subscriptions.opml", data=text, headers={"Content-Type": "application/xml"}
    )
    results = (await response.json())["results"]
    assert [(each["url"], each["status"]) for each in results] == [
        ("http://a.test/1", 201),
        ("ftp://a.test/2", 422),
        ("http://a.test/1", 409),
    ]
    assert results[0]["subscription"]["name"] == "One"


NO_OPML = [
    b"",
    b"nonsense",
    b"<opml>",
    b"<rss/>",
    b"<opml/>",
    b"<opml><body>" + b"<outline>" * 60 + b"</outline>" * 60 + b"</body></opml>",
    b"<opml><body>" + b'<outline xmlUrl="http://a.test/"/>' * 1001 + b"</body></opml>",
    BOMB,
    b'<!DOCTYPE opml SYSTEM "http://a.test/x.dtd"><opml><outline xmlUrl="http://a.test/"/></opml>',
    b'<opml><outline xmlUrl="&undefined;"/></opml>',
    "<opml><outline xmlUrl='http://ä.test/'/></opml>".encode("latin-1"),
    b'<?xml version="1.0" encoding="utf-7"?><opml/>',
    b'<?xml version="1.0" encoding="base64"?><opml/>',
    b'<?xml version="1.0" encoding="idna"?><opml/>',
]


async def test_what_is_no_opml_or_a_bomb_is_refused(client: Client) -> None:
    for text in NO_OPML:
        response = await client.post("/api/subscriptions.opml", data=BytesIO(text), headers=OPML)
        answer = await response.json(content_type=None)
        assert (response.status, answer["code"]) == (422, "invalid_opml"), text[:80]
        assert (await (await client.get("/api/subscriptions")).json())["subscriptions"] == [], text[:80]


FAULTS_OF_OPML = [
    (b"<opml>\n<body>\n</opml>", 3, "mismatched tag"),
    (b"<opml>\n<body>", 2, "no element found"),
    (b"\n<rss/>", 2, "not rss"),
    (b"<opml>\n<body/>\n</opml>", 3, "no outline"),
    (BOMB, 2, "DTD"),
    (b'<?xml version="1.0" encoding="utf-7"?><opml/>', 1, "encoding"),
    (b"<opml>" + b'\n<outline xmlUrl="http://a.test/"/>' * 1001, 1002, "more than 1000 outlines"),
    (b"<opml>" + b"\n<outline>" * 60, 51, "nested too deeply"),
]


async def test_a_refusal_of_opml_names_line_and_cause(client: Client) -> None:
    for text, line, cause in FAULTS_OF_OPML:
        response = await client.post("/api/subscriptions.opml?lang=en", data=BytesIO(text), headers=OPML)
        answer = await response.json(content_type=None)
        assert (response.status, answer["code"], answer["line"]) == (422, "invalid_opml", line), text[:80]
        assert answer["detail"].startswith(f"Line {line}: ")
        assert cause in answer["detail"]


@pytest.mark.parametrize("media_type", ["text/xml", "application/octet-stream"])
async def test_opml_is_taken_as_programs_send_it(client: Client, media_type: str) -> None:
    text = b'<opml><body><outline xmlUrl="http://a.test/1"/></body></opml>'
    response = await client.post("/api/subscriptions.opml", data=text, headers={"Content-Type": media_type})
    assert [each["status"] for each in (await response.json())["results"]] == [201]


SETTINGS: dict[str, Any] = {
    "name": 'A "name" & <more>',
    "interval": "90m",
    "request": {"preset": "phone", "audio_format": "opus"},
    "filters": {"title": "a\\b|<c>", "min_duration": 60, "kinds": ["video"], "min_age": "2h"},
    "backlog": {"last": 3},
    "keep": {"days": 9, "last": 5},
    "feed": {"name": "mine", "category": "Arts"},
}


def lasting(told: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a subscription that another server would keep."""
    passing = {"subscription_id", "revision", "stage", "next_check_at", "items"}
    kept = {name: value for name, value in told.items() if name not in passing}
    if "feed" in kept:
        kept["feed"] = {name: value for name, value in kept["feed"].items() if name != "url"}
    return kept


async def test_opml_carries_all_settings_to_an_empty_server(
    client: Client, aiohttp_client: Connect, tmp_path: Path
) -> None:
    made = [await subscribed(client, **SETTINGS), await subscribed(client, "http://b.test/feed")]
    text = await (await client.get("/api/subscriptions.opml")).read()
    same = await client.post("/api/subscriptions.opml", data=text, headers=OPML)
    assert [each["status"] for each in (await same.json())["results"]] == [409, 409]

    settings = Settings(
        storage=StorageSettings(data_dir=tmp_path / "other"), downloads=DownloadSettings(min_free_disk=0)
    )
    other = await aiohttp_client(create_app(settings))  # this server does not have the preset
    answer = await other.post("/api/subscriptions.opml", data=text, headers=OPML)
    results = (await answer.json())["results"]
    assert [each["status"] for each in results] == [201, 201], results
    listed = (await (await other.get("/api/subscriptions")).json())["subscriptions"]
    assert [lasting(each) for each in listed] == [lasting(made[1]), lasting(made[0])], "in the same order"
    again = await other.post("/api/subscriptions.opml", data=text, headers=OPML)
    assert [each["status"] for each in (await again.json())["results"]] == [409, 409]


async def test_settings_in_opml_are_read_by_their_namespace_and_refused_by_name(client: Client) -> None:
    text = """<opml xmlns:x="https://clipwire.invalid/opml/1" xmlns:clipwire="https://other.test/">
        <outline xmlUrl="http://a.test/1" text="One" x:settings='{"interval": "2h"}'/>
        <outline xmlUrl="http://a.test/2" text="Two" clipwire:settings='{"interval": "2h"}'/>
        <outline xmlUrl="http://a.test/3" x:settings='{"interval": "1s", "nonsense": 1}'/>
        <outline xmlUrl="http://a.test/4" x:settings='[]'/>
        <outline xmlUrl="http://a.test/5" x:settings='{"name": "LONG"}'/></opml>"""
    answer = await client.post(
        "/api/subscriptions.opml", data=text.replace("LONG", "x" * 70_000), headers=OPML
    )
    results = (await answer.json())["results"]
    assert [each["status"] for each in results] == [201, 201, 422, 422, 422]
    made = [each["subscription"] for each in results[:2]]
    assert [(each["name"], each["interval"]) for each in made] == [("http://a.test/1", "2h"), ("Two", "1h")]
    fields = [{wrong["field"] for wrong in each["problem"]["errors"]} for each in results[2:]]
    assert fields == [{"interval", "nonsense"}, {"clipwire:settings"}, {"clipwire:settings"}]


async def acted(client: Client, action: str, **which: Any) -> dict[str, Any]:
    response = await client.post("/api/subscriptions/actions", json={"action": action, **which})
    assert response.status == 200, await response.text()
    answer: dict[str, Any] = await response.json()
    return answer


async def test_many_subscriptions_are_acted_on_at_once(client: Client) -> None:
    made = [await subscribed(client, f"{URL}/{number}") for number in range(3)]
    one, _, three = [each["subscription_id"] for each in made]
    resumed = (await acted(client, "resume", ids=[one, NOBODY, three]))["results"]
    assert [each["status"] for each in resumed] == [200, 404, 200]
    assert resumed[0]["subscription"]["enabled"]
    assert resumed[1]["problem"]["code"] == "subscription_not_found"
    paused = (await acted(client, "pause", ids=[one, one]))["results"]
    assert [each["subscription"]["stage"] for each in paused] == ["paused"]
    checked = (await acted(client, "check", ids=[three]))["results"]
    assert checked[0]["subscription"]["subscription_id"] == three
    gone = await acted(client, "delete", stage="paused")
    assert gone == {"results": [{"status": 204}, {"status": 204}]}
    left = (await (await client.get("/api/subscriptions")).json())["subscriptions"]
    assert [each["subscription_id"] for each in left] == [three]


async def test_an_action_on_a_stage_says_that_there_are_more(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription_routes, "MOST_AT_ONCE", 2)
    for number in range(3):
        await subscribed(client, f"{URL}/{number}")
    assert (await acted(client, "delete", stage="paused")).get("more") is True
    assert await acted(client, "delete", stage="paused") == {"results": [{"status": 204}]}


WRONG_ACTIONS: list[tuple[dict[str, Any], set[str]]] = [
    ({"action": "pause"}, {"ids"}),
    ({"action": "pause", "ids": []}, {"ids"}),
    ({"action": "pause", "ids": [NOBODY], "stage": "idle"}, {"ids"}),
    ({"action": "burn", "ids": [NOBODY]}, {"action"}),
    ({"action": "pause", "stage": ""}, {"stage"}),
    ({"action": "pause", "ids": [NOBODY] * 501}, {"ids"}),
]


async def test_wrong_actions_on_subscriptions_are_named(client: Client) -> None:
    for body, wrong in WRONG_ACTIONS:
        response = await client.post("/api/subscriptions/actions", json=body)
        answer = await response.json(content_type=None)
        assert response.status == 422, (body, answer)
        assert {error["field"] for error in answer["errors"]} == wrong, body


PROFILES: dict[str, Any] = {
    "music": {"interval": "6h", "request": {"preset": "phone"}, "filters": {"min_duration": 60}},
    "talks": {"keep": {"last": 3}, "request": {"outputs": ["audio"]}},
}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.wide)])
def database(request: pytest.FixtureRequest) -> str:
    return "sqlite" if request.param == "sqlite" else request.getfixturevalue("clean_database")


def with_profiles(
    folder: Path, profiles: dict[str, Any], default: str | None = None, database: str = "sqlite"
) -> Settings:
    return Settings(
        storage=StorageSettings(data_dir=folder / "data", database=database),
        downloads=DownloadSettings(min_free_disk=0),
        subscriptions=SubscriptionsSettings.model_validate(
            {"profiles": profiles, "default_profile": default}
        ),
        presets={"phone": {"quality": "720"}},
    )


async def test_a_profile_holds_where_a_subscription_sets_nothing_itself(
    aiohttp_client: Connect, tmp_path: Path, database: str
) -> None:
    client = await aiohttp_client(create_app(with_profiles(tmp_path, PROFILES, database=database)))
    made = await subscribed(client, profile="music", filters={"title": "a"})
    assert (made["profile"], made["interval"]) == ("music", "6h")
    assert made["request"] == {"preset": "phone", "quality": "720"}
    assert made["filters"] == {"title": "a", "members": False}
    path = f"/api/subscriptions/{made['subscription_id']}"
    patched = await (await client.patch(path, json={"filters": None, "interval": "2h"})).json()
    assert patched["filters"] == {"min_duration": 60, "members": False}
    assert patched["interval"] == "2h"
    patched = await (await client.patch(path, json={"filters": {"max_duration": 90}})).json()
    assert patched["filters"] == {"min_duration": 60, "max_duration": 90, "members": False}
    other = await (await client.patch(path, json={"profile": "talks"})).json()
    assert (other["request"], other["keep"], other["interval"]) == ({"outputs": ["audio"]}, {"last": 3}, "2h")
    none = await (await client.patch(path, json={"profile": None})).json()
    assert "profile" not in none
    assert (none["request"], none["keep"], none["interval"]) == ({}, {}, "2h")
    for wrong in ({"profile": "unknown"}, {"profile": 1}, {"of_profile": ["request"]}, {"of_profile": None}):
        answer = await client.patch(path, json=wrong)
        assert answer.status == 422, wrong
        assert [each["field"] for each in (await answer.json())["errors"]] == [*wrong]


@pytest.mark.wide
@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
async def test_a_changed_profile_reaches_its_subscriptions_and_a_removed_one_leaves_them(
    aiohttp_client: Connect, tmp_path: Path, database: str
) -> None:
    client = await aiohttp_client(create_app(with_profiles(tmp_path, PROFILES, database=database)))
    made = await subscribed(client, profile="music", filters={"title": "a"})
    plain = await subscribed(client, "http://b.test/")
    await client.close()
    changed = {"music": {"request": {"quality": "480"}, "keep": {"days": 9}}}
    client = await aiohttp_client(create_app(with_profiles(tmp_path, changed, database=database)))
    path = f"/api/subscriptions/{made['subscription_id']}"
    after = await (await client.get(path)).json()
    assert (after["request"], after["keep"], after["interval"]) == ({"quality": "480"}, {"days": 9}, "1h")
    assert after["filters"] == made["filters"]
    assert after["revision"] == made["revision"] + 1
    unchanged = await (await client.get(f"/api/subscriptions/{plain['subscription_id']}")).json()
    assert unchanged == plain
    await client.close()
    client = await aiohttp_client(create_app(with_profiles(tmp_path, {}, database=database)))
    assert await (await client.get(path)).json() == after
    named = await (await client.patch(path, json={"name": "Mine", "keep": {"last": 2}})).json()
    assert (named["request"], named["keep"]) == ({"quality": "480"}, {"days": 9, "last": 2})
    await client.close()
    client = await aiohttp_client(create_app(with_profiles(tmp_path, changed, database=database)))
    assert (await (await client.get(path)).json())["keep"] == {"days": 9, "last": 2}, "that is its own now"


@pytest.mark.wide
async def test_the_default_profile_is_that_of_new_subscriptions_and_many_get_another(
    aiohttp_client: Connect, tmp_path: Path, database: str
) -> None:
    client = await aiohttp_client(create_app(with_profiles(tmp_path, PROFILES, "talks", database)))
    made = await subscribed(client)
    assert (made["profile"], made["keep"]) == ("talks", {"last": 3})
    bare = await subscribed(client, profile=None)
    assert "profile" not in bare
    text = b'<opml><body><outline xmlUrl="http://c.test/"/></body></opml>'
    taken = await (await client.post("/api/subscriptions.opml", data=text, headers=OPML)).json()
    assert taken["results"][0]["subscription"]["profile"] == "talks"
    ids = [made["subscription_id"], bare["subscription_id"]]
    results = (await acted(client, "profile", ids=ids, profile="music"))["results"]
    assert results[0]["subscription"]["interval"] == "6h"
    assert (results[1]["status"], results[1]["problem"]["code"]) == (409, "subscribed"), "of the same source"
    none = (await acted(client, "profile", ids=ids[:1], profile=None))["results"]
    assert none[0]["problem"]["code"] == "subscribed", "without one it would be as the other"
    alone = await subscribed(client, "http://d.test/")
    none = (await acted(client, "profile", ids=[alone["subscription_id"]], profile=None))["results"]
    assert "profile" not in none[0]["subscription"]
    refused = (await acted(client, "profile", ids=ids[:1], profile="unknown"))["results"]
    assert refused[0]["problem"]["errors"][0]["field"] == "profile"
    text = await (await client.get("/api/subscriptions.opml")).read()
    again = await (await client.post("/api/subscriptions.opml", data=text, headers=OPML)).json()
    assert [each["status"] for each in again["results"]] == [409, 409, 409, 409]


async def test_profiles_are_listed_with_what_they_give(aiohttp_client: Connect, tmp_path: Path) -> None:
    secret = {"outputs": ["audio"], "webhook": "https://a.test:8443/secret"}
    profiles = {"talks": {"keep": {"last": 3}, "request": secret}, "music": PROFILES["music"]}
    client = await aiohttp_client(create_app(with_profiles(tmp_path, profiles, "talks")))
    answer = await (await client.get("/api/profiles")).json()
    assert [*answer["profiles"]] == ["music", "talks"]
    assert answer["profiles"]["music"] == PROFILES["music"] | {
        "request": {"preset": "phone", "quality": "720"}
    }
    shown = {"outputs": ["audio"], "webhook": "https://a.test:8443"}
    assert answer["profiles"]["talks"] == {"keep": {"last": 3}, "request": shown}
    assert answer["default"] == "talks"


async def test_where_there_are_no_profiles_none_are_listed(client: Client) -> None:
    assert await (await client.get("/api/profiles")).json() == {"profiles": {}}


@pytest.mark.parametrize(
    ("profile", "key"),
    [
        ({"nonsense": 1}, r"p\.nonsense: "),
        ({"backlog": "all"}, r"p\.backlog: "),
        ({"interval": "1s"}, r"p\.interval: less"),
        ({"filters": {"title": "("}}, r"p\.filters\.title: "),
        ({"request": {"quality": "9"}}, r"p\.request\.quality: "),
        ({"request": {"url": "http://a.test/"}}, r"p\.request: "),
        ({"request": {"preset": "unknown"}}, r"p\.request\.preset: "),
        ({"library": {"layout": "shows"}}, r"p\.library: library\.path is not set"),
        ({"keep": {"last": 0}}, r"p\.keep\.last: "),
    ],
)
def test_a_wrong_profile_is_named_by_its_key(tmp_path: Path, profile: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^subscriptions\.profiles\.{key}"):
        Profiles(with_profiles(tmp_path, {"p": profile}))


def test_a_default_profile_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^subscriptions\.default_profile: "):
        Profiles(with_profiles(tmp_path, {}, "music"))


async def test_opml_is_bounded(client: Client) -> None:
    response = await client.post(
        "/api/subscriptions.opml", data=BytesIO(b" " * (1000 * 4096) + b"x"), headers=OPML
    )
    assert response.status == 413
    response = await client.post("/api/subscriptions.opml", json={})
    assert response.status == 415
    assert re.search("text/x-opml", await response.text())


def test_what_is_answered_has_every_field_that_can_be_set() -> None:
    pairs: list[tuple[type[Any], type[Any]]] = [
        (SubscriptionFilters, Filters),
        (SubscriptionKeep, Keep),
        (SubscriptionLibrary, Library),
    ]
    for answer, asked in pairs:
        assert [*answer.model_fields] == [*asked.model_fields], answer.__name__
    missing = SubscriptionSettings.model_fields.keys() - subscription_schemas.Subscription.model_fields
    assert missing == {"of_profile"}, "that is the service's own"
