"""Subscriptions as a feature."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext

from server.api.metric_families import Family
from server.core.background import in_background
from server.feature import Added, Feature, Kernel
from server.library.library_check import library_of
from server.library.placement_rows import PlacementRows
from server.notices.deliveries import others_of
from server.subscriptions import item_routes, opml_routes, picture_routes, subscription_routes
from server.subscriptions.check_rows import CheckRows
from server.subscriptions.host_turns import HostTurns
from server.subscriptions.item_rows import ItemRows
from server.subscriptions.items_follow_tasks import HOOKS
from server.subscriptions.profiles import Profiles
from server.subscriptions.source_picture_rows import SourcePictures
from server.subscriptions.subscribing import Subscriptions
from server.subscriptions.subscription import STAGES
from server.subscriptions.subscription_checker import SubscriptionChecker
from server.subscriptions.subscription_rows import SubscriptionRows

_METRICS = (
    Family(
        "clipwire_subscriptions",
        "gauge",
        "Subscriptions by stage, of all nodes.",
        lambda scrape: [((stage,), scrape.seen[f"subscriptions {stage}"]) for stage in STAGES],
        ("stage",),
    ),
    Family(
        "clipwire_held_hosts",
        "gauge",
        "Hosts that subscriptions leave alone for a while.",
        lambda scrape: [((), scrape.seen["held hosts"])],
    ),
)


@asynccontextmanager
async def _open(kernel: Kernel) -> AsyncIterator[Added]:
    settings = kernel.settings
    others = others_of(default=settings.webhooks.default, notify=settings.notify.names)
    separate = settings.access.separate_lists
    store = SubscriptionRows(kernel.store.transactions, separate_lists=separate)
    items = ItemRows(kernel.store.transactions, separate_lists=separate)
    checks = CheckRows(kernel.store.transactions, others, separate_lists=separate)
    profiles = Profiles(settings)
    if profiles.names:
        await store.follow_profiles(profiles)
    placements, library = PlacementRows(kernel.store.transactions), library_of(settings.library)
    subscriptions = Subscriptions(
        store, items, checks, placements, library, kernel.tasks, settings.subscriptions, kernel.clock
    )

    async def cookies_stored(hosts: Sequence[str], owner: str | None) -> None:
        await subscriptions.log_in(hosts, owner)

    async def sees() -> dict[str, float]:
        stages = await store.stages(subscriptions.now)
        seen = {f"subscriptions {stage}": float(count) for stage, count in stages.items()}
        return seen | {"held hosts": float(await checks.count_held_hosts(subscriptions.now))}

    kernel.hooks.cookies_stored.append(cookies_stored)
    kernel.hooks.move_things.append(store.give)
    kernel.hooks.delete_things.append(subscriptions.delete_of)
    if separate:
        await store.make_secrets()
    checking = None
    if kernel.runs_tasks:
        checker = SubscriptionChecker(
            checks,
            items,
            kernel.tasks,
            kernel.fork_server,
            kernel.workplace,
            kernel.jobs,
            kernel.cookies,
            settings.downloads,
            settings.subscriptions,
            kernel.clock,
        )
        kernel.hooks.attempt_failed.append(checker.attempt_failed)
        kernel.hooks.before_attempt.append(checker.before_attempt)
        if pause := settings.downloads.pause_between:
            turns = HostTurns(kernel.store.transactions, pause, kernel.clock)
            kernel.hooks.before_attempt.append(turns.before_attempt)
        kernel.hooks.before_attempt.append(items.newest_link)
        checking = checker.run(alone=kernel.is_alone)
    async with in_background(checking, "checks") if checking else nullcontext():
        yield Added(
            {
                subscription_routes.SUBSCRIPTIONS: subscriptions,
                subscription_routes.PROFILES: profiles,
                picture_routes.FOLLOWED: store,
                picture_routes.SOURCE_PICTURES: SourcePictures(kernel.store.transactions),
            },
            metrics=_METRICS,
            sees=[sees],
        )


ROUTES = [
    *subscription_routes.ROUTES,
    *item_routes.ROUTES,
    *opml_routes.ROUTES,
    *picture_routes.ROUTES,
]
SUBSCRIPTIONS = Feature("subscriptions", _open, ROUTES, lambda _: HOOKS)
