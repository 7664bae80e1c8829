"""`python -m server copy --to postgresql://... [--files s3://...]`: copies one machine's data for a cluster.

The service must be stopped. Its own data is not changed.
"""

import os
import sys
from pathlib import Path

from pydantic import ValidationError

from server.assembly import DatabaseUnusable, DataDirInUse, FilesUnusable
from server.assembly.copying import Copied
from server.assembly.copying import copy as copy_all
from server.settings import ConfigurationError, Settings, StorageSettings, parts_of_database

SHOWN_NUMBERS = 10  # numbers of tasks shown in one line


async def copy(settings: Settings, url: str, files: str | None = None) -> int:
    """Copy the data, and print what was copied and compared. Exit status 1 on failure, 3 if the service runs.

    Raises `ConfigurationError`.
    """
    storage = settings.storage
    if files is not None:
        try:
            storage = StorageSettings.model_validate(storage.model_dump() | {"files": files})
        except ValidationError:
            raise ConfigurationError("--files: a bucket like s3://bucket/prefix is expected") from None
    try:
        copied = await copy_all(storage, _address(url, settings.storage.database))
    except DataDirInUse as exc:
        print(f"clipwire: {exc}", file=sys.stderr)
        return 3
    except (DatabaseUnusable, FilesUnusable) as exc:
        print(f"clipwire: {_place_in_arguments(exc.place, files)} {exc.why}", file=sys.stderr)
        return 1
    for line in _report(copied, storage.files):
        print(line)
    return 0


def _place_in_arguments(place: Path | str, files: str | None) -> str:
    """Return the argument of this command that stands for the setting `place` in an error message."""
    if place == "storage.database":
        return "--to"
    return f"--files {files}" if files and place == f"storage.files: {files}" else str(place)


def _address(url: str, configured: str) -> str:
    """Return `url`, with the password of `storage.database` if `url` is of the same database.

    Raises `ConfigurationError`.
    """
    parts = parts_of_database(url)
    if parts.scheme not in ("postgresql", "postgres") or not (parts.netloc or "host=" in parts.query):
        raise ConfigurationError(
            "--to: an address like postgresql://clipwire@db.example.org/clipwire is expected"
        )
    if parts.password is not None or "password=" in parts.query:
        raise ConfigurationError("--to: a password does not belong in a command; set PGPASSWORD instead")
    if "PGPASSWORD" in os.environ:
        return url
    configured_parts = parts_of_database(configured)
    user, at, host = configured_parts.netloc.rpartition("@")
    without_password = configured_parts._replace(netloc=user.partition(":")[0] + at + host).geturl()
    return configured if without_password == url else url


def _report(copied: Copied, files: str) -> list[str]:
    note = " (all were there already)" if copied.were_there else ""
    moved = copied.files
    where = (
        "stay where they are" if files == "local" else f"are in {files}, each compared ({moved.sent} sent)"
    )
    lines = [
        f"ok    tasks: {copied.tasks}, each compared{note}",
        f"ok    log-ins: {copied.sessions}, which go on",
        f"ok    cookies: {copied.cookies}, each compared",
        f"ok    files: {moved.files} of {moved.bytes} bytes {where}",
    ]
    if moved.missing:
        lines.append(f"warn  files: {moved.missing} that tasks name were not there before")
    for numbers, what in (
        (copied.damaged, "damaged, kept as they are"),
        (copied.newer, "of a newer release, kept as they are"),
        (copied.mended, "held what is not text, replaced by U+FFFD"),
    ):
        if numbers:
            some = ", ".join(map(str, numbers[:SHOWN_NUMBERS])) + (
                " ..." if len(numbers) > SHOWN_NUMBERS else ""
            )
            lines.append(f"warn  tasks: {len(numbers)} {what}: number {some}")
    return lines
