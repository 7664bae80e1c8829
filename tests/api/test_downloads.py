"""`GET` and `HEAD /api/download/<name>` over real files and a real connection."""

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote

import pytest
from aiohttp import ClientPayloadError, ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from yarl import URL

from server.api import downloads, keys, security
from server.api.connections import Connections
from server.api.downloads import part_of
from server.api.middleware import wrapped
from server.api.route import Access
from server.core.attachment import disposition, filename_of, filename_stem
from server.core.errors import FileNotFound, RangeNotSatisfiable
from server.core.events import ProducedFile
from server.core.film import StoredFile, VideoInfo
from server.core.ports import Stream
from server.core.task import Stage, TaskStatus
from server.files.local import LocalFiles
from server.files.workplace import LocalWorkplace
from server.settings import ServerSettings, Settings

CONTENT = os.urandom(3000)
ENDED = datetime(2024, 1, 1, 12, 5, 30, 250_000, UTC)
FRIEND = "https://friend.example"
TITLE = "示例视频"
Client = TestClient[web.Request, web.Application]


async def let_in(_: web.Request, __: Access) -> None:
    """Admit everybody."""


class Shelf:
    """The part of `Tasks` that the download uses: it finds the task and the file of a name."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[TaskStatus, StoredFile]] = {}

    def of(self, owner: str | None) -> "Shelf":
        assert owner is None, "lists are not separate"
        return self

    async def find_file(self, name: str) -> tuple[TaskStatus, StoredFile]:
        if name not in self.known:
            raise FileNotFound
        return self.known[name]


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    workplace = LocalWorkplace(tmp_path)
    workplace.data.make()
    files = LocalFiles(workplace)
    files.make()
    return files


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def client(files: LocalFiles, shelf: Shelf) -> AsyncIterator[Client]:
    app = web.Application()
    app[keys.SETTINGS] = Settings()
    app[keys.FILES] = files
    app[keys.TASKS] = cast("Any", shelf)
    doors = app[security.DOORS] = security.Doors(ServerSettings(allowed_origins=(FRIEND,)))
    app[keys.LANGUAGE] = ServerSettings().language
    app.add_routes(wrapped(downloads.ROUTES, let_in, doors.add_headers, Connections(0)))
    async with asyncio.timeout(20), TestClient(TestServer(app)) as client:
        yield client


@pytest.fixture
def publish(files: LocalFiles, shelf: Shelf) -> Callable[..., Any]:
    async def publish(
        content: bytes = CONTENT,
        path: str = "video.mp4",
        media_type: str = "video/mp4",
        title: str | None = TITLE,
    ) -> str:
        """Publish a new finished file and return its link."""
        task_id = f"task-{len(shelf.known)}"
        out = files.workplace.work(task_id) / "out"
        out.mkdir(parents=True)
        (out / path).write_bytes(content)
        produced = {"video": ProducedFile(path=path, size=len(content), type=media_type)}
        info = VideoInfo(title=title)
        manifest = await files.prepare(task_id, 1, produced, info)
        await files.publish(task_id, manifest)
        stored = manifest.files["video"]
        status = TaskStatus(
            task_id=task_id,
            url="http://example.org/",
            stage=Stage.COMPLETED,
            created_at=ENDED - timedelta(minutes=5),
            completed_at=ENDED,
            video_info=info,
            files={"video": stored},
        )
        shelf.known[stored.name] = status, stored
        return f"/api/download/{stored.name}"

    return publish


Publish = Callable[..., Any]


@pytest.mark.parametrize("part", [{}, {"Range": "bytes=0-9"}, {"If-None-Match": "*"}])
async def test_a_file_carries_what_every_answer_carries(
    client: Client, link: str, part: dict[str, str]
) -> None:
    answer = await client.get(link, headers=part | {"Origin": FRIEND})
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Content-Security-Policy"] == downloads.SANDBOX_POLICY
    assert answer.headers["Access-Control-Allow-Origin"] == FRIEND
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    answer = await client.get(link, headers=part)
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_a_file_that_cannot_be_read_to_its_end_is_cut_off_and_holds_nothing_else(
    client: Client, link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(request: web.Request, file: BinaryIO, part: range) -> None:
        await request.writer.write(CONTENT[:100])
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("server.api.connections.send_file", fail)
    answer = await client.get(link)
    received = bytearray()
    with pytest.raises(ClientPayloadError):
        await read_into(received, answer)
    assert received == CONTENT[:100]


class Elsewhere(Stream):
    """A file on another machine, which comes in pieces of 1,000 bytes and breaks off at byte `until`."""

    def __init__(self, until: int = len(CONTENT)) -> None:
        self._until = until

    async def read(self, part: range) -> AsyncGenerator[bytes, None]:
        for start in range(part.start, part.stop, 1000):
            if start >= self._until:
                raise OSError(errno.EIO, "it broke off")
            yield CONTENT[start : min(start + 1000, part.stop)]


def from_elsewhere(monkeypatch: pytest.MonkeyPatch, file: Elsewhere) -> None:
    async def find(*_: object) -> Stream:
        return file

    monkeypatch.setattr(LocalFiles, "open", find)


@pytest.mark.parametrize("asked", ["bytes=0-", "bytes=0-0", "bytes=999-2001", "bytes=-1", "nothing"])
async def test_a_file_from_elsewhere_is_sent_like_one_of_ours(
    client: Client, link: str, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, content = await get(client, link, Range=asked)
    from_elsewhere(monkeypatch, Elsewhere())
    there, body = await get(client, link, Range=asked)
    assert body == content
    own = {"Date": "", "X-Request-ID": ""}
    assert {**there.headers, **own} == {**here.headers, **own}
    async with client.head(link) as head:
        assert (head.status, head.headers["Content-Length"]) == (200, str(len(CONTENT)))


async def test_a_file_from_elsewhere_that_breaks_off_is_cut_off(
    client: Client, link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_elsewhere(monkeypatch, Elsewhere(until=2000))
    answer = await client.get(link)
    received = bytearray()
    with pytest.raises(ClientPayloadError):
        await read_into(received, answer)
    assert received == CONTENT[:2000]


async def test_a_file_from_elsewhere_that_does_not_even_begin_is_an_error(
    client: Client, link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_elsewhere(monkeypatch, Elsewhere(until=0))
    answer, _ = await get(client, link)
    assert answer.status == 503


async def test_a_file_that_becomes_shorter_ends_the_connection_and_is_an_error(
    client: Client, publish: Publish, files: LocalFiles, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a client would wait for ever for the rest on the open connection."""
    link = await publish(content=bytes(32 << 20))
    answer = await client.get(link)
    os.truncate(files.path("task-0", StoredFile(name="", path="1/video.mp4", size=0, type="")), 1000)
    with pytest.raises(ClientPayloadError):
        await answer.read()
    assert [record.levelname for record in caplog.records if record.name != "aiohttp.access"] == ["ERROR"]


async def read_into(received: bytearray, answer: ClientResponse) -> None:
    async for chunk in answer.content.iter_any():
        received += chunk


@pytest.fixture
async def link(publish: Publish) -> str:
    return cast("str", await publish())


async def get(client: Client, link: str, **headers: str) -> tuple[ClientResponse, bytes]:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.get(link, headers=fields) as answer:
        return answer, await answer.read()


# --- the whole file ---


async def test_a_file_comes_whole_with_all_it_needs(client: Client, link: str) -> None:
    answer, body = await get(client, link)
    assert answer.status == 200
    assert body == CONTENT
    assert answer.headers["Content-Type"] == "video/mp4"
    assert answer.headers["Content-Length"] == str(len(CONTENT))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Last-Modified"] == "Mon, 01 Jan 2024 12:05:30 GMT"
    assert answer.headers["ETag"] == f'"{link.rpartition("/")[2]}"'
    assert answer.headers["Cache-Control"] == "private, no-cache"


async def test_a_download_is_never_a_page_of_ours(client: Client, link: str) -> None:
    answer, _ = await get(client, link)
    assert answer.headers.getall("Content-Security-Policy") == ["sandbox; default-src 'none'"]
    assert answer.headers.getall("X-Content-Type-Options") == ["nosniff"]


async def test_head_tells_the_same_without_the_file(client: Client, link: str) -> None:
    got, _ = await get(client, link)
    async with client.head(link) as head:
        assert head.status == 200
        assert await head.read() == b""
        for name in got.headers:
            if name not in ("Date", "X-Request-ID"):
                assert head.headers[name] == got.headers[name]


async def test_one_connection_serves_file_after_file(client: Client, link: str) -> None:
    for _ in range(3):
        async with client.head(link) as head:
            assert head.status == 200
        answer, body = await get(client, link, Range="bytes=1-2")
        assert answer.status == 206
        assert body == CONTENT[1:3]
    assert client.session.connector is not None
    assert len(client.session.connector._conns) == 1


async def test_an_empty_file_is_served(client: Client, publish: Publish) -> None:
    answer, body = await get(client, await publish(content=b""))
    assert answer.status == 200
    assert body == b""


async def test_a_file_larger_than_every_buffer_comes_whole(client: Client, publish: Publish) -> None:
    content = os.urandom(1 << 20) * 8
    _, body = await get(client, await publish(content=content))
    assert body == content


async def test_compression_is_never_applied(client: Client, link: str, files: LocalFiles) -> None:
    beside = files.path("task-0", StoredFile(name="", path="video.mp4.gz", size=0, type=""))
    beside.write_bytes(b"something else")
    answer, body = await get(client, link, Accept_Encoding="gzip, br")
    assert "Content-Encoding" not in answer.headers
    assert body == CONTENT


async def test_a_client_that_leaves_in_the_middle_harms_nobody(client: Client, publish: Publish) -> None:
    link = await publish(content=bytes(64 << 20))
    async with client.get(link) as answer:
        await answer.content.readexactly(1000)
        answer.close()
    answer, body = await get(client, link, Range="bytes=0-9")
    assert body == bytes(10)


# --- ranges ---


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-", 0, 2999),
        ("bytes=10-19", 10, 19),
        ("BYTES=10-19", 10, 19),
        ("bytes=2990-5000", 2990, 2999),
        ("bytes=-10", 2990, 2999),
        ("bytes=-5000", 0, 2999),
        ("bytes=2999-", 2999, 2999),
    ],
)
async def test_a_range_gives_the_part(client: Client, link: str, asked: str, first: int, last: int) -> None:
    answer, body = await get(client, link, Range=asked)
    assert answer.status == 206
    assert body == CONTENT[first : last + 1]
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/3000"
    assert answer.headers["Content-Length"] == str(last - first + 1)


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("If-Match", "*", 206),
        ("If-Match", '"another", {etag}', 206),
        ("If-Match", '"another"', 412),
        ("If-Match", "W/{etag}", 412),  # `If-Match` compares strongly, so a weak ETag never matches
        ("If-Unmodified-Since", "{modified}", 206),
        ("If-Unmodified-Since", "Thu, 01 Jan 1998 00:00:00 GMT", 412),
        ("If-Unmodified-Since", "yesterday", 206),
    ],
)
async def test_who_wants_another_version_gets_none(
    client: Client, link: str, header: str, value: str, status: int
) -> None:
    known, _ = await get(client, link)
    value = value.format(etag=known.headers["ETag"], modified=known.headers["Last-Modified"])
    answer, body = await get(client, link, Range="bytes=0-9", **{header.replace("-", "_"): value})
    assert answer.status == status
    assert body == CONTENT[:10] if status == 206 else b'"precondition_failed"' in body


@pytest.mark.parametrize("asked", ["bytes=3000-", "bytes=3000-3001", "bytes=-0", f"bytes={'9' * 30}-"])
async def test_a_range_beyond_the_file_is_416_and_says_its_size(
    client: Client, link: str, asked: str
) -> None:
    answer, body = await get(client, link, Range=asked, Accept_Language="en")
    assert answer.status == 416
    assert answer.headers["Content-Range"] == "bytes */3000"
    assert answer.content_type == "application/problem+json"
    assert b'"range_not_satisfiable"' in body


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,5-6",
        "bytes=0-1, -1",
        "items=0-1",
        "bytes=5-2",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes",
        "bytes=٠-٩",
        f"bytes=0-{'9' * 5000}",
    ],
)
async def test_what_is_not_one_range_of_bytes_gives_the_whole(client: Client, link: str, asked: str) -> None:
    answer, body = await get(client, link, Range=asked)
    assert answer.status == 200
    assert body == CONTENT
    assert "Content-Range" not in answer.headers


async def test_two_ranges_in_two_headers_give_the_whole(client: Client, link: str) -> None:
    ours = f'"{link.rpartition("/")[2]}"'
    for name, values in (("Range", ("bytes=0-1", "bytes=5-6")), ("If-Range", (ours, '"other"'))):
        headers = CIMultiDict([(name, value) for value in values])
        headers.setdefault("Range", "bytes=0-1")
        async with client.get(link, headers=headers) as answer:
            assert (answer.status, await answer.read()) == (200, CONTENT)


async def test_head_takes_no_range(client: Client, link: str) -> None:
    async with client.head(link, headers={"Range": "bytes=0-1"}) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Length"] == "3000"


async def test_if_range_with_our_etag_or_date_gives_the_part(client: Client, link: str) -> None:
    whole, _ = await get(client, link)
    for validator in (whole.headers["ETag"], whole.headers["Last-Modified"]):
        answer, body = await get(client, link, Range="bytes=1-2", If_Range=validator)
        assert answer.status == 206
        assert body == CONTENT[1:3]


@pytest.mark.parametrize(
    "validator",
    [
        '"other"',
        'W/"{name}"',
        "Mon, 01 Jan 2024 12:05:29 GMT",
        "Mon, 01 Jan 2024 12:05:31 GMT",
        "nonsense",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    ],
)
async def test_a_stale_if_range_gives_the_whole(client: Client, link: str, validator: str) -> None:
    stale = validator.format(name=link.rpartition("/")[2])
    for asked in ("bytes=1-2", "bytes=5000-"):
        answer, body = await get(client, link, Range=asked, If_Range=stale)
        assert answer.status == 200
        assert body == CONTENT


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_part_lies_within_the_file(size: int, first: int, last: int) -> None:
    for one, other in ((str(first), str(last)), (str(first), ""), ("", str(last))):
        try:
            part = part_of(size, one, other)
        except RangeNotSatisfiable:
            continue
        assert part is None or (part and 0 <= part.start < part.stop <= size)


# --- conditional requests ---


async def test_who_has_the_file_is_told_so(client: Client, link: str) -> None:
    whole, _ = await get(client, link)
    etag = whole.headers["ETag"]
    for conditions in (
        {"If_None_Match": etag},
        {"If_None_Match": f'"other", W/{etag}'},
        {"If_None_Match": "*"},
        {"If_Modified_Since": whole.headers["Last-Modified"]},
        {"If_Modified_Since": format_datetime(ENDED + timedelta(days=1), usegmt=True)},
        {"If_None_Match": etag, "Range": "bytes=0-1"},
    ):
        answer, body = await get(client, link, **conditions)
        assert answer.status == 304
        assert body == b""
        assert answer.headers["ETag"] == etag


async def test_who_has_another_file_gets_this_one(client: Client, link: str) -> None:
    whole, _ = await get(client, link)
    for conditions in (
        {"If_None_Match": '"other"'},
        {"If_None_Match": '"other"', "If_Modified_Since": whole.headers["Last-Modified"]},
        {"If_Modified_Since": format_datetime(ENDED - timedelta(seconds=2), usegmt=True)},
        {"If_Modified_Since": "nonsense"},
        {"If_Modified_Since": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"},
    ):
        answer, body = await get(client, link, **conditions)
        assert answer.status == 200
        assert body == CONTENT


# --- names ---


@pytest.mark.parametrize(
    "name",
    [
        "",
        "unknown.mp4",
        "..",
        "../data/clipwire.db",
        "%2e%2e%2fclipwire.db",
        "..%2f..%2fetc%2fpasswd",
        "%2fetc%2fpasswd",
        "{name}%00",
        "{name}%00.jpg",
        "x/{name}",
        "./{name}",
        "{name}/",
        "{name}/..",
        "..\\{name}",
        "%5c{name}",
        "{escaped}",
        "%252e%252e%252f",
        "manifest.json",
    ],
)
async def test_no_other_name_leads_anywhere(client: Client, link: str, name: str) -> None:
    known = link.rpartition("/")[2]
    path = "/api/download/" + name.format(name=known, escaped=known.replace(".", "%2e"))
    status, body = await ask(client, path)
    assert status == 404
    assert b"_not_found" in body or b'"not_found"' in body
    assert b"passwd" not in body


async def ask(client: Client, target: str) -> tuple[int, bytes]:
    """Send the path exactly as given: ordinary clients normalise paths."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    with closing(writer):
        writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def test_a_link_in_the_place_of_the_file_is_not_followed(
    client: Client, link: str, files: LocalFiles, shelf: Shelf, tmp_path: Path
) -> None:
    status, stored = shelf.known[link.rpartition("/")[2]]
    path = files.path(status.task_id, stored)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    answer, body = await get(client, link)
    assert answer.status == 404
    assert b'"file_not_found"' in body


async def test_a_file_that_was_removed_is_not_found(client: Client, link: str, files: LocalFiles) -> None:
    await files.remove("task-0")
    answer, _ = await get(client, link)
    assert answer.status == 404
    assert answer.content_type == "application/problem+json"
    assert "Content-Disposition" not in answer.headers


async def test_a_name_as_url_is_found_as_it_is(client: Client, link: str) -> None:
    async with client.get(URL(link, encoded=True)) as answer:
        assert answer.status == 200


# --- Content-Disposition ---


async def test_inline_is_yes_or_no(client: Client, link: str) -> None:
    for text in ("", "2", "01", "true", "%D9%A1", "1&inline=1"):
        async with client.get(URL(f"{link}?inline={text}", encoded=True)) as answer:
            assert answer.status == 422, text


async def test_the_title_is_the_name_to_save_under(client: Client, link: str) -> None:
    answer, _ = await get(client, link)
    name = link.rpartition("/")[2]
    assert answer.headers["Content-Disposition"] == (
        f"attachment; filename=\"{name}\"; filename*=UTF-8''%E7%A4%BA%E4%BE%8B%E8%A7%86%E9%A2%91.mp4"
    )
    assert answer.content_disposition is not None
    assert answer.content_disposition.filename == "示例视频.mp4"


@pytest.mark.parametrize(
    ("path", "media_type", "kind"),
    [
        ("video.mp4", "video/mp4", "inline"),
        ("audio.mp3", "audio/mpeg", "inline"),
        ("thumbnail.jpg", "image/jpeg", "inline"),
        ("thumbnail.png", "image/png", "inline"),
        ("thumbnail.webp", "image/webp", "inline"),
        ("subtitle.vtt", "text/vtt", "inline"),
        ("thumbnail.svg", "image/svg+xml", "attachment"),
        ("thumbnail.gif", "image/gif", "attachment"),
        ("page.html", "text/html", "attachment"),
        ("data.bin", "application/octet-stream", "attachment"),
    ],
)
async def test_only_what_cannot_run_is_shown_inline(
    client: Client, publish: Publish, path: str, media_type: str, kind: str
) -> None:
    link = await publish(path=path, media_type=media_type)
    answer, _ = await get(client, link + "?inline=1")
    assert answer.headers["Content-Disposition"].startswith(kind + ";")
    assert answer.headers["Content-Type"] == media_type
    for question in ("", "?inline=0", "?outline=1"):
        answer, _ = await get(client, link + question)
        assert answer.headers["Content-Disposition"].startswith("attachment;")


@pytest.mark.parametrize(
    ("title", "stem"),
    [
        ("Plain title", "Plain title"),
        ("a/b\\c:d", "a b c d"),
        ('say "hi"', "say hi"),
        ("../../etc/passwd", "etc passwd"),
        ("..", ""),
        ("line\r\nSet-Cookie: a=b", "line Set-Cookie a=b"),
        ("abc\u202egpj.exe", "abcgpj.exe"),
        ("nul\x00byte", "nul byte"),
        ("lone \ud800 surrogate", "lone surrogate"),
        (" .hidden. ", "hidden"),
        ("Con", "Con_"),  # a device name of Windows
        ("COM1. The film", "COM1_. The film"),
        ("视" * 300, "视" * 60),
        ("", ""),
    ],
)
def test_a_title_becomes_a_harmless_file_name(title: str, stem: str) -> None:
    assert filename_stem(title) == stem


@pytest.mark.parametrize(
    ("name", "filename"),
    [
        ("video_film_abcdefghijklm.mp4", "Film.mp4"),
        ("subtitle-zh-Hans_film_abcdefghijklm.srt", "Film.zh-Hans.srt"),
        ("chapter-7_film_abcdefghijklm.mp4", "Film.chapter-007.mp4"),
    ],
)
def test_of_files_of_one_kind_each_has_a_name_of_its_own(name: str, filename: str) -> None:
    """Players find the subtitles of a film by their name."""
    assert filename_of(name, "Film") == filename
    assert filename_of(name, None) == name


@pytest.mark.parametrize(
    ("title", "chapter", "filename"),
    [
        ("Film", "Opening", "Film - 007 Opening.mp4"),
        ("Film", "a/b: \u202ec", "Film - 007 a b c.mp4"),
        ("Film", "...", "Film.chapter-007.mp4"),
        ("Film", None, "Film.chapter-007.mp4"),
        ("\u89c6" * 300, "\u9891" * 300, "\u89c6" * 30 + " - 007 " + "\u9891" * 30 + ".mp4"),
        (None, "Opening", "chapter-7_film_abcdefghijklm.mp4"),
    ],
)
def test_a_chapter_is_called_by_its_title(title: str | None, chapter: str | None, filename: str) -> None:
    assert filename_of("chapter-7_film_abcdefghijklm.mp4", title, chapter) == filename


@pytest.mark.wide
@given(st.text())
def test_no_title_breaks_the_header(title: str) -> None:
    header = disposition("video_abcdefghijklm.mp4", title, inline=False)
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
    if "*=" in header:
        assert unquote(header.partition("filename*=UTF-8''")[2]).endswith(".mp4")


async def test_a_file_without_a_title_is_saved_under_its_own_name(client: Client, publish: Publish) -> None:
    link = await publish(title=None)
    answer, _ = await get(client, link)
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{link.rpartition("/")[2]}"'
