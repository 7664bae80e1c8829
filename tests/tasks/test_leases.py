"""Leased work: what ends it, and when the store is asked again for work that is due."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from server.core.background import in_background
from server.core.errors import DatabaseBusy
from server.tasks import leases
from server.tasks.leases import LeasedWork

NEVER = 3600.0  # seconds until the next regular look, which the test does not reach


async def until(over: asyncio.Event) -> None:
    await over.wait()


@asynccontextmanager
async def asked(
    work: LeasedWork, answer: Callable[[int], float | None], look_every: float
) -> AsyncIterator[asyncio.Queue[int]]:
    """Run the work while the block lasts. `answer` stands for the store; the queue gets the number of each
    question to it.
    """
    questions, count = asyncio.Queue[int](), 0

    async def begin_due() -> float | None:
        nonlocal count
        count += 1
        questions.put_nowait(count)
        return answer(count)

    async with asyncio.timeout(20), in_background(work.run(begin_due, look_every), "leased work"):
        yield questions


async def test_a_damaged_row_does_not_end_the_work(caplog: pytest.LogCaptureFixture) -> None:
    def answer(question: int) -> float:
        if question == 1:
            raise ValueError("this row is damaged")
        return NEVER

    async with asked(LeasedWork("looks", 1), answer, look_every=0.01) as questions:
        assert [await questions.get(), await questions.get()] == [1, 2]
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage().startswith("looks:")
    assert record.exc_info
    assert "this row is damaged" in str(record.exc_info[1])


async def test_an_outage_of_the_store_is_no_fault_to_be_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RETRY_WHILE_STORE_UNAVAILABLE", 0.0)

    def answer(question: int) -> float:
        if question == 1:
            raise DatabaseBusy
        return NEVER

    async with asked(LeasedWork("looks", 1), answer, NEVER) as questions:
        assert [await questions.get(), await questions.get()] == [1, 2]
    assert not caplog.records


@pytest.mark.parametrize(("most", "each_end_calls"), [(2, True), (1, False)])
async def test_the_end_of_work_that_kept_other_work_waiting_calls(most: int, each_end_calls: bool) -> None:
    work, over = LeasedWork("looks", most, each_end_calls=each_end_calls), asyncio.Event()
    async with asked(work, lambda _: NEVER, NEVER) as questions:
        await questions.get()
        work.begin(until(over), "a look")
        assert work.room == most - 1
        over.set()
        assert await questions.get() == 2
        assert work.room == most


async def test_the_end_of_work_that_left_room_does_not_call_where_nothing_waits_for_it() -> None:
    work, over = LeasedWork("outbox", 2, each_end_calls=False), asyncio.Event()
    async with asked(work, lambda _: NEVER, NEVER) as questions:
        await questions.get()
        work.begin(until(over), "a delivery")
        over.set()
        while work.room < 2:
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        assert questions.empty()
