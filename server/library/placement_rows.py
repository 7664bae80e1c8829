"""Sets of files in the library as rows, on every database; see `server.library.placements`."""

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import tzinfo
from typing import Any, Literal

from server.core.library import Library
from server.core.task import InLibrary
from server.library.day_indexes import index_of_day
from server.library.library_names import ListedAs
from server.library.placement_columns import (
    DUE_SOONER,
    FILE_COLUMNS,
    FILES_AT,
    RESERVE_FILES,
    SET_COLUMNS,
    SETS_OF_TASK,
    STORE_DAY_INDEX,
    file_row,
    files_of_set,
    forget_files,
    lock_set,
    read_reason,
    readable_sets,
    reason_row,
)
from server.library.placement_requests import LEAVE, made_by_checks, to_be_placed
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
    SourceDescription,
    folded,
    is_same_place,
    of_folder,
    set_of_item,
)
from server.notices.delivery_rows import DUE, tell_as_it_is
from server.storage.statements import Row, Statements, Tables, Transactions, fetch_in, insert

LATEST = 86_400.0  # seconds: what is due later was put off by a clock that was ahead
MOST_LEASE = 3600.0  # seconds: a lease that ends later was taken by a clock that was ahead
MOST_OTHERS = 20  # the most earlier tasks of a placed set whose statuses get its later paths
MOST_EXPLAINED = 200  # sets at once
MOST_INHERITED = 50  # the most sets of one claim whose files another set takes over
MOST_PATHS = 50  # of a status
FILMS = ("video", "audio")
MARK = ".clipwire-library"  # a path that no file of a set has
_DUE = f"""
    SELECT {SET_COLUMNS} FROM file_sets
    WHERE state <> 'placed' AND (not_before <= :now OR not_before > :latest)
        AND (lease_until IS NULL OR lease_until <= :now OR lease_until > :latest_lease)
    ORDER BY not_before, set_id LIMIT :most"""  # noqa: S608
# A set that is requested anew keeps its lease: its holder may be about to delete or move a file, and ends the
# lease when that is over.
_LEASE = "UPDATE file_sets SET lease_until = ?, try_no = try_no + 1 WHERE set_id = ?"
_UNREADABLE = "UPDATE file_sets SET not_before = ? WHERE set_id = ?"  # an unreadable set is tried again then
# As for `_DUE`: a set that a clock which was ahead has put off is due.
_SOONEST = """
    SELECT min(CASE WHEN lease_until > not_before AND lease_until <= :latest_lease THEN lease_until
        WHEN not_before > :latest THEN 0 ELSE not_before END) FROM file_sets WHERE state <> 'placed'"""
# Locks the row as well, so that only the holder of the lease can write it afterwards.
_OURS = "UPDATE file_sets SET try_no = try_no WHERE set_id = ? AND try_no = ? RETURNING 1"
_FOLDER = "SELECT folder FROM file_sets WHERE show = ? AND set_id <> ? ORDER BY set_id LIMIT 1"
_SHARE_INSTEAD = "UPDATE file_sets SET shares = ? WHERE shares = ?"
_SHARE = "UPDATE file_sets SET shares = ? WHERE set_id = ?"
# Two sets that leave at the same time do not wait for each other; a file that another set shares stays with
# that set.
_OTHERS = """
    SELECT 1 FROM file_sets AS other WHERE series = ? AND set_id <> ? AND (state <> 'leaving' OR EXISTS (
        SELECT 1 FROM file_sets AS heir WHERE heir.shares = other.set_id AND heir.state <> 'leaving'))
    LIMIT 1"""
_OTHERS_OF_SEASON = _OTHERS.replace("series = ?", "series = ? AND day LIKE ?")
_PUT = f"""
    INSERT INTO placed (folded, {FILE_COLUMNS}) VALUES {{rows}}
    ON CONFLICT (folded) DO UPDATE SET path = excluded.path, set_id = excluded.set_id,
        kind = excluded.kind, size = excluded.size, sha256 = excluded.sha256, state = excluded.state"""  # noqa: S608
_OF_SET = f"SELECT {SET_COLUMNS} FROM file_sets WHERE set_id = ?"  # noqa: S608
_UNHELD = """
    SELECT 1 FROM items WHERE task_id = ? AND state IN ('queued', 'fetched', 'waiting') AND (NOT EXISTS (
        SELECT 1 FROM file_sets s WHERE s.holder = items.subscription_id AND s.key = items.key)
        OR EXISTS (SELECT 1 FROM feeds f WHERE f.subscription_id = items.subscription_id))
    LIMIT 1"""
_UNTOLD = "SELECT 1 FROM deliveries WHERE task_id = ? AND next_at IS NOT NULL LIMIT 1"
_WANTED_OF_ITEMS = """
    SELECT i.subscription_id, i.key, s.wanted FROM items i
    JOIN subscriptions s ON s.subscription_id = i.subscription_id
    WHERE i.task_id = ? AND i.state = 'fetched'"""
_OF_ITEMS = """
    SELECT s.key, s.state, s.reason, p.kind, p.path FROM file_sets s
    LEFT JOIN placed p ON p.set_id = coalesce(s.shares, s.set_id) AND p.state = 'placed'
    WHERE s.state <> 'leaving' AND s.holder = ? AND s.key IN ({keys})"""
_UNEXPLAINED = f"""
    SELECT {SET_COLUMNS} FROM file_sets WHERE state = 'waiting' AND (reason IS NULL OR reason <> ?)
        AND NOT EXISTS (SELECT 1 FROM file_sets AS other
            WHERE other.state = 'waiting' AND other.lease_until > ? AND other.lease_until <= ?)
    ORDER BY not_before, set_id LIMIT {MOST_EXPLAINED}"""  # noqa: S608
_EXPLAIN = "UPDATE file_sets SET reason = ? WHERE set_id = ? AND try_no = ? AND state = 'waiting'"
_WAITING_FOR = """
    SELECT reason, count(*) FROM file_sets WHERE state <> 'placed' AND reason IS NOT NULL GROUP BY reason"""
_OF_SETS = "SELECT kind, path FROM placed WHERE state = 'placed' AND set_id IN ({keys})"
# All sources that share a show have films in its folder; most shows have one source.
_SOURCES_OF_SHOW = """
    SELECT subscription_id, source_key, findings FROM subscriptions WHERE subscription_id = ?
        OR subscription_id IN (SELECT holder FROM file_sets WHERE show = ?) ORDER BY number LIMIT 20"""


class PlacementRows:
    """A change is on disk when its method returns. All methods may raise `StoreUnavailable`.

    `late` and False mean: the lease of the set is not ours any more, and nothing was changed.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def listen(self, called: Callable[[], None]) -> None:
        """Call `called` whenever a set may be due."""
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
        """Store that the folder was marked as the library, as a placed file that belongs to no set."""

        async def work(tables: Tables) -> None:
            await insert(tables, RESERVE_FILES, [(MARK, MARK, "", "mark", 0, "", "mark")])

        await self._transactions.write(work)

    async def source_of(self, subscription_id: str, key: str) -> tuple[str, str | None, str | None] | None:
        """Return the key of a subscription's source, the source's title, and when the item with the `key` was
        published; None if the subscription is gone.
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

    async def sources_of_show(self, file_set: FileSet) -> list[SourceDescription]:
        """What is known of the sources whose films lie in the folder of the set's show, the oldest first."""

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(_SOURCES_OF_SHOW, (file_set.holder, file_set.show or ""))

        return [_source_description(*row) for row in await self._transactions.read(work)]

    async def source_picture(self, subscription_id: str, role: str) -> bytes | None:
        """Return the picture, a JPEG; None if there is none."""

        async def work(tables: Statements) -> list[Row]:
            sql = "SELECT body FROM source_pictures WHERE subscription_id = ? AND role = ?"
            return await tables.fetch(sql, (subscription_id, role))

        return next((base64.b64decode(body) for (body,) in await self._transactions.read(work)), None)

    async def of_whole_folder(self, folder: str) -> list[PlacedFile]:
        """Return the files that all sets of the folder share."""
        return await self._transactions.read(lambda tables: files_of_set(tables, of_folder(folder)))

    async def due_in(self, now: float) -> float | None:
        """Seconds until a set is due, at most 0 if one is; None if there is nothing to do."""

        async def work(tables: Statements) -> list[Row]:
            values = {"latest": now + LATEST, "latest_lease": now + MOST_LEASE}
            return await tables.fetch(_SOONEST, values)

        [(at,)] = await self._transactions.read(work)
        return None if at is None else at - now

    async def claim(self, most: int, lease: float, now: float) -> list[Claimed]:
        """Claim up to `most` sets that are due, for `lease` seconds, and return them."""

        async def work(tables: Tables) -> list[Claimed]:
            await tables.alone()
            claimed = list[Claimed]()
            values = {
                "now": now,
                "latest": now + LATEST,
                "latest_lease": now + MOST_LEASE,
                "most": most + MOST_INHERITED,
            }
            for row in await tables.fetch(_DUE, values):
                if len(claimed) >= most:
                    break
                if not (found := await lock_set(tables, row[0])):
                    await tables.run(_UNREADABLE, (now + MOST_LEASE, row[0]))
                    continue
                [one] = found  # the set before may have handed its files over to this one
                if one.state == "leaving" and await _inherited(tables, one):
                    continue
                await tables.run(_LEASE, (now + lease, one.set_id))
                ours = replace(one, try_no=one.try_no + 1, lease_until=now + lease)
                claimed.append(Claimed(ours, await files_of_set(tables, one.set_id)))
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

    async def store_about(self, file_set: FileSet, about: Mapping[str, Any]) -> bool:
        """Store what the set is about."""

        async def work(tables: Tables) -> bool:
            if not await _is_ours(tables, file_set):
                return False
            text = json.dumps(about, ensure_ascii=False)
            await tables.run("UPDATE file_sets SET about = ? WHERE set_id = ?", (text, file_set.set_id))
            return True

        return await self._transactions.write(work)

    async def assign_place(
        self, file_set: FileSet, show: str, folder: str, day: str, zone: tzinfo
    ) -> FileSet | Literal["late", "busy"]:
        """Give the set its day and index, once, and the folder that its `show` has, or else `folder`.

        If another set of the same task is to be in the same place, this set gets the id of that one as
        `shares`, and no files of its own. `busy`: the other set is not placed yet, but will be in a moment.
        """

        async def work(tables: Tables) -> FileSet | Literal["late", "busy"]:
            await tables.alone()
            if not await _is_ours(tables, file_set):
                return "late"
            mine = file_set.set_id
            if file_set.show == show and file_set.day_index is not None:
                return file_set
            for other in readable_sets(await tables.fetch(SETS_OF_TASK, (file_set.task_id,))):
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
            index = await index_of_day(tables, file_set, folded(kept), its_day, zone)
            await tables.run(STORE_DAY_INDEX, (show, kept, folded(kept), its_day, index, mine))
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
            at = {folded(row[0]): PlacedFile(*row) for row in await fetch_in(tables, FILES_AT, wanted)}
            if any(file.set_id != mine for file in at.values()):
                return "taken"
            sql = "SELECT folded FROM placed WHERE set_id = ? AND state = 'reserved'"
            for (path,) in await tables.fetch(sql, (mine,)):  # under another name, before
                if path not in wanted:
                    await tables.run("DELETE FROM placed WHERE folded = ?", (path,))
            await tables.run("UPDATE file_sets SET shares = NULL WHERE set_id = ?", (mine,))
            new = [file for path, file in wanted.items() if path not in at]
            reserved = [replace(file, state="reserved") for file in (*new, *folder)]
            await insert(tables, RESERVE_FILES, [file_row(file) for file in reserved])
            return "reserved"

        return await self._transactions.write(work)

    async def settle(
        self, file_set: FileSet, files: Sequence[PlacedFile], gone: Sequence[str], now: float
    ) -> bool:
        """Store that the set is placed with `files`, and that the files at the paths `gone` were deleted."""

        async def work(tables: Tables) -> bool:
            await tables.alone()
            if not await _is_ours(tables, file_set):
                return False
            await forget_files(tables, gone)
            await insert(tables, _PUT, [file_row(replace(file, state="placed")) for file in files])
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
        """Store that the set could not be placed for now, and when it is tried again."""

        async def work(tables: Tables) -> None:
            if await _is_ours(tables, file_set):
                await tables.run(
                    "UPDATE file_sets SET reason = ?, not_before = ?, lease_until = NULL, tries = tries + 1"
                    " WHERE set_id = ?",
                    (reason_row(reason, blocked_by), not_before, file_set.set_id),
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

        return list(readable_sets(await self._transactions.read(work)))

    async def explain(self, sets: Sequence[FileSet], reason: Reason) -> None:
        """Store `reason` for sets that no server is working on."""

        async def work(tables: Tables) -> None:
            for one in sets:
                await tables.run(_EXPLAIN, (reason, one.set_id, one.try_no))

        await self._transactions.write(work)

    async def waiting_for(self) -> dict[Reason, int]:
        """Return how many sets wait, by reason."""

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(_WAITING_FOR)

        found = Counter[Reason]()
        for row, count in await self._transactions.read(work):
            reason, _ = read_reason(row)
            if reason:
                found[reason] += count
        return found

    async def waiting_by_reason(self) -> dict[Reason | None, int]:
        """Return how many sets are still to be placed, by the reason for which they wait."""
        sql = "SELECT reason, count(*) FROM file_sets WHERE state = 'waiting' GROUP BY reason"

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(sql)

        found: dict[Reason | None, int] = dict.fromkeys((None, *REASONS), 0)
        for row, count in await self._transactions.read(work):
            found[read_reason(row)[0]] += count
        return found

    async def of_task(self, task_id: str, shared_set: str | None = None) -> OfTask:
        """What the library has of a task. A task without sets of its own has what is in `shared_set`, which a
        later task of the same video has taken over, perhaps a moment ago.
        """

        async def work(tables: Statements) -> OfTask:
            rows = await tables.fetch(SETS_OF_TASK, (task_id,))
            if not rows and shared_set is not None:
                rows = await tables.fetch(_OF_SET, (shared_set,))
            sets = [one for one in readable_sets(rows) if one.state != "leaving"]
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

    async def mark_placed(self, file_set: FileSet) -> None:
        """Store that the task's status says that the set is placed."""

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
            files = await files_of_set(tables, of_folder(file_set.folder))
            if not await tables.fetch(_OTHERS, (series, mine)):
                return files
            if not season or await tables.fetch(_OTHERS_OF_SEASON, (series, f"{season}-%", mine)):
                return []
            poster = f"season{int(season)}-poster."
            return [file for file in files if file.path.rpartition("/")[2].startswith(poster)]

        return await self._transactions.read(work)

    async def drop(self, file_set: FileSet, folder: Sequence[PlacedFile]) -> None:
        """Delete the row of the set, whose files were deleted, and those of its folder's files."""

        async def work(tables: Tables) -> None:
            await tables.alone()
            if not await _is_ours(tables, file_set):
                return
            await tables.run("DELETE FROM placed WHERE set_id = ?", (file_set.set_id,))
            await forget_files(tables, [file.path for file in folder])
            await tables.run("DELETE FROM file_sets WHERE set_id = ?", (file_set.set_id,))

        await self._transactions.write(work)

    async def leave_task(self, task_id: str) -> None:
        """Request the deletion of all files that a task has placed; its items become `expired`."""

        async def work(tables: Tables) -> None:
            tables.wake(DUE_SOONER)
            await tables.run(f"{LEAVE} WHERE task_id = ?", (task_id,))
            await tables.run(
                "UPDATE items SET state = 'expired', reason = 'by_client', not_before = NULL"
                " WHERE task_id = ? AND state = 'fetched'",
                (task_id,),
            )

        await self._transactions.write(work)

    async def at(self, paths: Sequence[str]) -> dict[str, PlacedFile]:
        """Return the files that are recorded at these folded paths."""

        async def work(tables: Statements) -> list[Row]:
            return await fetch_in(tables, FILES_AT, [folded(path) for path in paths])

        return {folded(row[0]): PlacedFile(*row) for row in await self._transactions.read(work)}

    async def items_in_library(self, subscription_id: str, keys: Sequence[str]) -> dict[str, InLibrary]:
        """Return what the library has of those items that have something there, or wait to be placed."""

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
                reason, blocked_by = read_reason(row)
                why: dict[str, object] = {"reason": reason, "path": blocked_by or None}
                told[key] = told[key].model_copy(update={"state": "waiting"} | why)
        return told

    async def sets_of_task(self, task_id: str) -> list[FileSet]:
        """The sets that a task has, and those that it would have for its items: their subscriptions may have
        got a library since.
        """

        async def work(tables: Statements) -> list[FileSet]:
            rows = await tables.fetch(SETS_OF_TASK, (task_id,))
            sets = {one.set_id: one for one in readable_sets(rows) if one.state != "leaving"}
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


def _source_description(subscription_id: str, source_key: str, findings: str) -> SourceDescription:
    known = json.loads(findings)
    facts = known.get("facts", {})
    stored = [role for role, note in known.get("pictures", {}).items() if note.get("tag")]
    listed_as = ListedAs(source_key, facts.get("id"), known.get("title"))
    return SourceDescription(
        subscription_id, listed_as, facts.get("author"), facts.get("description"), frozenset(stored)
    )


def _films_first(files: Iterable[Row]) -> list[str]:
    return [path for kind, path in sorted(files, key=lambda file: (file[0] not in FILMS, file[1]))]


async def _is_ours(tables: Statements, file_set: FileSet) -> bool:
    return bool(await tables.fetch(_OURS, (file_set.set_id, file_set.try_no)))


async def _inherited(tables: Statements, leaving: FileSet) -> bool:
    """If another set has or shares the files, delete the set without them. Return whether it was deleted."""
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
        await tables.run(STORE_DAY_INDEX, counted)
        await tables.run("UPDATE file_sets SET shares = NULL WHERE set_id = ?", (first,))
    return True
