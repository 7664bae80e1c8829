"""A year of subscriptions on servers that are killed all the time."""

import random
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest

from tests.lasting import part_of
from tests.moments import MORTAL
from tests.service import Told
from tests.site.year import Year, open_year
from tests.surviving import SETTINGS, Survival

# The functions that every statement asks for the time, moved ahead.
_MOVED = """
    CREATE SCHEMA moved;
    CREATE TABLE moved.clock (ahead double precision);
    INSERT INTO moved.clock VALUES (0);
    CREATE FUNCTION moved.now() RETURNS timestamptz STABLE LANGUAGE sql
        AS 'SELECT pg_catalog.now() + make_interval(secs => ahead) FROM moved.clock';
    CREATE FUNCTION moved.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql
        AS 'SELECT pg_catalog.clock_timestamp() + make_interval(secs => ahead) FROM moved.clock';
    """


async def on_one_server(folder: Path, year: Year, kills_a_turn: int, *, has_users: bool = False) -> Survival:
    library = folder / "library"
    library.mkdir()
    server = Told(folder / "service", **SETTINGS, **MORTAL, CLIPWIRE_LIBRARY__PATH=str(library))

    async def set_ahead(seconds: float) -> None:
        server.settings["SKEW"] = str(seconds)

    async with open_year(year, folder), server:
        survival = Survival([server], year, set_ahead, has_users=has_users)
        await survival.run(kills_a_turn)
        await survival.check(server.data / "files", library)
    return survival


async def on_three_nodes(folder: Path, url: str, year: Year, kills_a_turn: int) -> Survival:
    library, data = folder / "library", folder / "data"
    library.mkdir()
    data.mkdir()
    settings = {
        **SETTINGS,
        **MORTAL,
        "LEASE": "10",
        "CLIPWIRE_STORAGE__DATABASE": url,
        "CLIPWIRE_LIBRARY__PATH": str(library),
        "CLIPWIRE_WORKERS__HEARTBEAT": "1",
        "CLIPWIRE_WORKERS__LOST_AFTER": "4",
    }
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(_MOVED)
        database.execute(f"ALTER DATABASE {database.info.dbname} SET search_path = moved, pg_catalog, public")

        async def set_ahead(seconds: float) -> None:
            database.execute("UPDATE moved.clock SET ahead = %s", (seconds,))

        async with AsyncExitStack() as stack:
            await stack.enter_async_context(open_year(year, folder))
            nodes = []
            for name in ("a", "b", "c"):
                (folder / name).mkdir()
                (folder / name / "data").symlink_to(data)
                nodes.append(await stack.enter_async_context(Told(folder / name, **settings)))
            survival = Survival(nodes, year, set_ahead, has_users=True)
            await survival.run(kills_a_turn)
            await survival.check(data / "files", library)
    return survival


@pytest.mark.wide
async def test_in_weeks_with_kills_no_entry_is_lost_and_none_is_there_twice(tmp_path: Path) -> None:
    await on_one_server(tmp_path, Year(1, 3, 5.0, listed=40, burst=15), 1)


@pytest.mark.long
@pytest.mark.minutes(8)
async def test_in_a_year_of_two_hundred_kills_no_entry_is_lost_and_none_is_there_twice(
    tmp_path: Path,
) -> None:
    await on_one_server(tmp_path, Year(_seed(), round(part_of(64)), 5.7), 2, has_users=True)


@pytest.mark.long
@pytest.mark.minutes(8)
async def test_in_a_year_of_three_nodes_no_entry_is_lost_and_none_is_there_twice(
    tmp_path: Path, empty_database: str
) -> None:
    await on_three_nodes(tmp_path, empty_database, Year(_seed(), round(part_of(36)), 10.1), 2)


def _seed() -> int:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # pytest shows it if the test fails
    return seed
