"""What a node does again and again: it says that it is there, and hears what its share of all is."""

import logging
from contextlib import suppress
from dataclasses import dataclass, replace

from server.backends.cluster.nodes import Node, Nodes
from server.backends.cluster.worker import Jobs
from server.settings import Role
from server.tasks.disk import Disk

log = logging.getLogger(__name__)

LOOK_AT_NODES = 2.0  # seconds, at most


@dataclass(eq=False, slots=True)
class Presence:
    """`me` is how this node is; `jobs` are those of a worker."""

    me: Node
    nodes: Nodes
    disk: Disk
    jobs: Jobs | None
    _warned_of: tuple[str, ...] = ()

    async def tell(self) -> None:
        """Raises `StoreUnavailable`."""
        await self.nodes.tell(replace(self._now(), roles=self._roles(), low=self._is_low()))
        self._warn(tuple(self.nodes.set_up_otherwise(self.me)))

    def share(self, rate: int) -> int:
        """This node's part of what all may fetch together: by what runs here, and ran elsewhere lately."""
        return self.nodes.share(self._now(), rate)

    def _now(self) -> Node:
        return replace(self.me, running=len(self.jobs.running()) if self.jobs else 0)

    def _roles(self) -> tuple[Role, ...]:
        """One that only waits for the end of what runs is no worker any more, to nobody."""
        draining = self.jobs and self.jobs.draining
        return tuple(role for role in self.me.roles if role != "worker") if draining else self.me.roles

    def _is_low(self) -> bool:
        with suppress(OSError):
            return self.disk.is_low()
        return True

    def _warn(self, others: tuple[str, ...]) -> None:
        if others and others != self._warned_of:
            log.warning("the settings of this node are not those of %s", ", ".join(others))
        self._warned_of = others


class RoomAnywhere(Disk):
    """Room for what is submitted here: on whichever worker has some."""

    def __init__(self, own: Disk, nodes: Nodes) -> None:
        super().__init__(own.directory, own.floor)
        self._nodes = nodes

    def is_low(self) -> bool:
        return self._nodes.all_low()
