"""Subscriptions to feeds and lists that change, with the whole service."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.service import Payload, Service, Services, Told
from tests.site import Site
from tests.site.followed import Film, Followed

QUICK = {
    "CLIPWIRE_SUBSCRIPTIONS__PAUSE": "0s",
    "CLIPWIRE_SUBSCRIPTIONS__MIN_INTERVAL": "1s",
    "CLIPWIRE_SUBSCRIPTIONS__MAX_NEW": "3",
}
PLAIN = {"outputs": ["video"], "video_format": "any"}


@pytest.fixture
async def service(services: Services) -> AsyncIterator[Service]:
    async with services.lend(**QUICK) as service:
        yield service
        await unsubscribe_all(service)


async def unsubscribe_all(service: Service) -> None:
    async with service.client.get("/api/subscriptions?limit=200") as answer:
        found = (await answer.json())["subscriptions"]
    for each in found:
        async with service.client.delete(f"/api/subscriptions/{each['subscription_id']}") as answer:
            assert answer.status == 204


async def subscribe(service: Service, url: str, status: int = 201, **fields: Any) -> Payload:
    body = {"url": url, "request": PLAIN, **fields}
    async with service.client.post("/api/subscriptions", json=body) as answer:
        assert answer.status == status, await answer.text()
        payload: Payload = await answer.json(content_type=None)
        return payload


async def known(service: Service, subscription_id: str) -> Payload:
    async with service.client.get(f"/api/subscriptions/{subscription_id}") as answer:
        assert answer.status == 200, await answer.text()
        payload: Payload = await answer.json()
        return payload


async def until(
    service: Service, subscription_id: str, holds: Callable[[Payload], bool], within: float = 30
) -> Payload:
    """Wait until `holds` is true of the subscription; return it."""
    payload: Payload = {}
    try:
        async with asyncio.timeout(within):
            while not holds(payload := await known(service, subscription_id)):
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"{payload}\n" + "\n".join(service.log[-20:]))
    return payload


async def checked(service: Service, subscription_id: str, **items: int) -> Payload:
    """Check the subscription and return it; wait until it has as many items in each state as `items` says."""
    before = (await known(service, subscription_id)).get("checked_at")
    await asyncio.sleep(1.01)  # `checked_at` is in whole seconds
    async with service.client.post(f"/api/subscriptions/{subscription_id}/check") as answer:
        assert answer.status == 202
    after = await until(
        service,
        subscription_id,
        lambda one: one.get("checked_at") != before and one["stage"] != "checking",
    )
    if items:
        after = await until(service, subscription_id, lambda one: one["items"] == items)
    return after


async def items(service: Service, subscription_id: str, **query: str) -> list[Payload]:
    async with service.client.get(f"/api/subscriptions/{subscription_id}/items", params=query) as answer:
        assert answer.status == 200, await answer.text()
        found: list[Payload] = (await answer.json())["items"]
        return found


def films(*numbers: int, **more: Any) -> list[Film]:
    return [
        Film(
            f"f{n}", f"Film {n}", f"/video.mp4?times={n}", at=1_700_000_000.0 + n * 3600, guid=f"g{n}", **more
        )
        for n in numbers
    ]


@pytest.mark.parametrize("form", ["rss", "atom"])
async def test_what_is_new_in_a_feed_is_fetched_and_nothing_twice(
    service: Service, site: Site, form: str
) -> None:
    site.followed["a"] = followed = Followed(films(2, 1), conditional=True)
    made = await subscribe(service, site.url(f"/followed/a.{form}"))
    mine = made["subscription_id"]
    assert (made["stage"], made["items"], made["interval"]) == ("seeding", {}, "1h")
    seeded = await until(service, mine, lambda one: one["stage"] == "idle")
    assert (seeded["items"], seeded["title"]) == ({"known": 2}, "Followed")
    followed.films[:0] = films(3)
    await checked(service, mine, known=2, fetched=1)
    await checked(service, mine, known=2, fetched=1)
    [newest, *others] = await items(service, mine)
    assert (newest["title"], newest["state"], newest["pinned"]) == ("Film 3", "fetched", False)
    assert [each["title"] for each in others] == ["Film 2", "Film 1"]
    task = await service.wait(newest["task_id"], "completed")
    assert (task["subscription_id"], task["priority"], list(task["files"])) == (mine, -1, ["video"])
    async with service.client.get("/api/media", params={"url": newest["url"]}) as answer:
        found = await answer.json()
    assert found["subscriptions"] == [mine]
    assert len(site.seen("/video.mp4")) <= 3, "one film was fetched, and once"


@pytest.mark.wide
async def test_an_entry_that_gets_another_guid_and_then_another_link_is_the_same(
    service: Service, site: Site
) -> None:
    site.followed["moves"] = followed = Followed(films(2, 1))
    mine = (await subscribe(service, site.url("/followed/moves.rss")))["subscription_id"]
    await until(service, mine, lambda one: one["items"] == {"known": 2})
    for film in followed.films:
        film.guid = f"new-{film.guid}"
    await checked(service, mine, known=2)
    for film in followed.films:
        film.link = f"/moved{film.link}"
    await checked(service, mine, known=2)


async def test_a_check_sends_the_newest_etag_of_a_feed_and_honours_its_max_age(
    service: Service, site: Site
) -> None:
    site.followed["asks"] = followed = Followed(films(1), headers={"ETag": 'W/"one"'})
    mine = (await subscribe(service, site.url("/followed/asks.rss"), interval="1m"))["subscription_id"]
    await until(service, mine, lambda one: one["stage"] == "idle")
    followed.headers = {"ETag": 'W/"two"'}  # the feed has the same bytes under another ETag
    await checked(service, mine)
    followed.status, followed.headers = 304, {"Cache-Control": "private, max-age=7200"}
    after = await checked(service, mine)
    asked = [request.headers.get("If-None-Match") for request in site.seen("/followed/asks.rss")]
    assert asked == [None, 'W/"one"', 'W/"two"']
    times = (datetime.fromisoformat(after[name]) for name in ("next_check_at", "checked_at"))
    assert next(times) - next(times) >= timedelta(seconds=7199)


async def test_backlog_becomes_tasks_a_few_at_each_check_until_it_is_done(
    service: Service, site: Site
) -> None:
    site.followed["b"] = Followed(films(*range(8, 0, -1)))
    made = await subscribe(service, site.url("/followed/b.rss"), backlog={"last": 5})
    mine = made["subscription_id"]
    await until(service, mine, lambda one: one["items"] == {"known": 3, "fetched": 3, "waiting": 2})
    waiting = await items(service, mine, state="waiting")
    assert [(each["title"], each["reason"]) for each in waiting] == [
        ("Film 5", "backlog"),
        ("Film 4", "backlog"),
    ]
    await checked(service, mine, known=3, fetched=5)


async def test_more_than_a_few_new_ones_are_held_until_a_client_decides(service: Service, site: Site) -> None:
    site.followed["c"] = followed = Followed(films(1))
    mine = (await subscribe(service, site.url("/followed/c.rss")))["subscription_id"]
    await until(service, mine, lambda one: one["stage"] == "idle")
    followed.films[:0] = films(*range(9, 1, -1))
    await checked(service, mine, known=1, fetched=3, waiting=5)
    await checked(service, mine, known=1, fetched=3, waiting=5)
    held = await items(service, mine, state="waiting")
    assert {each["reason"] for each in held} == {"held"}
    acting = f"/api/subscriptions/{mine}/items/actions"
    body = {"action": "fetch", "keys": [held[0]["key"], "nonsense", held[0]["key"]]}
    async with service.client.post(acting, json=body) as answer:
        results = (await answer.json())["results"]
    assert [each["status"] for each in results] == [200, 404]
    await until(service, mine, lambda one: one["items"] == {"known": 1, "fetched": 4, "waiting": 4})
    async with service.client.post(acting, json={"action": "skip", "state": "waiting"}) as answer:
        assert len((await answer.json())["results"]) == 4
    await checked(service, mine, known=1, fetched=4, skipped=4)


async def test_subscriptions_with_equal_requests_share_a_task_and_with_different_ones_they_do_not(
    service: Service, site: Site
) -> None:
    site.followed["d"] = site.followed["e"] = followed = Followed(films(1))
    ids = []
    for path, request in (("d.rss", PLAIN), ("e.rss", PLAIN), ("d.atom", PLAIN | {"outputs": ["audio"]})):
        made = await subscribe(service, site.url(f"/followed/{path}"), request=request)
        ids.append(made["subscription_id"])
        await until(service, ids[-1], lambda one: one["stage"] == "idle")
    followed.films[:0] = films(2)
    for mine in ids:
        await checked(service, mine, known=1, fetched=1)
    found = [(await items(service, mine, state="fetched"))[0]["task_id"] for mine in ids]
    assert found[0] == found[1] != found[2]
    async with service.client.get("/api/tasks") as answer:
        assert {task["task_id"] for task in (await answer.json())["tasks"]} == {found[0], found[2]}
    async with service.client.delete(f"/api/subscriptions/{ids[0]}?files=delete") as answer:
        assert answer.status == 204
    await service.wait(found[0], "completed")
    assert (await subscribe(service, site.url("/followed/e.rss"), 409))["code"] == "subscribed"


@pytest.mark.wide
async def test_a_failed_check_and_an_empty_list_leave_the_entries_as_they_are(
    service: Service, site: Site
) -> None:
    site.followed["f"] = followed = Followed(films(1), status=503)
    mine = (await subscribe(service, site.url("/followed/f.rss"), interval="1h"))["subscription_id"]
    failing = await until(service, mine, lambda one: one["stage"] == "failing")
    assert (failing["error_code"], failing["items"]) == ("http_503", {})
    assert failing["error"]
    assert "succeeded_at" not in failing
    followed.status, followed.films = 200, []
    assert (await checked(service, mine))["error_code"] == "empty_list"
    followed.films = films(2, 1)
    idle = await checked(service, mine, known=2)
    assert (idle["stage"], "error_code" in idle) == ("idle", False)
    followed.films = []
    assert (await checked(service, mine))["items"] == {"known": 2}


async def test_a_304_at_the_first_check_is_a_failure(service: Service, site: Site) -> None:
    site.followed["same"] = followed = Followed(films(1), status=304)
    mine = (await subscribe(service, site.url("/followed/same.rss")))["subscription_id"]
    failing = await until(service, mine, lambda one: one["stage"] != "seeding" and "checked_at" in one)
    assert (failing["stage"], failing["error_code"]) == ("failing", "http_304")
    followed.status = 200
    await checked(service, mine, known=1)


async def test_relative_links_of_a_redirected_feed_are_resolved_at_its_last_address(
    service: Service, site: Site
) -> None:
    site.followed["moved"] = Followed(films(1), base=".")
    moved = site.url("/redirect?to=/followed/moved.rss")
    mine = (await subscribe(service, moved))["subscription_id"]
    await until(service, mine, lambda one: one["items"] == {"known": 1})
    [found] = await items(service, mine)
    assert found["url"] == site.url("/followed/video.mp4?times=1")


@pytest.mark.wide
async def test_an_entry_that_vanishes_is_kept_and_a_new_guid_or_link_makes_no_new_entry(
    service: Service, site: Site
) -> None:
    site.followed["g"] = followed = Followed(films(3, 2, 1))
    mine = (await subscribe(service, site.url("/followed/g.rss")))["subscription_id"]
    await until(service, mine, lambda one: one["stage"] == "idle")
    followed.films = [Film("x", film.title, film.link, film.at, f"new {film.guid}") for film in films(2, 1)]
    await checked(service, mine, known=3)
    followed.films = [
        Film("x", film.title, f"{film.link}&moved=yes", film.at, film.guid) for film in films(3, 2)
    ]
    await checked(service, mine, known=3)


async def test_filters_choose_and_say_why(service: Service, site: Site) -> None:
    day = 1_700_000_000.0
    site.followed["h"] = Followed(
        [
            Film("1", "A trailer", "/video.mp4?times=1", day),
            Film("2", "The Film", "/video.mp4?times=2", day),
            Film("3", "An old film", "/video.mp4?times=3", day - 90 * 86_400),
            Film("4", "A film of no day", "/video.mp4?times=4"),
        ]
    )
    # A file that is fetched has the title "video" of its own.
    filters = {"title": "^(a|the|video)", "not_title": "TRAILER", "since": "2023-11-01"}
    made = await subscribe(service, site.url("/followed/h.rss"), filters=filters, backlog="all")
    mine = made["subscription_id"]
    await until(service, mine, lambda one: one["items"] == {"fetched": 1, "skipped": 3})
    found = {each["title"]: (each["state"], each.get("reason")) for each in await items(service, mine)}
    assert found["A trailer"] == ("skipped", "not_title")
    assert found["The Film"] == ("fetched", None)
    assert found["An old film"] == ("skipped", "since")
    # A file says no day, even when the check reads it.
    assert found["A film of no day"] == ("skipped", "unclear")


@pytest.mark.wide
@pytest.mark.parametrize("filters", [{}, {"min_duration": 1}])
async def test_an_entry_without_a_film_behind_its_link_is_skipped_and_a_film_has_a_picture(
    service: Service, site: Site, filters: Payload
) -> None:
    """The entry has no enclosure. If a filter needs to know more, the check reads the entry's page."""
    film = Film("f", "Film", f"/page?src={quote(site.url('/video.mp4'))}&duration=4", at=1_700_000_001.0)
    site.followed["n"] = Followed([film, Film("t", "Only text", "/page/blank", at=1_700_000_000.0)])
    made = await subscribe(service, site.url("/followed/n.rss"), backlog="all", filters=filters)
    mine = made["subscription_id"]
    await until(service, mine, lambda one: one["items"] == {"fetched": 1, "skipped": 1})
    there = {item["title"]: item for item in await items(service, mine)}
    text, fetched = there["Only text"], there["Film"]
    assert (text["state"], text["reason"], "thumbnail" in text) == ("skipped", "no_media", False)
    assert fetched["thumbnail"] == (await service.status(fetched["task_id"]))["thumbnail"]
    async with service.client.get(fetched["thumbnail"]) as answer:
        assert (answer.status, answer.content_type) == (200, "image/jpeg")
    await checked(service, mine, fetched=1, skipped=1)
    assert len(site.seen("/page/blank")) <= 2, "it is not looked at again"


async def test_the_day_that_a_page_tells_of_its_film_counts(service: Service, site: Site) -> None:
    """The file that the page leads to has no day; yt-dlp's result for the file must not hide that of the
    page.
    """
    site.followed["days"] = Followed([Film("1", "A film", "/page?uploaded=2026-03-14", None)])
    made = await subscribe(
        service, site.url("/followed/days.rss"), backlog="all", filters={"since": "2026-03-15"}
    )
    await until(service, made["subscription_id"], lambda one: one["items"] == {"skipped": 1})
    [found] = await items(service, made["subscription_id"])
    assert (found["reason"], found["published_at"][:10]) == ("since", "2026-03-14")


@pytest.mark.long
async def test_a_pattern_that_hangs_ends_the_check(service: Service, site: Site) -> None:
    site.followed["i"] = Followed([Film("1", "a" * 60 + "!", "/video.mp4?times=1")])
    filters = {"title": "(a+)+$"}
    mine = (await subscribe(service, site.url("/followed/i.rss"), filters=filters))["subscription_id"]
    failing = await until(service, mine, lambda one: one["stage"] == "failing", within=30)
    assert failing["error_code"] == "pattern_too_slow"


@pytest.mark.parametrize("path", ["/video.mp4", "/page/blank", "/garbage.mp4"])
async def test_a_link_that_is_no_list_says_so(service: Service, site: Site, path: str) -> None:
    mine = (await subscribe(service, site.url(path)))["subscription_id"]
    failing = await until(service, mine, lambda one: one["stage"] == "failing")
    assert failing["error_code"] == "no_list"
    assert failing["hint"]


async def test_a_feed_that_leads_to_a_private_address_is_not_followed(service: Service, site: Site) -> None:
    private = "http://127.0.0.2:1/feed"
    mine = (await subscribe(service, site.url(f"/redirect?to={private}")))["subscription_id"]
    failing = await until(service, mine, lambda one: one["stage"] == "failing")
    assert failing["error_code"] == "blocked_address"


@pytest.mark.minutes(0.5)
@pytest.mark.long
async def test_retention_deletes_older_entries_and_keeps_pinned_ones(service: Service, site: Site) -> None:
    site.followed["j"] = followed = Followed(films(3, 2, 1))
    made = await subscribe(service, site.url("/followed/j.rss"), backlog="all")
    mine = made["subscription_id"]
    await until(service, mine, lambda one: one["items"] == {"fetched": 3})
    found = await items(service, mine)
    acting = f"/api/subscriptions/{mine}/items/actions"
    async with service.client.post(acting, json={"action": "pin", "keys": [found[2]["key"]]}) as answer:
        assert answer.status == 200
    async with service.client.patch(f"/api/subscriptions/{mine}", json={"keep": {"last": 1}}) as answer:
        assert (await answer.json())["keep"] == {"last": 1}
    await until(service, mine, lambda one: one["items"] == {"fetched": 2, "expired": 1})
    left = {each["title"]: each["state"] for each in await items(service, mine)}
    assert left == {"Film 3": "fetched", "Film 2": "expired", "Film 1": "fetched"}
    await service.wait(found[0]["task_id"], "completed")
    while True:
        async with service.client.get(f"/api/status/{found[1]['task_id']}") as answer:
            if answer.status == 404:
                break
        await asyncio.sleep(0.05)
    followed.films[:0] = films(4)
    await checked(service, mine)
    await until(service, mine, lambda one: one["items"] == {"fetched": 2, "expired": 2})


async def test_a_task_that_a_client_deletes_or_cancels_is_not_made_again(
    service: Service, site: Site
) -> None:
    site.followed["k"] = followed = Followed(films(1))
    request = PLAIN | {"auto_start": False}
    mine = (await subscribe(service, site.url("/followed/k.rss"), request=request))["subscription_id"]
    await until(service, mine, lambda one: one["stage"] == "idle")
    followed.films[:0] = films(3, 2)
    await checked(service, mine, known=1, queued=2)
    first, second, _ = await items(service, mine)
    async with service.client.delete(f"/api/tasks/{first['task_id']}") as answer:
        assert answer.status == 204
    async with service.client.post(f"/api/tasks/{second['task_id']}/cancel") as answer:
        assert answer.status == 200
    await checked(service, mine, known=1, skipped=1, failed=1)
    first, second, _ = await items(service, mine)
    assert (first["reason"], second["reason"]) == ("removed", "cancelled")
    async with service.client.post(f"/api/tasks/{second['task_id']}/retry") as answer:
        assert answer.status == 200
    await checked(service, mine, known=1, skipped=1, fetched=1)
    acting = f"/api/subscriptions/{mine}/items/actions"
    async with service.client.post(acting, json={"action": "forget", "state": "skipped"}) as answer:
        assert [each["status"] for each in (await answer.json())["results"]] == [200]
    await checked(service, mine, known=1, queued=1, fetched=1)


@pytest.mark.wide
@pytest.mark.parametrize(
    ("status", "code"), [(429, "http_429"), pytest.param(403, "bot_check", marks=pytest.mark.long)]
)
async def test_a_host_that_refuses_too_many_requests_is_left_alone_but_not_by_clients(
    services: Services, site: Site, status: int, code: str
) -> None:
    site.followed["l"] = followed = Followed(films(1))
    site.followed["m"] = Followed(films(9))
    # This test needs its own server: for hours, the server asks nothing of the host that all tests use.
    async with services.lend(**QUICK | {"CLIPWIRE_SUBSCRIPTIONS__MAX_NEW": str(status)}) as service:
        mine = (await subscribe(service, site.url("/followed/l.rss")))["subscription_id"]
        await until(service, mine, lambda one: one["stage"] == "idle")
        followed.status, followed.headers = status, {"Retry-After": "7200"}
        failing = await checked(service, mine)
        assert failing["error_code"] == code
        other = await subscribe(service, site.url("/followed/m.rss"))
        link = site.url("/video.mp4?times=77")
        await service.wait((await service.submit(link, outputs=["video"]))["task_id"], "completed")
        assert (await known(service, other["subscription_id"]))["stage"] == "seeding"
        assert site.seen("/followed/m.rss") == []
        await unsubscribe_all(service)


@pytest.mark.wide
async def test_a_check_asks_for_no_other_entry_once_the_host_refuses_one_and_leaves_it_alone(
    services: Services, site: Site
) -> None:
    site.followed["refusing"] = Followed(
        [
            Film(f"r{n}", f"Film {n}", f"/video.mp4?status=429&times={99 + n}", at=1_700_000_000.0 + n)
            for n in range(5)
        ]
    )
    async with services.lend(**QUICK | {"CLIPWIRE_SUBSCRIPTIONS__MAX_NEW": "5"}) as service:
        link = site.url("/followed/refusing.rss")
        mine = await subscribe(service, link, backlog="all", filters={"min_duration": 1})
        held = await until(service, mine["subscription_id"], lambda one: one["stage"] == "idle")
        assert (held["items"], held["waiting"]) == ({"waiting": 5}, "host_held")
        assert len({seen.query["times"] for seen in site.seen("/video.mp4")}) == 1
        await unsubscribe_all(service)


@pytest.mark.long
async def test_a_film_that_is_refused_holds_what_others_want_of_its_host_but_no_link_of_a_client(
    services: Services, site: Site
) -> None:
    slow = films(*range(9, 1, -1))
    for film in slow:
        film.link += "&rate=100000"
    refused = Film("1", "Film 1", "/video.mp4?status=429&times=99", at=1_700_000_000.0)
    site.followed["o"] = Followed([*slow, refused])
    settings = QUICK | {"CLIPWIRE_SUBSCRIPTIONS__MAX_NEW": "20", "CLIPWIRE_DOWNLOADS__MAX_CONCURRENT": "2"}
    async with services.lend(**settings) as service:
        mine = (await subscribe(service, site.url("/followed/o.rss"), backlog="all"))["subscription_id"]

        async def waiting() -> dict[str, str | None]:
            async with service.client.get("/api/tasks") as answer:
                tasks = (await answer.json())["tasks"]
            return {task["url"]: task.get("waiting") for task in tasks}

        while (await waiting()).get(site.url(refused.link)) != "host_held":
            await asyncio.sleep(0.02)
        while sum(each == "host_held" for each in (await waiting()).values()) < 3:
            await asyncio.sleep(0.02)
        own = await service.submit(site.url("/video.mp4?times=78"), outputs=["video"])
        await service.wait(own["task_id"], "completed")
        [task] = [one for one in await items(service, mine) if one["title"] == "Film 1"]
        status = await service.status(task["task_id"])
        assert (status["stage"], status["waiting"]) == ("queued", "host_held")
        await unsubscribe_all(service)


@pytest.mark.long
async def test_a_long_list_that_has_not_changed_costs_one_page_and_a_pinned_entry_ends_no_check(
    tmp_path: Path, site: Site
) -> None:
    def pages() -> list[str]:
        asked = [seen.query["page"] for seen in site.seen("/told/followed-long") if "page" in seen.query]
        site.requests.clear()
        return asked

    site.followed["long"] = followed = Followed(films(*range(3000, 0, -1)), key=None)
    async with Told(tmp_path / "service", **QUICK) as service:
        mine = (await subscribe(service, site.url("/told/followed-long")))["subscription_id"]
        seeded = await until(service, mine, lambda one: one["stage"] == "idle", within=60)
        assert seeded["items"] == {"known": 3000}
        assert len(pages()) == 101, "all of it is read once"
        await checked(service, mine, known=3000)
        assert pages() == ["0"]
        followed.films[1:1] = films(3001)  # the new films come below one that is pinned on top of the list
        await checked(service, mine, known=3000, fetched=1)
        assert pages() == ["0"]


@pytest.mark.wide
async def test_a_list_is_known_to_its_end_if_it_is_longer_than_one_check_reads_or_comes_whole(
    tmp_path: Path, site: Site
) -> None:
    site.followed["longer"] = followed = Followed(films(*range(1, 96)), key=None)
    entries = [
        {"_type": "url", "url": site.url(film.link), "title": film.title} for film in films(*range(20))
    ]
    site.followed["at-once"] = at_once = Followed(told={"pages": None, "entries": entries[:19]})
    async with Told(tmp_path / "service", **QUICK, CLIPWIRE_DOWNLOADS__MAX_PLAYLIST="40") as service:
        longer = (await subscribe(service, site.url("/told/followed-longer")))["subscription_id"]
        await until(service, longer, lambda one: one["items"] == {"known": 95})
        followed.films[:0] = films(96)
        await checked(service, longer, known=95, fetched=1)
        mine = (await subscribe(service, site.url("/told/followed-at-once")))["subscription_id"]
        await until(service, mine, lambda one: one["stage"] == "idle")
        at_once.told["entries"] = entries
        after = await checked(service, mine)
        assert sum(after["items"].values()) == 20


@pytest.mark.wide
async def test_downloads_of_subscriptions_from_one_host_are_a_pause_apart_but_no_link_of_a_client(
    services: Services, site: Site
) -> None:
    async with services.lend(**QUICK, CLIPWIRE_DOWNLOADS__PAUSE_BETWEEN="2") as service:
        site.followed["slow"] = Followed(films(3, 2, 1))
        mine = (await subscribe(service, site.url("/followed/slow.rss"), backlog="all"))["subscription_id"]
        await until(service, mine, lambda one: one["items"] == {"queued": 2, "fetched": 1})
        waiting = [each for each in await items(service, mine) if each["state"] == "queued"]
        for each in waiting:
            async with service.client.get(f"/api/status/{each['task_id']}") as answer:
                status = await answer.json()
            assert (status["waiting"], status["attempt"]) == ("host_paused", 0)
        own = await service.submit(site.url("/video.mp4?times=77"), outputs=["video"], video_format="any")
        await service.wait(own["task_id"], "completed")
        assert (await known(service, mine))["items"]["queued"] > 0
        await until(service, mine, lambda one: one["items"] == {"fetched": 3})
        began = [
            datetime.fromisoformat(line.partition(" INFO")[0].replace(",", "."))
            for line in service.log
            if "begins" in line and own["task_id"] not in line
        ]
        assert len(began) == 3
        assert all(later - sooner >= timedelta(seconds=1.9) for sooner, later in pairwise(began))
        await unsubscribe_all(service)
