"""Podcast feeds as a feature."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.feature import Added, Feature, Kernel
from server.feeds import feed_routes
from server.feeds.covers import Covers
from server.feeds.feed_rows import FeedRows


@asynccontextmanager
async def _open(kernel: Kernel) -> AsyncIterator[Added]:
    covers = Covers(kernel.fork_server, kernel.workplace, kernel.jobs)
    yield Added(
        {
            feed_routes.FEEDS: FeedRows(
                kernel.store.transactions, separate_lists=kernel.settings.access.separate_lists
            ),
            feed_routes.COVERS: covers,
            feed_routes.FEED_CACHE: feed_routes.FeedCache(),
        },
        close=covers.close,
    )


# The feature adds the field `feed` to a subscription.
FEEDS = Feature("feeds", _open, feed_routes.ROUTES, fields=lambda _: ("feed",))
