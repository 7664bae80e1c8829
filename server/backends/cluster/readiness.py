"""Whether what a node needs is there: by its roles, and what it sees of the other nodes."""

import time
from dataclasses import replace

from server.backends.cluster.nodes import Node, Nodes
from server.backends.postgresql.relay import Relay
from server.clock import Clock
from server.tasks.readiness import Check, Readiness

SILENCE = 10.0  # seconds
CLOCK_OFF = 2.0  # seconds that the machine's clock may differ from the database's
OF_WORKERS = ("disk", "ffmpeg", "fork_server")  # of a node that runs no downloads they are only reported


class SharedReadiness:
    """What `own` says, and then, for information, how the cluster is."""

    def __init__(self, own: Readiness, nodes: Nodes, me: Node, relay: Relay, clock: Clock) -> None:
        self._own = own
        self._nodes = nodes
        self._me = me
        self._relay = relay
        self._clock = clock

    async def checks(self) -> list[Check]:
        own = await self._own.checks()
        if not self._me.is_worker:
            own = [replace(check, needed=False) if check.name in OF_WORKERS else check for check in own]
        return [*own, self._listener(), self._workers(), self._settings(), self._own_clock()]

    def _listener(self) -> Check:
        silence = self._relay.silence
        return Check("listener", silence < SILENCE, f"heard of the other nodes {silence:.0f} seconds ago")

    def _workers(self) -> Check:
        count = len(self._nodes.workers)
        detail = f"{count} alive" if count else "no_worker: nothing is downloaded until one is started"
        return Check("workers", count > 0, detail, needed=False)

    def _settings(self) -> Check:
        others = self._nodes.set_up_otherwise(self._me)
        detail = f"not those of {', '.join(others)}" if others else "the same on all nodes"
        return Check("settings", not others, detail, needed=False)

    def _own_clock(self) -> Check:
        """Tasks go by the database's clock; what is wrong with this one shows in logs."""
        ahead = time.time() - self._clock.now().timestamp()
        if abs(ahead) <= CLOCK_OFF:
            return Check("clock", ok=True, detail="that of the database", needed=False)
        wrong = "ahead of" if ahead > 0 else "behind"
        detail = f"{abs(ahead):.0f} seconds {wrong} the database's: set it, or have it set by NTP"
        return Check("clock", ok=False, detail=detail, needed=False)
