"""Sets of files in the library as rows, on every database; see `server.library.placements`."""

import base64
import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Any, Literal, Self

from server.core.library import Library
from server.core.process_request import ProcessRequest
from server.core.task import InLibrary, Stage, TaskStatus
from server.library.library_names import ListedAs, day_of
from server.library.placements import (
    NOBODY,
    OTHER_TASKS,
    REASONS,
    Claimed,
    FileSet,
    OfTask,
    PlacedFile,
    Reason,
    Reserved,
    SourceTold,
    folded,
    is_same_place,
    of_folder,
    set_asked_for,
    set_of_item,
    set_of_request,
)
from server.notices.delivery_rows import DUE, tell_as_it_is
from server.storage.statements import (
    Dialect,
    Ended,
    Row,
    Statements,
    StoreHooks,
    Tables,
    Transactions,
    fetch_in,
    insert,
)
from server.storage.task_rows import read_status, readable

log = logging.getLogger(__name__)

# The signal that a placement, or the check of a subscription, is due earlier than before. Nodes of earlier
# releases know it by this name.
DUE_SOONER = "looks"
LATEST = 86_400.0  # seconds: what is due later was put off by a clock that was ahead
MOST_LEASE = 3600.0  # seconds: the same of a lease
MOST_OTHERS = 20  # earlier tasks of a placed set whose statuses get its later paths
MOST_UNDER_WAY = 300  # entries of a subscription
MOST_EXPLAINED = 200  # sets at once
MOST_WAITING = 1000  # the same of one that is not placed yet: all of them wait to be told
MOST_INHERITED = 50  # sets of one claim whose files go to another
MOST_PATHS = 50  # of a status
FILMS = ("video", "audio")
MARK = ".clipwire-library"  # a path that no file of a set has
OWNERS = "owners_folder"  # the kind of a row for a folder that its owner has renamed

_SET = """
    set_id, holder, key, task_id, wanted, state, reason, about, show, folder, series, day, day_index,
    shares, not_before, lease_until, try_no, tries, placed_at"""
_FILE = "path, set_id, kind, size, sha256, state"
_NEW = f"INSERT INTO file_sets ({_SET}) VALUES {{rows}} ON CONFLICT (set_id) DO NOTHING"  # noqa: S608
# Locks the row until the end of the transaction: what another one, of any node, writes is not lost.
_ASKED_FOR = "UPDATE file_sets SET try_no = try_no + 1 WHERE set_id = ? RETURNING task_id, about"
_LOCKED = f"UPDATE file_sets SET try_no = try_no WHERE set_id = ? RETURNING {_SET}"  # noqa: S608
_WAITS = """
    UPDATE file_sets SET task_id = ?, wanted = ?, about = ?, state = 'waiting', reason = NULL,
        not_before = ?, tries = 0
    WHERE set_id = ?"""
_DUE = f"""
    SELECT {_SET} FROM file_sets WHERE state <> 'placed' AND (not_before <= ? OR not_before > ?)
        AND (lease_until IS NULL OR lease_until <= ? OR lease_until > ?)
    ORDER BY not_before, set_id LIMIT ?"""  # noqa: S608
# A set that is requested anew keeps its lease: its holder may be about to delete or move a file, and ends the
# lease when that is over.
_LEASE = "UPDATE file_sets SET lease_until = ?, try_no = try_no + 1 WHERE set_id = ?"
_UNREADABLE = "UPDATE file_sets SET not_before = ? WHERE set_id = ?"  # it is asked for again then
# As for `_DUE`, what a clock that was ahead has put off is due.
_SOONEST = """
    SELECT min(CASE WHEN lease_until > not_before AND lease_until <= ? THEN lease_until
        WHEN not_before > ? THEN 0 ELSE not_before END) FROM file_sets WHERE state <> 'placed'"""
# Locks the row as well, so that only the holder of the lease writes next.
_OURS = "UPDATE file_sets SET try_no = try_no WHERE set_id = ? AND try_no = ? RETURNING 1"
_FILES = f"SELECT {_FILE} FROM placed WHERE set_id = ? ORDER BY folded"  # noqa: S608
_AT = f"SELECT {_FILE} FROM placed WHERE folded IN ({{keys}})"  # noqa: S608
_FOLDER = "SELECT folder FROM file_sets WHERE show = ? AND set_id <> ? ORDER BY set_id LIMIT 1"
_SHARE_INSTEAD = "UPDATE file_sets SET shares = ? WHERE shares = ?"
_SHARE = "UPDATE file_sets SET shares = ? WHERE set_id = ?"
# Two sets that leave at once do not wait for each other; files that another set shares stay with that one.
_OTHERS = """
    SELECT 1 FROM file_sets AS other WHERE series = ? AND set_id <> ? AND (state <> 'leaving' OR EXISTS (
        SELECT 1 FROM file_sets AS heir WHERE heir.shares = other.set_id AND heir.state <> 'leaving'))
    LIMIT 1"""
_OTHERS_OF_SEASON = _OTHERS.replace("series = ?", "series = ? AND day LIKE ?")
_LAST_INDEX = """
    SELECT coalesce(max(day_index), 0) FROM file_sets WHERE series = ? AND day = ? AND set_id <> ?"""
_OF_DAY = """
    SELECT s.day_index, s.about, s.holder, i.number FROM file_sets s
    LEFT JOIN items i ON i.subscription_id = s.holder AND i.key = s.key
    WHERE s.series = ? AND s.day = ? AND s.set_id <> ? AND s.day_index IS NOT NULL"""
# Of the entries of a subscription those that have no number yet, with the status of a task that may know when
# they were published.
_UNDER_WAY = f"""
    SELECT i.published_at, i.number, t.number,
        CASE WHEN i.published_at IS NULL OR length(i.published_at) <= 10 THEN t.status END
    FROM items i
    LEFT JOIN tasks t ON t.task_id = i.task_id AND t.stage IN ('info', 'download', 'convert', 'completed')
    WHERE i.subscription_id = ? AND i.key <> ? AND (i.state = 'queued' OR (i.state = 'fetched' AND EXISTS (
        SELECT 1 FROM file_sets s WHERE s.holder = i.subscription_id AND s.key = i.key
        AND s.state = 'waiting' AND s.day_index IS NULL)))
    ORDER BY i.number DESC LIMIT {MOST_UNDER_WAY}"""  # noqa: S608
_COUNT = """
    UPDATE file_sets SET show = ?, folder = ?, series = ?, day = ?, day_index = ? WHERE set_id = ?"""
_RESERVE = f"INSERT INTO placed (folded, {_FILE}) VALUES {{rows}} ON CONFLICT (folded) DO NOTHING"  # noqa: S608
_PUT = f"""
    INSERT INTO placed (folded, {_FILE}) VALUES {{rows}}
    ON CONFLICT (folded) DO UPDATE SET path = excluded.path, set_id = excluded.set_id,
        kind = excluded.kind, size = excluded.size, sha256 = excluded.sha256, state = excluded.state"""  # noqa: S608
_OF_TASK = f"SELECT {_SET} FROM file_sets WHERE task_id = ? ORDER BY set_id"  # noqa: S608
_OF_SET = f"SELECT {_SET} FROM file_sets WHERE set_id = ?"  # noqa: S608
_UNHELD = """
    SELECT 1 FROM items WHERE task_id = ? AND state IN ('queued', 'fetched', 'waiting') AND (NOT EXISTS (
        SELECT 1 FROM file_sets s WHERE s.holder = items.subscription_id AND s.key = items.key)
        OR EXISTS (SELECT 1 FROM feeds f WHERE f.subscription_id = items.subscription_id))
    LIMIT 1"""
_UNTOLD = "SELECT 1 FROM deliveries WHERE task_id = ? AND next_at IS NOT NULL LIMIT 1"
_PLACED_KEYS = """
    SELECT DISTINCT s.key FROM file_sets s JOIN placed p ON p.set_id = coalesce(s.shares, s.set_id)
    WHERE s.state <> 'leaving' AND p.state = 'placed' AND p.kind IN ('video', 'audio')
        AND s.key IN ({keys})"""
_WANTED_OF_ITEMS = """
    SELECT i.subscription_id, i.key, s.wanted FROM items i
    JOIN subscriptions s ON s.subscription_id = i.subscription_id
    WHERE i.task_id = ? AND i.state = 'fetched'"""
_OF_ITEMS = """
    SELECT s.key, s.state, s.reason, p.kind, p.path FROM file_sets s
    LEFT JOIN placed p ON p.set_id = coalesce(s.shares, s.set_id) AND p.state = 'placed'
    WHERE s.state <> 'leaving' AND s.holder = ? AND s.key IN ({keys})"""
_UNEXPLAINED = f"""
    SELECT {_SET} FROM file_sets WHERE state = 'waiting' AND (reason IS NULL OR reason <> ?)
        AND NOT EXISTS (SELECT 1 FROM file_sets AS other
            WHERE other.state = 'waiting' AND other.lease_until > ? AND other.lease_until <= ?)
    ORDER BY not_before, set_id LIMIT {MOST_EXPLAINED}"""  # noqa: S608
_EXPLAIN = "UPDATE file_sets SET reason = ? WHERE set_id = ? AND try_no = ? AND state = 'waiting'"
_WAITING_FOR = """
    SELECT reason, count(*) FROM file_sets WHERE state <> 'placed' AND reason IS NOT NULL GROUP BY reason"""
_OF_SETS = "SELECT kind, path FROM placed WHERE state = 'placed' AND set_id IN ({keys})"
_PLACED_PAGE = f"""
    SELECT {_SET} FROM file_sets WHERE set_id > ? AND state IN ('placed', 'telling') AND shares IS NULL
    ORDER BY set_id LIMIT ?"""  # noqa: S608
_FILES_OF = f"SELECT {_FILE} FROM placed WHERE set_id IN ({{keys}}) ORDER BY folded"  # noqa: S608
_NEWEST = f"""
    SELECT {_SET} FROM file_sets WHERE show = ? AND state IN ('placed', 'telling', 'redoing', 'describing')
    ORDER BY day DESC, day_index DESC LIMIT 1"""  # noqa: S608
_SAME_INDEX = """
    SELECT 1 FROM file_sets WHERE series = ? AND day = ? AND day_index = ? AND set_id <> ?"""
_REDO = """
    UPDATE file_sets SET wanted = ?, about = ?, state = ?, reason = NULL, not_before = 0, tries = 0,
        try_no = try_no + 1
    WHERE set_id = ?"""
# A caller that is just writing the task's status may have read the old state, and so must not end this.
_TELL_AGAIN = """
    UPDATE file_sets SET state = 'telling', not_before = 0, try_no = try_no + 1
    WHERE state IN ('placed', 'telling') AND (set_id IN ({keys}) OR shares IN ({keys}))"""
_FILES_AFTER = f"""
    SELECT {_FILE} FROM placed WHERE folded > ? AND state IN ('placed', 'missing')
    ORDER BY folded LIMIT ?"""  # noqa: S608
MOST_EXTRACTORS = 300
_NOT_FETCHED = """
    SELECT key FROM items WHERE state IN ('known', 'waiting', 'failed') AND key IN ({keys})"""
_LINKS_NOT_FETCHED = """
    SELECT DISTINCT key FROM items
    WHERE key > ? AND key < 'url!' AND state IN ('known', 'waiting', 'failed') ORDER BY key LIMIT ?"""
_ADOPT = """
    UPDATE items SET state = 'fetched', reason = 'in_library', not_before = NULL, fetched_at = ?
    WHERE key = ? AND state IN ('known', 'waiting', 'failed')"""
_NEWEST_OF_HOLDER = """
    SELECT set_id FROM file_sets WHERE holder = ? AND state IN ('placed', 'telling') AND shares IS NULL
    ORDER BY day DESC, day_index DESC LIMIT 1"""
_DESCRIBE = """
    UPDATE file_sets SET state = 'describing', reason = NULL, not_before = 0, tries = 0, try_no = try_no + 1
    WHERE set_id = ? AND state IN ('placed', 'telling')"""
# Of those that share a show all have films in its folder; most shows are of one source.
_SOURCES_OF_SHOW = """
    SELECT subscription_id, source_key, findings FROM subscriptions WHERE subscription_id = ?
        OR subscription_id IN (SELECT holder FROM file_sets WHERE show = ?) ORDER BY number LIMIT 20"""
_LEAVE = """
    UPDATE file_sets SET state = 'leaving', reason = NULL, not_before = 0, try_no = try_no + 1, tries = 0"""


async def to_be_placed(tables: Statements, sets: Iterable[FileSet]) -> None:
    """Have these sets placed, also those that are placed already. Tasks that had them before get their paths,
    too.
    """
    for one in sorted(sets, key=lambda one: one.set_id):  # in one order: they are locked
        await insert(tables, _NEW, [_row(one)])
        [(task_id, about)] = await tables.fetch(_ASKED_FOR, (one.set_id,))
        if task_id != one.task_id:
            about = _with_other(about, task_id)
        await tables.run(_WAITS, (one.task_id, _wanted(one), about, one.not_before, one.set_id))


async def place_ended(tables: Statements, ended: Sequence[Ended], now: datetime) -> Collection[str]:
    """Have the files of tasks that end now placed, each as its last attempt was requested."""
    completed = [one for one in ended if one.status.stage is Stage.COMPLETED]
    placing = [one for each in completed if (one := set_of_request(each.wanted, each.status))]
    for each in completed:
        if each.status.library is not None and each.wanted is not None:
            placing += await _asked_for_since(tables, each.wanted, each.status)
    if not placing:
        return ()
    await to_be_placed(tables, placing)
    return (DUE_SOONER,)


async def _asked_for_since(tables: Statements, request: ProcessRequest, status: TaskStatus) -> list[FileSet]:
    """The sets that clients have asked for while the task was under way, or before it was fetched anew; one
    that was not placed yet has the key that the video turned out to have.
    """
    own, since = set_of_request(request, status), list[FileSet]()
    for one in _readable(await tables.fetch(_OF_TASK, (status.task_id,))):
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
    """Have all files deleted that items have placed."""
    chosen = list(dict.fromkeys(keys))
    for start in range(0, len(chosen), 200):
        some = chosen[start : start + 200]
        marks = ", ".join("?" * len(some))
        await tables.run(f"{_LEAVE} WHERE holder = ? AND key IN ({marks})", (subscription_id, *some))


async def leave_all(tables: Statements, subscription_id: str) -> None:
    """Have all files deleted that a subscription has placed."""
    await tables.run(f"{_LEAVE} WHERE holder = ?", (subscription_id,))


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
    """Those of `keys` of whose videos any holder has placed a film, as far as is known."""
    return {key for (key,) in await fetch_in(tables, _PLACED_KEYS, keys)}


class PlacementRows:
    """A change is on disk when its method returns. All methods may raise `StoreUnavailable`.

    `late` and False mean: the lease of the set is not ours any more, and nothing was changed.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def listen(self, called: Callable[[], None]) -> None:
        """Call `called` when a set may have become due."""
        self._transactions.signals.listen(DUE_SOONER, called)

    async def was_filled(self) -> bool:
        """Whether there is or ever was a library: then a folder without its mark does not count as the
        library.
        """
        sql = "SELECT 1 FROM placed WHERE state <> 'reserved' LIMIT 1"

        async def work(tables: Statements) -> bool:
            return bool(await tables.fetch(sql))

        return await self._transactions.read(work)

    async def note_marked(self) -> None:
        """The folder was marked as the library. Stored as a placed file that belongs to no set."""

        async def work(tables: Tables) -> None:
            await insert(tables, _RESERVE, [(MARK, MARK, "", "mark", 0, "", "mark")])

        await self._transactions.write(work)

    async def source_of(self, subscription_id: str, key: str) -> tuple[str, str | None, str | None] | None:
        """The key of a subscription's source, what that is called, and when the item with the `key` was
        published; None if there is none any more.
        """
        sql = """
            SELECT source_key, findings, published_at FROM subscriptions s
            LEFT JOIN items i ON i.subscription_id = s.subscription_id AND i.key = ?
            WHERE s.subscription_id = ?"""

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(sql, (key, subscription_id))

        for source_key, findings, published_at in await self._transactions.read(work):
            told = json.loads(findings)
            return told.get("key_origin", source_key), told.get("title"), published_at
        return None

    async def sources_of_show(self, file_set: FileSet) -> list[SourceTold]:
        """What is known of the sources whose films lie in the folder of the set's show, the oldest first."""

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(_SOURCES_OF_SHOW, (file_set.holder, file_set.show or ""))

        return [_source_told(*row) for row in await self._transactions.read(work)]

    async def source_picture(self, subscription_id: str, role: str) -> bytes | None:
        """Return the picture, a JPEG; None if there is none."""

        async def work(tables: Statements) -> list[Row]:
            sql = "SELECT body FROM source_pictures WHERE subscription_id = ? AND role = ?"
            return await tables.fetch(sql, (subscription_id, role))

        return next((base64.b64decode(body) for (body,) in await self._transactions.read(work)), None)

    async def of_whole_folder(self, folder: str) -> list[PlacedFile]:
        """Return the files that all sets of a folder share."""
        return await self._transactions.read(lambda tables: _files(tables, of_folder(folder)))

    async def wanted_of(self, subscription_id: str) -> Library | None:
        """Return where the set's files go now; None if it has ended, wants no place, or cannot be read."""

        async def work(tables: Statements) -> list[Row]:
            sql = "SELECT wanted FROM subscriptions WHERE subscription_id = ?"
            return await tables.fetch(sql, (subscription_id,))

        for (wanted,) in await self._transactions.read(work):
            try:
                told = json.loads(wanted).get("library")
                return None if told is None else Library.model_validate_json(json.dumps(told), extra="ignore")
            except (ValueError, AttributeError):  # it is damaged, or of a newer release
                return None
        return None

    async def due_in(self, now: float) -> float | None:
        """Seconds until a set is due, at most 0 if one is; None if there is nothing to do."""

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(_SOONEST, (now + MOST_LEASE, now + LATEST))

        [(at,)] = await self._transactions.read(work)
        return None if at is None else at - now

    async def claim(self, most: int, lease: float, now: float) -> list[Claimed]:
        """Up to `most` sets that are due, for `lease` seconds."""

        async def work(tables: Tables) -> list[Claimed]:
            await tables.alone()
            claimed = list[Claimed]()
            values = (now, now + LATEST, now, now + MOST_LEASE, most + MOST_INHERITED)
            for row in await tables.fetch(_DUE, values):
                if len(claimed) >= most:
                    break
                if not (found := await _locked(tables, row[0])):
                    await tables.run(_UNREADABLE, (now + MOST_LEASE, row[0]))
                    continue
                [one] = found  # the one before may have left it its files
                if one.state == "leaving" and await _inherited(tables, one):
                    continue
                await tables.run(_LEASE, (now + lease, one.set_id))
                ours = replace(one, try_no=one.try_no + 1, lease_until=now + lease)
                claimed.append(Claimed(ours, await _files(tables, one.set_id)))
            return claimed

        return await self._transactions.write(work)

    async def renew(self, file_set: FileSet, lease: float, now: float) -> bool:
        """Prolong a lease."""

        async def work(tables: Tables) -> bool:
            if not await _is_ours(tables, file_set):
                return False
            sql = "UPDATE file_sets SET lease_until = ? WHERE set_id = ?"
            await tables.run(sql, (now + lease, file_set.set_id))
            return True

        return await self._transactions.write(work)

    async def release(self, set_id: str, until: float) -> None:
        """End a lease that would end at `until`: the set may have been asked for anew meanwhile."""

        async def work(tables: Tables) -> None:
            # A later claim has another end, by the clock of its node, which may be a little behind.
            sql = "UPDATE file_sets SET lease_until = NULL WHERE set_id = ? AND lease_until = ?"
            await tables.run(sql, (set_id, until))

        await self._transactions.write(work)

    async def release_all(self) -> None:
        """End all leases of earlier runs: this server, which has just started, is the only one that places
        files.
        """

        async def work(tables: Tables) -> None:
            await tables.run("UPDATE file_sets SET lease_until = NULL WHERE lease_until IS NOT NULL")

        await self._transactions.write(work)

    async def described(self, file_set: FileSet, about: Mapping[str, Any]) -> bool:
        """Store what the set is about."""

        async def work(tables: Tables) -> bool:
            if not await _is_ours(tables, file_set):
                return False
            told = json.dumps(about, ensure_ascii=False)
            await tables.run("UPDATE file_sets SET about = ? WHERE set_id = ?", (told, file_set.set_id))
            return True

        return await self._transactions.write(work)

    async def counted(
        self, file_set: FileSet, show: str, folder: str, day: str, zone: tzinfo
    ) -> FileSet | Literal["late", "busy"]:
        """Give the set its day and index, once, and the folder that its `show` has, or else `folder`. If
        another one of the same task is to be in the same place, it `shares` that one's files; `busy`: that
        one will be placed in a moment.
        """

        async def work(tables: Tables) -> FileSet | Literal["late", "busy"]:
            await tables.alone()
            if not await _is_ours(tables, file_set):
                return "late"
            mine = file_set.set_id
            if file_set.show == show and file_set.day_index is not None:
                return file_set
            for other in _readable(await tables.fetch(_OF_TASK, (file_set.task_id,))):
                is_counted = other.set_id != mine and other.day_index is not None and other.shares is None
                if not is_counted or other.state == "leaving" or not is_same_place(file_set, other):
                    continue
                if other.state == "waiting":
                    return "busy"
                await tables.run(_SHARE, (other.set_id, mine))
                return replace(file_set, shares=other.set_id)
            rows = await tables.fetch(_FOLDER, (show, mine))
            kept = rows[0][0] if rows else folder
            its_day = file_set.day or day
            index = await _index_of_day(tables, file_set, folded(kept), its_day, zone)
            await tables.run(_COUNT, (show, kept, folded(kept), its_day, index, mine))
            return replace(file_set, show=show, folder=kept, day=its_day, day_index=index)

        return await self._transactions.write(work)

    async def reserve(
        self, file_set: FileSet, files: Sequence[PlacedFile], folder: Sequence[PlacedFile]
    ) -> Reserved:
        """Reserve the paths of `files`, all or none; those of the set that were only reserved are given up.

        `taken`: others have one of them. Of `folder`, files for all sets in it, those that nobody has are
        reserved as well.
        """

        async def work(tables: Tables) -> Reserved:
            await tables.alone()
            if not await _is_ours(tables, file_set):
                return "late"
            mine = file_set.set_id
            wanted = {folded(file.path): file for file in files}
            at = {folded(row[0]): PlacedFile(*row) for row in await fetch_in(tables, _AT, wanted)}
            if any(file.set_id != mine for file in at.values()):
                return "taken"
            sql = "SELECT folded FROM placed WHERE set_id = ? AND state = 'reserved'"
            for (path,) in await tables.fetch(sql, (mine,)):  # under another name, before
                if path not in wanted:
                    await tables.run("DELETE FROM placed WHERE folded = ?", (path,))
            await tables.run("UPDATE file_sets SET shares = NULL WHERE set_id = ?", (mine,))
            new = [file for path, file in wanted.items() if path not in at]
            reserved = [replace(file, state="reserved") for file in (*new, *folder)]
            await insert(tables, _RESERVE, [_file_row(file) for file in reserved])
            return "reserved"

        return await self._transactions.write(work)

    async def settle(
        self, file_set: FileSet, files: Sequence[PlacedFile], gone: Sequence[str], now: float
    ) -> bool:
        """The set is placed: its files are `files`; what was at the paths `gone` was deleted."""

        async def work(tables: Tables) -> bool:
            await tables.alone()
            if not await _is_ours(tables, file_set):
                return False
            await _delete_files(tables, gone)
            await insert(tables, _PUT, [_file_row(replace(file, state="placed")) for file in files])
            await tables.run(
                "UPDATE file_sets SET state = 'telling', reason = NULL, not_before = 0, tries = 0,"
                " lease_until = NULL, placed_at = ? WHERE set_id = ?",
                (now, file_set.set_id),
            )
            return True

        return await self._transactions.write(work)

    async def put_off(
        self, file_set: FileSet, reason: Reason | None, not_before: float, blocked_by: str = ""
    ) -> None:
        """Note that the set could not be placed for now."""

        async def work(tables: Tables) -> None:
            if await _is_ours(tables, file_set):
                await tables.run(
                    "UPDATE file_sets SET reason = ?, not_before = ?, lease_until = NULL, tries = tries + 1"
                    " WHERE set_id = ?",
                    (_reason_row(reason, blocked_by), not_before, file_set.set_id),
                )

        await self._transactions.write(work)

    async def wait_for_retry(self, file_set: FileSet, not_before: float) -> None:
        """Note that the set's task has no files until it is retried; check later whether it still exists."""

        async def work(tables: Tables) -> None:
            if await _is_ours(tables, file_set):
                sql = """
                    UPDATE file_sets SET state = 'asked', reason = NULL, not_before = ?, lease_until = NULL
                    WHERE set_id = ?"""
                await tables.run(sql, (not_before, file_set.set_id))

        await self._transactions.write(work)

    async def waiting_without(self, reason: Reason, now: float) -> list[FileSet]:
        """Return some sets that wait for another reason or for none, and that are not being worked on."""

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(_UNEXPLAINED, (reason, now, now + MOST_LEASE))

        return list(_readable(await self._transactions.read(work)))

    async def explain(self, sets: Sequence[FileSet], reason: Reason) -> None:
        """Note `reason` for sets that are not being worked on."""

        async def work(tables: Tables) -> None:
            for one in sets:
                await tables.run(_EXPLAIN, (reason, one.set_id, one.try_no))

        await self._transactions.write(work)

    async def waiting_for(self) -> dict[Reason, int]:
        """How many sets wait for which reason."""

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(_WAITING_FOR)

        found = Counter[Reason]()
        for row, count in await self._transactions.read(work):
            reason, _ = _read_reason(row)
            if reason:
                found[reason] += count
        return found

    async def waiting_by_reason(self) -> dict[Reason | None, int]:
        """How many sets are still to be placed, by what they wait for."""
        sql = "SELECT reason, count(*) FROM file_sets WHERE state = 'waiting' GROUP BY reason"

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(sql)

        found: dict[Reason | None, int] = dict.fromkeys((None, *REASONS), 0)
        for row, count in await self._transactions.read(work):
            found[_read_reason(row)[0]] += count
        return found

    async def of_task(self, task_id: str, shared_set: str | None = None) -> OfTask:
        """What the library has of a task. A task without sets of its own has what is in `shared_set`, which a
        later task of the same video has taken over, perhaps a moment ago.
        """

        async def work(tables: Statements) -> OfTask:
            rows = await tables.fetch(_OF_TASK, (task_id,))
            if not rows and shared_set is not None:
                rows = await tables.fetch(_OF_SET, (shared_set,))
            sets = [one for one in _readable(rows) if one.state != "leaving"]
            waits = [one for one in sets if one.state not in ("telling", "placed")]
            placed = bool(sets) and not waits
            rows = await fetch_in(tables, _OF_SETS, [one.shares or one.set_id for one in sets])
            library = (
                InLibrary(state="placed", paths=tuple(_films_first(rows)[:MOST_PATHS])) if sets else None
            )
            if library and waits:
                waiting = max(waits, key=lambda one: one.reason is not None)
                why: dict[str, object] = {"reason": waiting.reason, "path": waiting.blocked_by or None}
                library = library.model_copy(update={"state": "waiting"} | why)
            drops = placed and not any(one.wanted.keep_task for one in sets)
            drops = drops and not await tables.fetch(_UNHELD, (task_id,))
            is_asked_for = any(one.holder == NOBODY for one in sets)
            drops = drops and (is_asked_for or bool(await made_by_checks(tables, [task_id])))
            untold = bool(await tables.fetch(_UNTOLD, (task_id,)))
            return OfTask(library, drops, untold)

        return await self._transactions.read(work)

    async def tell_ends(self, task_id: str, *, now: float | None) -> None:
        """Webhooks and people that were not told of the task's end yet are told its status as it is by now:
        at the time `now`, or, without one, when they would be anyway.
        """

        async def work(tables: Tables) -> None:
            if await tell_as_it_is(tables, task_id, now):
                tables.wake(DUE)

        await self._transactions.write(work)

    async def told(self, file_set: FileSet) -> None:
        """Note that the task's status says that the set is placed."""

        async def work(tables: Tables) -> None:
            if not await _is_ours(tables, file_set):
                return
            sql = "UPDATE file_sets SET state = 'placed', lease_until = NULL WHERE set_id = ?"
            await tables.run(sql, (file_set.set_id,))
            if len(others := file_set.about.get(OTHER_TASKS, ())) > MOST_OTHERS:
                about = {**file_set.about, OTHER_TASKS: others[-MOST_OTHERS:]}
                sql = "UPDATE file_sets SET about = ? WHERE set_id = ?"
                await tables.run(sql, (json.dumps(about, ensure_ascii=False), file_set.set_id))

        await self._transactions.write(work)

    async def folder_files(self, file_set: FileSet) -> list[PlacedFile]:
        """Those for all sets of the same folder, if no other one stays there; else those of its season,
        if no other one of that stays.
        """

        async def work(tables: Statements) -> list[PlacedFile]:
            if file_set.folder is None:
                return []
            series, mine, season = folded(file_set.folder), file_set.set_id, (file_set.day or "")[:4]
            files = await _files(tables, of_folder(file_set.folder))
            if not await tables.fetch(_OTHERS, (series, mine)):
                return files
            if not season or await tables.fetch(_OTHERS_OF_SEASON, (series, f"{season}-%", mine)):
                return []
            poster = f"season{int(season)}-poster."
            return [file for file in files if file.path.rpartition("/")[2].startswith(poster)]

        return await self._transactions.read(work)

    async def drop(self, file_set: FileSet, folder: Sequence[PlacedFile]) -> None:
        """Forget the set, whose files were deleted, and those of its folder."""

        async def work(tables: Tables) -> None:
            await tables.alone()
            if not await _is_ours(tables, file_set):
                return
            await tables.run("DELETE FROM placed WHERE set_id = ?", (file_set.set_id,))
            await _delete_files(tables, [file.path for file in folder])
            await tables.run("DELETE FROM file_sets WHERE set_id = ?", (file_set.set_id,))

        await self._transactions.write(work)

    async def leave_task(self, task_id: str) -> None:
        """Have all deleted that a task has placed; its items become `expired`."""

        async def work(tables: Tables) -> None:
            tables.wake(DUE_SOONER)
            await tables.run(f"{_LEAVE} WHERE task_id = ?", (task_id,))
            await tables.run(
                "UPDATE items SET state = 'expired', reason = 'by_client', not_before = NULL"
                " WHERE task_id = ? AND state = 'fetched'",
                (task_id,),
            )

        await self._transactions.write(work)

    async def page(self, after: str, limit: int) -> list[tuple[FileSet, list[PlacedFile]]]:
        """Sets that are placed, with their files, in the order of their ids, behind the id `after`."""

        async def work(tables: Statements) -> list[tuple[FileSet, list[PlacedFile]]]:
            rows = await tables.fetch(_PLACED_PAGE, (after, limit))
            sets = list(_readable(rows))
            files: dict[str, list[PlacedFile]] = {one.set_id: [] for one in sets}
            for row in await fetch_in(tables, _FILES_OF, files):
                files[row[1]].append(PlacedFile(*row))
            return [(one, files[one.set_id]) for one in sets]

        return await self._transactions.read(work)

    async def newest_of(self, show: str) -> FileSet | None:
        """The placed set of a show with the latest day."""

        async def work(tables: Statements) -> FileSet | None:
            rows = await tables.fetch(_NEWEST, (show,))
            return next(_readable(rows), None)

        return await self._transactions.read(work)

    async def moves(self) -> bool:
        """Say whether sets are being placed anew, without anything that keeps them from it."""

        async def work(tables: Statements) -> bool:
            sql = """
                SELECT 1 FROM file_sets
                WHERE state <> 'placed' AND state IN ('redoing', 'describing') AND reason IS NULL LIMIT 1"""
            return bool(await tables.fetch(sql))

        return await self._transactions.read(work)

    async def indexes(self, series: str, day: str) -> dict[str, int]:
        """The `day_index` of each set of a day in a folder, which is folded."""

        async def work(tables: Statements) -> list[Row]:
            sql = """
                SELECT set_id, day_index FROM file_sets
                WHERE series = ? AND day = ? AND day_index IS NOT NULL"""
            return await tables.fetch(sql, (series, day))

        return dict(await self._transactions.read(work))

    async def is_owners_folder(self, folder: str) -> bool:
        """Say whether this folder of a show was named by hand."""

        async def work(tables: Statements) -> list[Row]:
            sql = "SELECT 1 FROM placed WHERE folded = ? AND kind = ?"
            return await tables.fetch(sql, (folded(folder), OWNERS))

        return bool(await self._transactions.read(work))

    async def shows_of(self, set_ids: Iterable[str]) -> dict[str, tuple[str, str]]:
        """Return the show and its folder of those sets that are placed."""

        async def work(tables: Statements) -> list[Row]:
            sql = """
                SELECT set_id, show, folder FROM file_sets
                WHERE set_id IN ({keys}) AND show IS NOT NULL AND folder <> ''"""
            return await fetch_in(tables, sql, set_ids)

        return {set_id: (show, folder) for set_id, show, folder in await self._transactions.read(work)}

    async def folder_moved(self, show: str, folder: str, now_in: str) -> None:
        """A show's folder was renamed by hand: from now on its sets, and what they have in common, belong to
        the new one.
        """

        async def work(tables: Tables) -> None:
            await tables.alone()
            series = folded(now_in)
            sql = "SELECT 1 FROM file_sets WHERE series = ? AND show <> ? LIMIT 1"
            if await tables.fetch(sql, (series, show)):
                return  # it is another show's, with numbers of its own
            sql = "UPDATE file_sets SET folder = ?, series = ? WHERE show = ? AND folder = ?"
            await tables.run(sql, (now_in, series, show, folder))
            for file in await _files(tables, of_folder(folder)):
                await _delete_files(tables, [file.path])
                if file.kind != OWNERS:
                    path = f"{now_in}{file.path.removeprefix(folder)}"
                    moved = replace(file, path=path, set_id=of_folder(now_in))
                    await insert(tables, _RESERVE, [_file_row(moved)])
            mark = (series, now_in, of_folder(now_in), OWNERS, 0, "", OWNERS)
            await insert(tables, _RESERVE, [mark])

        await self._transactions.write(work)

    async def set_missing(self, files: Sequence[PlacedFile], *, missing: bool) -> None:
        """Note files that are missing, or there again, and update the statuses of their tasks."""

        async def work(tables: Tables) -> None:
            before, after = ("placed", "missing") if missing else ("missing", "placed")
            for file in files:
                await tables.run(
                    "UPDATE placed SET state = ? WHERE folded = ? AND set_id = ? AND state = ?",
                    (after, folded(file.path), file.set_id, before),
                )
            await _tell_again(tables, {file.set_id for file in files if file.state != after})

        await self._transactions.write(work)

    async def redo(self, sets: Sequence[FileSet], state: Literal["redoing", "describing"]) -> int:
        """Have placed sets done anew from their own files, as their `wanted` and `folder` say here; return
        how many.
        """

        async def work(tables: Tables) -> int:
            tables.wake(DUE_SOONER)
            await tables.alone()
            count = 0
            for one in sets:
                stored = await _locked(tables, one.set_id)
                if not stored or stored[0].state not in ("placed", "telling"):
                    continue
                count += 1
                index = one.day_index
                if one.folder is not None:
                    series = folded(one.folder)
                    if await tables.fetch(_SAME_INDEX, (series, one.day, index, one.set_id)):
                        [(last,)] = await tables.fetch(_LAST_INDEX, (series, one.day, one.set_id))
                        index = last + 1
                    await tables.run(_COUNT, (one.show, one.folder, series, one.day, index, one.set_id))
                channel = {"channel": one.about["channel"]} if one.about.get("channel") else {}
                about = json.dumps({**stored[0].about, **channel}, ensure_ascii=False)
                await tables.run(_REDO, (_wanted(one), about, state, one.set_id))
            return count

        return await self._transactions.write(work)

    async def at(self, paths: Sequence[str]) -> dict[str, PlacedFile]:
        """Return the files that should be at these paths, by folded path."""

        async def work(tables: Statements) -> list[Row]:
            return await fetch_in(tables, _AT, [folded(path) for path in paths])

        return {folded(row[0]): PlacedFile(*row) for row in await self._transactions.read(work)}

    async def files_after(self, after: str, limit: int) -> list[PlacedFile]:
        """Files that are placed, or missing, in the order of their folded paths, behind `after`."""

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(_FILES_AFTER, (after, limit))

        return [PlacedFile(*row) for row in await self._transactions.read(work)]

    async def found_at(self, file: PlacedFile, path: str) -> bool:
        """Note another path of a file; False if the path belongs to another file by now."""

        async def work(tables: Tables) -> bool:
            await tables.alone()
            if await tables.fetch("SELECT 1 FROM placed WHERE folded = ?", (folded(path),)):
                return False
            await tables.run(
                "UPDATE placed SET folded = ?, path = ?, state = 'placed' WHERE folded = ? AND set_id = ?",
                (folded(path), path, folded(file.path), file.set_id),
            )
            await _tell_again(tables, [file.set_id])
            return True

        return await self._transactions.write(work)

    async def extractors(self) -> list[str]:
        """Return the first words of the keys of items, at most some hundreds."""

        async def work(tables: Statements) -> list[str]:
            """From one to the next by the index: there may be a million items."""
            found, last = list[str](), ""
            while len(found) < MOST_EXTRACTORS:
                rows = await tables.fetch("SELECT key FROM items WHERE key > ? ORDER BY key LIMIT 1", (last,))
                if not rows:
                    break
                extractor = rows[0][0].partition(" ")[0]
                found.append(extractor)
                last = extractor + "!"  # which follows the space
            return found

        return await self._transactions.read(work)

    async def links_not_fetched(self, after: str, limit: int) -> list[str]:
        """The keys, in their order, of items that are `known`, `waiting` or `failed` and that only their link
        identifies, behind the key `after`.
        """

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(_LINKS_NOT_FETCHED, (max(after, "url "), limit))

        return [key for (key,) in await self._transactions.read(work)]

    async def adopt(self, keys: Sequence[str], now: float, *, dry_run: bool) -> list[str]:
        """Those of `keys` that items have which are `known`, `waiting` or `failed`: they are fetched now."""

        async def work(tables: Tables) -> list[str]:
            await tables.alone()
            there = sorted({key for (key,) in await fetch_in(tables, _NOT_FETCHED, keys)})
            for key in [] if dry_run else there:
                await tables.run(_ADOPT, (now, key))
            return there

        return await self._transactions.write(work)

    async def items_in_library(self, subscription_id: str, keys: Sequence[str]) -> dict[str, InLibrary]:
        """What the library has of those items that have something there, or wait for that."""

        async def work(tables: Statements) -> list[Row]:
            return await fetch_in(tables, _OF_ITEMS, keys, subscription_id)

        found: dict[str, tuple[str, str | None, list[tuple[str, str]]]] = {}
        for key, state, reason, kind, path in await self._transactions.read(work):
            files = found.setdefault(key, (state, reason, []))[2]
            if path is not None:
                files.append((kind, path))
        told = dict[str, InLibrary]()
        for key, (state, row, files) in found.items():
            told[key] = InLibrary(state="placed", paths=tuple(_films_first(files)))
            if state == "waiting":
                reason, blocked_by = _read_reason(row)
                why: dict[str, object] = {"reason": reason, "path": blocked_by or None}
                told[key] = told[key].model_copy(update={"state": "waiting"} | why)
        return told

    async def sets_of_task(self, task_id: str) -> list[FileSet]:
        """The sets that a task has, and those that it would have for its items: their subscriptions may have
        got a library since.
        """

        async def work(tables: Statements) -> list[FileSet]:
            rows = await tables.fetch(_OF_TASK, (task_id,))
            sets = {one.set_id: one for one in _readable(rows) if one.state != "leaving"}
            for subscription_id, key, wanted in await tables.fetch(_WANTED_OF_ITEMS, (task_id,)):
                if library := json.loads(wanted).get("library"):
                    place = Library.model_validate(library, extra="ignore")
                    one = set_of_item(subscription_id, key, task_id, place)
                    sets[one.set_id] = one
            return list(sets.values())

        return await self._transactions.read(work)

    async def place(self, sets: Sequence[FileSet]) -> None:
        """Have these sets placed, also those that are placed already."""

        async def work(tables: Tables) -> None:
            tables.wake(DUE_SOONER)
            await to_be_placed(tables, sets)

        await self._transactions.write(work)

    async def films_of_items(self, subscription_id: str, keys: Sequence[str]) -> dict[str, list[str]]:
        """The paths of the films and the sound alone that items have placed."""

        async def work(tables: Statements) -> list[Row]:
            return await fetch_in(tables, _OF_ITEMS, keys, subscription_id)

        found: dict[str, list[str]] = {}
        for key, _, _, kind, path in await self._transactions.read(work):
            if kind in FILMS:
                found.setdefault(key, []).append(path)
        return found


def _source_told(subscription_id: str, source_key: str, findings: str) -> SourceTold:
    known = json.loads(findings)
    facts = known.get("facts", {})
    stored = [role for role, note in known.get("pictures", {}).items() if note.get("tag")]
    listed_as = ListedAs(source_key, facts.get("id"), known.get("title"))
    return SourceTold(
        subscription_id, listed_as, facts.get("author"), facts.get("description"), frozenset(stored)
    )


def _films_first(files: Iterable[Row]) -> list[str]:
    return [path for kind, path in sorted(files, key=lambda file: (file[0] not in FILMS, file[1]))]


def _reason_row(reason: Reason | None, blocked_by: str) -> str | None:
    return f"{reason} {blocked_by}" if blocked_by else reason


def _read_reason(row: str | None) -> tuple[Reason | None, str]:
    """Read a reason; None for one that only another release knows: the next try sets another."""
    name, _, blocked_by = (row or "").partition(" ")
    return next((reason for reason in REASONS if reason == name), None), blocked_by


async def _tell_again(tables: Tables, set_ids: Collection[str]) -> None:
    """Have the statuses of tasks updated with the present paths of these sets."""
    if set_ids:
        tables.wake(DUE_SOONER)
        marks = ", ".join("?" * len(set_ids))
        await tables.run(_TELL_AGAIN.replace("{keys}", marks), (*set_ids, *set_ids))


async def _index_of_day(tables: Statements, one: FileSet, series: str, day: str, zone: tzinfo) -> int:
    """Which one of its day in its folder a set is: by the time of publication, whichever is fetched first.

    So numbers are left for entries of the same subscription that were published earlier on that day and are
    under way; where a list tells no time, it is known once the entry's task runs.
    """
    sql = "SELECT number FROM items WHERE subscription_id = ? AND key = ?"
    places = await tables.fetch(sql, (one.holder, one.key))
    mine = _Published.of(one.about.get("published_at"), places[0][0] if places else None)
    earlier, later, taken = 0, list[int](), {0}
    for index, about, holder, number in await tables.fetch(_OF_DAY, (series, day, one.set_id)):
        taken.add(index)
        try:
            published_at = json.loads(about).get("published_at")
        except (ValueError, AttributeError):  # it is damaged
            continue
        other = _Published.of(published_at, number if holder == one.holder else None)
        if other.is_before(mine):
            earlier = max(earlier, index)
        elif mine.is_before(other):
            later.append(index)
    room = 0
    for published_at, number, task_number, text in await tables.fetch(_UNDER_WAY, (one.holder, one.key)):
        told = published_at
        if text is not None:
            for status in readable(read_status, [(task_number, text)]):
                told = status.video_info.published_at or told
        is_of_day = told and day_of(told, 0.0, zone).isoformat() == day
        room += bool(is_of_day) and _Published.of(told, number).is_before(mine)
    if not later:
        return max(taken) + 1 + room
    free = [index for index in range(earlier + 1, min(later)) if index not in taken]
    wide = [index for index in free if index > earlier + room]
    return (wide[:1] or free[-1:] or [max(taken) + 1])[0]


@dataclass(frozen=True, slots=True)
class _Published:
    """When something was published: seconds since 1970, if more than the day is known; and its number in the
    list of its subscription, in which newer ones have higher ones.
    """

    at: float | None
    number: int | None

    @classmethod
    def of(cls, published_at: str | None, number: int | None) -> Self:
        at = None
        with suppress(ValueError):
            if published_at and len(published_at) > len("2026-01-31"):
                at = datetime.fromisoformat(published_at).timestamp()
        return cls(at, number)

    def is_before(self, other: "_Published") -> bool:
        if self.at is not None and other.at is not None and self.at != other.at:
            return self.at < other.at
        return self.number is not None and other.number is not None and self.number < other.number


async def _is_ours(tables: Statements, file_set: FileSet) -> bool:
    return bool(await tables.fetch(_OURS, (file_set.set_id, file_set.try_no)))


async def _inherited(tables: Statements, leaving: FileSet) -> bool:
    """Whether the set is gone without its files: they are another's, or another shares them."""
    heirs = await tables.fetch("SELECT set_id FROM file_sets WHERE shares = ?", (leaving.set_id,))
    if leaving.shares is None and not heirs:
        return False
    await tables.run("DELETE FROM file_sets WHERE set_id = ?", (leaving.set_id,))
    if leaving.shares is None:
        [first, *_] = sorted(heir for (heir,) in heirs)
        await tables.run("UPDATE placed SET set_id = ? WHERE set_id = ?", (first, leaving.set_id))
        await tables.run(_SHARE_INSTEAD, (first, leaving.set_id))
        folder = None if leaving.folder is None else folded(leaving.folder)
        counted = (leaving.show, leaving.folder, folder, leaving.day, leaving.day_index, first)
        await tables.run(_COUNT, counted)
        await tables.run("UPDATE file_sets SET shares = NULL WHERE set_id = ?", (first,))
    return True


async def _locked(tables: Statements, set_id: str) -> list[FileSet]:
    """The set, as nobody changes it before the end of the transaction; none if there is none to be read."""
    return list(_readable(await tables.fetch(_LOCKED, (set_id,))))


def _with_other(about: str, task_id: str) -> str:
    """Return `about` with one more earlier task."""
    try:
        known = dict(json.loads(about))
        known[OTHER_TASKS] = [*known.get(OTHER_TASKS, ()), task_id][-MOST_WAITING:]
    except (ValueError, TypeError):  # it is damaged
        return about
    return json.dumps(known, ensure_ascii=False)


async def _files(tables: Statements, set_id: str) -> list[PlacedFile]:
    return [PlacedFile(*row) for row in await tables.fetch(_FILES, (set_id,))]


async def _delete_files(tables: Statements, paths: Iterable[str]) -> None:
    for path in paths:
        await tables.run("DELETE FROM placed WHERE folded = ?", (folded(path),))


def _file_row(file: PlacedFile) -> Row:
    return folded(file.path), file.path, file.set_id, file.kind, file.size, file.sha256, file.state


def _wanted(one: FileSet) -> str:
    return one.wanted.model_dump_json(exclude_unset=True, exclude_none=True)


def _row(one: FileSet) -> Row:
    return (
        one.set_id, one.holder, one.key, one.task_id,
        _wanted(one), one.state, _reason_row(one.reason, one.blocked_by),
        json.dumps(one.about, ensure_ascii=False), one.show, one.folder,
        None if one.folder is None else folded(one.folder), one.day, one.day_index, one.shares,
        one.not_before, one.lease_until, one.try_no, one.tries, one.placed_at,
    )  # fmt: skip


def _readable(rows: Iterable[Row]) -> Iterator[FileSet]:
    """A damaged one, or one with a value that only a newer release knows, stops no other; it is logged."""
    for row in rows:
        try:
            yield _read(*row)
        except ValueError:
            log.error("set %s of the library cannot be read: it is damaged, or of a newer release", row[0])


def _read(
    set_id: str, holder: str, key: str, task_id: str, wanted: str, state: Any, reason: str | None,
    about: str, show: str | None, folder: str | None, _series: str | None, day: str | None,
    day_index: int | None, shares: str | None, not_before: float, lease_until: float | None, try_no: int,
    tries: int, placed_at: float | None,
) -> FileSet:  # fmt: skip
    return FileSet(
        set_id, holder, key, task_id, Library.model_validate_json(wanted, extra="ignore"), state,
        *_read_reason(reason), json.loads(about), show, folder, day, day_index, shares, not_before,
        lease_until, try_no, tries, placed_at,
    )  # fmt: skip
