"""What sources have refused for want of a log-in, and what is tried again once there are new cookies."""

from collections import defaultdict
from collections.abc import Sequence

from server.core.task import TaskStatus
from server.storage.statements import Tables
from server.subscriptions.source_host_rows import release_hosts
from server.subscriptions.subscription import REFUSED
from server.subscriptions.subscription_columns import COLUMNS, host_of, readable, run_in
from server.subscriptions.subscription_rules import ends_with_log_in, is_below

MOST_REFUSED = 1000  # the most refused items that are compared with the hosts of new cookies
_REFUSED_ITEMS = """
    SELECT items.subscription_id, key, status, subscriptions.owner
    FROM items JOIN tasks ON tasks.task_id = items.task_id
    JOIN subscriptions ON subscriptions.subscription_id = items.subscription_id
    WHERE state = 'waiting' AND reason IN ('members_only', 'retry') AND NOT removed LIMIT ?"""
_REFUSED_ITEMS_OF = _REFUSED_ITEMS.replace("LIMIT", "AND coalesce(subscriptions.owner, '') = ? LIMIT")
_FAILING = f"SELECT {COLUMNS} FROM subscriptions WHERE findings LIKE '%\"error_code\":%'"  # noqa: S608
_ITEM_NOW = "UPDATE items SET not_before = ? WHERE subscription_id = ? AND key = ? AND state = 'waiting'"
_ALL_DUE_NOW = """
    UPDATE subscriptions SET next_check_at = ?
    WHERE subscription_id IN ({keys}) AND next_check_at IS NOT NULL"""


async def retry_refused(
    tables: Tables, hosts: Sequence[str], owner: str | None, now: float, *, is_separate: bool
) -> set[str]:
    """Have items and subscriptions tried now that were refused by `hosts`, or by what is below them; with
    separate lists only those of `owner`.

    Return the hosts that are not left alone any more, which are those that had not asked for a pause.
    """
    domains = frozenset(hosts)
    codes = defaultdict[str, set[str]](set)  # the error codes of all owners' refusals, by host
    released = set[str]()
    due = set[str]()  # subscriptions

    refused = await tables.fetch(_REFUSED_ITEMS, (MOST_REFUSED,))
    if is_separate:  # the first query may have read only those of others
        refused += await tables.fetch(_REFUSED_ITEMS_OF, (owner or "", MOST_REFUSED))
    for subscription_id, key, text, item_owner in refused:
        status = TaskStatus.model_validate_json(text, extra="ignore")
        if status.error_code not in REFUSED or not is_below(status.host, domains):
            continue
        codes[status.host].add(status.error_code)
        if not is_separate or item_owner == owner:
            due.add(subscription_id)
            released.add(status.host)
            await tables.run(_ITEM_NOW, (now, subscription_id, key))

    for failing in readable(await tables.fetch(_FAILING)):
        host, code = host_of(failing.url), failing.findings.error_code
        if code is None or not is_below(host, domains):
            continue
        codes[host].add(code)
        if not is_separate or failing.owner == owner:
            released.add(host)
            if code in REFUSED:
                due.add(failing.subscription_id)

    released = {host for host in released if ends_with_log_in(codes[host])}
    await release_hosts(tables, released, now)
    await run_in(tables, _ALL_DUE_NOW, due, now)
    return released
