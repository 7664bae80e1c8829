"""`make run-cluster`: runs two web nodes and two workers on this machine, each with its own data directory.

PostgreSQL and an S3 server come from packages. All data is in a temporary folder, which Ctrl-C removes.
Each node gets the `CLIPWIRE_*` variables of the environment, except those for its host, port, roles, data
directory, database and files.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.cluster.folders import own_folder
from tests.cluster.postgres import find_programs, own_postgres
from tests.cluster.s3 import find_weed, running_s3
from tests.service import Service

READY_WITHIN = 30.0  # seconds that the nodes may take to become ready
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
ROLES = ("web", "web", "worker", "worker")
HELLO = "clipwire: the first two answer clients, the others download; Ctrl-C ends them, and nothing is kept"


class Node(Service):
    """A node that gets SIGTERM when the process that started it ends, even by a kill."""

    command = ("setpriv", "--pdeathsig", "TERM", sys.executable, "-m", "server")


def main() -> int:
    if not find_programs() or not find_weed():
        print("clipwire: no PostgreSQL or S3 server for this machine among the packages", file=sys.stderr)
        return 1
    told = _told_to_end()
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(own_folder("cluster"))
            database = stack.enter_context(own_postgres())
            s3 = stack.enter_context(running_s3())
            settings = _settings({"CLIPWIRE_STORAGE__DATABASE": database.url, **s3.settings("files")})
            nodes = [_node(folder / str(number), role, settings) for number, role in enumerate(ROLES)]
            asyncio.run(_run(nodes, told))
    except KeyboardInterrupt:
        pass
    except RuntimeError as exc:
        print(f"clipwire: {exc}", file=sys.stderr)
        return 1
    return 0


def _told_to_end() -> threading.Event:
    """Yield an event that SIGINT and SIGTERM set. Their `KeyboardInterrupt` can be lost: in some places, such
    as a finalizer, Python ignores exceptions.
    """
    told = threading.Event()

    def interrupt(*_: object) -> None:
        told.set()
        raise KeyboardInterrupt

    for number in _SIGNALS:
        signal.signal(number, interrupt)
    return told


async def _run(nodes: list[Node], told: threading.Event) -> None:
    """Run the nodes until a signal comes; return at once if one has come already."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    if told.is_set():
        stop.set()
    try:
        await _start(nodes, stop)
        await stop.wait()
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))
        await asyncio.gather(*(node.disconnect() for node in nodes))


async def _start(nodes: list[Node], stop: asyncio.Event) -> None:
    """Start all nodes; print their URLs once all are ready."""
    starting = asyncio.gather(*map(_ready, nodes))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if stop.is_set():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    await starting
    for node in nodes:
        print(node.url, flush=True)
    print(HELLO, file=sys.stderr, flush=True)


async def _ready(node: Node) -> None:
    """Start a node and wait for it, at most `READY_WITHIN` seconds: after that, `/readyz` says what is
    missing.
    """
    await node.start()
    with suppress(TimeoutError):
        await node.ready(READY_WITHIN)


def _node(folder: Path, role: str, settings: dict[str, str]) -> Node:
    return Node(folder, **settings, CLIPWIRE_SERVER__ROLES=json.dumps([role]))


def _settings(ours: dict[str, str]) -> dict[str, str]:
    theirs = {name: value for name, value in os.environ.items() if name.startswith("CLIPWIRE_")}
    for name in ("SERVER__HOST", "SERVER__PORT", "SERVER__ROLES", "STORAGE__DATA_DIR"):
        theirs.pop(f"CLIPWIRE_{name}", None)
    return {"CLIPWIRE_DOWNLOADS__ALLOWED_PRIVATE_HOSTS": "[]"} | theirs | ours


if __name__ == "__main__":
    sys.exit(main())
