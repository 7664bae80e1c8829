"""The tables whose statements are the same in both databases, as every store has them."""

from collections.abc import Callable

from server.storage.feed_rows import FeedRows
from server.storage.media_rows import MediaRows
from server.storage.placement_rows import PlacementRows
from server.storage.subscription_rows import SubscriptionRows
from server.storage.tables import Transactions


class CommonTables:
    def __init__(self, transactions: Callable[[], Transactions]) -> None:
        self.media = MediaRows(transactions())
        self.subscriptions = SubscriptionRows(transactions())
        self.placements = PlacementRows(transactions())
        self.feeds = FeedRows(transactions())
