"""Watching a download while it runs: the viewer gets the same bytes, to the end or cut off."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from server.child.fetch.one_stream import playable_type
from server.core.errors import NotStreamable
from server.core.ports import Growth
from server.files.growing_file import open_growing
from server.settings import ServerSettings
from tests.inside import Inside, inside
from tests.jobs import Jobs, probe
from tests.site import Site

WITHIN = 20  # seconds that a wait may take
HALF = 4_000_000


@asynccontextmanager
async def watching(server: Inside, task_id: str, **headers: str) -> AsyncIterator[aiohttp.ClientResponse]:
    """Return the stream of a task as soon as there is something to play."""
    async with asyncio.timeout(WITHIN):
        while True:
            async with server.client.get(f"/api/tasks/{task_id}/stream", headers=headers) as answer:
                if answer.status == 200:
                    yield answer
                    return
                assert (await answer.json())["code"] == "not_streamable"
            await asyncio.sleep(0.02)


async def begun(server: Inside, site: Site, path: str, **fields: Any) -> str:
    return await server.submit(url=site.url(path), auto_start=True, **{"outputs": ["video"], **fields})


async def refused(server: Inside, task_id: str) -> str:
    async with server.client.get(f"/api/tasks/{task_id}/stream") as answer:
        problem = await answer.json()
    assert (answer.status, problem["code"]) == (409, "not_streamable")
    assert problem["hint"]
    reason: str = problem["reason"]
    return reason


async def test_it_is_sent_from_its_beginning_and_followed_to_its_end(
    tmp_path: Path, site: Site, media: Path
) -> None:
    whole = (media / "8mb.mp4").read_bytes()
    async with inside(tmp_path) as server:
        task_id = await begun(server, site, f"/8mb.mp4?stall={HALF}&after=1&times=1")
        await server.reached(task_id, "download")
        async with watching(server, task_id, Range="bytes=100-") as answer:
            come = await answer.content.readexactly(HALF // 2)
            status = await server.status(task_id)
            site.release()
            come += await answer.read()
        assert status["stage"] == "download"
        assert come == whole
        assert (answer.content_type, answer.headers["Accept-Ranges"]) == ("video/mp4", "none")
        assert "Content-Length" not in answer.headers
        assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Disposition"].startswith('inline; filename="8mb.mp4"'), "one suffix"
        await server.all_gone()


@pytest.mark.parametrize(
    "path",
    [
        "/hls/ts/index.m3u8?rate=900000",
        pytest.param("/hls/fmp4/index.m3u8?rate=300000", marks=pytest.mark.long),
        pytest.param("/hls/aes/index.m3u8?rate=300000", marks=pytest.mark.long),
        pytest.param("/clip.webm?rate=50000", marks=pytest.mark.long),
    ],
)
async def test_what_is_made_into_another_file_is_sent_to_its_end_as_it_came(
    tmp_path: Path, site: Site, path: str
) -> None:
    """When the viewer asks, the output may be converted and published, and the downloaded part gone."""
    async with inside(tmp_path) as server:
        task_id = await begun(server, site, path)
        async with watching(server, task_id) as answer:
            come = tmp_path / "come"
            come.write_bytes(await answer.read())
        done = await server.reached(task_id, "completed")
        made = tmp_path / "made"
        async with server.client.get(done["files"]["video"]) as file:
            made.write_bytes(await file.read())
    assert lengths_of(come) == lengths_of(made)


def lengths_of(film: Path) -> list[str]:
    """Decode a whole film; return the lengths of its streams. Fails on any fault."""
    return re.findall(r"frame= *(\d+)", probe(film))[-1:]


async def test_of_a_completed_task_it_is_the_file(tmp_path: Path) -> None:
    content = os.urandom(5000)
    async with inside(tmp_path) as server:
        link = await server.finished(content)
        [(task_id, _)] = [(task["task_id"], task) for task in await _tasks(server)]
        async with server.client.get(
            f"/api/tasks/{task_id}/stream", headers={"Range": "bytes=10-19"}
        ) as part:
            assert (part.status, await part.read()) == (206, content[10:20])
            assert part.headers["ETag"].strip('"') == link.rpartition("/")[2]
        async with server.client.head(f"/api/tasks/{task_id}/stream") as head:
            assert (head.status, head.headers["Content-Length"]) == (200, "5000")


async def _tasks(server: Inside) -> list[dict[str, Any]]:
    async with server.client.get("/api/tasks") as answer:
        tasks: list[dict[str, Any]] = (await answer.json())["tasks"]
        return tasks


async def test_what_is_cancelled_or_removed_is_cut_off_and_not_ended(tmp_path: Path, site: Site) -> None:
    async with inside(tmp_path) as server:
        for how in ("cancel", ""):
            task_id = await begun(server, site, f"/8mb.mp4?stall={HALF}&after=1")
            async with watching(server, task_id) as answer:
                await answer.content.readexactly(1000)
                if how:
                    await server.client.post(f"/api/tasks/{task_id}/{how}")
                else:
                    await server.client.delete(f"/api/tasks/{task_id}")
                with pytest.raises(aiohttp.ClientPayloadError):
                    await answer.read()
        await server.all_gone()


async def test_who_watches_a_pause_gets_the_rest_after_it(tmp_path: Path, site: Site, media: Path) -> None:
    async with inside(tmp_path) as server:
        task_id = await begun(server, site, f"/8mb.mp4?stall={HALF}&after=1&times=1")
        async with watching(server, task_id) as answer:
            come = await answer.content.readexactly(HALF // 2)
            for action in ("pause", "resume"):
                async with server.client.post(f"/api/tasks/{task_id}/{action}") as done:
                    assert done.status == 200
            come += await answer.read()
        assert come == (media / "8mb.mp4").read_bytes()
        assert (await server.status(task_id))["attempt"] == 2


async def test_a_source_that_has_become_another_is_no_splice(tmp_path: Path, site: Site) -> None:
    """The download drops its bytes and begins anew, so the viewer's stream must begin anew, too."""
    async with inside(tmp_path) as server:
        task_id = await begun(server, site, f"/8mb.mp4?stall={HALF}&after=1&times=1")
        async with watching(server, task_id) as answer:
            await answer.content.readexactly(1000)
            async with server.client.post(f"/api/tasks/{task_id}/pause"):
                pass
            [part] = server.work(task_id).glob("*.part")
            note = part.with_name(part.name.removesuffix(".part") + ".source")
            note.write_text(note.read_text().replace("8000000", "7000000"))
            async with server.client.post(f"/api/tasks/{task_id}/resume"):
                pass
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        await server.reached(task_id, "completed")


async def test_a_client_that_leaves_and_one_that_only_asks_are_not_waited_for(
    tmp_path: Path, site: Site
) -> None:
    async with inside(tmp_path) as server:
        task_id = await begun(server, site, f"/8mb.mp4?stall={HALF}&after=1")
        async with watching(server, task_id) as answer:
            await answer.content.readexactly(1000)
            answer.close()
        async with server.client.head(f"/api/tasks/{task_id}/stream") as head:
            assert (head.status, head.headers["Content-Type"], await head.read()) == (200, "video/mp4", b"")
        await server.all_gone()


async def test_it_has_the_doors_of_a_file(tmp_path: Path) -> None:
    async with inside(tmp_path, server=ServerSettings(tokens=(SecretStr("right"),))) as server:
        async with server.client.get("/api/tasks/x/stream") as answer:
            assert answer.status == 401
        async with server.client.get(
            "/api/tasks/x/stream", headers={"Authorization": "Bearer right"}
        ) as answer:
            assert (answer.status, (await answer.json())["code"]) == (404, "task_not_found")


async def test_what_cannot_be_played_says_why(tmp_path: Path, site: Site) -> None:
    async with inside(tmp_path) as server:
        paused = await server.submit()
        assert await refused(server, paused) == "nothing_yet"
        apart = await begun(server, site, "/dash/manifest.mpd?stall=1000")
        async with asyncio.timeout(WITHIN):
            await site.stalled()  # by then the child has said which stream it fetches
        assert await refused(server, apart) == "apart"
        async with server.client.post(f"/api/tasks/{apart}/cancel"):
            pass
        assert await refused(server, apart) == "over"


async def test_joined_fragments_are_watched_as_far_as_they_are_vouched_for(
    tmp_path: Path, site: Site, jobs: Jobs
) -> None:
    work, url = tmp_path / "t", site.url("/hls/ts/index.m3u8?stall=1000&times=1&only=2")
    async with asyncio.timeout(WITHIN), jobs.begin(work, url, outputs=["video"]) as job:
        hearing = asyncio.create_task(job.run())
        growing = await _once(lambda: open_growing(work))
        while not growing.look()[1]:
            await asyncio.sleep(0.01)
        job.kill()
        await hearing
    with closing(growing):
        size = growing.look()[1]
        [note] = work.glob("*.ytdl")
        with note.with_suffix(".part").open("ab") as part:
            part.write(b"half a fragment that nobody wrote down")
        assert (growing.look(), growing.type) == ((Growth.GOES_ON, size), "video/mp2t")
        come = growing.read(0, size)
        outcome = await jobs.download(work, url, outputs=["video"])
        assert outcome.last["kind"] == "produced", outcome.last
        growth, all_of_it = growing.look()
        whole = growing.read(0, all_of_it)
    assert growth is Growth.WHOLE
    assert whole[:size] == come
    assert b"nobody wrote down" not in whole


async def _once(find: Callable[[], Any]) -> Any:
    while True:
        try:
            return await asyncio.to_thread(find)
        except NotStreamable:
            await asyncio.sleep(0.01)


def box(name: bytes, size: int) -> bytes:
    return size.to_bytes(4) + name + bytes(size - 8)


FTYP = box(b"ftyp", 8) + b""
BIG = box(b"mdat", 4000)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\0\0\0\x10ftypisom\0\0\0\0" + box(b"moov", 2000) + BIG, "video/mp4"),
        (b"\0\0\0\x10ftypisom\0\0\0\0" + box(b"free", 1500) + box(b"moov", 2000), "video/mp4"),
        (b"\0\0\0\x10ftypisom\0\0\0\0" + box(b"moov", 2000)[:1500], None),
        (b"\0\0\0\x10ftypisom\0\0\0\0" + BIG + box(b"moov", 2000), "not_before_the_end"),
        (b"\0\0\0\x10ftypM4A \0\0\0\0" + box(b"moov", 2000), "audio/mp4"),
        (b"\0\0\0\x10ftypisom\0\0\0\0" + bytes(16), "not_before_the_end"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86webm" + bytes(20), "video/webm"),
        (b"ID3" + bytes(20), "audio/mpeg"),
        (b"\x47" + bytes(187) + b"\x47", "video/mp2t"),
        (b"", None),
        (b"<html>", None),
        (b"<html>" + bytes(2000), "not_before_the_end"),
        (b"RIFF\0\0\0\0AVI " + bytes(2000), "not_before_the_end"),
    ],
)
def test_a_file_can_be_watched_whose_index_is_not_at_its_end(
    tmp_path: Path, content: bytes, expected: str | None
) -> None:
    (tmp_path / "a").write_bytes(content)
    assert playable_type(tmp_path / "a") == expected


PART = "0123456789abcdef0123.mp4"
GOOD = f'{{"name": "{PART}", "type": "video/mp4"}}'


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        (GOOD.replace(PART, "../../clipwire.db"), "nothing_yet"),
        (GOOD.replace(PART, "/etc/passwd"), "nothing_yet"),
        (GOOD.replace("video/mp4", "text/html"), "nothing_yet"),
        (GOOD.replace("video/mp4", "video/mp4\\r\\nX: y"), "nothing_yet"),
        ("[]", "nothing_yet"),
        ("{", "nothing_yet"),
        ("[" * 60_000, "nothing_yet"),
        ('{"why": "apart"}', "apart"),
    ],
)
def test_a_note_that_lies_opens_nothing(tmp_path: Path, note: str, reason: str) -> None:
    (tmp_path / "stream.json").write_text(note)
    (tmp_path / f"{PART}.part").write_bytes(b"film")
    with pytest.raises(NotStreamable) as refusal:
        open_growing(tmp_path)
    assert refusal.value.reason == reason


def test_a_link_in_the_place_of_a_file_opens_nothing(tmp_path: Path) -> None:
    work, secret = tmp_path / "work", tmp_path / "secret"
    work.mkdir()
    secret.write_text("secret")
    (work / "stream.json").write_text(GOOD)
    (work / f"{PART}.part").symlink_to(secret)
    with pytest.raises(NotStreamable):
        open_growing(work)
    (work / f"{PART}.part").unlink()
    os.link(secret, work / f"{PART}.part")
    with pytest.raises(NotStreamable):
        open_growing(work)
