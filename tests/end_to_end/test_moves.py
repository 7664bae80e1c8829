"""Sources of subscriptions move to other links, with the whole service: their entries stay known."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.end_to_end.test_subscriptions import (
    QUICK,
    checked,
    films,
    items,
    subscribe,
    unsubscribe_all,
    until,
)
from tests.service import Payload, Service, Services
from tests.site import Site
from tests.site.followed import Film, Followed

NEW_URL = "<itunes:new-feed-url>{}</itunes:new-feed-url>"
PAGE = """<!doctype html><html><head><title>A show</title>
    <link rel="stylesheet alternate" type="text/css" href="/style.css">
    <link rel="alternate" type="application/rss+xml" title="Episodes" href="{first}">
    <link rel="alternate" type="application/atom+xml" title="Comments" href="{second}">
    </head><body>Welcome</body></html>"""


@pytest.fixture
async def service(services: Services) -> AsyncIterator[Service]:
    async with services.lend(**QUICK) as service:
        yield service
        await unsubscribe_all(service)


def signed(day: int, *numbers: int) -> list[Film]:
    """Return films whose links are signed anew each day; only their guids stay the same."""
    return [replace(film, link=f"{film.link}{day:02}") for film in films(*numbers)]


async def changed(service: Service, subscription_id: str, status: int = 200, **patch: object) -> Payload:
    async with service.client.patch(f"/api/subscriptions/{subscription_id}", json=patch) as answer:
        assert answer.status == status, await answer.text()
        payload: Payload = await answer.json(content_type=None)
        return payload


async def seeded(service: Service, url: str, **fields: Any) -> str:
    mine: str = (await subscribe(service, url, **fields))["subscription_id"]
    await until(service, mine, lambda one: one["stage"] == "idle")
    return mine


async def test_a_lasting_redirect_becomes_the_link_after_three_checks_and_no_entry_is_new(
    service: Service, site: Site
) -> None:
    site.followed["old"] = old = Followed(signed(1, 2, 1))
    site.followed["new"] = new = Followed(signed(2, 2, 1))
    mine = await seeded(service, site.url("/followed/old.rss"), feed={"name": "moving"})
    keys = [each["key"] for each in await items(service, mine)]
    old.status, old.headers = 301, {"Location": "/followed/new.rss"}
    for _ in range(2):
        waiting = await checked(service, mine, known=2)
        assert waiting["url"] == site.url("/followed/old.rss")
        assert waiting["moved_to"] == site.url("/followed/new.rss")
    after = await checked(service, mine, known=2)
    assert (after["url"], after["revision"]) == (site.url("/followed/new.rss"), 2)
    assert "moved_to" not in after
    assert after["feed"] == waiting["feed"]
    old.status = 404
    new.films = signed(3, 3, 2, 1)
    await checked(service, mine, known=2, fetched=1)
    _, *others = await items(service, mine)
    assert [each["key"] for each in others] == keys

    # A new subscription to the new link also knows these entries, however their links are signed by then.
    async with service.client.delete(f"/api/subscriptions/{mine}") as answer:
        assert answer.status == 204
    new.films = signed(4, 3, 2)
    again = (await subscribe(service, site.url("/followed/new.rss"), backlog={"last": 1}))["subscription_id"]
    await until(service, again, lambda one: one["items"] == {"known": 1, "fetched": 1})
    assert [each.get("reason") for each in await items(service, again)] == ["in_memory", None]


@pytest.mark.wide
async def test_a_passing_redirect_or_one_that_a_failure_interrupts_moves_nothing(
    service: Service, site: Site
) -> None:
    site.followed["home"], site.followed["away"] = home, _ = Followed(films(1)), Followed(films(1))
    mine = await seeded(service, site.url("/followed/home.rss"))
    home.headers = {"Location": "/followed/away.rss"}
    for status in (302, 308, 308, 500, 308, 308):
        home.status = status
        one = await checked(service, mine, known=1)
        assert one["url"] == site.url("/followed/home.rss")
        assert ("moved_to" in one) is (status == 308)
    assert (await checked(service, mine))["url"] == site.url("/followed/away.rss")


@pytest.mark.wide
async def test_a_feed_that_names_its_new_address_is_followed_there_once_a_feed_is_there(
    service: Service, site: Site
) -> None:
    said, there = site.url("/followed/said.rss"), site.url("/followed/there.rss")
    site.followed["said"] = Followed(films(1), conditional=True, about=NEW_URL.format(there))
    mine = await seeded(service, said)
    for _ in range(3):
        assert (await checked(service, mine))["url"] == said
    # Two feeds that name each other do not move the subscription back and forth.
    site.followed["there"] = Followed(films(2, 1), conditional=True, about=NEW_URL.format(said))
    for _ in range(3):
        after = await checked(service, mine)
    assert after["url"] == there
    for _ in range(4):
        after = await checked(service, mine, known=1, fetched=1)
    assert after["url"] == there


@pytest.mark.wide
async def test_a_redirect_does_not_lead_two_equal_subscriptions_to_one_link(
    service: Service, site: Site
) -> None:
    site.followed["one"], site.followed["two"] = one, _ = Followed(films(1)), Followed(films(1))
    there = await seeded(service, site.url("/followed/two.rss"))
    mine = await seeded(service, site.url("/followed/one.rss"))
    refused = await changed(service, mine, 409, url=site.url("/followed/two.rss"))
    assert (refused["code"], refused["subscription_id"]) == ("subscribed", there)
    one.status, one.headers = 301, {"Location": "/followed/two.rss"}
    for _ in range(4):
        after = await checked(service, mine, known=1)
    assert (after["url"], after["notice"]) == (site.url("/followed/one.rss"), "already_subscribed")
    assert after["moved_to"] == site.url("/followed/two.rss")
    async with service.client.delete(f"/api/subscriptions/{there}") as answer:
        assert answer.status == 204
    after = await checked(service, mine, known=1)
    assert (after["url"], "notice" in after) == (site.url("/followed/two.rss"), False)


@pytest.mark.wide
async def test_a_page_is_followed_by_the_first_feed_that_it_names_and_its_other_feeds_are_listed(
    service: Service, site: Site
) -> None:
    site.followed["page"] = Followed(html=PAGE.format(first="named.rss", second="/followed/comments.atom"))
    site.followed["named"] = named = Followed(films(1))
    mine = await seeded(service, site.url("/followed/page.html"))
    one = await until(service, mine, lambda one: one["items"] == {"known": 1})
    assert one["url"] == site.url("/followed/named.rss")
    assert one["feeds"] == [
        {"url": site.url("/followed/named.rss"), "title": "Episodes"},
        {"url": site.url("/followed/comments.atom"), "title": "Comments"},
    ]
    named.films = films(2, 1)
    await checked(service, mine, known=1, fetched=1)


async def test_a_page_that_names_a_feed_at_a_private_address_leads_nowhere(
    service: Service, site: Site
) -> None:
    site.followed["trap"] = Followed(html=PAGE.format(first="http://127.0.0.2:1/feed", second="/none"))
    mine = (await subscribe(service, site.url("/followed/trap.html")))["subscription_id"]
    failing = await until(service, mine, lambda one: one["stage"] == "failing")
    assert (failing["error_code"], failing["url"]) == ("blocked_address", site.url("/followed/trap.html"))


@pytest.mark.wide
async def test_a_feed_that_became_a_web_page_says_until_when_it_was_one(service: Service, site: Site) -> None:
    site.followed["turned"] = followed = Followed(films(1))
    mine = await seeded(service, site.url("/followed/turned.rss"))
    followed.html = PAGE.format(first="/followed/elsewhere.rss", second="/none")
    failing = await checked(service, mine)
    assert failing["error_code"] == "no_list"
    assert failing["succeeded_at"] in failing["hint"]
    site.followed["elsewhere"] = Followed(films(2, 1))
    moved = await changed(service, mine, url=site.url("/followed/elsewhere.rss").replace("http:", "feed:"))
    assert (moved["url"], moved["stage"]) == (site.url("/followed/elsewhere.rss"), "idle")
    await until(service, mine, lambda one: one["items"] == {"known": 1, "fetched": 1})


async def test_a_link_that_was_set_to_another_feed_loses_none_of_its_entries(
    service: Service, site: Site
) -> None:
    site.followed["here"] = Followed(films(2, 1))
    mine = await seeded(service, site.url("/followed/here.rss"))
    site.followed["other"] = Followed(
        [Film("x", f"Another {n}", f"/video.mp4?times=5{n}", 1_600_000_000.0 + n, f"g{n}") for n in (2, 1)]
    )
    await changed(service, mine, url=site.url("/followed/other.rss"))
    held = await until(service, mine, lambda one: one["items"] == {"known": 2, "waiting": 2})
    assert held["notice"] == "all_new"
    assert {each["reason"] for each in (await items(service, mine))[:2]} == {"held"}


@pytest.mark.wide
async def test_a_download_that_waits_asks_the_link_that_its_feed_has_when_it_begins(
    service: Service, site: Site
) -> None:
    site.followed["tickets"] = followed = Followed(films(1))
    mine = await seeded(service, site.url("/followed/tickets.rss"))
    async with service.client.post("/api/queue/pause") as answer:
        assert answer.status == 200
    followed.films = [replace(film, link=f"/expired/{film.id}") for film in films(2, 1)]
    await checked(service, mine, known=1, queued=1)
    followed.films = films(2, 1)
    await checked(service, mine, known=1, queued=1)
    async with service.client.post("/api/queue/resume") as answer:
        assert answer.status == 200
    await until(service, mine, lambda one: one["items"] == {"known": 1, "fetched": 1})
    assert not site.seen("/expired/f2")
