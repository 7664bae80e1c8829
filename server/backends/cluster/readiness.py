"""Whether a node is ready: what it needs, by its roles, and what it knows of the other nodes."""

import time
from dataclasses import replace

from server.backends.cluster.nodes import Node, Nodes
from server.backends.postgresql.relay import Relay
from server.clock import Clock
from server.tasks.readiness import Check, Readiness

SILENCE = 10.0  # seconds without a sign of life, after which the check of the listener fails
CLOCK_OFF = 2.0  # seconds that the machine's clock may differ from the database's
OF_WORKERS = ("disk", "ffmpeg", "fork_server")  # checks that a node without downloads only reports


class SharedReadiness:
    """The checks of `own` and of the listener, and those of the cluster, which are only reported."""

    def __init__(self, own: Readiness, nodes: Nodes, me: Node, relay: Relay, clock: Clock) -> None:
        self._own = own
        self._nodes = nodes
        self._me = me
        self._relay = relay
        self._clock = clock

    async def checks(self) -> list[Check]:
        own = await self._own.checks()
        if not self._me.is_worker:
            # Finished files are in the data directory, or in a bucket.
            spared = OF_WORKERS if self._me.folder else ("data_dir", *OF_WORKERS)
            own = [replace(check, needed=False) if check.name in spared else check for check in own]
        return [*own, self._listener(), self._workers(), self._settings(), self._own_clock()]

    def _listener(self) -> Check:
        silence = self._relay.silence
        return Check("listener", silence < SILENCE, f"heard of the other nodes {silence:.0f} seconds ago")

    def _workers(self) -> Check:
        count = len(self._nodes.workers)
        detail = f"{count} alive" if count else "no_worker: nothing is downloaded until one is started"
        return Check("workers", count > 0, detail, needed=False)

    def _settings(self) -> Check:
        differences = self._nodes.differences(self._me)
        detail = f"not this node's: {differences}" if differences else "the same on all nodes"
        return Check("settings", not differences, detail, needed=False)

    def _own_clock(self) -> Check:
        """Tasks use the database's clock; where this machine's is wrong, only times in logs are wrong."""
        ahead = time.time() - self._clock.now().timestamp()
        if abs(ahead) <= CLOCK_OFF:
            return Check("clock", ok=True, detail="that of the database", needed=False)
        wrong = "ahead of" if ahead > 0 else "behind"
        detail = f"{abs(ahead):.0f} seconds {wrong} the database's: set it, or have it set by NTP"
        return Check("clock", ok=False, detail=detail, needed=False)
