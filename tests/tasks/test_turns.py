"""The contract of `Turns`; every backend runs it."""

import asyncio
from collections.abc import AsyncIterator, Collection

import pytest
from psycopg import AsyncConnection

from server.cluster.shared_turns import open_turns
from server.core.ports import Turns
from server.tasks.dispatcher import LocalTurns

WITHIN = 20  # seconds: longer than a wait for a turn, so that a wait that hangs fails with its own message
_END_ALL = b"""
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


@pytest.fixture(params=["local", "shared"])
async def turns(request: pytest.FixtureRequest) -> AsyncIterator[Turns]:
    if request.param == "local":
        yield LocalTurns()
    else:
        async with open_turns(request.getfixturevalue("clean_database")) as shared:
            yield shared


async def test_actions_on_one_task_are_done_one_after_the_other(turns: Turns) -> None:
    under_way, done = 0, 0

    async def act() -> None:
        nonlocal under_way, done
        async with turns.turn("a"):
            under_way += 1
            assert under_way == 1
            await asyncio.sleep(0)
            under_way -= 1
            done += 1

    async with asyncio.timeout(WITHIN):
        await asyncio.gather(*(act() for _ in range(20)))
    assert done == 20


async def test_another_task_is_not_waited_for(turns: Turns) -> None:
    async with asyncio.timeout(WITHIN), turns.turn("a"), turns.turn("b"):
        pass


async def test_a_turn_that_ends_in_an_error_is_over(turns: Turns) -> None:
    with pytest.raises(ValueError, match="broken"):
        async with turns.turn("a"):
            raise ValueError("broken")
    async with asyncio.timeout(WITHIN), turns.turn("a"):
        pass


async def test_who_is_cancelled_while_waiting_leaves_the_turn_to_the_next(turns: Turns) -> None:
    async def act() -> None:
        async with turns.turn("a"):
            pass

    async with asyncio.timeout(WITHIN):
        async with turns.turn("a"):
            first, second = asyncio.create_task(act()), asyncio.create_task(act())
            await asyncio.sleep(0.01)
            first.cancel()
            await asyncio.wait([first])
        await second
    assert first.cancelled()


async def test_a_turn_is_nobody_elses_on_any_node(clean_database: str) -> None:
    async with open_turns(clean_database) as one, open_turns(clean_database) as other:
        ended = False

        async def act() -> None:
            async with other.turn("a"):
                assert ended

        async with asyncio.timeout(WITHIN):
            async with one.turn("a"):
                acting = asyncio.create_task(act())
                async with other.turn("b"):  # by now the other node has asked for both turns
                    pass
                ended = True
            await acting


async def test_who_gives_up_waiting_for_another_node_takes_nothing(clean_database: str) -> None:
    async with open_turns(clean_database) as one, open_turns(clean_database) as other:

        async def act() -> None:
            async with other.turn("a"):
                pass

        async with asyncio.timeout(WITHIN):
            async with one.turn("a"):
                waiting = asyncio.create_task(act())
                async with other.turn("b"):
                    waiting.cancel()
                await asyncio.wait([waiting])
            async with one.turn("a"), other.turn("b"):
                pass


@pytest.mark.parametrize("moment", ["before it is heard of", "after"])
async def test_who_is_cancelled_in_the_moment_of_the_turn_has_not_taken_it(
    clean_database: str, moment: str
) -> None:
    async with open_turns(clean_database) as one, open_turns(clean_database) as other:

        async def act() -> None:
            async with one.turn("a"):
                raise AssertionError("the turn began")

        acting = asyncio.create_task(act())
        give = one._give

        def give_and_cancel(taken: Collection[str]) -> None:
            if moment == "after":
                give(taken)
            acting.cancel()
            if moment != "after":
                asyncio.get_running_loop().call_later(0.01, give, taken)

        one._give = give_and_cancel  # type: ignore[method-assign]
        await asyncio.wait([acting])
        assert acting.cancelled()
        async with asyncio.timeout(WITHIN), other.turn("a"):
            pass


@pytest.mark.wide
async def test_with_the_connection_the_turns_of_a_node_are_over(clean_database: str) -> None:
    async with open_turns(clean_database) as one, open_turns(clean_database) as other:
        async with asyncio.timeout(WITHIN):
            async with one.turn("a"):
                async with await AsyncConnection.connect(clean_database, autocommit=True) as db:
                    await db.execute(_END_ALL)
                async with other.turn("a"):
                    pass
            async with one.turn("a"), other.turn("b"):
                pass
