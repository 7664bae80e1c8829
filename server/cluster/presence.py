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
    """`me` is the constant part of this node's row; `jobs` and `supervisor` are None if it is no worker."""

    me: Node
    nodes: Nodes
    disk: Disk
    jobs: Jobs | None
    supervisor: Supervisor | None
    _warned_of: str = ""

    async def send_heartbeat(self) -> None:
        """Raises `StoreUnavailable`."""
        roles = self.me.roles
        if self.jobs and self.jobs.draining:  # it takes no more jobs, and so is no worker any more for others
            roles = tuple(role for role in roles if role != "worker")
        low = False
        # The disk is gone, which is not "full": tasks are accepted, and wait for a worker.
        with suppress(OSError):
            low = self.disk.is_low()
        workers = self.supervisor.workers() if self.supervisor else []
        await self.nodes.send_heartbeat(replace(self._now(), roles=roles, low=low), workers)
        differences = self.nodes.differences(self.me)
        if differences and differences != self._warned_of:
            log.warning("settings that nodes should share are different from this node's: %s", differences)
        self._warned_of = differences

    async def do_for_all(self, chore: Callable[[], Awaitable[None]]) -> None:
        """Do the `chore` if it is this node's; each worker calls this at its moment."""
        if self.nodes.is_first_worker(self.me.node_id):
            with suppress(StorageAway):  # `Bucket` logs its outages itself
                await chore()

    def share(self, rate: int) -> int:
        """Return this node's part of `rate`, by its downloads now and others' at the last heartbeat."""
        return self.nodes.share(self._now(), rate)

    def _now(self) -> Node:
        return replace(self.me, running=len(self.jobs.running()) if self.jobs else 0)


class RoomAnywhere(Disk):
    """The disks of all workers as one, for new tasks: it is low if each of them is."""

    def __init__(self, own: Disk, nodes: Nodes) -> None:
        super().__init__(own.directory, own.floor)
        self._nodes = nodes

    def is_low(self) -> bool:
        return self._nodes.all_low()
