"""What a check reads of a list that changes, and what it finds, with the whole service and real children."""

import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
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
from tests.service import Service, Services, Told
from tests.shelf import Shelf
from tests.site import Site
from tests.site.followed import Film, Followed

CHANNEL = {"extractor_key": "YoutubeTab", "webpage_url": "https://www.youtube.com/@followed/videos"}
WEEK = 7 * 86_400.0


@pytest.fixture
async def service(services: Services) -> AsyncIterator[Service]:
    async with services.lend(**QUICK) as service:
        yield service
        await unsubscribe_all(service)


def pages(site: Site, name: str) -> list[str]:
    """Return the pages of the list that the service has requested since the last call."""
    asked = [seen.query["page"] for seen in site.seen(f"/told/followed-{name}") if "page" in seen.query]
    site.requests.clear()
    return asked


def with_findings(service: Service, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what the only subscription has stored about its source, as if time had passed."""
    with closing(sqlite3.connect(service.data / "clipwire.db", timeout=20)) as database, database:
        [(text,)] = database.execute("SELECT findings FROM subscriptions")
        findings = json.loads(text)
        change(findings)
        database.execute("UPDATE subscriptions SET findings = ?", (json.dumps(findings),))


def a_week_ago(findings: dict[str, Any]) -> None:
    findings["whole_at"] -= WEEK + 60


async def counted(service: Service, mine: str, **wanted: str) -> dict[str, int]:
    """Return how many items there are for each reason."""
    found: dict[str, int] = {}
    for each in await items(service, mine, limit="200", **wanted):
        reason = str(each.get("reason", each["state"]))
        found[reason] = found.get(reason, 0) + 1
    return found


@pytest.mark.wide
async def test_a_check_loses_none_of_a_hundred_new_entries(tmp_path: Path, site: Site) -> None:
    site.followed["burst"] = followed = Followed(films(*range(200, 0, -1)), key=None, told=CHANNEL)
    async with Told(tmp_path / "service", **QUICK) as service:
        mine = (await subscribe(service, site.url("/told/followed-burst")))["subscription_id"]
        await until(service, mine, lambda one: one["items"] == {"known": 200})
        followed.films[:0] = films(*range(300, 200, -1))
        pages(site, "burst")
        await checked(service, mine, known=200, waiting=97, fetched=3)
        assert pages(site, "burst") == ["0", "1", "2", "3"], "up to 15 known ones, and no further"
        assert await counted(service, mine, state="waiting") == {"held": 97}


async def test_a_check_that_reaches_its_limit_goes_on_where_it_stopped(tmp_path: Path, site: Site) -> None:
    site.followed["cut"] = followed = Followed(films(*range(60, 0, -1)), key=None, told=CHANNEL)
    async with Told(tmp_path / "service", **QUICK, CLIPWIRE_DOWNLOADS__MAX_PLAYLIST="70") as service:
        mine = (await subscribe(service, site.url("/told/followed-cut")))["subscription_id"]
        await until(service, mine, lambda one: one["items"] == {"known": 60})
        followed.films[:0] = films(*range(220, 60, -1))
        # Two more checks follow by themselves. Then a new entry on top of the list is fetched.
        await checked(service, mine)
        await until(service, mine, lambda one: one["items"] == {"known": 60, "waiting": 157, "fetched": 3})
        followed.films[:0] = films(221)
        await checked(service, mine, known=60, waiting=157, fetched=4)
        pages(site, "cut")
        await checked(service, mine, known=60, waiting=157, fetched=4)
        assert pages(site, "cut") == ["0"], "as quick as ever afterwards"


@pytest.mark.wide
async def test_a_list_without_order_that_grows_by_more_than_one_check_reads_is_read_to_its_end(
    tmp_path: Path, site: Site
) -> None:
    site.followed["grows"] = followed = Followed(films(*range(1, 31)), key=None)
    async with Told(tmp_path / "service", **QUICK, CLIPWIRE_DOWNLOADS__MAX_PLAYLIST="70") as service:
        mine = (await subscribe(service, site.url("/told/followed-grows")))["subscription_id"]
        await until(service, mine, lambda one: one["items"] == {"known": 30})
        followed.films += films(*range(31, 181))
        with_findings(service, lambda findings: findings.update(whole_at=findings["whole_at"] - WEEK))
        await checked(service, mine)
        await until(service, mine, lambda one: one["items"] == {"known": 30, "waiting": 147, "fetched": 3})
        followed.films[:0] = films(*range(400, 250, -1))
        await checked(service, mine)
        await until(service, mine, lambda one: one["items"] == {"known": 30, "waiting": 294, "fetched": 6})


@pytest.mark.wide
async def test_an_old_entry_that_becomes_visible_is_found_within_a_week_and_held(
    tmp_path: Path, site: Site
) -> None:
    old = films(*range(120, 0, -1))
    hidden = old.pop(50)
    site.followed["hidden"] = followed = Followed(old, key=None, told=CHANNEL)
    async with Told(tmp_path / "service", **QUICK) as service:
        mine = (await subscribe(service, site.url("/told/followed-hidden")))["subscription_id"]
        await until(service, mine, lambda one: one["items"] == {"known": 119})
        followed.films.insert(50, hidden)
        followed.films[:0] = films(121)
        pages(site, "hidden")
        await checked(service, mine, known=119, fetched=1)
        assert pages(site, "hidden") == ["0"]
        with_findings(service, a_week_ago)
        followed.films[:0] = films(122)
        await checked(service, mine, known=119, fetched=2, waiting=1)
        assert pages(site, "hidden") == ["0", "1", "2", "3", "4", "5"]
        [found] = await items(service, mine, state="waiting")
        assert (found["title"], found["reason"]) == (hidden.title, "held")
        await checked(service, mine)
        assert pages(site, "hidden") == ["0"], "once a week"


@pytest.mark.wide
async def test_the_second_check_of_a_channel_longer_than_a_check_reads_its_first_page_only(
    tmp_path: Path, site: Site
) -> None:
    site.followed["deep"] = Followed(films(*range(200, 0, -1)), key=None, told=CHANNEL)
    async with Told(tmp_path / "service", **QUICK, CLIPWIRE_DOWNLOADS__MAX_PLAYLIST="70") as service:
        mine = (await subscribe(service, site.url("/told/followed-deep")))["subscription_id"]
        await until(service, mine, lambda one: one["items"] == {"known": 70})
        pages(site, "deep")
        await checked(service, mine, known=70)
        assert pages(site, "deep") == ["0"]


async def test_a_failed_entry_is_fetched_from_the_newest_link_in_its_feed(
    service: Service, site: Site
) -> None:
    site.followed["signs"] = followed = Followed(films(1))
    mine = (await subscribe(service, site.url("/followed/signs.rss")))["subscription_id"]
    await until(service, mine, lambda one: one["items"] == {"known": 1})
    followed.films[:0] = films(2)
    followed.films[0].link += "&ticket=expired"
    await checked(service, mine, known=1, failed=1)
    followed.films[0].link = "/video.mp4?times=2&ranges=no"
    await checked(service, mine, known=1, failed=1)
    [failed] = await items(service, mine, state="failed")
    assert (failed["reason"], failed["url"]) == ("http_403", site.url(followed.films[0].link))
    body = {"action": "fetch", "keys": [failed["key"]]}
    async with service.client.post(f"/api/subscriptions/{mine}/items/actions", json=body) as answer:
        assert [each["status"] for each in (await answer.json())["results"]] == [200]
    await until(service, mine, lambda one: one["items"] == {"known": 1, "fetched": 1})
    [fetched] = await items(service, mine, state="fetched")
    assert fetched["task_id"] == failed["task_id"], "it is the same download"
    assert (await service.status(fetched["task_id"]))["url"] == fetched["url"]


def page_of(shelf: Shelf, media: Path, *names: str, signed: int) -> str:
    """Put a page on the shelf that has a player for each film; the links of the players are signed."""
    film = (media / "video.mp4").read_bytes()
    links = [shelf.put(f"{name}.mp4", film, "video/mp4") for name in names]
    tags = "".join(f'<video src="{link}?signed={signed}"></video>' for link in links)
    return shelf.put("players", f"<html><title>Players</title>{tags}</html>".encode(), "text/html")


@pytest.mark.wide
async def test_the_players_of_a_page_are_recognised_by_their_films_whatever_signature_their_links_have(
    service: Service, shelf: Shelf, media: Path
) -> None:
    url = page_of(shelf, media, "c", "b", "a", signed=1)
    mine = (await subscribe(service, url))["subscription_id"]
    await until(service, mine, lambda one: one["items"] == {"known": 3})
    page_of(shelf, media, "e", "d", "c", "b", "a", signed=2)
    await checked(service, mine, known=3, fetched=2)
    assert {each["key"].rpartition("/")[2] for each in await items(service, mine, state="fetched")} == {
        "d.mp4",
        "e.mp4",
    }
    assert {name for name in "abcde" if shelf.asked[f"{name}.mp4"]} == {"d", "e"}
    page_of(shelf, media, "g", "f", "e", signed=3)  # the page always shows its newest three films
    after = await checked(service, mine, known=3, fetched=4)
    assert "notice" not in after


@pytest.mark.wide
async def test_entries_of_a_feed_whose_ids_are_all_new_are_held_until_a_check_finds_a_known_one(
    service: Service, site: Site
) -> None:
    site.followed["moved"] = followed = Followed(films(3, 2, 1))
    mine = (await subscribe(service, site.url("/followed/moved.rss")))["subscription_id"]
    await until(service, mine, lambda one: one["items"] == {"known": 3})
    followed.films = [
        Film("x", film.title, f"/silent.mp4?times={n}", film.at, f"new-{n}")
        for n, film in enumerate(films(4, 3, 2, 1))
    ]
    after = await checked(service, mine, known=3, waiting=4)
    assert after["notice"] == "all_new"
    assert {each["reason"] for each in await items(service, mine, state="waiting")} == {"held"}
    followed.films[:0] = films(5)
    after = await checked(service, mine, known=3, waiting=4, fetched=1)
    assert "notice" not in after


@pytest.mark.wide
async def test_new_entries_of_a_feed_that_lists_only_its_newest_are_fetched(
    service: Service, site: Site
) -> None:
    site.followed["alone"] = followed = Followed(films(1))
    mine = (await subscribe(service, site.url("/followed/alone.rss")))["subscription_id"]
    await until(service, mine, lambda one: one["items"] == {"known": 1})
    for fetched, number in enumerate((2, 3), 1):
        followed.films = films(number)
        after = await checked(service, mine, known=1, fetched=fetched)
        assert "notice" not in after


def lasting(*durations: int) -> list[Film]:
    """Return films whose length only their own pages say."""
    return [
        Film(f"l{n}", f"Film {n}", f"/page?n={n}&duration={duration}", at=1_700_000_000.0 - n * 3600)
        for n, duration in enumerate(durations)
    ]


@pytest.mark.wide
async def test_a_backlog_of_the_last_three_takes_the_newest_three_that_pass_the_filters(
    service: Service, site: Site
) -> None:
    site.followed["short"] = Followed(lasting(*[2] * 12, *[90] * 6))
    mine = (
        await subscribe(
            service,
            site.url("/followed/short.rss"),
            backlog={"last": 3},
            filters={"min_duration": 60},
            interval="1s",
        )
    )["subscription_id"]
    await until(service, mine, lambda one: one["items"].get("fetched") == 3, within=60)
    fetched = await items(service, mine, state="fetched")
    assert [each["title"] for each in fetched] == ["Film 12", "Film 13", "Film 14"]
    after = await checked(service, mine)
    assert after["items"] == {"known": 6, "skipped": 9, "fetched": 3}


async def test_no_page_is_requested_for_an_entry_that_is_not_wanted(service: Service, site: Site) -> None:
    site.followed["unasked"] = followed = Followed(lasting(*[90] * 8))
    made = await subscribe(
        service, site.url("/followed/unasked.rss"), filters={"min_duration": 60, "not_title": "trailer"}
    )
    mine = made["subscription_id"]
    await until(service, mine, lambda one: one["items"] == {"known": 8})
    assert not site.seen("/page")
    followed.films[:0] = [Film("t", "A trailer", "/page?n=t&duration=90", at=1_700_000_001.0)]
    await checked(service, mine, known=8, skipped=1)
    assert not site.seen("/page")
    since = await subscribe(
        service,
        site.url("/followed/unasked.atom"),
        backlog={"last": 1},
        filters={"min_duration": 60, "not_title": "trailer"},
    )
    await until(service, since["subscription_id"], lambda one: one["items"].get("fetched") == 1)
    asked = {seen.query["n"] for seen in site.seen("/page")}
    assert asked == {"0"}
