"""Servers that all pytest-xdist workers of a test run share, as each costs seconds and hundreds of megabytes.

The controller starts each server when a worker first asks for it, and ends all when the run ends; if the
controller is killed, the servers die with it. Without workers the tests' own process starts and ends them.
"""

import secrets
from contextlib import ExitStack, closing, suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from threading import Thread
from typing import Any, Protocol
from uuid import uuid4

import pytest

from tests.cluster.postgres import running_postgres
from tests.cluster.s3 import S3, running_s3

DOOR = "servers"  # the key of the door in xdist's `workerinput`
_END = "end"
# The name of an abstract Unix socket, which leaves no file, and the key for its connections.
_Door = tuple[str, bytes]


class Servers(Protocol):
    def postgres(self) -> str:
        """Return the address of a database server. It runs without fsync, so tests must not crash it."""

    def s3(self) -> S3: ...

    def close(self) -> None: ...


def servers_of(config: pytest.Config) -> Servers:
    """Return the servers: in a worker those that the controller lends, otherwise this process's own."""
    door: _Door | None = getattr(config, "workerinput", {}).get(DOOR)
    return Borrowed(door) if door else OwnServers()


def lender_of(config: pytest.Config) -> "Lender":
    """Return the lender of this run; start it on first use."""
    if _LENDER not in config.stash:
        config.stash[_LENDER] = Lender()
    return config.stash[_LENDER]


def stop_lending(config: pytest.Config) -> None:
    if _LENDER in config.stash:
        config.stash[_LENDER].close()


class OwnServers:
    """Servers that end with `close`, or with the thread that first asked for them."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._running: dict[str, Any] = {}

    def postgres(self) -> str:
        if "postgres" not in self._running:
            self._running["postgres"] = self._stack.enter_context(running_postgres())
        return str(self._running["postgres"])

    def s3(self) -> S3:
        if "s3" not in self._running:
            self._running["s3"] = self._stack.enter_context(running_s3())
        found: S3 = self._running["s3"]
        return found

    def close(self) -> None:
        self._stack.close()


class Lender:
    """Serves requests of workers, in the controller; `door` is what a worker needs to connect."""

    def __init__(self) -> None:
        self.door: _Door = (f"\0clipwire-tests-{uuid4()}", secrets.token_bytes(16))
        self._listener = Listener(self.door[0], backlog=16, authkey=self.door[1])
        self._thread = Thread(target=self._lend, name="servers of the tests", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with Client(self.door[0], authkey=self.door[1]) as client:
            client.send(_END)
        self._thread.join()

    def _lend(self) -> None:
        """Answer one worker at a time. This thread starts all servers, which die with the thread that started
        them.
        """
        with closing(OwnServers()) as own, self._listener:
            while True:
                # A worker may have been killed while it waited; its broken connection does not matter.
                with suppress(OSError, EOFError, AuthenticationError), self._listener.accept() as client:
                    asked = client.recv()
                    if asked == _END:
                        return
                    client.send(_answer(own, asked))


class Borrowed:
    """Asks the lender of the controller, in a worker."""

    def __init__(self, door: _Door) -> None:
        self._door = door

    def postgres(self) -> str:
        return str(self._ask("postgres"))

    def s3(self) -> S3:
        found: S3 = self._ask("s3")
        return found

    def _ask(self, what: str) -> Any:
        with Client(self._door[0], authkey=self._door[1]) as client:
            client.send(what)
            answer = client.recv()
        if isinstance(answer, BaseException):  # an exception may be pytest's own, which skips the test
            raise answer
        return answer

    def close(self) -> None:
        """Do nothing: other workers may still need the servers."""


_LENDER = pytest.StashKey[Lender]()


def _answer(own: OwnServers, asked: str) -> object:
    try:
        return own.postgres() if asked == "postgres" else own.s3()
    except BaseException as error:
        return error
