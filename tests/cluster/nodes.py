"""Several nodes, each in a process of its own, on one real PostgreSQL."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.service import Service

HEARTBEAT, LOST_AFTER = 1, 4  # seconds between heartbeats, and until a silent node counts as dead
FILES, DATA_DIR = "CLIPWIRE_STORAGE__FILES", "CLIPWIRE_STORAGE__DATA_DIR"
NOTHING: Mapping[str, Mapping[str, str]] = {}


class Cluster:
    """Two web nodes and two workers, started when first needed, and started again after they have died.

    They share one data directory, or, if `settings` name a bucket, that bucket, with a data directory each.
    `own` are settings of single nodes, by the names of their folders, such as `worker1`.
    """

    def __init__(
        self, folder: Path, url: str, own: Mapping[str, Mapping[str, str]] = NOTHING, /, **settings: str
    ) -> None:
        self.url = url
        shared = {
            "CLIPWIRE_STORAGE__DATABASE": url,
            "CLIPWIRE_WORKERS__HEARTBEAT": str(HEARTBEAT),
            "CLIPWIRE_WORKERS__LOST_AFTER": str(LOST_AFTER),
            "CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": "0",
        } | settings
        if FILES not in shared:
            shared[DATA_DIR] = str(folder / "data")
        self.web, self.workers = (
            [self._node(folder / name, {**shared, **own.get(name, {})}, [role]) for name in names]
            for role, names in (("web", ("web1", "web2")), ("worker", ("worker1", "worker2")))
        )

    @property
    def nodes(self) -> list[Service]:
        return [*self.web, *self.workers]

    @asynccontextmanager
    async def running(self, *needed: Service) -> AsyncIterator["Cluster"]:
        """Yield the cluster without tasks, with the `needed` nodes running (all by default).

        In the end delete all tasks; fail if files are left, or if a node's log has complaints.
        """
        nodes = needed or self.nodes
        await asyncio.gather(*(node.start() for node in nodes if not node.runs))
        for node in nodes:
            node.connect()
        try:
            yield self
            await self.web[0].clear()
            for node in nodes:
                assert node.complaints() == [], "\n".join(_around_complaints(node))
                node.log.clear()
        finally:
            for node in nodes:
                await node.disconnect()

    def close(self) -> None:
        for node in self.nodes:
            if node.runs:
                node.terminate()

    async def runs_on(self, task_id: str) -> Service:
        """Return the running worker whose log names an attempt of the task."""
        async with asyncio.timeout(20):
            while True:
                for node in self.workers:
                    if node.runs and any("attempt" in line and task_id in line for line in node.log):
                        return node
                await asyncio.sleep(0.02)

    @staticmethod
    def _node(folder: Path, shared: dict[str, str], roles: list[str]) -> Service:
        node = Service(folder, **shared, CLIPWIRE_SERVER__ROLES=json.dumps(roles))
        if data := shared.get(DATA_DIR):
            node.data = Path(data)
        return node


def _around_complaints(node: Service) -> list[str]:
    """Return the lines of the log around the first complaint."""
    first = node.log.index(node.complaints()[0])
    return node.log[max(0, first - 20) : first + 60]
