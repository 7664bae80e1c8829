"""Which events of a job the server reads: see `server.child.process.channel`."""

import socket
from contextlib import closing

from server.child.process.channel import Channel
from server.child.process.progress import Meter, Reporter, StreamProgress


def test_a_report_that_waits_for_its_time_is_dropped_after_the_last_event() -> None:
    at_server, at_child = socket.socketpair()
    with closing(at_server), closing(at_child):
        channel = Channel(at_child)
        reporter, meter = Reporter(channel), Meter([StreamProgress()])
        # This report waits: it may come a quarter of a second after the one before.
        reporter.download(meter, {})
        channel.send_last("produced")
        reporter.send_pending()
        assert at_server.makefile().read() == '{"kind":"produced"}\n'


def test_the_server_may_go_after_the_last_event() -> None:
    at_server, at_child = socket.socketpair()
    went = []
    with closing(at_child):
        channel = Channel(at_child, lambda: went.append("too early"))
        at_server.close()
        channel.send_last("produced")
        channel.send("progress")
    assert went == []
