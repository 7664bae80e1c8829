"""Work that must finish even if the caller that waits for it is cancelled."""

import asyncio
import threading
from io import BytesIO

import pytest

from server.core.shielding import open_shielded, to_the_end


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
    with pytest.raises(asyncio.CancelledError):
        await job
    assert done


async def test_what_a_thread_opens_for_somebody_who_is_cancelled_is_closed() -> None:
    begun, go, file = asyncio.Event(), threading.Event(), BytesIO()
    loop = asyncio.get_running_loop()

    def open_late() -> BytesIO:
        loop.call_soon_threadsafe(begun.set)
        assert go.wait(20)
        return file

    opening = asyncio.create_task(open_shielded(asyncio.to_thread(open_late)))
    await begun.wait()
    opening.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert file.closed


async def test_what_a_thread_could_not_open_is_the_openers_error() -> None:
    def fail() -> BytesIO:
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        await open_shielded(asyncio.to_thread(fail))
