"""The library as a whole, as rows: what its actions read and change, page by page."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Literal

from server.core.library import Library
from server.library.placement_columns import (
    DUE_SOONER,
    FILE_COLUMNS,
    RESERVE_FILES,
    SET_COLUMNS,
    STORE_DAY_INDEX,
    file_row,
    files_of_set,
    forget_files,
    lock_set,
    readable_sets,
    wanted_row,
)
from server.library.placements import FileSet, PlacedFile, folded, of_folder
from server.storage.statements import Row, Statements, Tables, Transactions, fetch_in, insert

OWNERS = "owners_folder"  # the kind of a row for a folder that its owner has renamed
_PLACED_PAGE = f"""
    SELECT {SET_COLUMNS} FROM file_sets WHERE set_id > ? AND state IN ('placed', 'telling') AND shares IS NULL
    ORDER BY set_id LIMIT ?"""  # noqa: S608
_FILES_OF = f"SELECT {FILE_COLUMNS} FROM placed WHERE set_id IN ({{keys}}) ORDER BY folded"  # noqa: S608
_NEWEST = f"""
    SELECT {SET_COLUMNS} FROM file_sets
    WHERE show = ? AND state IN ('placed', 'telling', 'redoing', 'describing')
    ORDER BY day DESC, day_index DESC LIMIT 1"""  # noqa: S608
_LAST_INDEX = """
    SELECT coalesce(max(day_index), 0) FROM file_sets WHERE series = ? AND day = ? AND set_id <> ?"""
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
    SELECT {FILE_COLUMNS} FROM placed WHERE folded > ? AND state IN ('placed', 'missing')
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


class LibraryRows:
    """A change is on disk when its method returns. All methods may raise `StoreUnavailable`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def wanted_of(self, subscription_id: str) -> Library | None:
        """Return where in the library the subscription wants its files now; None if nowhere, or if its row
        cannot be read.
        """

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

    async def page(self, after: str, limit: int) -> list[tuple[FileSet, list[PlacedFile]]]:
        """Return placed sets with their files, in the order of their ids, those behind the id `after`."""

        async def work(tables: Statements) -> list[tuple[FileSet, list[PlacedFile]]]:
            rows = await tables.fetch(_PLACED_PAGE, (after, limit))
            sets = list(readable_sets(rows))
            files: dict[str, list[PlacedFile]] = {one.set_id: [] for one in sets}
            for row in await fetch_in(tables, _FILES_OF, files):
                files[row[1]].append(PlacedFile(*row))
            return [(one, files[one.set_id]) for one in sets]

        return await self._transactions.read(work)

    async def newest_of(self, show: str) -> FileSet | None:
        """Return the placed set of a show with the latest day."""

        async def work(tables: Statements) -> FileSet | None:
            rows = await tables.fetch(_NEWEST, (show,))
            return next(readable_sets(rows), None)

        return await self._transactions.read(work)

    async def moves(self) -> bool:
        """Return whether any set is to be renamed or described anew, and waits for nothing else."""

        async def work(tables: Statements) -> bool:
            sql = """
                SELECT 1 FROM file_sets
                WHERE state <> 'placed' AND state IN ('redoing', 'describing') AND reason IS NULL LIMIT 1"""
            return bool(await tables.fetch(sql))

        return await self._transactions.read(work)

    async def indexes(self, series: str, day: str) -> dict[str, int]:
        """Return the `day_index` of each set of one day in the folder `series`, a path in its folded form."""

        async def work(tables: Statements) -> list[Row]:
            sql = """
                SELECT set_id, day_index FROM file_sets
                WHERE series = ? AND day = ? AND day_index IS NOT NULL"""
            return await tables.fetch(sql, (series, day))

        return dict(await self._transactions.read(work))

    async def is_owners_folder(self, folder: str) -> bool:
        """Return whether the owner of the library has named this folder of a show."""

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
                return  # the folder is another show's, whose films have numbers of their own
            sql = "UPDATE file_sets SET folder = ?, series = ? WHERE show = ? AND folder = ?"
            await tables.run(sql, (now_in, series, show, folder))
            for file in await files_of_set(tables, of_folder(folder)):
                await forget_files(tables, [file.path])
                if file.kind != OWNERS:
                    path = f"{now_in}{file.path.removeprefix(folder)}"
                    moved = replace(file, path=path, set_id=of_folder(now_in))
                    await insert(tables, RESERVE_FILES, [file_row(moved)])
            mark = (series, now_in, of_folder(now_in), OWNERS, 0, "", OWNERS)
            await insert(tables, RESERVE_FILES, [mark])

        await self._transactions.write(work)

    async def set_missing(self, files: Sequence[PlacedFile], *, missing: bool) -> None:
        """Store which files are missing, or there again, and update the statuses of their tasks."""

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
                stored = await lock_set(tables, one.set_id)
                if not stored or stored[0].state not in ("placed", "telling"):
                    continue
                count += 1
                index = one.day_index
                if one.folder is not None:
                    series = folded(one.folder)
                    if await tables.fetch(_SAME_INDEX, (series, one.day, index, one.set_id)):
                        [(last,)] = await tables.fetch(_LAST_INDEX, (series, one.day, one.set_id))
                        index = last + 1
                    await tables.run(
                        STORE_DAY_INDEX, (one.show, one.folder, series, one.day, index, one.set_id)
                    )
                channel = {"channel": one.about["channel"]} if one.about.get("channel") else {}
                about = json.dumps({**stored[0].about, **channel}, ensure_ascii=False)
                await tables.run(_REDO, (wanted_row(one), about, state, one.set_id))
            return count

        return await self._transactions.write(work)

    async def files_after(self, after: str, limit: int) -> list[PlacedFile]:
        """Files that are placed, or missing, in the order of their folded paths, behind `after`."""

        async def work(tables: Statements) -> list[Row]:
            return await tables.fetch(_FILES_AFTER, (after, limit))

        return [PlacedFile(*row) for row in await self._transactions.read(work)]

    async def found_at(self, file: PlacedFile, path: str) -> bool:
        """Store another path of a file. Return False if the path belongs to another file by now."""

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
            """Skip from one extractor to the next by the index, as there may be a million items."""
            found, last = list[str](), ""
            while len(found) < MOST_EXTRACTORS:
                rows = await tables.fetch("SELECT key FROM items WHERE key > ? ORDER BY key LIMIT 1", (last,))
                if not rows:
                    break
                extractor = rows[0][0].partition(" ")[0]
                found.append(extractor)
                last = extractor + "!"  # `!` follows the space, so no key of this extractor comes behind
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


async def _tell_again(tables: Tables, set_ids: Collection[str]) -> None:
    """Have the statuses of tasks updated with the present paths of these sets."""
    if set_ids:
        tables.wake(DUE_SOONER)
        marks = ", ".join("?" * len(set_ids))
        await tables.run(_TELL_AGAIN.replace("{keys}", marks), (*set_ids, *set_ids))
