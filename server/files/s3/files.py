"""Finished files in a bucket, beside the place where children of this machine work.

files/<task_id>/<attempt>/    finished files and, last of all, their manifest
files/<task_id>/thumbnail-<hash>.jpg
logs/<task_id>                how far the task's log was some seconds ago

The attempt in a key keeps two workers from ever writing the same one. Readers know keys from rows alone:
what no row names is nothing but waste, and is deleted.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

from pydantic import ValidationError

from server.errors import FileNotFound, StorageAway
from server.events import ProducedFile
from server.files.names import folder_of, named
from server.files.publishing import MANIFEST, UnsafeFile, check_out, open_out, picture_of
from server.files.s3.bucket import Bucket
from server.files.s3.house import House, Known, folder
from server.files.sweeping import Sweep
from server.files.workplace import LocalWorkplace, checked
from server.models import Manifest, StoredFile, TaskStatus, VideoInfo
from server.ports import Stream
from server.tasks.shielding import to_the_end

log = logging.getLogger(__name__)

TRY_UPLOADS_FOR = 300.0  # seconds
TRY_MANIFEST_FOR = 20.0  # seconds: a cancel has to wait for it
FIRST_PAUSE, LAST_PAUSE = 1.0, 15.0  # seconds between tries, doubled each time
SHARE_EVERY = 4.0  # seconds
LAST_SHARE_WITHIN = 10.0  # seconds
END_WITHIN = 0.8  # seconds, of what is done for a cancel that somebody waits for
MAX_SHARED = 512 << 10  # bytes of a log: the child's and some lines of ours

Disposition = Callable[[str, str | None], str]


class S3Files:
    """`disposition` makes the header of that name for clients that the bucket itself answers.

    Every method may raise `StorageAway`, unless it says otherwise.
    """

    def __init__(
        self, workplace: LocalWorkplace, bucket: Bucket, disposition: Disposition, *, redirect: bool
    ) -> None:
        self._workplace = workplace
        self._bucket = bucket
        self._disposition = disposition
        self._redirect = redirect
        self._house = House(bucket)
        self._shared: set[str] = set()  # tasks whose log grows on this machine

    async def prepare(
        self, task_id: str, attempt: int, produced: dict[str, ProducedFile], video_info: VideoInfo
    ) -> Manifest:
        """Upload what the child produced, which is trying for `TRY_UPLOADS_FOR` if the bucket is away.

        An error or a cancel leaves nothing behind. Raises `UnsafeFile`, and `OSError` of this disk.
        """
        files = named(produced, attempt, video_info.title)
        manifest = Manifest(attempt=attempt, files=files, video_info=video_info)
        await asyncio.to_thread(check_out, self._workplace.work(task_id), manifest)
        try:
            # Of a time that a backup knows nothing of: attempts may be counted twice.
            await _patiently(partial(self._house.clear, task_id, attempt), TRY_UPLOADS_FOR)
            for stored in files.values():
                await _patiently(partial(self._upload, task_id, stored, video_info), TRY_UPLOADS_FOR)
        except BaseException:
            await to_the_end(self._give_up(task_id, attempt))
            raise
        return manifest

    async def publish(self, task_id: str, manifest: Manifest) -> None:
        """The manifest makes it whole: whoever takes the task over finds it."""
        key = self._key(task_id, f"{folder_of(manifest.attempt)}/{MANIFEST}")
        await _patiently(partial(self._create, key, manifest), TRY_MANIFEST_FOR)

    async def published(self, task_id: str, attempt: int) -> Manifest | None:
        """What `publish` had done for exactly this attempt when the server died."""
        try:
            found = await self._bucket.get(self._key(task_id, f"{folder_of(attempt)}/{MANIFEST}"))
            manifest = Manifest.model_validate_json(found)
            for stored in manifest.files.values():
                await self.open(task_id, stored)
        except (FileNotFoundError, FileNotFound, ValidationError):
            return None
        return manifest if manifest.attempt == attempt else None

    async def open(self, task_id: str, stored: StoredFile) -> Stream:
        """A published file. Raises `FileNotFound`, also if it is no longer what was published."""
        key = self._key(task_id, stored.path)
        with suppress(FileNotFoundError):
            if await self._bucket.size(key) == stored.size:
                return _Object(self._bucket, key)
        raise FileNotFound

    async def link(self, task_id: str, stored: StoredFile) -> str | None:
        """Where a client may fetch the whole file for some minutes, if it shall."""
        return await self._bucket.link(self._key(task_id, stored.path)) if self._redirect else None

    async def publish_thumbnail(self, task_id: str) -> StoredFile | None:
        """Make the picture that the child left public, also while it runs; None if it cannot be."""
        try:
            stored, picture = await asyncio.to_thread(picture_of, self._workplace.work(task_id))
            await self._bucket.put(self._key(task_id, stored.path), picture, stored.type)
        except (UnsafeFile, OSError, StorageAway) as exc:
            log.warning("the thumbnail of task %s could not be published: %s", task_id, exc)
            return None
        return stored

    async def thumbnail(self, status: TaskStatus) -> StoredFile | None:
        return status.thumbnail

    async def read_log(self, task_id: str, limit: int) -> bytes:
        """As it is now if it grows on this machine, else as it was some seconds ago at most."""
        if task_id not in self._shared:
            with suppress(FileNotFoundError):
                return (await self._bucket.get(_log_of(task_id)))[:limit]
        return await asyncio.to_thread(self._workplace.read_log, task_id, limit)

    @asynccontextmanager
    async def share(self, task_id: str, attempt: int) -> AsyncIterator[None]:
        """While the block runs, its log goes to the bucket every few seconds, and at its end."""
        if attempt > 1:
            await self._go_on_with_log(task_id, attempt)
        shared = _SharedLog(self._workplace, self._bucket, task_id)
        sharing = asyncio.create_task(shared.keep_up(), name=f"log of {task_id}")
        self._shared.add(task_id)
        last_within = LAST_SHARE_WITHIN
        try:
            yield
        except asyncio.CancelledError:
            last_within = END_WITHIN
            raise
        finally:
            sharing.cancel()
            await to_the_end(asyncio.wait([sharing]))
            await to_the_end(shared.update(last_within))
            self._house.look_after(task_id)
            self._shared.discard(task_id)

    async def _go_on_with_log(self, task_id: str, attempt: int) -> None:
        """Of the attempt before, which may have run on another machine. Raises nothing."""
        last = b""
        with suppress(FileNotFoundError, StorageAway):
            last = await self._bucket.get(_log_of(task_id))
        own = await asyncio.to_thread(self._workplace.read_log, task_id, MAX_SHARED)
        if own and own.startswith(last):
            return
        with suppress(OSError):  # there is no room
            await asyncio.to_thread(self._workplace.replace_log, task_id, last)
        if not await asyncio.to_thread(self._workplace.work(task_id).exists):
            anew = (
                f"attempt {attempt} has none of the partial files of the last one: the download begins anew"
            )
            await self._workplace.note(task_id, f"{anew} on this machine")

    async def tidy_up(self, status: TaskStatus) -> None:
        """Delete what `status`, the newest, does not name; of a completed task also what the child left.

        What cannot be deleted now is deleted by the house. Raises nothing.
        """
        try:
            if not status.needs_no_child:
                await self._house.keep_named(status)
                return
            with await asyncio.to_thread(self._workplace.claim, status.task_id) as lock:
                if lock.held:
                    await self.finish(status)
        except (OSError, StorageAway) as exc:  # published all the same
            log.warning("leftovers of task %s could not be deleted: %s", status.task_id, exc)

    async def finish(self, status: TaskStatus) -> None:
        """The work goes last: as long as it is there, the next sweep knows that there is more to delete."""
        await self._house.keep_named(status)
        await asyncio.to_thread(self._workplace.finish, status.task_id)

    async def remove(self, task_id: str) -> None:
        """Delete everything of a task; what is gone already does not matter."""
        await self._house.remove(checked(task_id))
        await asyncio.to_thread(self._workplace.remove, task_id)

    async def ping(self) -> None:
        """Raises when the bucket does not answer."""
        with suppress(FileNotFoundError):
            await self._bucket.size("probe")

    async def sweep(self, tasks: Known) -> None:
        """Delete what belongs to no task: what children have left now, in the bucket as long as it runs."""
        workplace = self._workplace
        await Sweep(self, workplace, tasks).through(workplace.works, workplace.logs)
        await self._house.keep(tasks)

    async def look_after_ends(self, tasks: Known) -> None:
        """What a node does that runs nothing: late attempts may write of what was removed through it."""
        await self._house.keep(tasks, sweeps=False)

    async def sweep_here(self, tasks: Known) -> None:
        """The same for one of many nodes, which leaves what belongs to no task to `remove_orphans`."""
        workplace = self._workplace
        await Sweep(self, workplace, tasks).through(workplace.works, workplace.logs)
        await self._house.keep(tasks, sweeps=False)

    async def remove_orphans(self, tasks: Known) -> None:
        """What one of many nodes does for all."""
        await self._house.sweep(tasks)

    def _key(self, task_id: str, path: str) -> str:
        return folder(checked(task_id)) + path

    async def _upload(self, task_id: str, stored: StoredFile, info: VideoInfo) -> None:
        named = self._disposition(stored.name, info.title)
        attributes = {"Content-Type": stored.type, "Content-Disposition": named}
        with await asyncio.to_thread(open_out, self._workplace.work(task_id), stored) as file:
            await self._bucket.upload(self._key(task_id, stored.path), file, stored.size, attributes)

    async def _create(self, key: str, manifest: Manifest) -> None:
        content = manifest.model_dump_json().encode()
        try:
            await self._bucket.create(key, content)
        except FileExistsError:
            if await self._bucket.get(key) != content:  # else it was ours, and the answer was lost
                raise UnsafeFile(f"{key} is of another worker") from None

    async def _give_up(self, task_id: str, attempt: int) -> None:
        """What cannot be deleted is left to the house."""
        with suppress(StorageAway, TimeoutError):
            async with asyncio.timeout(END_WITHIN):
                await self._house.clear(task_id, attempt)


class _Object(Stream):
    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key

    def read(self, part: range) -> AsyncGenerator[bytes | memoryview, None]:
        return self._bucket.read(self._key, part)


class _SharedLog:
    def __init__(self, workplace: LocalWorkplace, bucket: Bucket, task_id: str) -> None:
        self._workplace = workplace
        self._bucket = bucket
        self._task_id = task_id
        self._known = b""

    async def keep_up(self) -> None:
        while True:
            await asyncio.sleep(SHARE_EVERY)
            await self.update(SHARE_EVERY)

    async def update(self, within: float) -> None:
        """What could not be shared is with what comes next. Raises nothing."""
        text = await asyncio.to_thread(self._workplace.read_log, self._task_id, MAX_SHARED)
        if text == self._known:
            return
        try:
            async with asyncio.timeout(within):
                await self._bucket.put(_log_of(self._task_id), text, "text/plain; charset=utf-8")
        except (StorageAway, TimeoutError) as exc:
            log.warning("the log of task %s could not be shared: %r", self._task_id, exc.__cause__ or exc)
        else:
            self._known = text


async def _patiently(work: Callable[[], Awaitable[None]], patience: float) -> None:
    """Do `work`, again and again while the bucket is away. Raises `StorageAway` after `patience` seconds."""
    loop, pause = asyncio.get_running_loop(), FIRST_PAUSE
    deadline = loop.time() + patience
    while True:
        try:
            await work()
        except StorageAway as exc:
            if loop.time() + pause > deadline:
                raise
            log.warning("the bucket is away, the next try is in %s s: %s", pause, exc.__cause__ or exc)
        else:
            return
        await asyncio.sleep(pause)
        pause = min(2 * pause, LAST_PAUSE)


def _log_of(task_id: str) -> str:
    return f"logs/{checked(task_id)}"
