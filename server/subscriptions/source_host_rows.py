"""Hosts of sources: when each may be asked again, and until when it is left alone after a refusal."""

from collections.abc import Iterable

from server.storage.statements import Statements, fetch_in, insert
from server.subscriptions.subscription_columns import run_in
from server.subscriptions.subscription_rules import hold_for

_HOSTS = "SELECT host, next_look_at, held_until, holds FROM source_hosts WHERE host IN ({keys})"
_PAUSE = """
    INSERT INTO source_hosts (host, next_look_at, held_until, holds) VALUES {rows}
    ON CONFLICT (host) DO UPDATE SET next_look_at = excluded.next_look_at"""
_PAUSE_AFTER_SUCCESS = f"{_PAUSE}, holds = 0"
_HOLD = f"{_PAUSE}, held_until = excluded.held_until, holds = excluded.holds"
_RELEASE = "UPDATE source_hosts SET held_until = 0, holds = 0, next_look_at = ? WHERE host IN ({keys})"


async def read_holds(tables: Statements, hosts: Iterable[str], now: float) -> dict[str, float]:
    """Return until when each of `hosts` is left alone; hosts that are not are left out."""
    rows = await fetch_in(tables, _HOSTS, hosts)
    return {host: float(until) for host, _, until, _ in rows if until > now}


async def hold_host(tables: Statements, host: str, retry_after: float | None, now: float) -> float:
    """Leave `host` alone, twice as long as the last time, or as long as it asks for; return until when."""
    found = await fetch_in(tables, _HOSTS, [host])
    holds = found[0][3] if found else 0
    until = now + hold_for(holds, retry_after)
    await insert(tables, _HOLD, [(host, until, until, holds + 1)])
    return until


async def pause_host(tables: Statements, host: str, until: float, *, has_succeeded: bool) -> None:
    """Let no check of `host` begin before `until`. After one that `has_succeeded` the next hold is short."""
    await insert(tables, _PAUSE_AFTER_SUCCESS if has_succeeded else _PAUSE, [(host, until, 0.0, 0)])


async def release_hosts(tables: Statements, hosts: Iterable[str], now: float) -> None:
    await run_in(tables, _RELEASE, hosts, now)
