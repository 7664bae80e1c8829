"""Servers that kill themselves just before a chosen call of their own: random kills would hardly hit that
moment.

    async def test_...(mortal: Service) -> None:
        await PRODUCED.comes(mortal)
        ...
        await died(mortal)
        await mortal.start()      # goes on with what it left

Tests share such a server in turn, like other services.
"""

import asyncio
import json
import os
import signal
from dataclasses import astuple, dataclass

from tests.service import ROOT, Service, gone

MORTAL = {"PYTHONPATH": str(ROOT / "tests" / "mortal")}
_WITHIN = 20  # seconds in which the server comes to the moment, and dies


@dataclass(frozen=True, slots=True)
class Moment:
    """The moment just before `method` of `owner` is called, if `when` is true of its arguments `args`.

    `when` is an expression that may name `server.core.events`; `owner` is a class or module in `module`.
    """

    module: str
    owner: str
    method: str
    when: str = "True"

    async def comes(self, service: Service) -> None:
        """Make `service`, which was started with `MORTAL`, kill itself when it next comes to this moment."""
        order = service.folder / "order"
        order.write_text(json.dumps(astuple(self)))
        os.kill(service.pid, signal.SIGUSR1)
        async with asyncio.timeout(_WITHIN):
            while order.exists():
                await asyncio.sleep(0.002)


async def died(service: Service) -> None:
    """Return when the server has killed itself, and all processes that it had started are gone."""
    started = service.processes()
    async with asyncio.timeout(_WITHIN):
        while service.runs:
            started = service.processes() or started
            await asyncio.sleep(0.01)
    assert await service.ended() == -signal.SIGKILL
    await gone(started)
