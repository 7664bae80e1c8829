"""Files in the data directory: which are published, refused, kept over a crash, and swept."""

import asyncio
import errno
import fcntl
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.errors import FileNotFound, StorageAway, StorageFailed, TaskNotFound
from server.core.events import ProducedFile
from server.core.film import Manifest, StoredFile, VideoInfo
from server.core.task import Stage, TaskStatus
from server.files import local, publishing
from server.files.free_space import make_room
from server.files.local import LocalFiles
from server.files.orphans import Sweep
from server.files.public_names import MAX_SLUG, new_short, public_name, short_of, slug
from server.files.publishing import MANIFEST, PREVIEW, UnsafeFile
from server.files.workplace import PIECE_OF_LOG, LocalWorkplace, Lock
from tests.examples import utc_now

JPEG = b"\xff\xd8\xff\xe0 a picture"
VIDEO = ProducedFile(path="video.mp4", size=5, type="video/mp4")
AUDIO = ProducedFile(path="audio.mp3", size=3, type="audio/mpeg")
INFO = VideoInfo(title="Example: a Vidéo", duration=300)
TASK = "123e4567-e89b-42d3-a456-426614174000"
TASKS = [f"123e4567-e89b-42d3-a456-4266141741{number:02}" for number in range(10)]


def made(data_dir: Path) -> LocalFiles:
    workplace = LocalWorkplace(data_dir)
    workplace.data.make()
    files = LocalFiles(workplace)
    files.make()
    return files


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return made(tmp_path / "data")


def leave(files: LocalFiles, task_id: str = TASK) -> Path:
    """Leave what a child does: two finished files, a partial one, a preview, a log, and its lock."""
    out = files.workplace.work(task_id) / "out"
    out.mkdir(parents=True)
    (out / "video.mp4").write_bytes(b"video")
    (out / "audio.mp3").write_bytes(b"mp3")
    (files.workplace.work(task_id) / "media.f0.mp4.part").write_bytes(b"vid")
    (files.workplace.work(task_id) / PREVIEW).write_bytes(JPEG)
    files.workplace.log(task_id).write_text("[generic] extracting")
    files.workplace.lock(task_id).touch()
    return out


async def publish(
    files: LocalFiles, task_id: str = TASK, attempt: int = 1, **produced: ProducedFile
) -> dict[str, StoredFile]:
    manifest = await files.prepare(task_id, attempt, produced or {"video": VIDEO, "audio": AUDIO}, INFO)
    await files.publish(task_id, manifest)
    return manifest.files


async def content(files: LocalFiles, stored: StoredFile, task_id: str = TASK) -> bytes:
    with await files.open(task_id, stored) as file:
        return file.read()


def completed(stored: dict[str, StoredFile], task_id: str = TASK) -> TaskStatus:
    return TaskStatus(
        task_id=task_id, url="http://a/", stage=Stage.COMPLETED, files=stored, created_at=utc_now()
    )


def published(tmp_path: Path, task_id: str = TASK) -> set[str]:
    """Return the names in the task's public directory."""
    directory = tmp_path / "data" / "files" / task_id
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


def fail(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


@contextmanager
def held(lock: Path) -> Iterator[None]:
    """Hold the lock of a task in another process."""
    code = (
        "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    )
    command = [sys.executable, "-I", "-c", code, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield


# --- names ---


def test_a_name_holds_kind_slug_short_and_extension() -> None:
    assert (
        public_name("video", "Example: a Vidéo!", "abcdefghijklm", "mp4")
        == "video_example-a-video_abcdefghijklm.mp4"
    )


def test_a_title_without_ascii_leaves_no_slug() -> None:
    name = public_name("video", "示例视频", "abcdefghijklm", "mp4")
    assert name == "video_abcdefghijklm.mp4"
    assert short_of(name) == "abcdefghijklm"


def test_a_long_title_is_cut_between_words() -> None:
    assert slug("word " * 60) == "-".join(["word"] * 12)
    assert slug("x" * 300) == "x" * MAX_SLUG
    assert slug("x" * 29 + " " + "y" * 30 + " z") == "x" * 29 + "-" + "y" * 30


@given(st.text(), st.sampled_from(("video", "audio", "thumbnail", "subtitle.zh-Hans", "chapter.12")))
def test_every_title_makes_a_name_that_is_safe_and_found_again(title: str, kind: str) -> None:
    short = new_short()
    name = public_name(kind, title, short, "mp4")
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
    assert ".." not in name
    assert len(name) < 128
    assert short_of(name) == short


@given(st.text())
def test_any_text_can_be_asked_for_its_short(name: str) -> None:
    assert short_of(name) is None or re.fullmatch(r"[\w-]+\.\w+", name, re.ASCII)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "video.mp4",
        "../video_abcdefghijklm.mp4",
        "video_abcdefghijklm.mp4\n",
        "video_abcdefghijklm.mp4\x00",
        "a/video_abcdefghijklm.mp4",
        "video_abcdefghijkl1.mp4",
        "video_ABCDEFGHIJKLM.mp4",
        "video_a_b_abcdefghijklm.mp4",
    ],
)
def test_what_has_not_the_form_of_a_name_has_no_short(name: str) -> None:
    assert short_of(name) is None


def test_shorts_do_not_repeat() -> None:
    assert len({new_short() for _ in range(1000)}) == 1000


# --- publishing ---


async def test_published_files_can_be_opened_and_leave_nothing_behind(files: LocalFiles) -> None:
    leave(files)
    stored = await publish(files)
    await files.tidy_up(completed(stored))
    assert await content(files, stored["video"]) == b"video"
    assert await content(files, stored["audio"]) == b"mp3"
    assert stored["video"].name.startswith("video_example-a-video_")
    assert short_of(stored["video"].name) == short_of(stored["audio"].name)
    assert not files.workplace.work(TASK).exists()
    assert not files.workplace.lock(TASK).exists()
    assert files.workplace.log(TASK).exists()


async def test_a_file_is_closed_if_who_asked_for_it_leaves_while_it_is_opened(
    files: LocalFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(files)
    stored = await publish(files)
    begun, go, found = asyncio.Event(), threading.Event(), list[BinaryIO]()
    loop, open_file = asyncio.get_running_loop(), publishing.open_file

    def open_late(directory: Path, stored: StoredFile) -> BinaryIO:
        loop.call_soon_threadsafe(begun.set)
        assert go.wait(20)
        found.append(open_file(directory, stored))
        return found[0]

    monkeypatch.setattr(local, "open_file", open_late)
    opening = asyncio.create_task(files.open(TASK, stored["video"]))
    await begun.wait()
    opening.cancel()
    await asyncio.sleep(0)
    go.set()
    await asyncio.wait([opening])
    while not found:
        await asyncio.sleep(0.01)
    assert opening.cancelled()
    assert found[0].closed


async def picture(files: LocalFiles, stored: StoredFile | None) -> bytes:
    assert stored is not None
    return await content(files, stored)


async def test_a_thumbnail_is_published_while_the_child_runs_and_stays_what_it_was(
    files: LocalFiles, tmp_path: Path
) -> None:
    leave(files)
    with (files.workplace.work(TASK) / PREVIEW).open("r+b") as still_open:
        with held(files.workplace.lock(TASK)):
            first = await files.publish_thumbnail(TASK)
        still_open.write(b"something else")
    assert await picture(files, first) == JPEG
    (files.workplace.work(TASK) / PREVIEW).write_bytes(JPEG)
    assert await files.publish_thumbnail(TASK) == first
    (files.workplace.work(TASK) / PREVIEW).write_bytes(JPEG + b"another")
    second = await files.publish_thumbnail(TASK)
    assert await picture(files, first) == JPEG
    assert await picture(files, second) == JPEG + b"another"
    shown = completed({}).model_copy(update={"stage": Stage.DOWNLOAD, "thumbnail": second})
    with held(files.workplace.lock(TASK)):
        await files.tidy_up(shown)
    assert second is not None
    assert published(tmp_path) == {second.path}
    assert files.workplace.work(TASK).exists()


async def test_a_thumbnail_whose_writing_was_cut_short_is_written_again(
    files: LocalFiles, tmp_path: Path
) -> None:
    leave(files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server.files.publishing.os.rename", fail)
        assert await files.publish_thumbnail(TASK) is None
    stored = await files.publish_thumbnail(TASK)
    assert await picture(files, stored) == JPEG
    assert stored is not None
    assert published(tmp_path) == {stored.path}


async def test_the_thumbnail_stays_when_the_files_come(files: LocalFiles, tmp_path: Path) -> None:
    leave(files)
    thumbnail = await files.publish_thumbnail(TASK)
    done = completed(await publish(files)).model_copy(update={"thumbnail": thumbnail})
    await files.tidy_up(done)
    assert await picture(files, await files.thumbnail(done)) == JPEG
    assert {path.partition("-")[0] for path in published(tmp_path)} == {
        "1/video.mp4", "1/audio.mp3", f"1/{MANIFEST}", "thumbnail",
    }  # fmt: skip


async def test_the_thumbnail_that_the_first_release_left_is_found(files: LocalFiles, tmp_path: Path) -> None:
    leave(files)
    done = completed(await publish(files))
    assert await files.thumbnail(done) is None
    (tmp_path / "data" / "files" / TASK / PREVIEW).write_bytes(JPEG)
    await files.tidy_up(done)
    assert await picture(files, await files.thumbnail(done)) == JPEG
    (tmp_path / "data" / "files" / TASK / PREVIEW).write_bytes(bytes(publishing.MAX_PREVIEW + 1))
    assert await files.thumbnail(done) is None
    leave(files)
    named = done.model_copy(update={"thumbnail": await files.publish_thumbnail(TASK)})
    await files.tidy_up(named)
    assert PREVIEW not in published(tmp_path)


@pytest.mark.parametrize("make", ["link", "second name", "pipe", "too large", "no picture", "nothing"])
async def test_a_thumbnail_that_is_no_plain_small_jpeg_is_not_published(
    files: LocalFiles, tmp_path: Path, make: str, caplog: pytest.LogCaptureFixture
) -> None:
    leave(files)
    preview, secret = files.workplace.work(TASK) / PREVIEW, tmp_path / "secret"
    secret.write_bytes(JPEG)
    preview.unlink()
    match make:
        case "link":
            preview.symlink_to(secret)
        case "second name":
            preview.hardlink_to(secret)
        case "pipe":
            os.mkfifo(preview)
        case "too large":
            preview.write_bytes(JPEG + bytes(publishing.MAX_PREVIEW - len(JPEG) + 1))
        case "no picture":
            preview.write_bytes(b"<svg>")
    assert await files.publish_thumbnail(TASK) is None
    assert "could not be published" in caplog.text
    if make == "too large":
        os.truncate(preview, publishing.MAX_PREVIEW)
        assert await files.publish_thumbnail(TASK)


@pytest.mark.wide
async def test_of_a_preview_that_is_swapped_all_the_time_no_foreign_byte_is_published(
    files: LocalFiles, tmp_path: Path
) -> None:
    """The server checks and reads the same open file."""
    leave(files)
    preview, secret = files.workplace.work(TASK) / PREVIEW, tmp_path / "secret"
    secret.write_bytes(JPEG + b"secret")
    over = threading.Event()

    def swap() -> None:
        fresh = files.workplace.work(TASK) / "fresh"
        while not over.is_set():
            fresh.symlink_to(secret)
            fresh.replace(preview)
            fresh.write_bytes(JPEG)
            fresh.replace(preview)

    swapping = asyncio.create_task(asyncio.to_thread(swap))
    try:
        taken: list[StoredFile | None] = []
        while len(taken) < 300 or not any(taken):
            taken.append(await files.publish_thumbnail(TASK))
    finally:
        over.set()
        await swapping
    pictures = {await picture(files, stored) for stored in taken if stored}
    assert pictures == {JPEG}


async def test_the_manifest_tells_what_a_crash_left(files: LocalFiles) -> None:
    leave(files)
    stored = await publish(files, attempt=3)
    manifest = await files.find_published(TASK, 3)
    assert manifest is not None
    assert manifest.files == stored
    assert manifest.video_info == INFO
    assert await files.find_published(TASK, 2) is None
    assert await files.find_published(TASK, 4) is None


async def test_what_the_first_release_published_is_found_opened_and_replaced(
    files: LocalFiles, tmp_path: Path
) -> None:
    """The first release had no folders for attempts."""
    leave(files)
    stored = await publish(files, attempt=1)
    directory = tmp_path / "data" / "files" / TASK
    for path in (directory / "1").iterdir():
        path.rename(directory / path.name)
    (directory / "1").rmdir()
    old = {kind: file.model_copy(update={"path": file.path[2:]}) for kind, file in stored.items()}
    manifest = Manifest(attempt=1, files=old, video_info=INFO)
    (directory / MANIFEST).write_text(manifest.model_dump_json())
    assert await files.find_published(TASK, 1) == manifest
    assert await files.find_published(TASK, 2) is None
    assert await content(files, old["video"]) == b"video"
    leave(files)
    newer = await publish(files, attempt=2)
    assert await content(files, old["video"]) == b"video"
    await files.tidy_up(completed(newer))
    assert published(tmp_path) == {"2/video.mp4", "2/audio.mp3", f"2/{MANIFEST}"}


async def test_files_that_could_not_be_tidied_up_are_published_all_the_same(
    files: LocalFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", path)

    leave(files)
    monkeypatch.setattr("server.files.workplace.delete_path", refuse)
    stored = await publish(files)
    await files.tidy_up(completed(stored))
    assert await content(files, stored["video"]) == b"video"
    assert "could not be deleted" in caplog.text


async def test_a_manifest_without_its_files_counts_for_nothing(files: LocalFiles) -> None:
    leave(files)
    stored = await publish(files)
    files.path(TASK, stored["audio"]).unlink()
    assert await files.find_published(TASK, 1) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"attempt": 1}', b"\xff"])
async def test_a_damaged_manifest_counts_for_nothing(files: LocalFiles, damage: bytes) -> None:
    leave(files)
    stored = await publish(files)
    files.path(TASK, stored["video"]).with_name(MANIFEST).write_bytes(damage)
    assert await files.find_published(TASK, 1) is None


async def test_nothing_was_published_for_a_task_that_never_ran(files: LocalFiles) -> None:
    assert await files.find_published(TASK, 1) is None
    assert await files.thumbnail(completed({})) is None


async def test_the_files_of_an_earlier_attempt_stay_until_the_status_names_the_later(
    files: LocalFiles, tmp_path: Path
) -> None:
    leave(files)
    first = await publish(files, attempt=1)
    await files.tidy_up(completed(first))
    out = leave(files)
    (out / "audio.mp3").unlink()
    (out / "video.mp4").write_bytes(b"newer")
    second = await publish(files, attempt=2, video=VIDEO)
    assert second["video"].name != first["video"].name
    assert [await content(files, stored) for stored in first.values()] == [b"video", b"mp3"]
    with await files.open(TASK, first["video"]) as being_sent:
        await files.tidy_up(completed(second))
        assert await content(files, second["video"]) == b"newer"
        for stored in first.values():
            with pytest.raises(FileNotFound):
                await files.open(TASK, stored)
        assert being_sent.read() == b"video"
    assert published(tmp_path) == {"2/video.mp4", f"2/{MANIFEST}"}


async def test_what_lies_where_an_attempt_will_be_published_gives_way(files: LocalFiles) -> None:
    """After the restore of a backup, attempts are counted from the backup's number on."""
    leave(files)
    await publish(files, attempt=2)
    out = leave(files)
    (out / "video.mp4").write_bytes(b"newer")
    stored = await publish(files, attempt=2)
    assert await content(files, stored["video"]) == b"newer"


async def test_a_crash_before_the_rename_leaves_nothing_in_the_final_place(
    files: LocalFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(files)

    first = await publish(files)
    leave(files)
    stored = {kind: file.model_copy(update={"path": f"2{file.path[1:]}"}) for kind, file in first.items()}
    manifest = Manifest(attempt=2, files=stored, video_info=INFO)
    monkeypatch.setattr("server.files.publishing.os.rename", fail)
    with pytest.raises(OSError, match="Input/output"):
        publishing.publish(files.workplace.work(TASK), files.path(TASK, first["video"]).parents[1], manifest)
    assert await files.find_published(TASK, 2) is None
    assert (files.workplace.work(TASK) / "out" / "video.mp4").exists()
    assert await content(files, first["video"]) == b"video"


async def test_files_are_readable_by_their_owner_only(files: LocalFiles, tmp_path: Path) -> None:
    for directory in (tmp_path / "data", tmp_path / "data" / "work", tmp_path / "data" / "files"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


async def test_a_directory_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    LocalWorkplace(tmp_path).data.make()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


@pytest.mark.parametrize("where", ["out", "video.mp4"])
async def test_a_link_is_never_published(files: LocalFiles, tmp_path: Path, where: str) -> None:
    out = leave(files)
    elsewhere = tmp_path / "elsewhere"
    place = out if where == "out" else out / "video.mp4"
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    with pytest.raises(UnsafeFile):
        await publish(files)
    assert await files.find_published(TASK, 1) is None


async def test_a_file_with_a_second_name_is_never_published(files: LocalFiles, tmp_path: Path) -> None:
    out = leave(files)
    (tmp_path / "second").hardlink_to(out / "video.mp4")
    with pytest.raises(UnsafeFile):
        await publish(files)


async def test_a_pipe_is_never_published(files: LocalFiles) -> None:
    out = leave(files)
    (out / "video.mp4").unlink()
    os.mkfifo(out / "video.mp4")
    with pytest.raises(UnsafeFile):
        await publish(files, video=VIDEO.model_copy(update={"size": 0}), audio=AUDIO)


@pytest.mark.parametrize(
    "produced",
    [
        {},
        {"video": VIDEO},
        {"video": VIDEO.model_copy(update={"size": 6}), "audio": AUDIO},
        {"video": VIDEO, "audio": AUDIO, "thumbnail": AUDIO.model_copy(update={"path": "thumbnail.jpg"})},
        {"video": VIDEO, "audio": AUDIO.model_copy(update={"path": MANIFEST})},
        {"video": VIDEO, "audio": AUDIO.model_copy(update={"type": "audio/mpeg\r\nX-Evil: 1"})},
    ],
    ids=["nothing", "more than said", "another size", "less than said", "a name of ours", "no type"],
)
async def test_what_differs_from_what_the_child_said_is_refused(
    files: LocalFiles, produced: dict[str, ProducedFile]
) -> None:
    leave(files)
    with pytest.raises(UnsafeFile):
        await files.publish(TASK, await files.prepare(TASK, 1, produced, INFO))
    assert await files.find_published(TASK, 1) is None


@pytest.mark.parametrize("change", ["second name", "cut off", "link"])
def test_what_is_opened_for_an_upload_is_looked_at_once_more(
    files: LocalFiles, tmp_path: Path, change: str
) -> None:
    """The server checks the file that it has opened, whatever was there before."""
    video = leave(files) / "video.mp4"
    stored = StoredFile(name="", path="1/video.mp4", size=5, type="video/mp4")
    publishing.open_out(files.workplace.work(TASK), stored).close()
    match change:
        case "second name":
            (tmp_path / "second").hardlink_to(video)
        case "cut off":
            os.truncate(video, 4)
        case "link":
            video.rename(tmp_path / "elsewhere")
            video.symlink_to(tmp_path / "elsewhere")
    with pytest.raises((UnsafeFile, OSError)):
        publishing.open_out(files.workplace.work(TASK), stored)


@pytest.mark.parametrize("name", [MANIFEST, PREVIEW])
async def test_a_child_cannot_take_a_name_of_ours(files: LocalFiles, name: str) -> None:
    out = leave(files)
    (out / "audio.mp3").rename(out / name)
    with pytest.raises(UnsafeFile):
        await publish(files, video=VIDEO, audio=AUDIO.model_copy(update={"path": name}))


async def test_a_child_that_left_nothing_is_refused(files: LocalFiles) -> None:
    with pytest.raises(UnsafeFile):
        await publish(files)


# --- opening ---


async def test_a_link_in_the_place_of_a_published_file_is_not_followed(
    files: LocalFiles, tmp_path: Path
) -> None:
    leave(files)
    stored = (await publish(files))["video"]
    path = files.path(TASK, stored)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileNotFound):
        await files.open(TASK, stored)


async def test_a_published_file_that_lost_its_end_is_not_given_out(files: LocalFiles) -> None:
    leave(files)
    stored = (await publish(files))["video"]
    os.truncate(files.path(TASK, stored), 2)
    with pytest.raises(FileNotFound):
        await files.open(TASK, stored)


@pytest.mark.parametrize(
    "code", [errno.EIO, errno.EACCES, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE]
)
async def test_a_file_that_cannot_be_opened_now_does_not_count_as_gone(
    files: LocalFiles, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    leave(files)
    stored = (await publish(files))["video"]

    def fail(directory: Path, stored: StoredFile) -> None:
        raise OSError(code, os.strerror(code), str(directory))

    monkeypatch.setattr("server.files.local.open_file", fail)
    with pytest.raises(StorageFailed):
        await files.open(TASK, stored)


async def test_without_their_folder_files_do_not_count_as_gone(files: LocalFiles, tmp_path: Path) -> None:
    leave(files)
    stored = (await publish(files))["video"]
    (tmp_path / "data" / "files").rename(tmp_path / "unmounted")
    with pytest.raises(StorageFailed):
        await files.open(TASK, stored)


async def test_a_link_of_the_operator_leads_to_the_finished_files(files: LocalFiles, tmp_path: Path) -> None:
    (tmp_path / "data" / "files").rename(tmp_path / "elsewhere")
    (tmp_path / "data" / "files").symlink_to(tmp_path / "elsewhere")
    leave(files)
    stored = (await publish(files))["video"]
    assert await content(files, stored) == b"video"


@pytest.mark.parametrize("task_id", ["", "..", "../x", "a/b", "a\x00", "x" * 65, "a.lock", "任务"])
async def test_what_cannot_be_a_task_is_unknown(files: LocalFiles, task_id: str) -> None:
    for method in (files.workplace.work, files.workplace.lock, files.workplace.log):
        with pytest.raises(TaskNotFound):
            method(task_id)
    with pytest.raises(TaskNotFound):
        await files.find_published(task_id, 1)
    with pytest.raises(TaskNotFound):
        await files.remove(task_id)


# --- removing ---


async def test_everything_of_a_task_is_removed_also_twice(files: LocalFiles, tmp_path: Path) -> None:
    leave(files)
    await publish(files)
    leave(files)
    await files.remove(TASK)
    await files.remove(TASK)
    assert [path for path in (tmp_path / "data").rglob("*") if not path.is_dir() or path.name == TASK] == []


async def test_the_lock_stays_while_somebody_holds_it(files: LocalFiles) -> None:
    leave(files)
    with held(files.workplace.lock(TASK)):
        await files.remove(TASK)
        assert files.workplace.lock(TASK).exists()
        assert not files.workplace.work(TASK).exists()
    await files.remove(TASK)
    assert not files.workplace.lock(TASK).exists()


async def test_removing_a_task_does_not_follow_links(files: LocalFiles, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    files.workplace.work(TASK).symlink_to(outside)
    await files.remove(TASK)
    assert (outside / "precious").exists()
    assert not files.workplace.work(TASK).is_symlink()


# --- sweeping ---


class Known:
    """A store that knows these stages, and these files of completed tasks; `after` is what it answers
    later.
    """

    def __init__(
        self,
        stages: dict[str, Stage],
        *,
        files: dict[str, StoredFile] | None = None,
        after: dict[str, Stage] | None = None,
    ) -> None:
        self._stages, self._files = stages, files or {}
        self._after = stages if after is None else after

    async def stages(self, task_ids: Sequence[str]) -> dict[str, Stage]:
        return {task_id: self._stages[task_id] for task_id in task_ids if task_id in self._stages}

    async def statuses(self, task_ids: Sequence[str]) -> list[TaskStatus]:
        return [
            completed(self._files, task_id).model_copy(update={"stage": self._after[task_id]})
            for task_id in task_ids
            if task_id in self._after
        ]


async def test_what_belongs_to_no_task_is_swept(files: LocalFiles) -> None:
    gone, here = TASKS[:2]
    leave(files, gone)
    leave(files, here)
    await publish(files, gone)
    leave(files, gone)
    await files.sweep(Known({here: Stage.DOWNLOAD}))
    assert not files.workplace.work(gone).exists()
    assert not files.workplace.lock(gone).exists()
    assert not files.workplace.log(gone).exists()
    assert await files.find_published(gone, 1) is None
    assert files.workplace.work(here).exists()
    assert files.workplace.log(here).exists()


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.COMPLETED])
async def test_partial_files_stay_for_whoever_may_go_on(files: LocalFiles, stage: Stage) -> None:
    leave(files)
    await files.sweep(Known({TASK: stage}))
    assert (files.workplace.work(TASK) / "media.f0.mp4.part").exists()
    assert files.workplace.log(TASK).exists()


async def test_what_a_completed_task_did_not_get_to_tidy_up_is_swept(
    files: LocalFiles, tmp_path: Path
) -> None:
    leave(files)
    await publish(files, attempt=1)
    leave(files)
    stored = await publish(files, attempt=2)
    await files.sweep(Known({TASK: Stage.COMPLETED}, files=stored))
    assert published(tmp_path) == {"2/video.mp4", "2/audio.mp3", f"2/{MANIFEST}"}
    assert not files.workplace.work(TASK).exists()
    assert not files.workplace.lock(TASK).exists()
    assert await content(files, stored["video"]) == b"video"
    assert files.workplace.log(TASK).exists()


async def test_a_retry_that_begins_during_the_sweep_keeps_its_files(files: LocalFiles) -> None:
    leave(files)
    await files.sweep(Known({TASK: Stage.COMPLETED}, after={TASK: Stage.INFO}))
    assert files.workplace.work(TASK).exists()


@pytest.mark.parametrize("at", ["before_the_claim", "during_the_claim"])
async def test_a_task_whose_removal_meets_a_sweep_leaves_no_lock(files: LocalFiles, at: str) -> None:
    """The row of a removed task stays until the rows of many are deleted at once."""
    leave(files)
    claim = files.workplace.claim

    class Removed(Known):
        async def statuses(self, task_ids: Sequence[str]) -> list[TaskStatus]:
            if at == "during_the_claim":
                await files.remove(TASK)
            return []

    def remove_and_claim(task_id: str) -> Lock:
        files.workplace.claim = claim  # type: ignore[method-assign]
        files.workplace.remove(task_id)
        return claim(task_id)

    if at == "before_the_claim":
        files.workplace.claim = remove_and_claim  # type: ignore[method-assign]
    await files.sweep(Removed({TASK: Stage.COMPLETED}))
    assert files.workplace.claim == claim
    assert not files.workplace.work(TASK).exists()
    assert not files.workplace.lock(TASK).exists()


async def test_a_task_whose_removal_meets_a_search_for_room_leaves_no_lock(files: LocalFiles) -> None:
    leave(files)

    class Removed(Known):
        async def statuses(self, task_ids: Sequence[str]) -> list[TaskStatus]:
            found = await super().statuses(task_ids)
            if self.asked:
                await files.remove(TASK)
                return []
            self.asked = True
            return found

        asked = False

    await make_room(files.workplace, Removed({TASK: Stage.CANCELLED}), lambda: False)
    assert not files.workplace.lock(TASK).exists()


async def test_a_child_that_holds_its_lock_keeps_its_files(files: LocalFiles) -> None:
    leave(files)
    with held(files.workplace.lock(TASK)):
        await files.sweep(Known({TASK: Stage.COMPLETED}))
        assert files.workplace.work(TASK).exists()


FOREIGN = ("lost+found", ".DS_Store", "@eaDir", "README", "holiday-2024", "backup.log", "server.lock",
           TASK[:-1], TASK.upper(), f".{TASK}", f"{TASK} copy", f"{TASK}.txt", f"{TASK}.log.gz",
           f"info.{TASK}~")  # fmt: skip


@pytest.mark.parametrize("folder", ["files", "work", "logs", "scratch", "."])
async def test_names_that_are_not_ours_are_left_alone(files: LocalFiles, tmp_path: Path, folder: str) -> None:
    files.workplace.empty_scratch()
    strangers = [tmp_path / "data" / folder / name for name in FOREIGN]
    for stranger in strangers:
        (stranger / "precious").mkdir(parents=True)
    made(tmp_path / "data")
    files.workplace.empty_scratch()
    await files.sweep(Known({}))
    assert [stranger for stranger in strangers if not (stranger / "precious").exists()] == []


def test_looks_that_a_crash_has_left_are_thrown_away(files: LocalFiles) -> None:
    left = files.workplace.scratch / f"info.{TASK}"
    (left / "work").mkdir(parents=True)
    files.workplace.empty_scratch()
    assert list(files.workplace.scratch.iterdir()) == []


def test_servers_that_share_a_directory_leave_the_looks_of_others_alone(tmp_path: Path) -> None:
    alone, one, other = (LocalWorkplace(tmp_path, node) for node in ("", "one", "other"))
    looks = [workplace.scratch / f"info.{TASK}" for workplace in (alone, one, other)]
    for look in looks:
        look.mkdir(parents=True)
    one.empty_scratch()
    assert [look.exists() for look in looks] == [True, False, True]
    alone.empty_scratch()
    assert [look.exists() for look in looks] == [False, False, True]


async def test_more_tasks_than_one_batch_are_swept(
    files: LocalFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.files.orphans.SWEEP_BATCH", 3)
    for task_id in TASKS:
        leave(files, task_id)
    await files.sweep(Known({TASKS[4]: Stage.PAUSED}))
    assert [path.name for path in files.workplace.work(TASK).parent.iterdir() if path.is_dir()] == [TASKS[4]]


async def test_a_bucket_that_is_away_does_not_end_a_sweep(files: LocalFiles) -> None:
    """Nor does it end the background sweep of the bucket, which begins with such a sweep."""
    asked: list[str] = []

    class Away:
        async def remove(self, task_id: str) -> None:
            asked.append(task_id)
            raise StorageAway

        async def finish(self, status: TaskStatus) -> None:
            raise StorageAway

    for task_id in TASKS[:3]:
        leave(files, task_id)
    workplace = files.workplace
    await Sweep(Away(), workplace, Known({})).sweep_directories(workplace.works)
    assert sorted(set(asked)) == sorted(TASKS[:3])


async def test_a_sweep_that_is_stopped_waits_for_the_thread_that_reads_the_directory(
    files: LocalFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()
    read: list[str] = []

    def slow(task_ids: Iterator[str]) -> list[str]:
        reading.set()
        go_on.wait(20)
        read.extend(task_ids)
        return []

    leave(files)
    monkeypatch.setattr("server.files.orphans._next_batch", slow)
    sweep = asyncio.create_task(files.sweep(Known({})))
    await asyncio.to_thread(reading.wait)
    sweep.cancel()
    done, _ = await asyncio.wait([sweep], timeout=0.05)
    assert not done
    go_on.set()
    await asyncio.wait([sweep])
    assert sweep.cancelled()
    assert read


async def test_one_that_cannot_be_deleted_does_not_stop_the_sweep(
    files: LocalFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = TASKS[:3]
    for task_id in (first, second, third):
        leave(files, task_id)
    delete = publishing.delete_path

    def fail_once(path: Path) -> None:
        if path.name == second:
            raise PermissionError(13, "Permission denied")
        delete(path)

    monkeypatch.setattr("server.files.local.delete_path", fail_once)
    await files.sweep(Known({}))
    assert not files.workplace.log(first).exists()
    assert not files.workplace.log(third).exists()
    assert f"leftovers of task {second}" in caplog.text


def test_a_lock_is_free_again_after_it_was_tried(files: LocalFiles) -> None:
    leave(files)
    asyncio.run(files.sweep(Known({TASK: Stage.COMPLETED}, after={TASK: Stage.INFO})))
    with files.workplace.lock(TASK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_a_log_names_no_folder_of_the_machine(tmp_path: Path) -> None:
    place = LocalWorkplace(tmp_path / "data")
    place.logs.mkdir(parents=True)
    line = (
        f"[download] Destination: {place.work('task')}/video.mp4\n"
        f"ffmpeg -i file:{place.work('task')}/part '{sys.prefix}/bin/deno' {tmp_path}/data\n"
        f"https://site.example{tmp_path}/data/work\n"
    )
    place.log("task").write_text(line)
    assert place.read_log("task", 10_000).decode() == (
        "[download] Destination: work/task/video.mp4\n"
        "ffmpeg -i file:work/task/part 'bin/deno' \n"
        f"https://site.example{tmp_path}/data/work\n"
    )


async def test_folders_are_looked_for_in_a_log_a_piece_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Python searches with a regular expression, no other thread of it can run."""
    place = LocalWorkplace(tmp_path)
    place.logs.mkdir()
    line = f"[download] {tmp_path / 'work/task/video.mp4'} {'x' * 50}\n".encode()
    place.log("task").write_bytes(line * 10_000)
    pieces, threads, folders = list[int](), set[str](), place._folders

    class Watched:
        def sub(self, by: bytes, piece: bytes) -> bytes:
            pieces.append(len(piece))
            threads.add(threading.current_thread().name)
            return folders.sub(by, piece)

    place._folders = Watched()  # type: ignore[assignment]
    text = await LocalFiles(place).read_log("task", len(line) * 10_000)
    assert text == line.replace(f"{tmp_path}/".encode(), b"") * 10_000
    assert max(pieces) <= 2 * PIECE_OF_LOG
    assert threads == {"long work_0"}
