"""Requests to place, delete or describe files, made within the transaction of the change that causes them."""

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from server.core.process_request import ProcessRequest
from server.core.task import Stage, TaskStatus
from server.library.placement_columns import (
    DUE_SOONER,
    SET_COLUMNS,
    SETS_OF_TASK,
    readable_sets,
    set_row,
    wanted_row,
)
from server.library.placements import NOBODY, OTHER_TASKS, FileSet, set_asked_for
from server.storage.statements import Dialect, Ended, Statements, StoreHooks, Tables, fetch_in, insert
from server.storage.task_rows import read_status, readable

# The most earlier tasks that a set keeps until it is placed; then the statuses of all get its paths.
MOST_WAITING = 1000
_NEW = f"INSERT INTO file_sets ({SET_COLUMNS}) VALUES {{rows}} ON CONFLICT (set_id) DO NOTHING"  # noqa: S608
# Locks the row until the end of the transaction, so that no change of another transaction or node is lost.
_ASKED_FOR = "UPDATE file_sets SET try_no = try_no + 1 WHERE set_id = ? RETURNING task_id, about"
_WAITS = """
    UPDATE file_sets SET task_id = ?, wanted = ?, about = ?, state = 'waiting', reason = NULL,
        not_before = ?, tries = 0
    WHERE set_id = ?"""
_PLACED_KEYS = """
    SELECT DISTINCT s.key FROM file_sets s JOIN placed p ON p.set_id = coalesce(s.shares, s.set_id)
    WHERE s.state <> 'leaving' AND p.state = 'placed' AND p.kind IN ('video', 'audio')
        AND s.key IN ({keys})"""
_NEWEST_OF_HOLDER = """
    SELECT set_id FROM file_sets WHERE holder = ? AND state IN ('placed', 'telling') AND shares IS NULL
    ORDER BY day DESC, day_index DESC LIMIT 1"""
_DESCRIBE = """
    UPDATE file_sets SET state = 'describing', reason = NULL, not_before = 0, tries = 0, try_no = try_no + 1
    WHERE set_id = ? AND state IN ('placed', 'telling')"""
LEAVE = """
    UPDATE file_sets SET state = 'leaving', reason = NULL, not_before = 0, try_no = try_no + 1, tries = 0"""


async def to_be_placed(tables: Statements, sets: Iterable[FileSet]) -> None:
    """Have these sets placed, also those that are placed already. Tasks that had them before get their paths,
    too.
    """
    # Always in the same order: transactions that lock the same rows in another order would block each other.
    for one in sorted(sets, key=lambda one: one.set_id):
        await insert(tables, _NEW, [set_row(one)])
        [(task_id, about)] = await tables.fetch(_ASKED_FOR, (one.set_id,))
        if task_id != one.task_id:
            about = _with_other(about, task_id)
        await tables.run(_WAITS, (one.task_id, wanted_row(one), about, one.not_before, one.set_id))


async def place_ended(tables: Statements, ended: Sequence[Ended], now: datetime) -> Collection[str]:
    """Have the files of `ended` tasks placed as the request of the last attempt wants them."""
    placing, asked_for_since = list[FileSet](), list[FileSet]()
    for each in ended:
        status, own = each.status, None
        if status.stage is not Stage.COMPLETED or (request := each.wanted) is None:
            continue
        if request.library is not None and not status.is_list:
            own = set_asked_for(request, status, request.library)
            placing.append(own)
        if status.library is not None:
            asked_for_since += await _asked_for_since(tables, request, status, own)
    if not placing and not asked_for_since:
        return ()
    await to_be_placed(tables, [*placing, *asked_for_since])
    return (DUE_SOONER,)


async def _asked_for_since(
    tables: Statements, request: ProcessRequest, status: TaskStatus, own: FileSet | None
) -> list[FileSet]:
    """The sets, but the task's `own`, that clients have asked for while the task was under way, or before it
    was fetched anew; one that was not placed yet has the key that the video turned out to have.
    """
    since = list[FileSet]()
    for one in readable_sets(await tables.fetch(SETS_OF_TASK, (status.task_id,))):
        again = set_asked_for(request, status, one.wanted)
        if one.holder != NOBODY or one.state == "leaving" or (own and own.set_id == again.set_id):
            continue
        if one.day_index is None and one.set_id != again.set_id:
            await tables.run("DELETE FROM file_sets WHERE set_id = ?", (one.set_id,))
        since.append(again)
    return since


def _unplaced(dialect: Dialect, now: datetime) -> tuple[str, Sequence[object]]:
    """Keep tasks whose files are to go into the library, until they are there."""
    waits = """
        SELECT 1 FROM file_sets WHERE file_sets.task_id = tasks.task_id
        AND file_sets.state IN ('waiting', 'telling')"""
    return f"EXISTS ({waits})", ()


HOOKS = StoreHooks(place_ended, _unplaced)


async def leave_items(tables: Statements, subscription_id: str, keys: Iterable[str]) -> None:
    """Request the deletion of all files that were placed for these items."""
    chosen = list(dict.fromkeys(keys))
    for start in range(0, len(chosen), 200):
        some = chosen[start : start + 200]
        marks = ", ".join("?" * len(some))
        await tables.run(f"{LEAVE} WHERE holder = ? AND key IN ({marks})", (subscription_id, *some))


async def leave_all(tables: Statements, subscription_id: str) -> None:
    """Request the deletion of all files that were placed for a subscription."""
    await tables.run(f"{LEAVE} WHERE holder = ?", (subscription_id,))


async def describe_show(tables: Tables, subscription_id: str) -> None:
    """Have written anew what media servers read of a source: its newest set, and what is for its folder."""
    for (set_id,) in await tables.fetch(_NEWEST_OF_HOLDER, (subscription_id,)):
        tables.wake(DUE_SOONER)
        await tables.run(_DESCRIBE, (set_id,))


async def made_by_checks(tables: Statements, task_ids: Sequence[str]) -> list[str]:
    """Those of the tasks that subscriptions have made: one that a client asked for by its link is the
    client's, also where an entry of a subscription was fetched by it. Of a damaged row nobody knows.
    """
    rows = await fetch_in(tables, "SELECT number, status FROM tasks WHERE task_id IN ({keys})", task_ids)
    made = {status.task_id for status in readable(read_status, rows) if status.subscription_id}
    return [task_id for task_id in task_ids if task_id in made]


async def with_films(tables: Statements, keys: Iterable[str]) -> set[str]:
    """Return those of `keys` whose video is known to be in the library, whoever placed it there."""
    return {key for (key,) in await fetch_in(tables, _PLACED_KEYS, keys)}


def _with_other(about: str, task_id: str) -> str:
    """Return `about` with the id of one more earlier task."""
    try:
        known = dict(json.loads(about))
        known[OTHER_TASKS] = [*known.get(OTHER_TASKS, ()), task_id][-MOST_WAITING:]
    except (ValueError, TypeError):  # the row is damaged
        return about
    return json.dumps(known, ensure_ascii=False)
