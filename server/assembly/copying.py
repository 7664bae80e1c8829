"""Copies an installation on one machine to PostgreSQL, and its files to a bucket if there is one.

The source is only read. The target database is checked first and written last, in one transaction: no task is
listed before its files are there, and an interrupted copy can be repeated.

Decisions: docs/decisions/storage.md
"""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from server.assembly.export_sqlite import Row, open_source
from server.assembly.file_store import attachment, usable_bucket
from server.core.errors import StorageAway
from server.core.stored import read_request
from server.core.task import TaskStatus
from server.core.unusable import FilesUnusable
from server.files.moved_files import CopyDiffers, FilesInPlace, MoveCounts
from server.files.workplace import LocalWorkplace, is_name
from server.settings import StorageSettings
from server.storage.task_rows import read_status

if TYPE_CHECKING:
    from server.files.s3.uploading import BucketUpload

    Shelf = FilesInPlace | BucketUpload


@dataclass
class Copied:
    """What was copied; `were_there`: the rows had been copied before.

    Tasks whose rows were `damaged`, of a `newer` release or `mended` (see `ExportedRows`) are copied as well:
    these are their numbers.
    """

    were_there: bool
    tasks: int = 0
    sessions: int = 0
    cookies: int = 0
    files: MoveCounts = field(default_factory=MoveCounts)
    damaged: list[int] = field(default_factory=list)
    newer: list[int] = field(default_factory=list)
    mended: list[int] = field(default_factory=list)


async def copy(storage: StorageSettings, url: str) -> Copied:
    """Copy the database of `storage.data_dir` to the database `url`, and its files to `storage.files`.

    Raises `DataDirInUse`, `DatabaseUnusable`, `FilesUnusable`.
    """
    from server.assembly import import_postgresql  # costs 25 MB: import it only for a copy

    async with open_source(storage.data_dir) as source:
        copied = Copied(await import_postgresql.holds_already(url, source))
        shelf: Shelf
        if storage.files == "local":
            shelf = FilesInPlace(storage.data_dir)
        else:
            bucket = await usable_bucket(storage)
            from server.files.s3.uploading import BucketUpload

            shelf = BucketUpload(LocalWorkplace(storage.data_dir), bucket, attachment)
        try:
            last = 0
            while rows := await source.rows_after(last):
                last = rows[-1].number
                copied.tasks += len(rows)
                try:
                    async with asyncio.TaskGroup() as group:
                        for row in rows:
                            status = _status(row, copied)
                            if not row.removed and is_name(row.task_id):
                                group.create_task(shelf.bring(row.task_id, status))
                except ExceptionGroup as errors:  # the first error has cancelled the others
                    raise errors.exceptions[0] from None
        except (StorageAway, CopyDiffers, OSError) as exc:
            why = (
                f"could not take all files, what is there stays: repeat the command ({exc.__cause__ or exc})"
            )
            raise FilesUnusable(f"storage.files: {storage.files}", " ".join(why.split())) from exc
        await import_postgresql.bring(url, source)
        copied.sessions, copied.cookies = len(await source.sessions()), len(await source.cookies())
        copied.files, copied.mended = shelf.moved, sorted(source.mended)
    return copied


def _status(row: Row, copied: Copied) -> TaskStatus | None:
    """Return the status in a row, None if it is damaged; note in `copied` what this release cannot fully
    read.
    """
    try:
        status = read_status(row.number, row.status)
    except ValueError:
        copied.damaged.append(row.number)
        return None
    if status.stage.value != row.stage or read_request(row.request) is None:
        copied.newer.append(row.number)
    return status
