"""The tables whose statements are the same in both databases, as every store has them."""

from collections.abc import Callable, Iterable

from server.core.models import ProcessRequest, TaskStatus
from server.feeds.feed_rows import FeedRows
from server.library.placement_rows import PlacementRows, to_be_placed
from server.library.placements import set_of_request
from server.memory.media_rows import MediaRows, remember
from server.memory.remembering import remembered
from server.storage.statements import Statements, Transactions
from server.subscriptions.subscription_rows import SubscriptionRows


async def keep_fetched(tables: Statements, ended: Iterable[tuple[ProcessRequest | None, TaskStatus]]) -> bool:
    """Remember what tasks that end now have fetched, each as its last attempt was asked for; return whether
    any of it goes into the library.
    """
    ended = list(ended)
    found = (remembered(request, status) for request, status in ended)
    if fetched := [one for one in found if one]:
        await remember(tables, fetched)
    sets = (set_of_request(request, status) for request, status in ended)
    placing = [one for one in sets if one]
    if placing:
        await to_be_placed(tables, placing)
    return bool(placing)


class CommonTables:
    def __init__(self, transactions: Callable[[], Transactions]) -> None:
        self.media = MediaRows(transactions())
        self.subscriptions = SubscriptionRows(transactions())
        self.placements = PlacementRows(transactions())
        self.feeds = FeedRows(transactions())
