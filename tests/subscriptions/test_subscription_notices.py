"""When a subscription fails or works again, its owner is told once, by the outbox of every backend."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime

from aiohttp import web
from aiohttp.test_utils import TestServer
from standardwebhooks import Webhook

from server.core.clock import Clock
from server.notices.deliveries import Addressee, Delivery, SubscriptionNotice
from server.notices.delivery_rows import DeliveryRows
from server.subscriptions.check_rows import CheckRows
from server.subscriptions.subscription import DAY, CheckOutcome, SubscriptionSettings, wish_of
from tests.end_to_end.test_subscriptions import (
    QUICK,
    checked,
    films,
    known,
    subscribe,
    unsubscribe_all,
    until,
)
from tests.rooms import rooms
from tests.service import Payload, Services
from tests.site import Site
from tests.site.followed import Followed
from tests.subscriptions import test_subscription_rows as rows_of
from tests.subscriptions.test_subscription_rows import (
    NOW,
    PACE,
    WHOLE,
    AnyStore,
    claimed,
    entries,
    subscribed,
)

open_any, store = rows_of.open_any, rows_of.store
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHERS = (Addressee("default", receiver="hooks.test:443"), Addressee("notify", "person", "person"))


def rows_with(store: AnyStore) -> CheckRows:
    return CheckRows(store.transactions, OTHERS)


async def fails(store: AnyStore, day: int, code: str = "http_404") -> None:
    at = NOW + day * DAY
    await rows_with(store).fail(await claimed(store, at), code, None, None, PACE, at)


async def works(store: AnyStore, day: int) -> CheckOutcome:
    at = NOW + day * DAY
    return await rows_with(store).settle(await claimed(store, at), entries(1), WHOLE, PACE, at)


class Later(Clock):
    """A clock by which every notice of these tests is due."""

    def now(self) -> datetime:
        return datetime.fromtimestamp(NOW + 1000 * DAY, UTC)


def outbox_of(store: AnyStore) -> DeliveryRows:
    return DeliveryRows(store.transactions, Later())


async def told(store: AnyStore) -> list[Delivery]:
    """Claim the notices that are due, mark them as delivered, and return them."""
    outbox = outbox_of(store)
    due = await outbox.claim(("default", "notify"), 50)
    for delivery in due:
        await outbox.delivered(delivery.delivery_id)
    return due


async def kinds_told(store: AnyStore) -> list[tuple[str, str]]:
    found = [(each.addressee.kind, each.status) for each in await told(store)]
    return sorted((kind, one.type) for kind, one in found if isinstance(one, SubscriptionNotice))


async def test_the_third_failure_in_a_row_is_told_once_and_the_next_success_too(store: AnyStore) -> None:
    mine = await subscribed(store, name="Show")
    for day, tells in enumerate([False, False, True, False, False]):
        await fails(store, 2 * day)
        due = await told(store)
        assert len(due) == (2 if tells else 0)
        if tells:
            assert {each.about for each in due} == {mine.subscription_id}
            expected = SubscriptionNotice(
                type="subscription_failing",
                subscription_id=mine.subscription_id,
                name="Show",
                url=mine.url,
                since=NOW,
                error_code="http_404",
            )
            assert [each.status for each in due] == [expected, expected]
    await works(store, 20)
    assert await kinds_told(store) == [("default", "subscription_works"), ("notify", "subscription_works")]
    await works(store, 22)
    assert await told(store) == []


async def test_two_failures_and_a_success_are_nobodys_business(store: AnyStore) -> None:
    await subscribed(store)
    for day in range(0, 8, 4):
        await fails(store, day)
        await fails(store, day + 1)
        await works(store, day + 3)
    assert await told(store) == []


async def test_a_check_that_was_taken_for_lost_tells_nothing(store: AnyStore) -> None:
    mine = await subscribed(store)
    await fails(store, 0)
    await fails(store, 2)
    late = await claimed(store, NOW + 7 * DAY)
    # Another node claims it, because the first one seems to be lost.
    again = await claimed(store, NOW + 8 * DAY)
    for claim in (late, again):
        await rows_with(store).fail(claim, "http_404", None, None, PACE, NOW + 8 * DAY)
    assert len(await told(store)) == 2
    assert (await rooms(store).subscriptions.get(mine.subscription_id)).findings.failing == 3


async def test_with_a_subscription_goes_what_is_to_be_told_of_it(store: AnyStore) -> None:
    mine = await subscribed(store)
    for day in range(0, 12, 4):
        await fails(store, day)
    page, _ = await outbox_of(store).page(None, 10)
    assert [(each.task_id, each.about) for each in page] == [("", mine.subscription_id)]
    await rooms(store).subscriptions.remove(mine.subscription_id)
    assert await told(store) == []


async def test_stages_and_held_hosts_are_counted_as_they_are_shown(store: AnyStore) -> None:
    rows = rooms(store).subscriptions
    assert await rows.stages(NOW) == dict.fromkeys(("seeding", "idle", "checking", "failing", "paused"), 0)
    resting = await subscribed(store, "https://a.test/1")
    rests = SubscriptionSettings(enabled=False)
    after = replace(resting, revision=2, wanted=rests)
    assert await rows.change(after, wish_of(after.manner, rests), check=False, keep=False)
    for host in ("b", "c"):
        await subscribed(store, f"https://{host}.test/1")
    assert (await rows.stages(NOW))["seeding"] == 2
    one, other = await rooms(store).checks.claim(2, 60.0, NOW)
    assert (await rows.stages(NOW))["checking"] == 2
    await rooms(store).checks.settle(one, entries(1), WHOLE, PACE, NOW)
    await rooms(store).checks.fail(other, "http_429", None, None, PACE, NOW)
    for at in (NOW, NOW + 1):
        found = [each.stage(at) for each in (await rows.page(None, 9))[0]]
        counts = {stage: count for stage, count in (await rows.stages(at)).items() if count}
        assert counts == {stage: found.count(stage) for stage in found}
    assert await rooms(store).checks.count_held_hosts(NOW) == 1
    assert await rooms(store).checks.count_held_hosts(NOW + DAY) == 0


async def test_a_receiver_is_told_that_a_feed_fails_and_works_again(services: Services, site: Site) -> None:
    received: list[Payload] = []
    came = asyncio.Event()

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        Webhook(SECRET).verify(body, dict(request.headers))
        received.append(json.loads(body))
        came.set()
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/", take)
    async with TestServer(app, host="127.0.0.1") as receiver:
        told_to = {
            "CLIPWIRE_WEBHOOKS__SECRET": SECRET,
            "CLIPWIRE_WEBHOOKS__DEFAULT": str(receiver.make_url("/")),
            "CLIPWIRE_WEBHOOKS__ALLOWED_PRIVATE_HOSTS": '["127.0.0.1"]',
        }
        async with services.lend(**QUICK, **told_to) as service:
            site.followed["flaky"] = followed = Followed(films(1), status=503)
            link = site.url("/followed/flaky.rss")
            mine = (await subscribe(service, link, name="Flaky"))["subscription_id"]
            await until(service, mine, lambda one: one["stage"] == "failing")
            await checked(service, mine)
            assert received == []
            await checked(service, mine)
            await asyncio.wait_for(came.wait(), 20)
            await checked(service, mine)
            [failing] = received
            assert failing["type"] == "subscription_failing"
            assert (failing["subscription_id"], failing["name"], failing["url"]) == (mine, "Flaky", link)
            assert failing["error_code"] == (await known(service, mine))["error_code"]
            assert failing["error"]
            async with service.client.get("/metrics") as answer:
                text = await answer.text()
            assert 'clipwire_subscriptions{stage="failing"} 1.0' in text
            assert "clipwire_held_hosts 0.0" in text
            came.clear()
            followed.status = 200
            await checked(service, mine, known=1)
            await asyncio.wait_for(came.wait(), 20)
            assert [each["type"] for each in received] == ["subscription_failing", "subscription_works"]
            assert "error_code" not in received[1]
            await unsubscribe_all(service)
