"""How sets of files and placed files stand in rows, and the statements that several modules run."""

import json
import logging
from collections.abc import Iterable, Iterator
from typing import Any

from server.core.library import Library
from server.library.placements import REASONS, FileSet, PlacedFile, Reason, folded
from server.storage.statements import Row, Statements

log = logging.getLogger(__name__)
# The signal that a placement, or the check of a subscription, is due earlier than before. Nodes of earlier
# releases know it by this name.
DUE_SOONER = "looks"
SET_COLUMNS = """
    set_id, holder, key, task_id, wanted, state, reason, about, show, folder, series, day, day_index,
    shares, not_before, lease_until, try_no, tries, placed_at"""
FILE_COLUMNS = "path, set_id, kind, size, sha256, state"
_LOCKED = f"UPDATE file_sets SET try_no = try_no WHERE set_id = ? RETURNING {SET_COLUMNS}"  # noqa: S608
_FILES = f"SELECT {FILE_COLUMNS} FROM placed WHERE set_id = ? ORDER BY folded"  # noqa: S608
FILES_AT = f"SELECT {FILE_COLUMNS} FROM placed WHERE folded IN ({{keys}})"  # noqa: S608
STORE_DAY_INDEX = """
    UPDATE file_sets SET show = ?, folder = ?, series = ?, day = ?, day_index = ? WHERE set_id = ?"""
RESERVE_FILES = f"INSERT INTO placed (folded, {FILE_COLUMNS}) VALUES {{rows}} ON CONFLICT (folded) DO NOTHING"  # noqa: S608
SETS_OF_TASK = f"SELECT {SET_COLUMNS} FROM file_sets WHERE task_id = ? ORDER BY set_id"  # noqa: S608


def reason_row(reason: Reason | None, blocked_by: str) -> str | None:
    return f"{reason} {blocked_by}" if blocked_by else reason


def read_reason(row: str | None) -> tuple[Reason | None, str]:
    """Read a reason; None for one that only another release knows: the next try sets another."""
    name, _, blocked_by = (row or "").partition(" ")
    return next((reason for reason in REASONS if reason == name), None), blocked_by


async def lock_set(tables: Statements, set_id: str) -> list[FileSet]:
    """Return the set, locked until the end of the transaction, as the only element of a list; an empty list
    if there is no readable set.
    """
    return list(readable_sets(await tables.fetch(_LOCKED, (set_id,))))


async def files_of_set(tables: Statements, set_id: str) -> list[PlacedFile]:
    return [PlacedFile(*row) for row in await tables.fetch(_FILES, (set_id,))]


async def forget_files(tables: Statements, paths: Iterable[str]) -> None:
    for path in paths:
        await tables.run("DELETE FROM placed WHERE folded = ?", (folded(path),))


def file_row(file: PlacedFile) -> Row:
    return folded(file.path), file.path, file.set_id, file.kind, file.size, file.sha256, file.state


def wanted_row(one: FileSet) -> str:
    return one.wanted.model_dump_json(exclude_unset=True, exclude_none=True)


def set_row(one: FileSet) -> Row:
    return (
        one.set_id, one.holder, one.key, one.task_id,
        wanted_row(one), one.state, reason_row(one.reason, one.blocked_by),
        json.dumps(one.about, ensure_ascii=False), one.show, one.folder,
        None if one.folder is None else folded(one.folder), one.day, one.day_index, one.shares,
        one.not_before, one.lease_until, one.try_no, one.tries, one.placed_at,
    )  # fmt: skip


def readable_sets(rows: Iterable[Row]) -> Iterator[FileSet]:
    """Yield the readable sets. A set that is damaged, or has a value that only a newer release knows, is
    logged and skipped.
    """
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
        *read_reason(reason), json.loads(about), show, folder, day, day_index, shares, not_before,
        lease_until, try_no, tries, placed_at,
    )  # fmt: skip
