"""What every store of finished files promises, in a folder and in a bucket."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from server.core.errors import FileNotFound, TaskNotFound
from server.core.events import ProducedFile
from server.core.film import Manifest, StoredFile, VideoInfo
from server.core.ports import Stream
from server.core.task import Stage, TaskStatus
from server.files.local import LocalFiles
from server.files.public_names import short_of
from server.files.publishing import MANIFEST, PREVIEW, SMALL_PREVIEW, UnsafeFile, delete_path
from server.files.s3.bucket import Bucket
from server.files.s3.object_store import S3Files
from server.files.workplace import LocalWorkplace
from tests.examples import utc_now

JPEG = b"\xff\xd8\xff\xe0 a picture"
INFO = VideoInfo(title="Example: a Vidéo", duration=300)
TASK = "123e4567-e89b-42d3-a456-426614174000"
AUDIO = b"mp3"


@dataclass
class Shelf:
    """A store under test, with methods that work for a folder and for a bucket."""

    files: LocalFiles | S3Files
    workplace: LocalWorkplace
    bucket: Bucket | None

    def leave(self, video: bytes = b"video", *, audio: bytes | None = AUDIO) -> dict[str, ProducedFile]:
        """Leave files as a child does; return what the child reports of them."""
        out = self.workplace.work(TASK) / "out"
        delete_path(out.parent)
        out.mkdir(parents=True)
        (out / "video.mp4").write_bytes(video)
        (out.parent / "media.f0.mp4.part").write_bytes(b"vid")
        (out.parent / PREVIEW).write_bytes(JPEG)
        produced = {"video": ProducedFile(path="video.mp4", size=len(video), type="video/mp4")}
        if audio is not None:
            (out / "audio.mp3").write_bytes(audio)
            produced["audio"] = ProducedFile(path="audio.mp3", size=len(audio), type="audio/mpeg")
        return produced

    async def publish(self, produced: dict[str, ProducedFile], attempt: int = 1) -> dict[str, StoredFile]:
        manifest = await self.files.prepare(TASK, attempt, produced, INFO)
        await self.files.publish(TASK, manifest)
        return manifest.files

    async def content(self, stored: StoredFile, part: range | None = None) -> bytes:
        part = range(stored.size) if part is None else part
        file = await self.files.open(TASK, stored)
        if isinstance(file, Stream):
            async with aclosing(file.read(part)) as chunks:
                return b"".join([bytes(chunk) async for chunk in chunks])
        with file:
            file.seek(part.start)
            return file.read(len(part))

    async def paths(self) -> set[str]:
        """Return all paths below the task's place."""
        if self.bucket:
            place = f"files/{TASK}"
            return {found.key.removeprefix(f"{place}/") async for found in self.bucket.keys(place)}
        directory = self.workplace.root / "files" / TASK
        return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}

    async def damage(self, path: str, content: bytes | None) -> None:
        """Replace a published file by another content, or delete it."""
        key, file = f"files/{TASK}/{path}", self.workplace.root / "files" / TASK / path
        match self.bucket, content:
            case None, None:
                file.unlink()
            case None, bytes() as text:
                file.write_bytes(text)
            case Bucket() as bucket, None:
                await bucket.delete([key])
            case Bucket() as bucket, bytes() as text:
                await bucket.put(key, text, "text/plain")


@pytest.fixture(params=["local", "s3"])
async def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shelf]:
    workplace = LocalWorkplace(tmp_path / "data")
    workplace.data.make()
    if request.param == "local":
        files = LocalFiles(workplace)
        files.make()
        yield Shelf(files, workplace, None)
    else:
        bucket = request.getfixturevalue("s3").bucket(f"b-{uuid4()}")
        yield Shelf(S3Files(workplace, bucket, attachment, redirect=False), workplace, bucket)


def attachment(name: str, title: str | None) -> str:
    return f'attachment; filename="{name}"'


def completed(stored: dict[str, StoredFile], attempt: int = 1) -> TaskStatus:
    return TaskStatus(
        task_id=TASK,
        url="http://a/",
        stage=Stage.COMPLETED,
        attempt=attempt,
        files=stored,
        created_at=utc_now(),
    )


# --- publishing ---


async def test_what_is_published_can_be_opened_and_nothing_is_left_where_the_child_worked(
    shelf: Shelf,
) -> None:
    stored = await shelf.publish(shelf.leave())
    await shelf.files.tidy_up(completed(stored))
    assert await shelf.content(stored["video"]) == b"video"
    assert await shelf.content(stored["audio"]) == AUDIO
    assert stored["video"].name.startswith("video_example-a-video_")
    assert short_of(stored["video"].name) == short_of(stored["audio"].name)
    assert not shelf.workplace.work(TASK).exists()
    assert not shelf.workplace.lock(TASK).exists()
    assert await shelf.paths() == {"1/video.mp4", "1/audio.mp3", f"1/{MANIFEST}"}


async def test_nothing_counts_as_published_before_the_last_step(shelf: Shelf) -> None:
    manifest = await shelf.files.prepare(TASK, 1, shelf.leave(), INFO)
    assert await shelf.files.find_published(TASK, 1) is None
    await shelf.files.publish(TASK, manifest)
    assert await shelf.files.find_published(TASK, 1) == manifest


async def test_the_manifest_tells_what_a_death_before_the_status_left(shelf: Shelf) -> None:
    stored = await shelf.publish(shelf.leave(), attempt=3)
    assert await shelf.files.find_published(TASK, 3) == Manifest(attempt=3, files=stored, video_info=INFO)
    assert await shelf.files.find_published(TASK, 2) is None
    assert await shelf.files.find_published(TASK, 4) is None


@pytest.mark.parametrize("content", [None, b"vid"], ids=["gone", "cut off"])
async def test_a_manifest_without_its_files_counts_for_nothing(shelf: Shelf, content: bytes | None) -> None:
    await shelf.publish(shelf.leave())
    await shelf.damage("1/video.mp4", content)
    assert await shelf.files.find_published(TASK, 1) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"attempt": 1}', b"\xff"])
async def test_a_damaged_manifest_counts_for_nothing(shelf: Shelf, damage: bytes) -> None:
    await shelf.publish(shelf.leave())
    await shelf.damage(f"1/{MANIFEST}", damage)
    assert await shelf.files.find_published(TASK, 1) is None


async def test_a_published_file_that_lost_its_end_is_not_given_out(shelf: Shelf) -> None:
    stored = await shelf.publish(shelf.leave())
    await shelf.damage("1/video.mp4", b"vid")
    with pytest.raises(FileNotFound):
        await shelf.files.open(TASK, stored["video"])


async def test_what_lies_where_an_attempt_will_be_published_gives_way(shelf: Shelf) -> None:
    """After the restore of a backup, attempts are counted from the backup's number on."""
    await shelf.publish(shelf.leave(), attempt=2)
    stored = await shelf.publish(shelf.leave(b"newer", audio=None), attempt=2)
    assert await shelf.content(stored["video"]) == b"newer"
    assert await shelf.paths() == {"2/video.mp4", f"2/{MANIFEST}"}


async def test_the_files_of_an_earlier_attempt_stay_until_the_status_names_the_later(shelf: Shelf) -> None:
    first = await shelf.publish(shelf.leave())
    await shelf.files.tidy_up(completed(first))
    second = await shelf.publish(shelf.leave(b"newer", audio=None), attempt=2)
    assert second["video"].name != first["video"].name
    assert [await shelf.content(stored) for stored in first.values()] == [b"video", AUDIO]
    await shelf.files.tidy_up(completed(second, attempt=2))
    assert await shelf.content(second["video"]) == b"newer"
    for stored in first.values():
        with pytest.raises(FileNotFound):
            await shelf.files.open(TASK, stored)
    assert await shelf.paths() == {"2/video.mp4", f"2/{MANIFEST}"}


async def test_a_late_attempt_harms_no_later_one_and_leaves_nothing_when_it_is_told(shelf: Shelf) -> None:
    late = await shelf.files.prepare(TASK, 1, shelf.leave(b"older"), INFO)
    # Publish the older attempt, so that its folder moves: on one disk a task has one child at a time.
    if shelf.bucket is None:
        await shelf.files.publish(TASK, late)
    stored = await shelf.publish(shelf.leave(b"newer"), attempt=2)
    if shelf.bucket:
        await shelf.files.publish(TASK, late)
    assert await shelf.content(stored["video"]) == b"newer"
    assert await shelf.files.find_published(TASK, 2)
    await shelf.files.tidy_up(completed(stored, attempt=2))
    assert await shelf.content(stored["video"]) == b"newer"
    assert await shelf.paths() == {"2/video.mp4", "2/audio.mp3", f"2/{MANIFEST}"}


# --- files of a child are checked before they are published ---


@pytest.mark.parametrize("where", ["out", "video.mp4"])
async def test_a_link_is_never_published(shelf: Shelf, tmp_path: Path, where: str) -> None:
    produced = shelf.leave()
    out = shelf.workplace.work(TASK) / "out"
    place = out if where == "out" else out / where
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeFile):
        await shelf.publish(produced)
    assert await shelf.paths() == set()


async def test_a_file_with_a_second_name_is_never_published(shelf: Shelf, tmp_path: Path) -> None:
    produced = shelf.leave()
    (tmp_path / "second").hardlink_to(shelf.workplace.work(TASK) / "out" / "video.mp4")
    with pytest.raises(UnsafeFile):
        await shelf.publish(produced)
    assert await shelf.paths() == set()


async def test_a_pipe_is_never_published(shelf: Shelf) -> None:
    produced = shelf.leave(b"")
    place = shelf.workplace.work(TASK) / "out" / "video.mp4"
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(UnsafeFile):
        await shelf.publish(produced)


@pytest.mark.parametrize(
    "change",
    [{"path": "other.mp4"}, {"size": 6}, {"path": MANIFEST}, {"type": "video/mp4\r\nX-Evil: 1"}],
    ids=["another name", "another size", "a name of ours", "no type"],
)
async def test_what_differs_from_what_the_child_said_is_refused(
    shelf: Shelf, change: dict[str, object]
) -> None:
    produced = shelf.leave()
    with pytest.raises(UnsafeFile):
        await shelf.publish(produced | {"video": produced["video"].model_copy(update=change)})
    assert await shelf.files.find_published(TASK, 1) is None


# --- thumbnails ---


async def test_a_thumbnail_is_published_while_the_child_runs_and_stays_what_it_was(shelf: Shelf) -> None:
    shelf.leave()
    first = await shelf.files.publish_thumbnail(TASK)
    (shelf.workplace.work(TASK) / PREVIEW).write_bytes(JPEG + b"another")
    second = await shelf.files.publish_thumbnail(TASK)
    assert first is not None
    assert second is not None
    assert await shelf.content(first) == JPEG
    assert await shelf.content(second) == JPEG + b"another"
    shown = completed({}).model_copy(update={"stage": Stage.DOWNLOAD, "thumbnail": second})
    assert await shelf.files.thumbnail(shown) == second
    await shelf.files.tidy_up(shown)
    assert await shelf.paths() == {second.path}
    assert shelf.workplace.work(TASK).exists()


async def test_a_thumbnail_in_two_sizes_is_kept_and_removed_as_one(shelf: Shelf) -> None:
    shelf.leave()
    work = shelf.workplace.work(TASK)
    (work / SMALL_PREVIEW).write_bytes(JPEG + b"small")
    thumbnail = await shelf.files.publish_thumbnail(TASK)
    assert thumbnail is not None
    assert thumbnail.small is not None
    assert await shelf.content(thumbnail) == JPEG
    assert await shelf.content(thumbnail.small) == JPEG + b"small"
    assert [thumbnail.for_width(width) for width in (96, 192, 320)] == [thumbnail.small] * 2 + [thumbnail]
    shown = completed({}).model_copy(update={"stage": Stage.DOWNLOAD, "thumbnail": thumbnail})
    stored = TaskStatus.model_validate_json(shown.model_dump_json())
    assert stored.published_files == [thumbnail, thumbnail.small]
    await shelf.files.tidy_up(stored)
    assert await shelf.paths() == {thumbnail.path, thumbnail.small.path}
    (work / SMALL_PREVIEW).write_bytes(JPEG)
    another = await shelf.files.publish_thumbnail(TASK)
    assert another is not None
    assert another.small is None, "a picture that is narrow at its source needs no second file"
    await shelf.files.tidy_up(shown.model_copy(update={"thumbnail": another}))
    assert await shelf.paths() == {another.path}
    (work / SMALL_PREVIEW).write_bytes(b"<svg>")
    assert await shelf.files.publish_thumbnail(TASK) is None
    await shelf.files.remove(TASK)
    assert await shelf.paths() == set()


async def test_the_thumbnail_stays_when_the_files_come(shelf: Shelf) -> None:
    shelf.leave()
    thumbnail = await shelf.files.publish_thumbnail(TASK)
    stored = await shelf.publish(shelf.leave())
    await shelf.files.tidy_up(completed(stored).model_copy(update={"thumbnail": thumbnail}))
    assert thumbnail is not None
    assert await shelf.content(thumbnail) == JPEG


async def test_what_is_no_plain_small_jpeg_is_no_thumbnail(shelf: Shelf) -> None:
    shelf.leave()
    (shelf.workplace.work(TASK) / PREVIEW).write_bytes(b"<svg>")
    assert await shelf.files.publish_thumbnail(TASK) is None
    assert await shelf.paths() == set()


# --- reading ---


@pytest.mark.parametrize("size", [0, 1, 300_000, 5_000_000])
async def test_any_part_of_a_file_can_be_read(shelf: Shelf, size: int) -> None:
    content = os.urandom(size)
    stored = (await shelf.publish(shelf.leave(content, audio=None)))["video"]
    for part in (range(size), range(min(1, size), size), range(size // 3, size // 2), range(size - 1, size)):
        if part.start >= 0:
            assert await shelf.content(stored, part) == content[part.start : part.stop]


async def test_a_log_is_there_while_it_grows_and_afterwards(shelf: Shelf) -> None:
    assert await shelf.files.read_log(TASK, 100) == b""
    async with shelf.files.share(TASK, 1):
        shelf.workplace.log(TASK).write_text("[generic] extracting")
        assert await shelf.files.read_log(TASK, 100) == b"[generic] extracting"
        await shelf.workplace.note(TASK, "and more")
    log = await shelf.files.read_log(TASK, 1000)
    assert re.fullmatch(rb"\[generic\] extracting\S+ and more\n", log)
    assert await shelf.files.read_log(TASK, 9) == b"[generic]"


# --- removing ---


async def test_everything_of_a_task_is_removed_also_twice(shelf: Shelf) -> None:
    await shelf.publish(shelf.leave())
    shelf.leave()
    await shelf.files.publish_thumbnail(TASK)
    async with shelf.files.share(TASK, 1):
        shelf.workplace.log(TASK).write_text("[generic] extracting")
    await shelf.files.remove(TASK)
    await shelf.files.remove(TASK)
    assert await shelf.paths() == set()
    assert await shelf.files.read_log(TASK, 100) == b""
    assert not shelf.workplace.work(TASK).exists()


@pytest.mark.parametrize("task_id", ["", "..", "../x", "a/b", "a\x00", "x" * 65, "a.lock", "任务"])
async def test_what_cannot_be_a_task_is_unknown(shelf: Shelf, task_id: str) -> None:
    with pytest.raises(TaskNotFound):
        await shelf.files.find_published(task_id, 1)
    with pytest.raises(TaskNotFound):
        await shelf.files.remove(task_id)
