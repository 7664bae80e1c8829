"""Lists: their entries become tasks, and an action on a list acts on all its entries."""

import asyncio
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from server.api import keys
from server.core.errors import DiskFull
from server.core.events import Completed, Expanded, Failed, Resumed, Started, Unfolded
from server.core.list_entries import Entries, ListEntry
from server.core.task import Stage, Task
from server.settings import DownloadSettings
from server.storage.sqlite import SqliteStore
from tests.inside import Inside, inside
from tests.site import Site, sha256
from tests.tags import about

FINAL = ("completed", "error")


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(tmp_path) as opened:
        yield opened


async def submit(opened: Inside, url: str, **fields: Any) -> str:
    return await opened.submit(url=url, auto_start=True, outputs=["video"], playlist=True, **fields)


async def entries(opened: Inside, playlist_id: str, **query: str) -> list[dict[str, Any]]:
    """Return the entries of a list in their order."""
    async with opened.client.get(f"/api/tasks?limit=200&playlist_id={playlist_id}", params=query) as answer:
        assert answer.status == 200
        return list(reversed((await answer.json())["tasks"]))


async def act(opened: Inside, task_id: str, action: str) -> tuple[int, dict[str, Any]]:
    async with opened.client.post(f"/api/tasks/{task_id}/{action}") as answer:
        return answer.status, await answer.json()


async def ended(opened: Inside, playlist_id: str) -> dict[str, Any]:
    while (found := await opened.status(playlist_id))["status"] not in FINAL:
        await asyncio.sleep(0.02)
    return found


async def test_entries_become_tasks_in_order_and_the_list_counts_them(opened: Inside, site: Site) -> None:
    url = site.url("/feed?entry=/silent.mp4&entry=/gone.mp4&entry=/video.mp4")
    playlist_id = await submit(opened, url, priority=3)
    playlist = await ended(opened, playlist_id)
    assert (playlist["stage"], playlist["progress"], playlist["files"]) == ("completed", 100, {})
    assert playlist["entries"] == {"total": 3, "completed": 2, "failed": 1}
    assert playlist["video_info"]["title"] == "Feed"
    found = await entries(opened, playlist_id)
    assert [entry["url"] for entry in found] == [
        site.url(path) for path in ("/silent.mp4", "/gone.mp4", "/video.mp4")
    ]
    assert [entry["stage"] for entry in found] == ["completed", "failed", "completed"]
    assert {entry["playlist_id"] for entry in found} == {playlist_id}
    assert {entry["priority"] for entry in found} == {3}
    assert [sorted(entry["files"]) for entry in found] == [["video"], [], ["video"]]
    assert "playlist_id" not in playlist
    assert "entries" not in found[0]


async def test_an_episode_keeps_what_its_feed_says_of_it(opened: Inside, site: Site, tmp_path: Path) -> None:
    """The episode's own page is a sound file, which tells nothing but its name."""
    playlist_id = await opened.submit(
        url=site.url("/texts/podcast.rss"),
        auto_start=True,
        outputs=["audio"],
        audio_format="best",
        embed_metadata=True,
        playlist=True,
    )
    assert (await ended(opened, playlist_id))["stage"] == "completed"
    [episode] = await entries(opened, playlist_id)
    assert episode["video_info"]["title"] == "The first"
    assert "first" in episode["files"]["audio"].lower()
    assert episode["thumbnail"]
    async with opened.client.get(episode["files"]["audio"]) as answer:
        (tmp_path / "episode.mp3").write_bytes(await answer.read())
    tags = about(tmp_path / "episode.mp3").tags
    assert (tags["title"], tags["date"], tags["episode_sort"]) == ("The first", "2024-01-01", "7")


async def test_with_reuse_a_list_shares_finished_tasks_and_fetches_the_rest(
    opened: Inside, site: Site
) -> None:
    """Finished tasks of other lists and single tasks are shared, but neither failed ones nor those with
    another request.
    """
    one, two, three, gone = "/video.mp4", "/silent.mp4", "/1mb.mp4", "/gone.mp4"
    first = await submit(opened, feed(site, one, gone))
    assert (await ended(opened, first))["entries"] == {"total": 2, "completed": 1, "failed": 1}
    alone = await opened.submit(url=site.url(two), auto_start=True, outputs=["video"])
    await opened.reached(alone, "completed")
    otherwise = await opened.submit(url=site.url(three), auto_start=True, outputs=["video"], quality="360")
    await opened.reached(otherwise, "completed")
    before = len(site.requests)
    again = await submit(opened, feed(site, one, two, three, gone), reuse=True)
    assert again != first
    assert (await ended(opened, again))["entries"] == {"total": 4, "completed": 3, "failed": 1}
    assert [entry["url"] for entry in await entries(opened, again)] == [site.url(three), site.url(gone)]
    assert {seen.path for seen in site.requests[before:]} == {"/feed", three, gone}
    pages = [await listed(opened, f"shared_by={again}&limit=1{more}") for more in ("", "&cursor=1")]
    assert [task["url"] for page in pages for task in page["tasks"]] == [site.url(one), site.url(two)]
    assert [page.get("next_cursor") for page in pages] == ["1", None]
    assert await listed(opened, "shared_by=nothing") == {"tasks": []}
    assert (await listed(opened, f"shared_by={again}&cursor=x"))["code"] == "invalid_query"
    last = await submit(opened, feed(site, one, two, three), reuse=True)
    assert (await ended(opened, last))["entries"] == {"total": 3, "completed": 3, "failed": 0}
    assert await entries(opened, last) == []
    async with opened.client.get(f"/api/download.zip?ids={last}") as answer:
        assert answer.status == 200
        with zipfile.ZipFile(BytesIO(await answer.read())) as archive:
            assert len(archive.namelist()) == 3


async def listed(opened: Inside, query: str) -> dict[str, Any]:
    async with opened.client.get(f"/api/tasks?{query}") as answer:
        found: dict[str, Any] = await answer.json()
        return found


def feed(site: Site, *links: str) -> str:
    return site.url("/feed?" + "&".join(f"entry={quote(link)}" for link in links))


@pytest.mark.wide
@pytest.mark.usefixtures("nothing_begins")
async def test_a_list_follows_a_shared_task_until_the_task_ends(opened: Inside, site: Site) -> None:
    """The shared task may complete or fail, or be removed, alone or with its own list."""
    recorder = opened.app[keys.TASKS]._recorder
    ways: dict[str, Any] = {"completed": 1, "failed": 0, "removed": 0, "removed_with_its_list": 0}
    for way, completed in ways.items():
        url = f"http://127.0.0.9:9/{way}"
        owner = await opened.submit(url=f"{url}/list", playlist=True)
        shared = await found(opened, owner, url)
        playlist_id = await opened.submit(url=f"{url}/other", playlist=True, reuse=True)
        assert await found(opened, playlist_id, url, f"{url}/own") != shared
        await recorder.record(playlist_id, Expanded())
        waiting = await opened.status(playlist_id)
        assert (waiting["stage"], waiting["entries"]["total"]) == ("download", 2)
        [own] = await entries(opened, playlist_id)
        await recorder.record(own["task_id"], Failed(code="http_404"))
        assert (await opened.status(playlist_id))["status"] == "processing"
        match way:
            case "completed":
                await recorder.record(shared, Completed(files={}))
            case "failed":
                await recorder.record(shared, Failed(code="http_404"))
            case _:
                async with opened.client.delete(
                    f"/api/tasks/{shared if way == 'removed' else owner}"
                ) as answer:
                    assert answer.status == 204
        after = await opened.status(playlist_id)
        assert after["entries"] == {"total": 2, "completed": completed, "failed": 2 - completed}, way
        assert after["stage"] == ("completed" if completed else "failed")
        if way == "completed":  # a later retry of the shared task does not change the list
            assert (await act(opened, shared, "retry"))[1]["stage"] == "queued"
            assert await opened.status(playlist_id) == after


@pytest.mark.usefixtures("nothing_begins")
async def test_an_action_on_a_list_does_not_touch_its_shared_tasks(opened: Inside) -> None:
    recorder, url = opened.app[keys.TASKS]._recorder, "http://127.0.0.9:9/v.mp4"
    shared = await opened.submit(url=url, auto_start=False)
    playlist_id = await opened.submit(url=f"{url}/list", playlist=True, reuse=True)
    await found(opened, playlist_id, url, f"{url}/own")
    await recorder.record(playlist_id, Expanded())
    assert (await act(opened, playlist_id, "cancel"))[1]["stage"] == "cancelled"
    assert (await opened.status(shared))["stage"] == "paused"
    await recorder.record(shared, Completed(files={}))
    after = await opened.status(playlist_id)
    assert (after["stage"], after["entries"]) == ("cancelled", {"total": 2, "completed": 1, "failed": 1})


async def found(opened: Inside, playlist_id: str, *links: str) -> str:
    """Let the list find entries with these links; return the id of the last task that it makes of them."""
    tasks = opened.app[keys.TASKS]
    if (await opened.status(playlist_id))["stage"] == "paused":
        await tasks._recorder.record(playlist_id, Resumed())
    await tasks._recorder.record(playlist_id, Started())
    new: list[Task] = []
    playlist = await tasks._store.get(playlist_id)
    its_entries = [ListEntry(index=number, url=link) for number, link in enumerate(links, 1)]
    await tasks._recorder.join_surely(playlist, its_entries, 100, new.append)
    return new[-1].status.task_id


@pytest.mark.wide
async def test_a_list_none_of_whose_entries_succeeds_has_failed(opened: Inside, site: Site) -> None:
    playlist = await ended(opened, await submit(opened, site.url("/feed?entry=/gone.mp4&entry=/lost.mp4")))
    assert (playlist["stage"], playlist["error_code"]) == ("failed", "entries_failed")
    assert (playlist["progress"], playlist["entries"]["failed"]) == (0, 2)


@pytest.mark.wide
async def test_a_list_whose_failed_entries_are_removed_cannot_be_retried(opened: Inside, site: Site) -> None:
    playlist_id = await submit(opened, site.url("/feed?entry=/gone.mp4&entry=/lost.mp4"))
    failed = await ended(opened, playlist_id)
    gone, kept = [entry["task_id"] for entry in await entries(opened, playlist_id)]
    async with opened.client.delete(f"/api/tasks/{gone}") as answer:
        assert answer.status == 204
    status, again = await act(opened, playlist_id, "retry")
    assert (status, again["stage"], again["entries"]["failed"]) == (200, "download", 1)
    assert (await ended(opened, playlist_id))["entries"] == failed["entries"]
    async with opened.client.delete(f"/api/tasks/{kept}") as answer:
        assert answer.status == 204
    before = await opened.status(playlist_id)
    status, problem = await act(opened, playlist_id, "retry")
    assert (status, problem["code"]) == (409, "wrong_stage")
    assert await opened.status(playlist_id) == before


async def test_a_list_without_playlist_is_refused_with_a_hint(opened: Inside, site: Site) -> None:
    failed = await ended(opened, await opened.submit(url=site.url("/feed?count=2"), auto_start=True))
    assert failed["error_code"] == "is_playlist"
    assert "整个列表" in failed["hint"]
    assert not site.seen("/video.mp4")


@pytest.mark.wide
async def test_an_endless_list_ends_where_the_operator_says(tmp_path: Path, site: Site) -> None:
    downloads = DownloadSettings(min_free_disk=0, allowed_private_hosts=("127.0.0.1",), max_playlist=2)
    async with inside(tmp_path, downloads=downloads) as opened:
        playlist_id = await submit(opened, site.url("/feed?count=4"), playlist_items="1,2-3")
        playlist = await ended(opened, playlist_id)
        assert playlist["entries"] == {"total": 2, "completed": 2, "failed": 0, "truncated": True}
        async with opened.client.get(f"/api/tasks/{playlist_id}/log") as answer:
            assert "downloads.max_playlist is 2" in await answer.text()


@pytest.mark.wide
async def test_entries_whose_links_have_expired_are_read_anew_from_their_list(
    opened: Inside, site: Site, media: Path, tmp_path: Path
) -> None:
    """An entry whose link is gone for good still fails with its reason."""
    url = site.url("/feed?stale=1&entry=/1mb.mp4&entry=/silent.mp4&entry=/gone.mp4")
    playlist = await ended(opened, await submit(opened, url))
    assert playlist["entries"] == {"total": 3, "completed": 2, "failed": 1}
    first, second, third = await entries(opened, playlist["task_id"])
    async with opened.client.get(first["files"]["video"]) as answer:
        (tmp_path / "first").write_bytes(await answer.read())
    assert sha256(tmp_path / "first") == sha256(media / "1mb.mp4")
    assert (first["attempt"], second["attempt"]) == (1, 1)
    assert third["error_code"] == "http_404"


# An entry that turns out to be a list.


async def test_an_entry_that_is_a_list_is_replaced_by_its_entries(opened: Inside, site: Site) -> None:
    inner = "/feed%3Fcount%3D2%26entry%3D/page"
    playlist_id = await submit(opened, site.url(f"/feed?entry=/silent.mp4&entry={inner}&entry=/1mb.mp4"))
    playlist = await ended(opened, playlist_id)
    assert (playlist["stage"], playlist["entries"]) == (
        "completed",
        {"total": 5, "completed": 5, "failed": 0},
    )
    found = await entries(opened, playlist_id)
    paths = ("/silent.mp4", "/page", "/1mb.mp4", "/video.mp4?times=1", "/video.mp4?times=2")
    assert [entry["url"] for entry in found] == [site.url(path) for path in paths]
    assert [entry["stage"] for entry in found] == ["completed"] * 5
    assert found[1]["video_info"]["title"] == "Entry 1"
    again = await act(opened, found[1]["task_id"], "retry")
    assert again[1]["url"] == site.url("/page")
    assert (await ended(opened, found[1]["task_id"]))["stage"] == "completed"


@pytest.mark.wide
async def test_the_entries_of_a_list_in_a_list_can_be_shared_as_well(opened: Inside, site: Site) -> None:
    inner = quote("/feed?count=2&entry=/page")
    playlist_id = await submit(opened, site.url(f"/feed?entry={inner}"))
    await ended(opened, playlist_id)
    link = site.url("/video.mp4?times=2")
    [there] = [entry for entry in await entries(opened, playlist_id) if entry["url"] == link]
    body = {"url": link, "outputs": ["video"], "reuse": True}
    async with opened.client.post("/api/process", json=body) as answer:
        assert (answer.status, (await answer.json())["task_id"]) == (200, there["task_id"])


@pytest.mark.wide
async def test_lists_in_a_list_have_no_more_entries_than_the_operator_allows(
    tmp_path: Path, site: Site
) -> None:
    downloads = DownloadSettings(min_free_disk=0, allowed_private_hosts=("127.0.0.1",), max_playlist=4)
    inner = "/feed%3Fcount%3D3"
    async with inside(tmp_path, downloads=downloads) as opened:
        playlist_id = await submit(opened, site.url(f"/feed?entry=/silent.mp4&entry={inner}&entry={inner}1"))
        playlist = await ended(opened, playlist_id)
        assert playlist["entries"] == {"total": 4, "completed": 4, "failed": 0, "truncated": True}
        assert len(await entries(opened, playlist_id)) == 4


@pytest.mark.wide
async def test_lists_that_lead_to_each_other_end(opened: Inside, site: Site) -> None:
    """Each list contains the other and itself."""
    playlist_id = await submit(opened, site.url("/texts/loop.rss"))
    playlist = await ended(opened, playlist_id)
    assert playlist["entries"] == {"total": 2, "completed": 2, "failed": 0}
    found = [entry["url"] for entry in await entries(opened, playlist_id)]
    assert found == [site.url("/video.mp4"), site.url("/silent.mp4")]


async def test_a_list_that_is_still_read_loses_and_doubles_nothing_when_one_of_its_entries_is_a_list(
    opened: Inside, site: Site
) -> None:
    """Entries of the inner list and entries that are still to be found get their places from one sequence."""
    tasks = opened.app[keys.TASKS]
    recorder, store = tasks._recorder, tasks._store
    playlist_id = await opened.submit(url=site.url("/feed?count=3"), playlist=True, outputs=["video"])
    await recorder.record(playlist_id, Resumed())
    reading = replace(await store.get(playlist_id), status=await recorder.record(playlist_id, Started()))

    def found(*numbers: int) -> list[ListEntry]:
        return [ListEntry(index=n, url=site.url(f"/silent.mp4?times={n}")) for n in numbers]

    joined: list[Task] = []
    await recorder.join_surely(reading, found(1, 2), 9, joined.append)
    entry = await recorder.record(joined[0].status.task_id, Started())
    inner = Unfolded(entries=tuple(found(11, 12, 13)), truncated=False, most=9)
    await recorder.record(entry.task_id, inner, entry.attempt, accepted=joined.append)
    assert (await store.get(playlist_id)).status.entries_read == 2
    await recorder.join_surely(reading, found(1, 2, 3), 9, joined.append)
    listed = (await store.get(playlist_id)).status
    assert (listed.entries, listed.entries_read) == (Entries(total=5), 3)
    rows = [await store.get(entry["task_id"]) for entry in await entries(opened, playlist_id)]
    assert [row.status.playlist_index for row in rows] == [1, 2, 3, 4, 5]
    assert [row.status.url.rpartition("=")[2] for row in rows] == ["11", "2", "12", "13", "3"]
    assert (rows[0].effective_request or rows[0].request).url == rows[0].status.url  # type: ignore[union-attr]


async def test_an_entry_becomes_a_list_and_its_list_is_cancelled_in_the_same_moment(
    opened: Inside, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = opened.app[keys.TASKS]
    recorder, store = tasks._recorder, tasks._store
    playlist_id = await opened.submit(url=site.url("/feed?count=3"), playlist=True, outputs=["video"])
    await recorder.record(playlist_id, Resumed())
    reading = replace(await store.get(playlist_id), status=await recorder.record(playlist_id, Started()))
    joined: list[Task] = []
    one = [ListEntry(index=1, url=site.url("/silent.mp4"))]
    await recorder.join_surely(reading, one, 9, joined.append)
    entry = await recorder.record(joined[0].status.task_id, Started())
    save_together = SqliteStore.save_together

    async def cancelled_before(self: SqliteStore, *wanted: Any) -> list[Task] | None:
        monkeypatch.undo()
        assert (await act(opened, playlist_id, "cancel"))[0] == 200
        return await save_together(self, *wanted)

    monkeypatch.setattr(SqliteStore, "save_together", cancelled_before)
    inner = Unfolded(entries=(*one, *one), truncated=False, most=9)
    after = await recorder.record(entry.task_id, inner, entry.attempt, accepted=joined.append)
    assert after.stage is Stage.CANCELLED
    assert len(await entries(opened, playlist_id)) == len(joined) == 1
    assert (await opened.status(playlist_id))["entries"] == {"total": 1, "completed": 0, "failed": 1}


# --- actions on a list act on all its entries; some entries stall, so that some run and some wait ---


@pytest.fixture
async def stalling(opened: Inside, site: Site) -> dict[str, Any]:
    """A list with one finished entry, four that run and three that wait."""
    links = "".join(f"&entry=/video.mp4%3Fstall={1000 + n}" for n in range(1, 8))
    playlist_id = await submit(opened, site.url(f"/feed?entry=/silent.mp4{links}"))
    async with asyncio.timeout(30):
        while True:
            playlist = await opened.status(playlist_id)
            running = await entries(opened, playlist_id, stage="download")
            if playlist["stage"] == "download" and playlist["entries"]["completed"] and len(running) == 4:
                return playlist
            await asyncio.sleep(0.02)


async def stages(opened: Inside, playlist_id: str) -> list[str]:
    return sorted(entry["stage"] for entry in await entries(opened, playlist_id))


@pytest.mark.wide
async def test_a_list_is_cancelled_as_a_whole_and_what_was_not_done_is_retried(
    opened: Inside, site: Site, stalling: dict[str, Any]
) -> None:
    playlist_id = stalling["task_id"]
    assert stalling["progress"] == 20 + 79 // 8
    status, cancelled = await act(opened, playlist_id, "cancel")
    assert (status, cancelled["stage"]) == (200, "cancelled")
    assert cancelled["entries"] == {"total": 8, "completed": 1, "failed": 7}
    assert await stages(opened, playlist_id) == ["cancelled"] * 7 + ["completed"]
    assert (await act(opened, playlist_id, "resume"))[0] == 409
    asked = len(site.seen("/silent.mp4"))
    site.release()
    status, again = await act(opened, playlist_id, "retry")
    assert (status, again["stage"]) == (200, "download")
    assert again["entries"] == {"total": 8, "completed": 1, "failed": 0}
    done = await ended(opened, playlist_id)
    assert done["entries"] == {"total": 8, "completed": 8, "failed": 0}
    assert [len(site.seen("/feed")), len(site.seen("/silent.mp4"))] == [1, asked]
    status, same = await act(opened, playlist_id, "retry")
    assert (status, same) == (200, done)


async def test_a_list_is_paused_and_resumed_as_a_whole(
    opened: Inside, site: Site, stalling: dict[str, Any]
) -> None:
    playlist_id = stalling["task_id"]
    status, paused = await act(opened, playlist_id, "pause")
    assert (status, paused["stage"]) == (200, "paused")
    assert await stages(opened, playlist_id) == ["completed"] + ["paused"] * 7
    site.release()
    status, resumed = await act(opened, playlist_id, "resume")
    assert (status, resumed["stage"]) == (200, "download")
    assert (await ended(opened, playlist_id))["entries"]["completed"] == 8


@pytest.mark.wide
async def test_a_list_is_removed_with_all_that_is_of_it(
    opened: Inside, stalling: dict[str, Any], tmp_path: Path
) -> None:
    playlist_id = stalling["task_id"]
    async with opened.client.delete(f"/api/tasks/{playlist_id}") as answer:
        assert answer.status == 204
    async with opened.client.get("/api/tasks") as answer:
        assert (await answer.json())["tasks"] == []
    left = [
        path.name for folder in ("work", "files", "logs") for path in (tmp_path / "data" / folder).iterdir()
    ]
    assert left == []


@pytest.mark.wide
async def test_an_entry_that_is_removed_or_retried_by_itself_is_counted(
    opened: Inside, site: Site, stalling: dict[str, Any]
) -> None:
    playlist_id = stalling["task_id"]
    running = await entries(opened, playlist_id, stage="download")
    async with opened.client.delete(f"/api/tasks/{running[0]['task_id']}") as answer:
        assert answer.status == 204
    await act(opened, running[1]["task_id"], "cancel")
    site.release()
    done = await ended(opened, playlist_id)
    assert (done["stage"], done["entries"]) == ("completed", {"total": 8, "completed": 6, "failed": 2})
    await act(opened, running[1]["task_id"], "retry")
    while (found := await opened.status(playlist_id))["entries"]["completed"] < 7:
        await asyncio.sleep(0.02)
    assert (found["stage"], found["entries"]["failed"]) == ("completed", 1)


@pytest.mark.wide
async def test_an_entry_whose_removal_is_not_saved_goes_on(
    opened: Inside, site: Site, stalling: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await entries(opened, stalling["task_id"], stage="download")

    async def full(*_: Any) -> None:
        raise DiskFull

    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "save_together", full)
        async with opened.client.delete(f"/api/tasks/{running[0]['task_id']}") as answer:
            assert answer.status == 507
    site.release()
    assert (await ended(opened, stalling["task_id"]))["entries"]["completed"] == 8


@pytest.mark.wide
async def test_a_new_priority_of_a_list_is_that_of_all_its_waiting_entries(
    opened: Inside, stalling: dict[str, Any]
) -> None:
    playlist_id = stalling["task_id"]
    async with opened.client.patch(f"/api/tasks/{playlist_id}", json={"priority": 5}) as answer:
        assert (await answer.json())["priority"] == 5
    found = await entries(opened, playlist_id)
    assert [entry["priority"] for entry in found if entry["stage"] != "completed"] == [5] * 7


@pytest.mark.wide
@pytest.mark.parametrize("action", ["cancel", "pause"])
async def test_a_list_is_stopped_while_it_is_read_and_read_on_later(
    opened: Inside, site: Site, action: str
) -> None:
    playlist_id = await submit(opened, site.url("/feed?count=3&stall=yes"))
    await site.stalled()
    status, stopped = await act(opened, playlist_id, action)
    assert (status, stopped["entries"]["total"]) == (200, 0)
    site.release()
    again = {"cancel": "retry", "pause": "resume"}[action]
    assert (await act(opened, playlist_id, again))[1]["stage"] == "queued"
    assert (await ended(opened, playlist_id))["entries"] == {"total": 3, "completed": 3, "failed": 0}


async def test_entries_accepted_before_a_kill_are_neither_lost_nor_doubled(
    tmp_path: Path, site: Site
) -> None:
    """The server stops between two reports of entries: the next reading must know what was reported
    before.
    """
    async with inside(tmp_path) as opened:
        tasks = opened.app[keys.TASKS]
        playlist_id = await opened.submit(url=site.url("/feed?count=5"), playlist=True, outputs=["video"])
        await tasks._recorder.record(playlist_id, Resumed())
        started = await tasks._recorder.record(playlist_id, Started())
        playlist = replace(await tasks._store.get(playlist_id), status=started)
        found = [ListEntry(index=n, url=site.url(f"/video.mp4?times={n}")) for n in (1, 2)]
        for _ in range(2):  # the second report changes nothing
            await tasks._recorder.join_surely(playlist, found, 5, lambda _: None)
        assert (await opened.status(playlist_id))["entries"]["total"] == 2
    async with inside(tmp_path) as opened:
        done = await ended(opened, playlist_id)
        assert done["entries"] == {"total": 5, "completed": 5, "failed": 0}
        links = [entry["url"] for entry in await entries(opened, playlist_id)]
        assert links == [site.url(f"/video.mp4?times={n}") for n in range(1, 6)]


async def test_nothing_joins_a_list_of_a_later_attempt(opened: Inside, site: Site) -> None:
    tasks = opened.app[keys.TASKS]
    playlist_id = await opened.submit(playlist=True)
    await tasks._recorder.record(playlist_id, Resumed())
    late = replace(
        await tasks._store.get(playlist_id), status=await tasks._recorder.record(playlist_id, Started())
    )
    now = await tasks._recorder.record(playlist_id, Started())
    found = [ListEntry(index=1, url=site.url("/video.mp4"))]
    assert await tasks._recorder.join_surely(late, found, 5, lambda _: None) == now
    assert await entries(opened, playlist_id) == []
