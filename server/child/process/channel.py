"""The child's end of its stream to the server: events out, commands in, one JSON object a line."""

import json
import os
import select
import signal
import socket
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def end_group() -> None:
    """Kill this process and everything it started: the server, which wanted the result, is gone."""
    os.killpg(0, signal.SIGKILL)


class Channel:
    """A stream to the server. `on_gone` is called when the server is gone, and must not return.

    After the last event nothing more is sent, and the server may go.
    """

    def __init__(self, sock: socket.socket, on_gone: Callable[[], None] = end_group) -> None:
        self._sock = sock
        self._lines = sock.makefile("rb")
        self._on_gone = on_gone
        self._one_at_a_time = threading.Lock()
        self._is_over = False

    def read_job(self) -> dict[str, Any]:
        """Return the first line, which is the job.

        A fork server that was stopped for a while starts this process late: the server may have given the job
        up, and deleted its task. The job can still be read then, but nothing may be created for it.
        """
        line = self._lines.readline()
        poll = select.poll()
        poll.register(self._sock, select.POLLRDHUP)
        if poll.poll(0) or not line.endswith(b"\n"):
            self._on_gone()
        job: dict[str, Any] = json.loads(line)
        return job

    def send(self, kind: str, **fields: Any) -> None:
        """Send one event; may be called from any thread, and waits while the server is busy."""
        line = _encode(kind, fields)
        try:
            with self._one_at_a_time:
                if not self._is_over:
                    self._sock.sendall(line)
        except OSError:
            self._leave()

    def send_last(self, kind: str, **fields: Any) -> None:
        """Send the event that says how the job ended; a late report of another thread is dropped."""
        line = _encode(kind, fields)
        with self._one_at_a_time, suppress(OSError):
            self._is_over = True
            self._sock.sendall(line)
            self._sock.shutdown(socket.SHUT_WR)

    def watch(self, on_command: Callable[[dict[str, Any]], None]) -> None:
        """Start the thread that calls `on_command` for each command, and `on_gone` when the server is gone.

        Landlock covers only threads that start later: call `sandbox.restrict` first.
        """

        def read() -> None:
            try:
                for line in self._lines:
                    on_command(json.loads(line))
            except ConnectionError:
                pass  # the server is gone, which is handled like the end of the stream
            except Exception:  # Outermost handler: a child that can no longer receive commands must end.
                traceback.print_exc()
            finally:
                self._leave()

        threading.Thread(target=read, name="commands", daemon=True).start()

    def _leave(self) -> None:
        if not self._is_over:
            self._on_gone()


def _encode(kind: str, fields: dict[str, Any]) -> bytes:
    return json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode() + b"\n"
