"""The readiness checks of a node: what it needs for its roles, and what it knows of the other nodes."""

import time
from dataclasses import replace

from server.cluster.nodes import Node, Nodes
from server.cluster.relay import Relay
from server.core.clock import Clock
from server.tasks.readiness import Check, Detail, Readiness

MAX_SILENCE = 10.0  # seconds without a sign of life of the relay's connection
MAX_CLOCK_DIFFERENCE = 2.0  # seconds that the machine's clock may differ from the database's
OF_WORKERS = ("disk", "ffmpeg", "fork_server")  # checks that a node without downloads only reports


class SharedReadiness:
    """The readiness of a node: its `own` checks and one of its relay; checks of the cluster are reported, but
    not required.
    """

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
            optional = OF_WORKERS if self._me.folder else ("data_dir", *OF_WORKERS)
            own = [replace(check, needed=False) if check.name in optional else check for check in own]
        silence = self._relay.silence
        listener = Check("listener", silence < MAX_SILENCE, Detail("listener", {"seconds": round(silence)}))
        count = len(self._nodes.workers)
        detail = Detail("workers", {"count": count}) if count else Detail("no_worker")
        workers = Check("workers", count > 0, detail, needed=False)
        differences = self._nodes.differences(self._me)
        detail = (
            Detail("other_settings", {"differences": differences}) if differences else Detail("same_settings")
        )
        settings = Check("settings", not differences, detail, needed=False)
        # Tasks use the database's clock; where this machine's is wrong, only times in logs are wrong.
        ahead = time.time() - self._clock.now().timestamp()
        is_right = abs(ahead) <= MAX_CLOCK_DIFFERENCE
        detail = Detail("clock_ahead" if ahead > 0 else "clock_behind", {"seconds": round(abs(ahead))})
        clock = Check("clock", is_right, Detail("clock") if is_right else detail, needed=False)
        return [*own, listener, workers, settings, clock]
