"""Sends a node's heartbeat, tells its share of the rate limit, and does the chores that are its own.

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
    """`me` is the part of this node's row that does not change; the last two are None if it is no worker."""

    me: Node
    nodes: Nodes
    disk: Disk
    jobs: Jobs | None
    supervisor: Supervisor | None
    _warned_of: str = ""

    async def tell(self) -> None:
        """Raises `StoreUnavailable`."""
        roles = self.me.roles
        if self.jobs and self.jobs.draining:  # it takes no more jobs: it is no worker for the others
            roles = tuple(role for role in roles if role != "worker")
        low = False
        with suppress(OSError):  # the disk is gone, not full: tasks are accepted, and wait for a worker
            low = self.disk.is_low()
        workers = self.supervisor.workers() if self.supervisor else []
        await self.nodes.tell(replace(self._now(), roles=roles, low=low), workers)
        differences = self.nodes.differences(self.me)
        if differences and differences != self._warned_of:
            log.warning("settings that all nodes should share are not this node's: %s", differences)
        self._warned_of = differences

    async def do_for_all(self, chore: Callable[[], Awaitable[None]]) -> None:
        """Do the `chore` if it is this node's; each worker calls this at its moment."""
        if self.nodes.is_first_worker(self.me.node_id):
            with suppress(StorageAway):  # the bucket tells its outages itself
                await chore()

    def share(self, rate: int) -> int:
        """This node's part of `rate`, by the downloads here now and those elsewhere at the last `tell`."""
        return self.nodes.share(self._now(), rate)

    def _now(self) -> Node:
        return replace(self.me, running=len(self.jobs.running()) if self.jobs else 0)


class RoomAnywhere(Disk):
    """The check of room for new tasks: the disk counts as low if those of all workers are low."""

    def __init__(self, own: Disk, nodes: Nodes) -> None:
        super().__init__(own.directory, own.floor)
        self._nodes = nodes

    def is_low(self) -> bool:
        return self._nodes.all_low()
