"""How sets of files and placed files stand in rows, and the statements that several modules run."""

import json
import logging
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from server.core.library import Library
from server.library.placements import REASONS, FileSet, PlacedFile, Reason, SetState, folded
from server.storage.statements import Row, Statements

log = logging.getLogger(__name__)
# The signal that a placement or a subscription's check is due earlier. Nodes of earlier releases know it by
# this name.
DUE_SOONER = "looks"


class SetRow(NamedTuple):
    """A row of `file_sets`; see `FileSet`."""

    set_id: str
    holder: str
    key: str
    task_id: str
    wanted: str
    state: SetState
    reason: str | None
    about: str
    show: str | None
    folder: str | None
    series: str | None  # the folder's path, folded
    day: str | None
    day_index: int | None
    shares: str | None
    not_before: float
    lease_until: float | None
    try_no: int
    tries: int
    placed_at: float | None


SET_COLUMNS = ", ".join(SetRow._fields)
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


def set_row(one: FileSet) -> SetRow:
    return SetRow(
        set_id=one.set_id,
        holder=one.holder,
        key=one.key,
        task_id=one.task_id,
        wanted=wanted_row(one),
        state=one.state,
        reason=reason_row(one.reason, one.blocked_by),
        about=json.dumps(one.about, ensure_ascii=False),
        show=one.show,
        folder=one.folder,
        series=None if one.folder is None else folded(one.folder),
        day=one.day,
        day_index=one.day_index,
        shares=one.shares,
        not_before=one.not_before,
        lease_until=one.lease_until,
        try_no=one.try_no,
        tries=one.tries,
        placed_at=one.placed_at,
    )


def readable_sets(rows: Iterable[Row]) -> Iterator[FileSet]:
    """Yield the readable sets. A set that is damaged, or has a value that only a newer release knows, is
    logged and skipped.
    """
    for row in rows:
        try:
            yield _read(SetRow(*row))
        except ValueError:
            log.error("set %s of the library cannot be read: it is damaged, or of a newer release", row[0])


def _read(row: SetRow) -> FileSet:
    reason, blocked_by = read_reason(row.reason)
    return FileSet(
        set_id=row.set_id,
        holder=row.holder,
        key=row.key,
        task_id=row.task_id,
        wanted=Library.model_validate_json(row.wanted, extra="ignore"),
        state=row.state,
        reason=reason,
        blocked_by=blocked_by,
        about=json.loads(row.about),
        show=row.show,
        folder=row.folder,
        day=row.day,
        day_index=row.day_index,
        shares=row.shares,
        not_before=row.not_before,
        lease_until=row.lease_until,
        try_no=row.try_no,
        tries=row.tries,
        placed_at=row.placed_at,
    )
