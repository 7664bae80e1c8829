"""Where finished files lie, by the settings: what a bucket needs is imported only if there is one."""

import asyncio
import os
from typing import TYPE_CHECKING
from uuid import uuid4

from server.api.files import disposition
from server.backends.unusable import FilesUnusable
from server.errors import StorageAway
from server.files.local import LocalFiles
from server.files.workplace import LocalWorkplace
from server.settings import StorageSettings

PROBES = 3

if TYPE_CHECKING:
    from server.files.s3.bucket import Bucket
    from server.files.s3.files import S3Files


async def open_files(settings: StorageSettings, workplace: LocalWorkplace) -> "LocalFiles | S3Files":
    """Raises `FilesUnusable`."""
    if settings.files == "local":
        return await asyncio.to_thread(_made, workplace)
    bucket = await usable_bucket(settings)
    from server.files.s3.files import S3Files

    return S3Files(workplace, bucket, attachment, redirect=settings.redirect_downloads)


async def check_files(settings: StorageSettings) -> str | None:
    """What is there, in a few words; None if files are local. Raises `FilesUnusable`."""
    if settings.files == "local":
        return None
    await usable_bucket(settings)
    return f"{settings.files} can be written"


def _made(workplace: LocalWorkplace) -> LocalFiles:
    files = LocalFiles(workplace)
    try:
        files.make()
    except OSError as exc:
        raise FilesUnusable(workplace.root, f"cannot be written ({exc.strerror})") from exc
    return files


async def usable_bucket(settings: StorageSettings) -> "Bucket":
    """Write something, read it and delete it; a server that has just started may need a second try."""
    from server.files.s3.bucket import open_bucket

    bucket, place = open_bucket(settings.files, settings.s3_endpoint), f"storage.files: {settings.files}"
    for left in reversed(range(PROBES)):
        try:
            if not await _keeps(bucket):
                raise FilesUnusable(place, "does not keep what is written")
        except (StorageAway, FileNotFoundError) as exc:
            if not left:
                raise FilesUnusable(place, f"cannot be written and read: {_reason(exc)}") from exc
        else:
            break
    return bucket


async def _keeps(bucket: "Bucket") -> bool:
    key, content = f"probe/{uuid4()}", b"clipwire"
    await bucket.put(key, content, "text/plain")
    found = await bucket.get(key)
    await bucket.delete([key])
    return found == content


def _reason(error: Exception) -> str:
    """One line of what may be a page. Without keys an address is asked that only Amazon's machines have."""
    lines = str(error.__cause__ or error).strip().splitlines()
    reason = lines[0].strip() if lines else "no answer in time"
    return reason if "AWS_ACCESS_KEY_ID" in os.environ else f"AWS_ACCESS_KEY_ID is not set; {reason}"


def attachment(name: str, title: str | None) -> str:
    return disposition(name, title, inline=False)
