"""What every feature adds to a store, for tests that open a store without a server."""

from dataclasses import dataclass
from typing import Any

from server.assembly.backend import store_hooks
from server.assembly.features import FEATURES
from server.feeds.feed_rows import FeedRows
from server.library.placement_rows import PlacementRows
from server.memory.media_rows import MediaRows
from server.notices.delivery_rows import DeliveryRows
from server.settings import Settings
from server.storage.postgresql.store import PostgresStore
from server.storage.sqlite.store import SqliteStore
from server.subscriptions.check_rows import CheckRows
from server.subscriptions.item_rows import ItemRows
from server.subscriptions.subscription_rows import SubscriptionRows

AnyStore = SqliteStore | PostgresStore
# The hooks with which a server with default settings opens its store.
HOOKS = store_hooks(FEATURES, Settings())


@dataclass(frozen=True, slots=True)
class Rooms:
    media: MediaRows
    subscriptions: SubscriptionRows
    items: ItemRows
    checks: CheckRows
    placements: PlacementRows
    feeds: FeedRows
    outbox: DeliveryRows


def rooms(store: AnyStore | Any) -> Rooms:
    own = store.transactions
    return Rooms(
        MediaRows(own),
        SubscriptionRows(own),
        ItemRows(own),
        CheckRows(own),
        PlacementRows(own),
        FeedRows(own),
        DeliveryRows(own, store.clock),
    )
