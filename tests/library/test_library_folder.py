"""The folder of the library: it has only whole files, no foreign file is overwritten, and no link is followed
out of it.
"""

import asyncio
import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.core.errors import StorageAway
from server.core.ports import Stream
from server.library import library_folder
from server.library.library_folder import MARKER, METHODS, LibraryFolder
from server.library.placements import FolderBlocked, LibraryAway, PathTaken, PlacedFile
from server.library.placing import PlacedFiles

FILM = os.urandom(100_000)
PATH = "Channel/Season 2026/A film [x1].mp4"
BASE = "A film [x1]"


def file_of(content: bytes, path: str = PATH) -> PlacedFile:
    return PlacedFile(path, "set", "video", len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "library"
    path.mkdir()
    LibraryFolder(path).mark()
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "film"
    path.write_bytes(FILM)
    path.chmod(0o600)
    return path


async def put(
    root: Path,
    source: Path,
    method: str = "auto",
    path: str = PATH,
    before: PlacedFile | None = None,
    tag: int = 1,
) -> None:
    content = source.read_bytes()
    with source.open("rb") as file:
        files = PlacedFiles(LibraryFolder(root, METHODS[method]))
        await files.put(file_of(content, path), file, BASE, tag, before)


def all_of(root: Path) -> list[str]:
    return sorted(
        str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != MARKER
    )


@pytest.mark.parametrize("method", METHODS)
async def test_a_file_is_placed_with_its_permissions_by_every_method(
    root: Path, source: Path, method: str
) -> None:
    await put(root, source, method)
    placed = root / PATH
    assert placed.read_bytes() == FILM
    assert stat.S_IMODE(placed.stat().st_mode) == 0o644
    assert stat.S_IMODE(placed.parent.stat().st_mode) == 0o755
    is_linked = placed.stat().st_ino == source.stat().st_ino
    assert is_linked or method != "hardlink", "both are on one file system"
    assert not (is_linked and method in ("copy", "clone"))
    assert all_of(root) == [PATH], "nothing else is left"


async def test_on_another_file_system_it_is_a_copy(source: Path) -> None:
    others = [Path(name) for name in ("/dev/shm", "/var/tmp", "/tmp") if Path(name).is_dir()]
    other = next((path for path in others if path.stat().st_dev != source.stat().st_dev), None)
    if other is None:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=other) as name:
        there = Path(name)
        LibraryFolder(there).mark()
        assert there.stat().st_dev != source.stat().st_dev
        await put(there, source)
        assert (there / PATH).read_bytes() == FILM
        assert (there / PATH).stat().st_nlink == 1


class Sent(Stream):
    """A file in a bucket that breaks off after so many pieces."""

    def __init__(self, pieces: int = 50) -> None:
        self.pieces = pieces

    async def read(self, part: range) -> AsyncGenerator[bytes | memoryview, None]:
        for number in range(self.pieces):
            await asyncio.sleep(0)
            yield memoryview(FILM)[number * 2000 : (number + 1) * 2000]
        if self.pieces < 50:
            raise StorageAway


async def test_a_file_of_a_bucket_is_streamed_whole_or_not_at_all(root: Path) -> None:
    files = PlacedFiles(LibraryFolder(root))
    with pytest.raises(StorageAway):
        await files.put(file_of(FILM), Sent(30), BASE, 1, None)
    await until(lambda: all_of(root) == [])
    await files.put(file_of(FILM), Sent(), BASE, 2, None)
    assert (root / PATH).read_bytes() == FILM
    assert all_of(root) == [PATH]


async def test_a_bucket_that_sends_something_else_is_not_believed(root: Path) -> None:
    other = file_of(FILM[::-1])
    with pytest.raises(OSError, match="is not what was published"):
        await PlacedFiles(LibraryFolder(root)).put(other, Sent(), BASE, 1, None)
    assert all_of(root) == []


async def test_where_the_library_is_full_a_bucket_is_not_read_on(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(library_folder.UnfinishedFile, "write", full)
    with pytest.raises(OSError, match="No space left"):
        await PlacedFiles(LibraryFolder(root)).put(file_of(FILM), Sent(), BASE, 1, None)
    assert all_of(root) == []


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.02)


async def test_somebodys_file_is_never_written_over(root: Path, source: Path) -> None:
    (root / PATH).parent.mkdir(parents=True)
    (root / PATH).write_text("mine")
    with pytest.raises(PathTaken):
        await put(root, source)
    assert (root / PATH).read_text() == "mine"
    assert all_of(root) == [PATH]


async def test_a_file_that_appears_while_ours_is_built_stays(
    root: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = library_folder.UnfinishedFile.put

    def late(self: Any, **how: Any) -> None:
        (root / PATH).write_text("mine")
        original(self, **how)

    monkeypatch.setattr(library_folder.UnfinishedFile, "put", late)
    with pytest.raises(PathTaken):
        await put(root, source)
    assert (root / PATH).read_text() == "mine"
    assert all_of(root) == [PATH]


async def test_what_is_there_already_is_the_file(root: Path, source: Path) -> None:
    await put(root, source, "copy")
    before = (root / PATH).stat()
    await put(root, source, "copy", tag=2)
    assert (root / PATH).stat().st_ino == before.st_ino


async def test_ours_is_replaced_by_a_newer_one_but_not_what_somebody_has_changed(
    root: Path, source: Path
) -> None:
    await put(root, source, "copy")
    before = file_of(FILM)
    source.write_bytes(FILM[::-1])
    await put(root, source, "copy", before=before)
    assert (root / PATH).read_bytes() == FILM[::-1]
    (root / PATH).write_text("edited")
    with pytest.raises(PathTaken):
        await put(root, source, "copy", before=before)
    assert (root / PATH).read_text() == "edited"


async def test_no_link_leads_out_of_the_library(root: Path, source: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "Channel").symlink_to(outside, target_is_directory=True)
    with pytest.raises(FolderBlocked):
        await put(root, source)
    assert list(outside.iterdir()) == []
    with pytest.raises(FolderBlocked):
        await PlacedFiles(LibraryFolder(root)).delete(file_of(FILM))


async def test_a_link_or_a_pipe_at_the_path_is_somebodys(root: Path, source: Path, tmp_path: Path) -> None:
    (root / PATH).parent.mkdir(parents=True)
    (root / PATH).symlink_to(source)
    with pytest.raises(PathTaken):
        await put(root, source)
    (root / PATH).unlink()
    os.mkfifo(root / PATH)
    with pytest.raises(PathTaken):
        await put(root, source)


async def test_only_what_is_ours_is_deleted_and_empty_folders_with_it(root: Path, source: Path) -> None:
    await put(root, source, "copy")
    files = PlacedFiles(LibraryFolder(root))
    (root / PATH).write_text("edited")
    await files.delete(file_of(FILM))
    assert (root / PATH).read_text() == "edited"
    (root / PATH).write_bytes(FILM)
    (root / "Channel" / "note.txt").touch()
    await files.delete(file_of(FILM))
    assert all_of(root) == ["Channel/note.txt"]
    assert not (root / PATH).parent.exists()
    (root / "Channel" / "note.txt").unlink()
    await files.delete(file_of(FILM))
    assert list(root.iterdir()) == [root / MARKER], "the file was gone, and the folders go as well"


async def test_an_empty_mount_point_is_no_library(tmp_path: Path, source: Path) -> None:
    files = PlacedFiles(LibraryFolder(tmp_path / "library"))
    assert await files.trouble() == "missing"
    with pytest.raises(LibraryAway):
        await put(tmp_path / "library", source)
    (tmp_path / "library").mkdir()
    assert await files.trouble() == "unmarked"
    with pytest.raises(LibraryAway):
        await put(tmp_path / "library", source)
    assert list((tmp_path / "library").iterdir()) == []
    await files.mark()
    assert await files.trouble() is None
    await put(tmp_path / "library", source)


@pytest.mark.parametrize("method", ["hardlink", "copy"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_leaves_nothing_and_says_so(
    root: Path, source: Path, monkeypatch: pytest.MonkeyPatch, method: str, error: int
) -> None:
    call = "link" if method == "hardlink" else "write"

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match=os.strerror(error)):
            await put(root, source, method)
    assert all_of(root) == []
    await put(root, source, method)


async def test_where_no_file_has_two_names_it_is_renamed_and_nothing_is_written_over(
    root: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EPERM, "as on FAT")

    monkeypatch.setattr(os, "link", never)
    await put(root, source)
    assert (root / PATH).read_bytes() == FILM
    (root / PATH).write_text("mine")
    with pytest.raises(PathTaken):
        await put(root, source)
    assert (root / PATH).read_text() == "mine"
    assert all_of(root) == [PATH]


@pytest.mark.parametrize("is_within", [True, False])
async def test_a_move_that_was_killed_leaves_no_empty_folder_behind(
    root: Path, source: Path, *, is_within: bool
) -> None:
    await put(root, source)
    target = root / "Other" / "A film [x1].mp4"
    target.parent.mkdir()
    target.hardlink_to(root / PATH)
    if not is_within:
        (root / PATH).unlink()
    files = PlacedFiles(LibraryFolder(root))
    assert await files.move(file_of(FILM), "Other/A film [x1].mp4") == "moved"
    assert [path.name for path in root.iterdir() if path.name != MARKER] == ["Other"]
    assert target.read_bytes() == FILM


class Killed(BaseException):
    """Stands for a kill: nothing is cleaned up after it."""


CALLS = ("open", "mkdir", "fchmod", "fsync", "link", "unlink", "write", "rename")


def each_call(root: Path, source: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Interrupt the method at its first system call, then at the second, and so on, until it has no more."""
    number = 0
    while True:
        number += 1
        left = number
        dead = False

        def counted(original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **more: Any) -> Any:
                nonlocal left, dead
                left -= 1
                if dead or left == 0:
                    dead = True  # a dead process does not clean up either
                    raise Killed
                return original(*arguments, **more)

            return call

        with monkeypatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, counted(getattr(os, name)))
            folder = LibraryFolder(root, METHODS[method])
            try:
                with folder.entered() as inside, source.open("rb") as file:
                    build(inside, file.fileno(), method)
            except Killed:
                pass
            if not dead:
                return
        yield number


def build(inside: library_folder.Root, source: int, method: str) -> None:
    file = file_of(FILM)
    if inside.exists(file.path):
        assert inside.is_there(file.path, file.size, file.sha256)
        return
    with inside.part(file.path, BASE, 1) as part:
        if method == "hardlink":
            assert part.link(source)
        else:
            part.copy(source)
        part.put()


@pytest.mark.parametrize("method", ["hardlink", "copy"])
async def test_after_a_kill_at_any_call_the_file_is_whole_or_not_there_and_the_next_try_ends_well(
    root: Path, source: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = 0
    for number in each_call(root, source, method, monkeypatch):
        kills = number
        if (root / PATH).exists():
            assert (root / PATH).read_bytes() == FILM, "what has the name is whole"
        files = PlacedFiles(LibraryFolder(root, METHODS[method]))
        await files.clear(PATH.rpartition("/")[0], BASE)
        await put(root, source, method, tag=2)
        assert (root / PATH).read_bytes() == FILM
        assert all_of(root) == [PATH], f"nothing is left after a kill at call {number}"
        assert source.read_bytes() == FILM
        await files.delete(file_of(FILM))
        assert list(root.iterdir()) == [root / MARKER]
    assert kills > 10
