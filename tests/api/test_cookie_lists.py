"""The cost of storing and listing cookie files: one is parsed at a time, and a list reads one line of each,
however many clients ask.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import psycopg
import pytest

from server.api import cookies as routes
from server.api import spool
from server.api.connections import CONNECTIONS
from server.api.keys import COOKIES, SETTINGS, SPOOL
from server.cluster.database import open_database
from server.cluster.shared_cookies import SharedCookies
from server.core import cookie_format
from server.core.cookie_facts import CookieFacts, facts_of, with_facts
from server.core.ports import Cookies, StoredCookies
from server.files.cookie_folder import LocalCookies
from server.files.public_names import short_of
from server.storage.postgresql import open_store
from tests.inside import Inside, inside

PLAIN = {"Content-Type": "text/plain"}
NOW = 1_900_000_000


def file_of(*ends: int) -> str:
    lines = (f"h{place}.test\tTRUE\t/\tFALSE\t{end}\tn\tv\n" for place, end in enumerate(ends))
    return cookie_format.format_cookies(cookie_format.parse("".join(lines)))


def facts(text: str) -> CookieFacts:
    return facts_of(cookie_format.parse(text), NOW)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the name of the thread for each text that is parsed."""
    found, parse = list[str](), cookie_format.parse

    def watched(text: str) -> list[cookie_format.Cookie]:
        found.append(threading.current_thread().name)
        return parse(text)

    monkeypatch.setattr(cookie_format, "parse", watched)
    return found


# --- the facts of a cookie file ---


@pytest.mark.parametrize("now", [NOW - 5, NOW, NOW + 1, NOW + 150, NOW + 1000])
def test_expiry_is_told_as_if_it_were_counted_now(now: int) -> None:
    ends = [NOW - 2, NOW - 2, NOW - 1, *(NOW + 2 * step for step in range(1, 150)), 0, 0]
    shown = facts(file_of(*ends)).shown(5, now)
    timed = sorted(end for end in ends if end)
    # For a time before the facts were worked out, no cookie counts as expired.
    assert shown["expired"] == (sum(end <= now for end in timed) if now >= NOW else 0)
    assert shown["count"] == len(ends)
    assert shown["hosts"] == ["h0.test", "h1.test", "h10.test", "h100.test", "h101.test"]
    following = next((end for end in timed if end > now), timed[-1])
    if now >= NOW:
        assert shown["expires_at"] == datetime.fromtimestamp(following, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.wide
def test_of_very_many_moments_the_later_ones_are_put_together() -> None:
    found = facts(file_of(*range(NOW - 5000, NOW + 20_000)))
    assert len(found.ends) <= 201
    assert len(with_facts("", found)) < 16_000
    for later in (0, 1, 57, 100):
        assert found.shown(1, NOW + later)["expired"] == 5001 + later
    assert abs(int(str(found.shown(1, NOW + 10_000)["expired"])) - 15_001) <= 200
    assert found.shown(1, NOW + 20_000)["expired"] == 25_000


# --- both stores ---


@pytest.fixture(params=["local", "postgresql"])
async def stored(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cookies]:
    if request.param == "local":
        yield LocalCookies(tmp_path / "cookies")
        return
    url = request.getfixturevalue("clean_database")
    async with open_store(url, max_queued=1, find_short=short_of), open_database(url, 2) as database:
        yield SharedCookies(database)


async def listed(stored: Cookies) -> dict[str, CookieFacts]:
    return {name: found async for name, found in stored.facts()}


@pytest.mark.wide
async def test_a_list_parses_nothing(stored: Cookies, parsed: list[str]) -> None:
    text = file_of(NOW, NOW + 7)
    await stored.put("a", with_facts(text, facts(text)))
    given = await stored.get("a")
    assert given is not None
    assert given.text == text
    parsed.clear()
    assert await listed(stored) == {"a": facts_of(cookie_format.parse(text), NOW)}
    assert len(parsed) == 1  # only this test itself has parsed it
    back = text.replace("\tv\n", "\tnew\n") + "sub.h1.test\tFALSE\t/\tFALSE\t7\tn\tv\n"
    await stored.renew("a", given, back)
    renewed = await stored.get("a")
    assert renewed is not None
    assert "about" not in renewed.text
    parsed.clear()
    assert (await listed(stored))["a"].count == 3
    assert parsed == []


async def test_what_an_earlier_release_has_stored_is_worked_out_once(
    stored: Cookies, parsed: list[str]
) -> None:
    text = file_of(NOW)
    for name in ("a", "b"):
        await stored.put(name, text)
    before = await stored.get("a")
    first = await listed(stored)
    assert first == {"a": facts(text), "b": facts(text)}
    assert await stored.get("a") == before  # a job sees the same file as before
    parsed.clear()
    assert await listed(stored) == first
    assert parsed == []


async def test_a_damaged_file_is_read_once_and_again_when_it_has_changed(
    tmp_path: Path, parsed: list[str]
) -> None:
    stored = LocalCookies(tmp_path)
    (tmp_path / "a.txt").write_text("# put 1\nno cookie\n")
    for _ in range(3):
        assert await listed(stored) == {}
    assert len(parsed) == 1
    (tmp_path / "a.txt").write_text(f"# put 1\n{file_of(NOW, NOW)}")
    assert (await listed(stored))["a"].count == 2


async def test_a_node_of_the_release_before_changes_what_is_told(clean_database: str) -> None:
    async with (
        open_store(clean_database, max_queued=1, find_short=short_of),
        open_database(clean_database, 2) as database,
    ):
        stored, text = SharedCookies(database), file_of(NOW)
        await stored.put("a", with_facts(text, facts(text)))
        async with await psycopg.AsyncConnection.connect(clean_database, autocommit=True) as db:
            await db.execute("UPDATE cookies SET content = %s WHERE name = 'a'", (file_of(NOW, NOW, NOW),))
        assert (await listed(stored))["a"].count == 3


async def test_of_two_nodes_that_renew_at_once_both_are_kept(clean_database: str) -> None:
    async with (
        open_store(clean_database, max_queued=1, find_short=short_of),
        open_database(clean_database, 4) as database,
    ):
        stored = SharedCookies(database)
        one, two = "a.test\tFALSE\t/\tFALSE\t0\tn\tv\n", "b.test\tFALSE\t/\tFALSE\t0\tn\tv\n"
        await stored.put("a", one + two)
        given = await stored.get("a")
        assert given is not None
        await asyncio.gather(
            stored.renew("a", given, one.replace("v\n", "1\n") + two),
            stored.renew("a", given, one + two.replace("v\n", "2\n")),
        )
        now = await stored.get("a")
        assert now is not None
        assert {each.value for each in cookie_format.parse(now.text)} == {"1", "2"}


# --- the routes ---


@pytest.fixture
async def served(tmp_path: Path, nothing_begins: None) -> AsyncIterator[Inside]:
    async with inside(tmp_path) as served:
        yield served


async def put(served: Inside, name: str, text: str) -> int:
    async with served.client.put(f"/api/cookies/{name}", data=text.encode(), headers=PLAIN) as answer:
        await answer.read()
        return answer.status


async def test_lists_at_once_are_two_readings_and_the_second_sees_what_was_stored_before(
    served: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, readings, go_on = served.app[COOKIES], 0, asyncio.Event()
    names = stored.names

    async def waits() -> list[str]:
        nonlocal readings
        readings += 1
        found = await names()
        await go_on.wait()
        return found

    async def get() -> list[str]:
        async with served.client.get("/api/cookies") as answer:
            return [file["name"] for file in (await answer.json())["cookies"]]

    monkeypatch.setattr(stored, "names", waits)
    lists = [asyncio.create_task(get())]
    while not readings:
        await asyncio.sleep(0)
    monkeypatch.setattr(stored, "names", names)  # the next list and the next change of a file call this
    assert await put(served, "a", file_of(NOW)) == 204
    monkeypatch.setattr(stored, "names", waits)
    lists += [asyncio.create_task(get()) for _ in range(20)]
    while len(served.app[CONNECTIONS].answering) < 21:
        await asyncio.sleep(0)
    for gone in lists[:10]:
        gone.cancel()
    go_on.set()
    assert await asyncio.gather(*lists[10:]) == [["a"]] * 11
    assert readings == 4  # for each of two lists: how many files there are, and which


async def test_files_are_read_one_at_a_time_and_not_for_who_has_left(
    served: Inside, monkeypatch: pytest.MonkeyPatch, parsed: list[str]
) -> None:
    stored, turns, text = served.app[COOKIES], served.app[routes.TURNS], file_of(NOW)
    at_once, most, put_down = 0, 0, stored.put
    parsed.clear()

    async def counted(name: str, text: str) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await put_down(name, text)
        at_once -= 1

    monkeypatch.setattr(stored, "put", counted)
    async with turns.turn():
        leaving = [asyncio.create_task(put(served, f"gone{place}", text)) for place in range(5)]
        staying = [asyncio.create_task(put(served, f"f{place}", text)) for place in range(5)]
        while len(served.app[CONNECTIONS].answering) < 10:
            await asyncio.sleep(0)
        for gone in leaving:
            gone.cancel()
        while len(served.app[CONNECTIONS].answering) > 5:
            served.app[CONNECTIONS].let_go()
            await asyncio.sleep(0)
        assert parsed == []
    assert await asyncio.gather(*staying) == [204] * 5
    assert most == 1
    assert await stored.names() == [f"f{place}" for place in range(5)]
    assert all(thread.startswith("long work") for thread in parsed)


async def test_a_large_body_waits_on_the_disk_and_one_too_many_comes_again_later(
    served: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = file_of(*[NOW] * 8000)
    monkeypatch.setattr(spool, "ON_DISK", len(large) + 1000)
    disk = served.app[SPOOL]
    async with served.app[routes.TURNS].turn():
        waiting = asyncio.create_task(put(served, "first", large))
        while disk.on_disk < len(large):
            await asyncio.sleep(0)
        assert not [*disk.folder.iterdir()]  # an open spool file has no name in the folder
        async with served.client.put("/api/cookies/b", data=large.encode(), headers=PLAIN) as answer:
            assert answer.status == HTTPStatus.SERVICE_UNAVAILABLE
            assert int(answer.headers["Retry-After"]) > 0
            assert (await answer.json(content_type=None))["code"] == "server_busy"
    assert await waiting == 204
    found = await served.app[COOKIES].get("first")
    assert isinstance(found, StoredCookies)
    assert found.text == large
    assert disk.on_disk == 0


async def test_who_waits_too_long_for_a_turn_is_told_to_come_again(
    served: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "WAIT_FOR_TURN", 0.0)
    async with served.app[routes.TURNS].turn():
        assert await put(served, "a", file_of(NOW)) == 503
    assert await put(served, "a", file_of(NOW)) == 204


async def test_a_disk_without_room_is_told_as_such(served: Inside) -> None:
    served.app[SPOOL].folder = Path("/dev/full/not-there")
    assert await put(served, "a", file_of(*[NOW] * 8000)) == 503
    assert served.app[SPOOL].on_disk == 0


async def test_files_of_the_release_before_are_described_at_the_start(
    tmp_path: Path, nothing_begins: None
) -> None:
    folder = tmp_path / "data" / "cookies"
    async with inside(tmp_path) as served:
        folder = served.app[SETTINGS].storage.data_dir / "cookies"
        assert await put(served, "a", file_of(NOW)) == 204
    path, body = folder / "a.txt", file_of(NOW)
    path.write_text(f"# put 0123456789abcdef\n{body}")
    async with inside(tmp_path):
        while "# about" not in path.read_text():
            await asyncio.sleep(0)
    assert path.read_text().startswith("# put 0123456789abcdef\n# about {")
    assert path.read_text().endswith(body)
