"""Work that must finish although whoever waits for it is cancelled."""

import asyncio

import pytest

from server.core.shielding import to_the_end


async def test_work_goes_to_its_end_although_cancelled_and_the_cancel_goes_through() -> None:
    begun, go, done = asyncio.Event(), asyncio.Event(), []

    async def work() -> None:
        begun.set()
        await go.wait()
        done.append(True)

    job = asyncio.create_task(to_the_end(work()))
    await begun.wait()
    job.cancel()
    await asyncio.sleep(0)
    assert not job.done()
    go.set()
    async with asyncio.timeout(1):
        with pytest.raises(asyncio.CancelledError):
            await job
    assert done
