"""All files of many tasks as one archive: it is whole and has the announced length, or the connection
breaks.
"""

import asyncio
import io
import struct
import zipfile
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import aiohttp
import pytest
from pydantic import SecretStr

from server.api import archive as archives
from server.api import archive as making
from server.api import keys
from server.api.archive import ArchiveEntry, Member, archive, length_of, named
from server.api.connections import FilePart
from server.core.errors import FileNotFound
from server.core.film import StoredFile, VideoInfo
from server.core.ports import Stream
from server.core.task import Stage, TaskStatus
from server.settings import ServerSettings
from tests.adding import add
from tests.examples import finished, new_task
from tests.inside import Inside, get, inside

HEADER = "<6xH6x3I2H"  # the header of an entry: flags, checksum, sizes, and the lengths of what follows
NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)


async def film(server: Inside, content: bytes, title: str = "") -> str:
    """Add a finished task and return its id."""
    link = await server.finished(content)
    status, _ = await server.app[keys.TASKS].find_file(link.rpartition("/")[2])
    return status.task_id


async def fetched(server: Inside, *ids: str, **headers: str) -> tuple[aiohttp.ClientResponse, bytes]:
    address = f"/api/download.zip?ids={','.join(ids)}"
    async with server.client.get(address, headers=headers) as answer:
        return answer, await answer.read()


def opened(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        return {info.filename: archive.read(info) for info in archive.infolist()}


async def test_every_file_is_in_it_and_its_length_is_told(tmp_path: Path) -> None:
    contents = [b"one" * 1000, b"", b"\0" * (making.PIECE + 1)]
    async with inside(tmp_path) as server:
        ids = [await film(server, content) for content in contents]
        answer, whole = await fetched(server, *ids, ids[0])
        assert (answer.status, answer.content_type) == (200, "application/zip")
        assert answer.headers["Content-Length"] == str(len(whole))
        assert answer.headers["Accept-Ranges"] == "none"
        assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
        assert list(opened(whole).values()) == contents
        part, again = await fetched(server, *ids, Range="bytes=0-9")
        assert (part.status, again) == (200, whole)
        async with server.client.head(f"/api/download.zip?ids={ids[0]}") as head:
            assert head.content_length == len((await fetched(server, ids[0]))[1])
            assert await head.read() == b""


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 422, "invalid_query"),
        ("?ids=", 422, "invalid_query"),
        ("?ids=,,", 422, "invalid_query"),
        ("?ids=" + ",".join(map(str, range(201))), 422, "invalid_query"),
        ("?ids=a&ids=b", 422, "invalid_query"),
        ("?ids=1", 404, "task_not_found"),
    ],
)
async def test_what_cannot_be_packed_is_refused(tmp_path: Path, query: str, status: int, code: str) -> None:
    async with inside(tmp_path) as server, server.client.get(f"/api/download.zip{query}") as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (status, code)


async def test_one_unknown_task_or_no_file_at_all_is_a_404(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        one, without = await film(server, b"x"), await server.submit()
        answer, body = await fetched(server, one, str(uuid4()))
        assert (answer.status, b"task_not_found" in body) == (404, True)
        answer, body = await fetched(server, without)
        assert (answer.status, b"file_not_found" in body) == (404, True)
        assert list(opened((await fetched(server, without, one))[1]).values()) == [b"x"]


async def entry(server: Inside, playlist_id: str, content: bytes | None) -> str:
    """Add an entry of a list and return its id; with `content`, it has a finished file."""
    task, store = new_task(), server.app[keys.TASKS]._store
    status = task.status.model_copy(update={"playlist_id": playlist_id, "stage": Stage.PAUSED})
    task_id = (await add(store, replace(task, status=status))).status.task_id
    if content is not None:
        await server.finished(content, task_id)
    return task_id


async def test_a_list_is_packed_as_its_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with inside(tmp_path) as server:
        playlist = await server.submit(playlist=True)
        for content in (b"one", None, b"two", b"three"):
            await entry(server, playlist, content)
        alone, empty = await film(server, b"alone"), await server.submit(playlist=True)
        for ids in ((playlist, alone, empty), (playlist, alone, playlist)):
            _, whole = await fetched(server, *ids)
            assert list(opened(whole).values()) == [b"one", b"two", b"three", b"alone"]
        assert (await fetched(server, empty))[0].status == 404
        monkeypatch.setattr(archives, "MOST_TASKS", 3)
        assert (await fetched(server, playlist, playlist))[0].status == 200
        assert (await fetched(server, playlist, alone))[0].status == 422


async def test_it_has_the_doors_of_a_file(tmp_path: Path) -> None:
    async with inside(tmp_path, server=ServerSettings(tokens=(SecretStr("a token"),))) as server:
        answer, _ = await fetched(server, str(uuid4()))
        assert answer.status == 401


def status_with(title: str | None, *names: str) -> TaskStatus:
    files = {name: StoredFile(name=name, path=name, size=1, type="video/mp4") for name in names}
    status = finished(new_task().status)
    return status.model_copy(update={"files": files, "video_info": VideoInfo(title=title)})


def test_names_are_titles_and_none_is_there_twice_on_any_file_system() -> None:
    statuses = [
        status_with("猫咪 / 🐈", "video_a_1.mp4", "audio_a_1.mp3"),
        status_with("猫咪 🐈", "video_b_2.mp4"),
        status_with("Film", "video_c_3.mp4"),
        status_with("FILM", "video_d_4.mp4"),
        status_with(None, "video_e_5.mp4"),
    ]
    assert [member.name for member in named(statuses)] == [
        "猫咪 🐈.mp4", "猫咪 🐈.mp3", "video_b_2.mp4", "Film.mp4", "video_d_4.mp4", "video_e_5.mp4",
    ]  # fmt: skip


# --- sizes, and files in a bucket ---


class Elsewhere(Stream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self, part: range) -> AsyncGenerator[bytes | memoryview, None]:
        for start in range(part.start, part.stop, 7):
            yield memoryview(self._content)[start : min(start + 7, part.stop)]


class Shelf:
    """Stands for the store of files: on this machine, or in a bucket."""

    def __init__(self, contents: dict[str, bytes], *, is_bucket: bool) -> None:
        self.contents, self.is_bucket = contents, is_bucket

    async def open(self, _: str, stored: StoredFile) -> BinaryIO | Stream:
        content = self.contents[stored.name]
        return Elsewhere(content) if self.is_bucket else io.BytesIO(content)


async def packed(shelf: Shelf, members: list[Member]) -> bytes:
    """Return the archive of `members`, as a client gets it."""
    files: Any = shelf
    whole = bytearray()
    async with aclosing(archive(files, members)) as pieces:
        async for piece in pieces:
            whole += piece.file.read(len(piece.part)) if isinstance(piece, FilePart) else piece
    return bytes(whole)


def streamed(whole: bytes, contents: dict[str, bytes]) -> list[str]:
    """Return the names of the entries as read from start to end, without the directory; fail if a header is
    wrong.

    `zipfile` compares only the names.
    """
    names, at = [], 0
    while whole[at : at + 4] == b"PK\3\4":
        flags, crc, packed_size, size, name_size, extra_size = struct.unpack_from(HEADER, whole, at)
        name = whole[at + 30 :][:name_size].decode()
        at += 30 + name_size
        sizes, is_64 = (packed_size, size), extra_size > 0
        if is_64:
            assert sizes == (0xFFFFFFFF, 0xFFFFFFFF)
            tag, length, *sizes_64 = struct.unpack("<2H2Q", whole[at : at + extra_size])
            sizes = tuple(sizes_64)
            assert (tag, length) == (1, 16)
        at += extra_size
        content = contents[name]
        assert whole[at:].startswith(content)
        at += len(content)
        true = (zlib.crc32(content), len(content), len(content))
        if flags & 0x08:
            assert (crc, *sizes) == (0, 0, 0)
            form = "<4s1I2Q" if is_64 else "<4s3I"
            assert struct.unpack_from(form, whole, at) == (b"PK\7\b", *true)
            at += struct.calcsize(form)
        else:
            assert (crc, *sizes) == true
        names.append(name)
    assert whole[at : at + 4] == b"PK\1\2"
    return names


def member(name: str, content: bytes, *, has_sum: bool, modified: datetime = NOW) -> Member:
    crc32 = zlib.crc32(content) if has_sum else None
    stored = StoredFile(name=name, path=name, size=len(content), type="video/mp4", crc32=crc32)
    return Member("id", stored, name, modified)


@pytest.mark.parametrize("is_bucket", [False, True])
@pytest.mark.parametrize("sums", [[True], [False], [True, False]])
@pytest.mark.parametrize("limit", [archives.LIMIT, 20_000, 1000, 400, 100, 1])
async def test_the_length_is_right_whatever_has_to_be_said_in_zip64(
    monkeypatch: pytest.MonkeyPatch, limit: int, sums: list[bool], is_bucket: bool
) -> None:
    contents = {f"{'ü' * number}.mp4": b"x" * number * 97 for number in range(12)}
    members = [
        member(name, content, has_sum=sums[number % len(sums)])
        for number, (name, content) in enumerate(contents.items())
    ]
    monkeypatch.setattr(archives, "_IS_FULL", limit)
    whole = await packed(Shelf(contents, is_bucket=is_bucket), members)
    assert len(whole) == length_of(members)
    assert opened(whole) == contents
    assert streamed(whole, contents) == list(contents)


def test_what_lies_behind_four_gigabytes_is_found() -> None:
    film, sound = ArchiveEntry(b"a.mp4", 5 << 30, NOW, 1), ArchiveEntry(b"a.mp3", 1, NOW, 2)
    behind, size = film.length + sound.length, 56 + 20 + 22
    whole = archives.directory([(film, 1), (sound, 2)])
    end, locator = whole[-size:][:56], whole[-size:][56:76]
    assert struct.unpack("<4sQ2H2I4Q", end)[-4:] == (2, 2, len(whole) - size, behind)
    assert struct.unpack("<4sIQI", locator) == (b"PK\6\7", 0, behind + len(whole) - size, 1)
    assert struct.pack("<I", 0xFFFFFFFF) + sound.name + struct.pack("<2HQ", 1, 8, film.length) in whole


async def test_more_entries_than_sixteen_bits_count_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MOST_ENTRIES", 3)
    contents = {f"{number}.mp4": b"x" for number in range(5)}
    members = [member(name, content, has_sum=True) for name, content in contents.items()]
    whole = await packed(Shelf(contents, is_bucket=False), members)
    assert (len(whole), opened(whole)) == (length_of(members), contents)


async def test_a_file_whose_sum_is_known_is_not_read_here(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        link = await server.finished(b"x" * 1000)
        status, stored = await server.app[keys.TASKS].find_file(link.rpartition("/")[2])
        known = stored.model_copy(update={"crc32": zlib.crc32(b"x" * 1000)})
        async with aclosing(
            archive(server.app[keys.FILES], [Member(status.task_id, known, "a.mp4", NOW)])
        ) as pieces:
            kinds = [type(piece) async for piece in pieces]
        assert FilePart in kinds


async def test_a_file_that_is_no_longer_what_was_published_is_found_out(tmp_path: Path) -> None:
    contents = {"a.mp4": b"right"}
    members = [member("a.mp4", b"wrong", has_sum=True)]
    whole = await packed(Shelf(contents, is_bucket=False), members)
    with zipfile.ZipFile(io.BytesIO(whole)) as found:
        assert found.testzip() == "a.mp4"


@pytest.mark.parametrize("year", [1970, 2026, 2150])
async def test_a_clock_that_is_wrong_spoils_no_archive(year: int) -> None:
    members = [member("a.mp4", b"x", has_sum=True, modified=NOW.replace(year=year))]
    assert opened(await packed(Shelf({"a.mp4": b"x"}, is_bucket=False), members)) == {"a.mp4": b"x"}


# --- faults while an archive is sent ---


async def test_a_file_that_is_removed_meanwhile_cuts_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with inside(tmp_path) as server:
        ids = [await film(server, b"x" * 1000) for _ in range(2)]
        files, opened_so_far = server.app[keys.FILES], 0
        original = files.open

        async def open_once(task_id: str, stored: StoredFile) -> BinaryIO | Stream:
            nonlocal opened_so_far
            opened_so_far += 1
            if opened_so_far == 2:
                await server.app[keys.TASKS].delete(task_id)
            return await original(task_id, stored)

        monkeypatch.setattr(files, "open", open_once)
        with pytest.raises(aiohttp.ClientPayloadError):
            await fetched(server, *ids)
        assert not [record for record in caplog.records if record.levelname == "ERROR"]
        opened_so_far = 1
        with pytest.raises(FileNotFound):
            await server.app[keys.TASKS].find_file("video")
        answer, _ = await fetched(server, ids[0])
        assert answer.status == 404, "before the first byte it is told"


async def test_a_client_that_leaves_midway_leaves_nothing_behind(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        task_id = await film(server, b"x" * (40 * making.PIECE))
        async with server.connected() as sock:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, get(f"/api/download.zip?ids={task_id}"))
            assert (await loop.sock_recv(sock, 100)).startswith(b"HTTP/1.1 200 OK")
        await server.all_gone()
