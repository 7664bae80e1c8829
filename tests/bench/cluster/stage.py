"""What these benchmarks stand on: a database of each one's own, and nodes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.programs import Clipwire, Program
from tests.cluster.postgres import own_postgres

BOTH = ("web", "worker")
ROUNDS = 3


@contextmanager
def postgres() -> Iterator[str]:
    """The address of a database that survives a power cut."""
    with own_postgres() as server:
        yield server.url


def node(folder: Path, url: str, *roles: str, **settings: str) -> Clipwire:
    """One that keeps its files in the folder that it shares with its neighbours."""
    ours = {
        "CLIPWIRE_STORAGE__DATA_DIR": str(folder.parent / "data"),
        "CLIPWIRE_STORAGE__DATABASE": url,
        "CLIPWIRE_SERVER__ROLES": json.dumps(roles or BOTH),
        "CLIPWIRE_DOWNLOADS__MAX_QUEUED": "1000000",
    }
    return Clipwire(folder, **ours | settings)


def reference(name: str, url: str) -> Program:
    return Program("-m", "tests.bench.cluster.references", name, url)
