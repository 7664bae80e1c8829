"""Answers of webhook receivers: a head that is too long or too late is a failed try."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from server.api.payload import Encoder
from server.notices import webhook_sender
from server.notices.deliveries import Addressee, Delivery
from server.notices.webhook_sender import MAX_HEAD, MAX_INTERIM, MAX_RECEIVED, WebhookSender
from tests.examples import finished, new_task

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CONTINUE, DONE = b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"
Answer = Callable[[], Iterator[bytes]]
Receive = Callable[[Answer], str]


class Receiver:
    """Takes requests in a thread, and sends what `answer` makes until the client stops reading."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/"
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):  # the listening socket was closed
            while True:
                connection, _ = self._listening.accept()
                with connection, suppress(OSError):
                    connection.recv(65536)
                    for part in self._answer():
                        connection.sendall(part)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(20)
        assert not self._thread.is_alive(), "it still sends"


@pytest.fixture
def receiving() -> Iterator[Receive]:
    with ExitStack() as stack:

        def receiving(answer: Answer) -> str:
            receiver = Receiver(answer)
            stack.callback(receiver.close)
            return receiver.url

        yield receiving


@pytest.fixture
def sender() -> WebhookSender:
    return WebhookSender(Encoder(""), "en", SECRET, None, ("127.0.0.1",))


def delivery_to(url: str) -> Delivery:
    status = finished(new_task().status)
    return Delivery("msg_1", 1, status.task_id, Addressee("webhook", url), status)


def repeated(part: bytes, before: bytes = b"") -> Answer:
    def endless() -> Iterator[bytes]:
        yield before
        while True:
            yield part

    return endless if before else lambda: iter(lambda: part, None)


def head_of(size: int) -> bytes:
    """Return a final answer whose head has `size` bytes."""
    begin, end = b"HTTP/1.1 204 No Content\r\n", b"\r\n"
    fields, left = [], size - len(begin) - len(end)
    while left:
        length = left if left < 2000 else 1000
        fields.append(b"x: " + b"y" * (length - 5) + b"\r\n")
        left -= length
    return begin + b"".join(fields) + end


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(repeated(CONTINUE), id="interim answers, one in a packet"),
        pytest.param(repeated(CONTINUE * 2000), id="interim answers, many in a packet"),
        pytest.param(repeated(b"a: b\r\n" * 100, DONE[:-2]), id="header fields"),
        pytest.param(repeated(b"x" * 65536, DONE[:-2] + b"a: "), id="a header field"),
        pytest.param(repeated(b"x" * 65536), id="a first line"),
    ],
)
async def test_an_answer_without_end_is_left_before_its_time_is_up(
    sender: WebhookSender, receiving: Receive, answer: Answer
) -> None:
    # "unreachable": aiohttp itself stops reading earlier.
    assert await sender.send(delivery_to(receiving(answer))) in ("answer_too_long", "unreachable")


async def test_a_body_without_end_is_not_read(sender: WebhookSender, receiving: Receive) -> None:
    endless = repeated(b"x" * 65536, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
    assert await sender.send(delivery_to(receiving(endless))) is None


@pytest.mark.parametrize(("interim", "error"), [(MAX_INTERIM, None), (MAX_INTERIM + 1, "answer_too_long")])
async def test_three_interim_answers_are_taken(
    sender: WebhookSender, receiving: Receive, interim: int, error: str | None
) -> None:
    answers = [CONTINUE] * interim + [DONE]
    assert await sender.send(delivery_to(receiving(lambda: iter(answers)))) == error
    together = [b"".join(answers)]
    assert await sender.send(delivery_to(receiving(lambda: iter(together)))) == error


@pytest.mark.parametrize(("size", "error"), [(MAX_HEAD, None), (MAX_HEAD + 1, "answer_too_long")])
async def test_a_head_has_16_kilobytes(
    sender: WebhookSender, receiving: Receive, size: int, error: str | None
) -> None:
    head = head_of(size)
    assert len(head) == size
    assert await sender.send(delivery_to(receiving(lambda: iter([head])))) == error
    pieces = [head[at : at + 700] for at in range(0, size, 700)]
    assert await sender.send(delivery_to(receiving(lambda: iter(pieces)))) == error


async def test_who_sends_a_byte_now_and_then_has_the_time_of_one_try(
    sender: WebhookSender, receiving: Receive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_sender, "TRY_WITHIN", 0.5)

    def dribble() -> Iterator[bytes]:
        for byte in DONE[:-2] + b"a: b\r\n" * 10_000:
            yield bytes([byte])
            time.sleep(0.05)

    assert await sender.send(delivery_to(receiving(dribble))) == "timeout"


def test_no_connection_brings_more_than_its_share_whatever_it_carries() -> None:
    ours, theirs = socket.socketpair()
    with webhook_sender._MeasuredSocket(fileno=ours.detach()) as measured, theirs:
        sending = threading.Thread(target=theirs.sendall, args=(b"x" * (MAX_RECEIVED + 1),))
        sending.start()
        buffer, taken = bytearray(100_000), len(measured.recv(1000))
        while taken < MAX_RECEIVED:
            taken += measured.recv_into(memoryview(buffer))
        assert taken == MAX_RECEIVED
        with pytest.raises(OSError, match="too much"):
            measured.recv_into(memoryview(buffer))
        sending.join(20)


async def test_names_that_are_not_resolved_hold_up_no_other_thread(
    sender: WebhookSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, asked = threading.Event(), threading.Semaphore(0)

    def hang(*_: object) -> list[object]:
        asked.release()
        hangs.wait(60)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    tries = [
        asyncio.create_task(sender.send(delivery_to(f"http://{number}.hooks.test/"))) for number in range(32)
    ]
    try:
        await asyncio.sleep(0)
        for _ in tries:
            while not asked.acquire(blocking=False):
                await asyncio.sleep(0.01)
        assert await asyncio.to_thread(lambda: "a page of the list") == "a page of the list"
    finally:
        hangs.set()
        assert {await each for each in tries} == {"unknown_host"}
