"""Whether a node is ready: what it needs, by its roles, and what it knows of the other nodes."""

import time
from dataclasses import replace

from server.cluster.nodes import Node, Nodes
from server.cluster.relay import Relay
from server.core.clock import Clock
from server.tasks.readiness import Check, Detail, Readiness

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
        silence = self._relay.silence
        listener = Check("listener", silence < SILENCE, Detail("listener", {"seconds": round(silence)}))
        count = len(self._nodes.workers)
        said = Detail("workers", {"count": count}) if count else Detail("no_worker")
        workers = Check("workers", count > 0, said, needed=False)
        differences = self._nodes.differences(self._me)
        said = (
            Detail("other_settings", {"differences": differences}) if differences else Detail("same_settings")
        )
        settings = Check("settings", not differences, said, needed=False)
        # Tasks use the database's clock; where this machine's is wrong, only times in logs are wrong.
        ahead = time.time() - self._clock.now().timestamp()
        is_right = abs(ahead) <= CLOCK_OFF
        said = Detail("clock_ahead" if ahead > 0 else "clock_behind", {"seconds": round(abs(ahead))})
        clock = Check("clock", is_right, Detail("clock") if is_right else said, needed=False)
        return [*own, listener, workers, settings, clock]
