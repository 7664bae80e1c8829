"""A bucket, or a part of one, whose every answer comes within a stated time or is `StorageAway`.

Objects are read as a stream that is begun anew where it broke off, and written in parts, so that nothing of
one is there before all of it is.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO, Final
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import MemoryStore, S3Store

from server.errors import StorageAway

ANSWER_WITHIN = 4.5  # seconds: two of these are what a client waits for at most
CHUNK_WITHIN = 60.0  # seconds
PART_WITHIN = 120.0  # seconds for a part on its way to the bucket
FIRST_PIECE: Final = 256 << 10  # bytes
CHUNK: Final = 1 << 20
PART: Final = 5 << 20  # the least that S3 takes: each upload has three of them in memory
PARTS_AT_ONCE: Final = 2
MAX_PARTS: Final = 9_000  # S3 takes 10,000
READ: Final = 1 << 20
LINK_LASTS = timedelta(minutes=5)
DELETED_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Found:
    key: str
    size: int
    changed_at: datetime


class Bucket:
    """Keys are relative to the prefix of the store. Every method may raise `StorageAway`."""

    def __init__(self, store: S3Store | MemoryStore) -> None:
        self._store = store

    async def size(self, key: str) -> int:
        """Raises `FileNotFoundError`."""
        with _told():
            async with asyncio.timeout(ANSWER_WITHIN):
                return (await obstore.head_async(self._store, key))["size"]

    async def get(self, key: str) -> bytes:
        """A small object. Raises `FileNotFoundError`."""
        with _told():
            async with asyncio.timeout(ANSWER_WITHIN):
                result = await obstore.get_async(self._store, key)
                return bytes(await result.bytes_async())

    async def read(self, key: str, part: range) -> AsyncGenerator[memoryview, None]:
        """All of `part`; where the bucket breaks off, and did not before at this byte, it is asked again.

        So it may also close a connection that a slow client has kept waiting.
        """
        failed_at = -1
        while part:
            try:
                async with aclosing(self._chunks(key, part)) as chunks:
                    async for chunk in chunks:
                        part = part[len(chunk) :]
                        yield chunk
            except StorageAway as exc:
                if failed_at == part.start or isinstance(exc.__cause__, TimeoutError):
                    raise
                failed_at = part.start

    async def put(self, key: str, content: bytes, media_type: str) -> None:
        """A small object, in the place of what was there."""
        with _told():
            async with asyncio.timeout(ANSWER_WITHIN):
                attributes = {"Content-Type": media_type}
                await obstore.put_async(self._store, key, content, attributes=attributes, use_multipart=False)

    async def create(self, key: str, content: bytes) -> None:
        """A small object that nobody has made before. Raises `FileExistsError`.

        Never for a large one: with this condition all of it would be sent, and kept in memory, at once.
        """
        with _told():
            async with asyncio.timeout(ANSWER_WITHIN):
                await obstore.put_async(self._store, key, content, mode="create")

    async def upload(self, key: str, file: BinaryIO, size: int, attributes: dict[str, str]) -> None:
        """The `size` bytes of `file`, all or nothing. Raises `OSError` if it cannot be read or is shorter."""
        part = max(PART, -(-size // MAX_PARTS))
        writer = obstore.open_writer_async(
            self._store, key, attributes=attributes, buffer_size=part, max_concurrency=PARTS_AT_ONCE
        )
        left = size
        try:
            with _told():
                async with writer:  # an error within leaves no object
                    while left:
                        chunk = await _next(file, min(READ, left))
                        left -= len(chunk)
                        async with asyncio.timeout(PART_WITHIN):
                            await writer.write(chunk)
        except _Unreadable as exc:
            raise OSError(f"cannot be read to its end: {key}") from exc.__cause__
        if await self.size(key) != size:
            raise StorageAway

    async def keys(self, prefix: str) -> AsyncIterator[Found]:
        """All objects below `prefix/`, in the order of their keys."""
        batches = obstore.list(self._store, prefix=prefix, chunk_size=1000)
        while True:
            with _told():
                async with asyncio.timeout(CHUNK_WITHIN):
                    batch = await anext(batches, None)
            if batch is None:
                return
            for each in batch:
                yield Found(each["path"], each["size"], each["last_modified"])

    async def delete(self, keys: Iterable[str]) -> None:
        """What is gone already does not matter."""
        left = list(keys)
        while left:
            batch, left = left[:DELETED_AT_ONCE], left[DELETED_AT_ONCE:]
            with _told():
                async with asyncio.timeout(CHUNK_WITHIN):
                    await obstore.delete_async(self._store, batch)

    async def link(self, key: str) -> str:
        """Where anybody can read the object for five minutes."""
        assert isinstance(self._store, S3Store), "other stores have no door of their own"
        with _told():
            return await obstore.sign_async(self._store, "GET", key, LINK_LASTS)

    async def _chunks(self, key: str, part: range) -> AsyncGenerator[memoryview, None]:
        """A small one first, so that a slow bucket answers in time, then all others; never none at all."""
        for within, piece in ((ANSWER_WITHIN, part[:FIRST_PIECE]), (CHUNK_WITHIN, part[FIRST_PIECE:])):
            if piece:
                with _told():
                    async with asyncio.timeout(within):
                        options: obstore.GetOptions = {"range": (piece.start, piece.stop)}
                        got = await obstore.get_async(self._store, key, options=options)
                chunks = aiter(got.stream(min_chunk_size=CHUNK))
                while piece:
                    with _told():
                        async with asyncio.timeout(within):
                            chunk = memoryview(await anext(chunks, b""))
                    if not chunk:
                        raise StorageAway
                    piece = piece[len(chunk) :]
                    yield chunk


def open_bucket(url: str, endpoint: str | None) -> Bucket:
    """`s3://bucket/prefix`; keys, region and the like come from `AWS_*` of the environment."""
    parts = urlsplit(url)
    store = S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        config={"endpoint": endpoint} if endpoint else {},
        client_options={
            "allow_http": True,
            "connect_timeout": timedelta(seconds=3),
            "timeout": timedelta(seconds=PART_WITHIN),
        },
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=ANSWER_WITHIN)},
    )
    return Bucket(store)


class _Unreadable(Exception):
    """It is a file on this machine that is to blame, and not the bucket."""


async def _next(file: BinaryIO, size: int) -> bytes:
    try:
        chunk = await asyncio.to_thread(file.read, size)
    except OSError as exc:
        raise _Unreadable from exc
    if not chunk:
        raise _Unreadable
    return chunk


@contextmanager
def _told() -> Iterator[None]:
    """In our words: what is not there, what is there already, and everything else, which may pass."""
    try:
        yield
    except AlreadyExistsError as exc:
        raise FileExistsError from exc
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as exc:  # a time-out is an OSError, and so is what a writer raises
        raise StorageAway from exc
