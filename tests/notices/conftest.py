"""The fixtures of the tests of notices: both stores."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from server.files.public_names import short_of
from server.storage import postgresql, sqlite
from tests.rooms import HOOKS

OpenAny = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.fixture(params=["sqlite", "postgresql"])
def open_any(request: pytest.FixtureRequest, tmp_path: Path) -> OpenAny:
    """Return what opens a store; each call opens the same data again."""
    if request.param == "sqlite":
        path = tmp_path / "clipwire.db"
        return partial(sqlite.open_store, path, max_queued=300, find_short=short_of, hooks=HOOKS)
    url = request.getfixturevalue("clean_database")
    return partial(postgresql.open_store, url, max_queued=300, find_short=short_of, hooks=HOOKS)


@pytest.fixture
async def store(open_any: OpenAny) -> AsyncIterator[Any]:
    async with open_any() as store:
        yield store
