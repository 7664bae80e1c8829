"""`reuse`: the answer is an existing task with the same request, as long as its files are of use."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from server.api import keys
from server.core.events import Cancelled, Failed
from server.core.ports import Idempotency, TaskOfKey
from server.settings import ServerSettings
from tests.inside import TASK, Inside, inside


async def asked(server: Inside, token: str = "", key: str = "", **fields: Any) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= {"Idempotency-Key": key} if key else {}
    body = TASK | {"reuse": True} | fields
    async with server.client.post("/api/process", json=body, headers=headers) as answer:
        return answer.status, (await answer.json())["task_id"]


async def refused(server: Inside, key: str, **fields: Any) -> tuple[int, str]:
    body = TASK | {"reuse": True} | fields
    async with server.client.post("/api/process", json=body, headers={"Idempotency-Key": key}) as answer:
        return answer.status, (await answer.json())["code"]


async def test_a_task_that_goes_on_is_answered_whenever_and_however_urgently_it_was_asked_for(
    tmp_path: Path,
) -> None:
    async with inside(tmp_path) as server:
        first = await server.submit()
        alike: list[dict[str, Any]] = [
            {},
            {"priority": 3},
            {"quality": "best"},
            {"start_at": "2099-01-01T00:00:00Z"},
            {"title": "A page"},
        ]
        for fields in alike:
            assert await asked(server, **fields) == (200, first)
        assert await asked(server, quality="720") != (200, first)
        assert (await asked(server, reuse=False))[0] == 202
    async with inside(tmp_path) as server:
        assert (await asked(server, quality="720"))[0] == 200


@pytest.mark.parametrize("event", [Cancelled(), Failed(code="http_404")])
async def test_one_that_has_failed_is_of_no_use(tmp_path: Path, event: Any) -> None:
    async with inside(tmp_path) as server:
        first = await server.submit()
        await server.app[keys.TASKS]._recorder.record(first, event)
        assert (await asked(server))[0] == 202


async def test_a_finished_one_is_of_use_as_long_as_its_files_are_there(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        link = await server.finished(b"content")
        status, _ = await server.app[keys.TASKS].find_file(link.rpartition("/")[2])
        assert await asked(server) == (200, status.task_id)
        [file] = (tmp_path / "data" / "files" / status.task_id).rglob("*.mp4")
        file.unlink()
        assert (await asked(server))[0] == 202


async def test_of_many_that_ask_at_once_one_makes_the_task(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        answers = await asyncio.gather(*(asked(server) for _ in range(20)))
        assert sorted(status for status, _ in answers) == [*[200] * 19, 202]
        assert len({task_id for _, task_id in answers}) == 1


async def test_a_key_gives_the_answer_that_it_gave_also_to_who_would_share(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        [one, *others] = await asyncio.gather(*(asked(server, key="k") for _ in range(5)))
        assert [one, *others] == [(202, one[1])] * 5
        assert await asked(server, key="other") == (200, one[1])
        assert await asked(server, key="k") == (202, one[1])


async def test_a_key_leads_to_the_task_that_it_was_answered_with(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        first = await server.submit()
        assert await asked(server, key="k") == (200, first)
        assert await refused(server, key="k", quality="720") == (422, "idempotency_mismatch")
        assert await refused(server, key="k", reuse=False) == (422, "idempotency_mismatch")
    async with inside(tmp_path) as server:
        assert await refused(server, key="k", quality="720") == (422, "idempotency_mismatch")
        await server.app[keys.TASKS].cancel(first)
        assert await asked(server, key="k") == (200, first), "as it is now, although it is of no use"
        server.app[keys.TASKS].close()
        assert await asked(server, key="k") == (200, first)
    async with inside(tmp_path) as server:
        await server.app[keys.TASKS].delete(first)
        status, second = await asked(server, key="k", quality="720")
        assert (status, second != first) == (202, True), "the key was free again"
        assert await refused(server, key="k") == (422, "idempotency_mismatch")


async def test_a_key_of_a_finished_task_is_kept_also_when_nothing_new_is_taken(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        link = await server.finished(b"content")
        status, _ = await server.app[keys.TASKS].find_file(link.rpartition("/")[2])
        assert await asked(server, key="k") == (200, status.task_id)
        server.app[keys.TASKS].close()
        assert await asked(server, key="other") == (200, status.task_id)
        for key in ("k", "other"):
            assert await refused(server, key=key, quality="720") == (422, "idempotency_mismatch")
        assert await refused(server, key="new", quality="720") == (503, "shutting_down")


async def test_of_many_that_ask_at_once_with_a_key_each_has_its_answer_for_good(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        answers = await asyncio.gather(*(asked(server, key=f"k{number // 2}") for number in range(20)))
        assert len({task_id for _, task_id in answers}) == 1
        assert [status for status, _ in answers].count(202) == 2, "those with the key of the first"
        again = [await asked(server, key=f"k{number // 2}") for number in range(20)]
        assert again == answers
        for number in range(10):
            refusal = await refused(server, key=f"k{number}", quality="720")
            assert refusal == (422, "idempotency_mismatch")


async def test_a_task_that_goes_between_the_look_and_the_answer_is_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inside(tmp_path) as server:
        first, tasks = await server.submit(), server.app[keys.TASKS]
        add = tasks._store.add

        async def add_late(submissions: Any) -> Any:
            monkeypatch.undo()
            await tasks.delete(first)
            return await add(submissions)

        monkeypatch.setattr(tasks._store, "add", add_late)
        status, second = await asked(server, key="k")
        assert (status, second != first) == (202, True)
        assert await asked(server, key="k") == (202, second)


async def test_keys_of_a_batch_are_kept_too(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        first = await server.submit(quality="720")

        async def statuses(*requests: dict[str, Any]) -> list[int]:
            body = {"requests": [TASK | {"reuse": True} | request for request in requests]}
            headers = {"Idempotency-Key": "k"}
            async with server.client.post("/api/process/batch", json=body, headers=headers) as answer:
                results = (await answer.json())["results"]
                assert results[0]["task"]["task_id"] == first
                return [result["status"] for result in results]

        for _ in range(2):
            assert await statuses({"quality": "720"}, {}, {}) == [200, 202, 200]
        assert await statuses({"quality": "720"}, {"priority": 1}, {"priority": 1}) == [200, 422, 422]


async def test_a_key_that_came_into_use_between_two_looks_gives_the_answer_that_it_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inside(tmp_path) as server:
        store = server.app[keys.TASKS]._store
        known, first = store.find_by_key, list[tuple[int, str]]()

        async def look(idempotency: Idempotency) -> TaskOfKey | None:
            found = await known(idempotency)
            if not first:
                first.append((0, "under way"))
                first[0] = await asked(server, key="k")
            return found

        monkeypatch.setattr(store, "find_by_key", look)
        assert await asked(server, key="k") == (202, first[0][1])
        assert first[0][0] == 202


async def test_within_a_batch_too(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        first = await server.submit(quality="720")
        requests = [TASK | {"reuse": True}] * 3 + [TASK | {"reuse": True, "quality": "720"}]
        async with server.client.post("/api/process/batch", json={"requests": requests}) as answer:
            results = (await answer.json())["results"]
        assert [result["status"] for result in results] == [202, 200, 200, 200]
        assert len({result["task"]["task_id"] for result in results[:3]}) == 1
        assert results[3]["task"]["task_id"] == first


async def test_nobody_is_given_the_task_of_another_token(tmp_path: Path) -> None:
    tokens = (SecretStr("one"), SecretStr("other"))
    async with inside(tmp_path, server=ServerSettings(tokens=tokens)) as server:
        _, first = await asked(server, token="one")
        assert await asked(server, token="one") == (200, first)
        assert (await asked(server, token="other"))[0] == 202
