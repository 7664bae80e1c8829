"""Opens the store of finished files that the settings choose; S3 modules are imported only for a bucket."""

import asyncio
import itertools
import logging
import os
import re
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from server.core.attachment import disposition
from server.core.errors import StorageAway
from server.core.unusable import FilesUnusable
from server.files.local import LocalFiles
from server.files.workplace import LocalWorkplace
from server.settings import StorageSettings

log = logging.getLogger(__name__)

PROBES = 3
REACHED_WITHIN = 60.0  # seconds for which a start retries while the bucket's server answers 429 or 5xx
_FOR_NOW = re.compile(r"status code: (429|5\d\d)\b")

if TYPE_CHECKING:
    from server.files.s3.bucket import Bucket
    from server.files.s3.object_store import S3Files


async def open_files(settings: StorageSettings, workplace: LocalWorkplace) -> "LocalFiles | S3Files":
    """Open the file store. Raises `FilesUnusable`."""
    if settings.files == "local":
        files = LocalFiles(workplace)
        try:
            await asyncio.to_thread(files.make)
        except OSError as exc:
            raise FilesUnusable(workplace.root, f"cannot be written ({exc.strerror})") from exc
        return files
    bucket = await usable_bucket(settings, REACHED_WITHIN)
    from server.files.s3.object_store import S3Files

    return S3Files(workplace, bucket, attachment, redirect=settings.redirect_downloads)


async def check_files(settings: StorageSettings) -> str | None:
    """Describe the bucket in a few words; None if files are local. Raises `FilesUnusable`."""
    if settings.files == "local":
        return None
    await usable_bucket(settings)
    return f"{settings.files} can be written"


async def usable_bucket(settings: StorageSettings, patience: float = 0) -> "Bucket":
    """Open the bucket, and write, read and delete an object; a server that has just started may need a retry.

    While the server answers 429 or 5xx it is retried for `patience` seconds. Raises `FilesUnusable`.
    """
    from server.files.s3.bucket import open_bucket

    bucket = open_bucket(settings.files, settings.s3_endpoint, logs_outages=False)
    place = f"storage.files: {settings.files}"
    give_up = time.monotonic() + patience
    for tries in itertools.count(1):
        try:
            key, content = f"probe/{uuid4()}", b"clipwire"
            await bucket.put(key, content, "text/plain")
            found = await bucket.get(key)
            await bucket.delete([key])
            if found != content:
                raise FilesUnusable(place, "does not keep what is written")
        except (StorageAway, FileNotFoundError) as exc:
            is_for_now = _FOR_NOW.search(str(exc.__cause__)) and time.monotonic() < give_up
            if tries >= PROBES and not is_for_now:
                raise FilesUnusable(place, f"cannot be written and read: {_reason(exc)}") from exc
            if is_for_now:
                if tries == 1:
                    log.warning("the bucket cannot be used yet: %s", _reason(exc))
                await asyncio.sleep(1)
        else:
            break
    return open_bucket(settings.files, settings.s3_endpoint)


def _reason(error: Exception) -> str:
    """Return the first line of the error, without the error page that the server may have sent.

    If no access key is set, the S3 client asks an address that exists only on Amazon's machines; that error
    would hide the cause.
    """
    lines = str(error.__cause__ or error).strip().splitlines()
    reason = lines[0].partition(": <")[0].strip() if lines else "no answer in time"
    return reason if "AWS_ACCESS_KEY_ID" in os.environ else f"AWS_ACCESS_KEY_ID is not set; {reason}"


def attachment(name: str, title: str | None, chapter: str | None = None) -> str:
    return disposition(name, title, inline=False, chapter=chapter)
