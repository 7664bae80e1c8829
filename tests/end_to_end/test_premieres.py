"""Premieres, broadcasts, entries for members and kinds of entries: from a plugin's list to a file.

An extractor of the tests provides the list and the pages of its entries; the service has it as an operator's
plugin.
"""

import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.test_subscriptions import PLAIN, QUICK, checked, items, known, subscribe, until
from tests.plugins import PluginFolder
from tests.service import ROOT, Service
from tests.site import Site
from tests.site.followed import Film, Followed

HOUR, DAY = 3600, 86_400
LONG_AGO = 1_700_000_000


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    folder = PluginFolder(tmp_path / "plugins")
    folder.write_told()
    settings = {
        **QUICK,
        "CLIPWIRE_SUBSCRIPTIONS__MAX_NEW": "9",
        "CLIPWIRE_DOWNLOADS__PLUGINS": str(folder.path),
        "PYTHONPATH": str(ROOT / "tests" / "skewed"),
        "SKEW": "0",
    }
    async with Service(tmp_path / "service", **settings) as service:
        await service.ready()
        yield service


async def later(service: Service, seconds: int) -> None:
    """Restart the service with a clock that is so many seconds ahead."""
    service.settings["SKEW"] = str(seconds)
    await service.restart()
    await service.ready()


def film(name: str, rest: str = "", **told: Any) -> Film:
    """Return an entry of the list `x`, published long ago unless `told` says otherwise."""
    told = {"duration": 60, "timestamp": LONG_AGO} | told
    return Film(name, f"Film {name}", f"/told/of-x-{name}{rest}", told=told)


async def found(service: Service, mine: str) -> dict[str, str]:
    """Return the state and the reason of each item, by its id."""
    return {
        each["key"].partition(" ")[2]: " ".join(filter(None, (each["state"], each.get("reason"))))
        for each in await items(service, mine)
    }


async def until_found(service: Service, mine: str, **states: str) -> dict[str, str]:
    """Wait until there are as many items in each state as in `states`; return all items."""
    counts = Counter(state.partition(" ")[0] for state in states.values())
    await until(service, mine, lambda one: one["items"] == counts)
    return await found(service, mine)


@pytest.mark.wide
async def test_each_kind_of_entry_waits_for_its_own_reason_until_its_time_has_come(
    service: Service, site: Site
) -> None:
    now = int(time.time())
    begins = now + 2 * HOUR
    site.followed["x"] = followed = Followed(
        [
            film("young", timestamp=now - 600),
            film("premiere", live_status="is_upcoming", release_timestamp=begins, duration=None),
            film("live", live_status="is_live", duration=None),
            film("over", live_status="post_live"),
            film("was", live_status="was_live"),
            film("short", rest="/shorts/1"),
            film("members", availability="subscriber_only"),
            film("premium", availability="premium_only", timestamp=None),
            film("plain", availability="public"),
        ]
    )
    filters = {"kinds": ["video", "stream"], "min_age": "1h", "since": "2020-01-01", "min_duration": 30}
    url = site.url("/told/followed-x")
    mine = (await subscribe(service, url, filters=filters, backlog="all"))["subscription_id"]
    expected = {
        "young": "waiting too_young",
        "premiere": "waiting not_live_yet",
        "live": "waiting not_live_yet",
        "over": "waiting not_live_yet",
        "was": "fetched",
        "short": "skipped kinds",
        "members": "waiting members_only",
        "premium": "waiting members_only",
        "plain": "fetched",
    }
    assert await until_found(service, mine, **expected) == expected
    asked = [seen.path for seen in site.requests if seen.path.startswith("/told/of-x-")]
    assert set(asked) == {"/told/of-x-was", "/told/of-x-plain"}, "the others are not looked at by themselves"
    at = {each["key"].partition(" ")[2]: each.get("not_before") for each in await items(service, mine)}
    assert _seconds(at["premiere"]) == begins
    assert 0 <= _seconds(at["young"]) - (now - 600 + HOUR) <= 1
    assert _seconds(at["members"]) >= now + DAY

    # The premiere is postponed, the broadcast goes on, and the pages of the other entries say nothing new.
    followed.pages = {
        "premiere": {"live_status": "is_upcoming", "release_timestamp": begins + 2 * HOUR, "url": None},
        "live": {"live_status": "is_live"},
        "young": {"timestamp": now - 600},
    }
    await later(service, 3 * HOUR)
    expected |= {"young": "fetched", "over": "fetched"}
    assert await until_found(service, mine, **expected) == expected
    at = {each["key"].partition(" ")[2]: each.get("not_before") for each in await items(service, mine)}
    assert _seconds(at["premiere"]) == begins + 2 * HOUR

    followed.pages = {"premiere": {"live_status": "not_live", "timestamp": begins, "duration": 60}}
    followed.pages["live"] = {"live_status": "was_live", "timestamp": begins, "duration": 60}
    followed.pages["members"] = followed.pages["premium"] = {"availability": "subscriber_only"}
    await later(service, 8 * HOUR)
    expected |= {"premiere": "fetched", "live": "fetched"}
    assert await until_found(service, mine, **expected) == expected

    # One entry becomes public; the page of the other still says that it is for members.
    followed.pages["members"] = {"availability": "public", "timestamp": LONG_AGO, "duration": 60}
    await later(service, 2 * DAY)
    expected |= {"members": "fetched"}
    assert await until_found(service, mine, **expected) == expected
    fetched = {f"Film {name}" for name, state in expected.items() if state == "fetched"}
    assert {*await titles(service)} == fetched
    assert len(await titles(service)) == len(fetched), "each once"
    assert (await known(service, mine))["stage"] == "idle"


async def titles(service: Service) -> list[str]:
    """Return the titles of all tasks."""
    async with service.client.get("/api/tasks?limit=200") as answer:
        return [task["video_info"]["title"] for task in (await answer.json())["tasks"]]


def _seconds(moment: str | None) -> int:
    assert moment
    return int(datetime.fromisoformat(moment).timestamp())


@pytest.mark.long
async def test_a_subscription_that_waits_for_broadcasts_gets_a_task_that_waits_for_the_premiere(
    service: Service, site: Site
) -> None:
    begins = int(time.time()) + 6
    site.followed["x"] = followed = Followed(
        [film("premiere", live_status="is_upcoming", release_timestamp=begins), film("plain")]
    )
    followed.pages["premiere"] = {"live_status": "is_upcoming", "release_timestamp": begins, "url": None}
    mine = (
        await subscribe(
            service, site.url("/told/followed-x"), request=PLAIN | {"live": "wait"}, backlog="all"
        )
    )["subscription_id"]
    await until(service, mine, lambda one: one["items"] == {"queued": 1, "fetched": 1})
    [waiting] = await items(service, mine, state="queued")
    task = await service.status(waiting["task_id"])
    assert (task["stage"], task.get("waiting")) in (
        ("queued", "not_live_yet"),
        ("info", None),
        ("queued", None),
    )
    followed.pages["premiere"] = {"live_status": "was_live"}
    await until(service, mine, lambda one: one["items"] == {"fetched": 2})


async def test_a_subscription_that_records_broadcasts_records_what_is_live_now(
    service: Service, site: Site
) -> None:
    site.followed["x"] = followed = Followed([film("live", live_status="is_live", duration=None)])
    link = site.url("/hls/broadcast/index.m3u8?end=4&n=77")
    stream = {"url": link, "protocol": "m3u8_native", "ext": "mp4", "format_id": "0"}
    followed.pages["live"] = {"live_status": "is_live", "url": None, "formats": [stream]}
    url, request = site.url("/told/followed-x"), PLAIN | {"live": "record"}
    mine = (await subscribe(service, url, request=request, backlog="all"))["subscription_id"]
    await until(service, mine, lambda one: one["items"] == {"fetched": 1}, within=60)
    [item] = await items(service, mine)
    task = await service.status(item["task_id"])
    assert (task["video_info"]["live"], task["file_info"]["video"]["type"]) == (True, "video/mp4")


@pytest.mark.long
async def test_a_subscription_to_entries_for_members_retries_a_refused_task_later(
    service: Service, site: Site
) -> None:
    site.followed["x"] = followed = Followed([film("members", availability="subscriber_only")])
    followed.pages["members"] = {
        "refused": "Join this channel to get access to members-only content like this video"
    }
    mine = (await subscribe(service, site.url("/told/followed-x"), filters={"members": True}, backlog="all"))[
        "subscription_id"
    ]
    await until(service, mine, lambda one: one["items"] == {"waiting": 1})
    [item] = await items(service, mine)
    assert item["reason"] == "members_only"
    assert (await service.status(item["task_id"]))["error_code"] == "members_only"
    followed.pages = {}
    await later(service, DAY + HOUR)
    await until(service, mine, lambda one: one["items"] == {"fetched": 1})


async def test_new_cookies_are_tried_at_once(service: Service, site: Site) -> None:
    site.followed["x"] = followed = Followed([film("members", availability="subscriber_only")])
    followed.pages["members"] = {"refused": "This video is for premium members only."}
    url, filters = site.url("/told/followed-x"), {"members": True}
    mine = (await subscribe(service, url, filters=filters, backlog="all"))["subscription_id"]
    await until(service, mine, lambda one: one["items"] == {"waiting": 1})
    followed.pages = {}
    for host, states in (("elsewhere.test", {"waiting": 1}), ("127.0.0.1", {"fetched": 1})):
        file = f"{host}\tFALSE\t/\tFALSE\t0\tsession\tabc\n"
        async with service.client.put(
            "/api/cookies/x", data=file, headers={"Content-Type": "text/plain"}
        ) as put:
            assert put.status == 204
        await until(service, mine, lambda one, states=states: one["items"] == states)  # type: ignore[misc]


@pytest.mark.long
async def test_a_channel_with_another_name_and_link_has_the_same_entries(
    service: Service, site: Site
) -> None:
    site.followed["x"] = followed = Followed([film("a"), film("b")], title="Before")
    mine = (await subscribe(service, site.url("/told/followed-x")))["subscription_id"]
    before = await until(service, mine, lambda one: one["stage"] == "idle")
    followed.title, followed.told = "After", {"id": "other", "webpage_url": site.url("/told/other")}
    followed.films[0].title = "Another title"
    after = await checked(service, mine, known=2)
    assert (before["title"], after["title"]) == ("Before", "After")


@pytest.mark.wide
async def test_an_entry_whose_link_leads_to_another_is_one_item_and_one_file(
    service: Service, site: Site
) -> None:
    site.followed["x"] = followed = Followed([film("dead")])
    followed.pages["dead"] = {"_type": "url", "url": "/told/of-x-copy", "ie_key": "Told"}
    mine = (await subscribe(service, site.url("/told/followed-x"), backlog="all"))["subscription_id"]
    await until(service, mine, lambda one: one["items"] == {"fetched": 1})
    followed.films.insert(0, film("copy"))
    await checked(service, mine, fetched=1)
    await checked(service, mine, fetched=1)
    assert await titles(service) == ["Film copy"]


@pytest.mark.wide
async def test_an_entry_with_a_day_but_no_time_is_old_enough_when_the_day_is_over(
    service: Service, site: Site
) -> None:
    today = time.strftime("%Y%m%d", time.gmtime())
    site.followed["x"] = Followed([film("day", timestamp=None, upload_date=today)])
    filters = {"min_age": "30m"}
    mine = (await subscribe(service, site.url("/told/followed-x"), filters=filters, backlog="all"))[
        "subscription_id"
    ]
    await until(service, mine, lambda one: one["items"] == {"waiting": 1})
    assert (await items(service, mine))[0]["reason"] == "too_young"


@pytest.mark.wide
async def test_a_subscription_without_broadcasts_gets_premieres_of_films(
    service: Service, site: Site
) -> None:
    begins = int(time.time()) + HOUR
    told: dict[str, Any] = {
        "live_status": "is_upcoming",
        "release_timestamp": begins,
        "duration": None,
        "timestamp": None,
    }
    site.followed["x"] = followed = Followed(
        [film("premiere", **told), film("stream", **told), film("was", live_status="was_live")]
    )
    url, filters = site.url("/told/followed-x"), {"kinds": ["video"]}
    mine = (await subscribe(service, url, filters=filters, backlog="all"))["subscription_id"]
    expected = {
        "premiere": "waiting not_live_yet",
        "stream": "waiting not_live_yet",
        "was": "skipped kinds",
    }
    assert await until_found(service, mine, **expected) == expected
    followed.pages = {"premiere": {"live_status": "is_live"}, "stream": {"live_status": "was_live"}}
    await later(service, HOUR + 60)
    expected["stream"] = "skipped kinds"
    assert await until_found(service, mine, **expected) == expected
    followed.pages = {"premiere": {"live_status": "not_live"}}
    await later(service, 3 * HOUR)
    expected["premiere"] = "fetched"
    assert await until_found(service, mine, **expected) == expected
