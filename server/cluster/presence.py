"""Sends a node's heartbeat, computes its share of the rate limit, and does its chores for the cluster.

Decisions: docs/decisions/cluster.md
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from server.cluster.nodes import Node, Nodes
from server.cluster.supervisor import Supervisor
from server.cluster.worker import Jobs
from server.core.errors import StorageAway
from server.tasks.disk_space import Disk

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Presence:
    """Announces this node. `me` is the constant part of its row; `jobs` and `supervisor` are None if it is no
    worker.
    """

    me: Node
    nodes: Nodes
    disk: Disk
    jobs: Jobs | None
    supervisor: Supervisor | None
    _warned_of: str = ""

    async def send_heartbeat(self) -> None:
        """Send this node's heartbeat. Raises `StoreUnavailable`."""
        roles = self.me.roles
        # A draining node takes no more jobs: other nodes must not count it as a worker.
        if self.jobs and self.jobs.draining:
            roles = tuple(role for role in roles if role != "worker")
        low = False
        # After an error of the disk `low` stays False: a disk that does not answer is not full. Tasks are
        # still accepted, and wait for a worker.
        with suppress(OSError):
            low = self.disk.is_low()
        workers = self.supervisor.workers() if self.supervisor else []
        await self.nodes.send_heartbeat(replace(self._now(), roles=roles, low=low), workers)
        differences = self.nodes.differences(self.me)
        if differences and differences != self._warned_of:
            log.warning("settings that nodes should share are different from this node's: %s", differences)
        self._warned_of = differences

    async def do_for_all(self, chore: Callable[[], Awaitable[None]]) -> None:
        """Do the `chore` if it is this node's turn. Each worker calls this whenever a chore is due; one of
        them does it for all.
        """
        if self.nodes.is_first_worker(self.me.node_id):
            with suppress(StorageAway):  # `Bucket` logs its outages itself
                await chore()

    def share(self, rate: int) -> int:
        """Return this node's part of `rate`, by its own downloads now and those of others at the last
        heartbeat.
        """
        return self.nodes.share(self._now(), rate)

    def _now(self) -> Node:
        return replace(self.me, running=len(self.jobs.running()) if self.jobs else 0)


class RoomAnywhere(Disk):
    """Tells whether new tasks fit on any worker's disk: room is low only if it is low on each of them."""

    def __init__(self, own: Disk, nodes: Nodes) -> None:
        super().__init__(own.directory, own.floor)
        self._nodes = nodes

    def is_low(self) -> bool:
        return self._nodes.all_low()
