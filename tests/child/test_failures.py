"""Which error code each exception gets, however yt-dlp has wrapped it."""

import email.utils
import errno
import http.client
import io
import re
import socket
import ssl
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
import urllib3
from yt_dlp import utils
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import (
    CertificateVerifyError,
    HTTPError,
    IncompleteRead,
    NoSupportingHandlers,
    ProxyError,
    RequestError,
    SSLError,
    TransportError,
)

from server.child import job
from server.child.extract.failures import Failure, Trail, classify, is_crash, seconds
from server.child.network import guard
from server.child.process.job_failed import Expired, JobFailed
from server.child.process.log import Log
from server.core.codes import CODES


def refusal(status: int, **headers: str) -> HTTPError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HTTPError(Response(io.BytesIO(), "http://a.test/", named, status), redirect_loop=status == 302)


def extracted(error: Any) -> Any:
    """Wrap an extractor's error as `extract_info` does."""
    return utils.DownloadError(f"ERROR: {error}", (type(error), error, None))


def wrapped(error: Exception) -> Any:
    """Wrap an error as an extractor does whose request for a page failed."""
    return extracted(utils.ExtractorError(f"Unable to download webpage: {error}", cause=error))


def said(text: str) -> Any:
    """Make the error with which a downloader ends, which has only a text."""
    return utils.DownloadError(f"ERROR: {text}")


def met(error: Any, *, reading: bool = False) -> Trail:
    trail = Trail()
    trail.note(error, reading=reading)
    return trail


UNKNOWN = JobFailed("no_such_code", "found out")  # type: ignore[arg-type]


class Trap(Exception):
    """An error whose attributes must not be read."""

    @property
    def reason(self) -> str:
        raise LookupError("found out")


def transport(*causes: BaseException) -> TransportError:
    """Wrap an error of the libraries as yt-dlp's request handlers do."""
    outer: BaseException = causes[0]
    for cause in causes[1:]:
        outer.__cause__ = cause
        outer = cause
    return TransportError(cause=causes[0])


def cut(kind: type[ssl.SSLError], reason: str) -> SSLError:
    error = kind(1, f"[SSL: {reason}] (_ssl.c:1006)")
    error.reason = reason
    return SSLError(cause=urllib3.exceptions.SSLError(error))


NO_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
LATER = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
NOT_JSON = utils.ExtractorError("Failed to parse JSON", cause=ValueError("found a captcha"))
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (refusal(404), Failure("http_404")),
        (refusal(403), Failure("http_403")),
        (refusal(503, Retry_After="12"), Failure("http_503", True, 12)),
        (refusal(520), Failure("http_520", True)),
        (refusal(524), Failure("http_524", True)),
        (refusal(527), Failure("http_527", True)),
        (refusal(528), Failure("http_528")),
        (refusal(530, Retry_After="3"), Failure("http_530", True, 3)),
        (refusal(302), Failure("redirect_loop")),
        (transport(ConnectionRefusedError(errno.ECONNREFUSED, "no")), Failure("connection_failed", True)),
        (transport(http.client.RemoteDisconnected("closed")), Failure("connection_failed", True)),
        (TransportError("something new"), Failure("connection_failed", True)),
        (transport(TimeoutError("The read operation timed out")), Failure("timeout", True)),
        (transport(urllib3.exceptions.ProtocolError("no"), NO_NAME), Failure("dns_error")),
        (transport(urllib3.exceptions.ProtocolError("no"), LATER), Failure("dns_error", True)),
        (transport(guard.AddressBlocked("10.0.0.1")), Failure("blocked_address")),
        (IncompleteRead(10, 20), Failure("incomplete", True)),
        (CertificateVerifyError("expired"), Failure("tls_error")),
        (cut(ssl.SSLError, "WRONG_VERSION_NUMBER"), Failure("tls_error")),
        (cut(ssl.SSLEOFError, "UNEXPECTED_EOF_WHILE_READING"), Failure("connection_failed", True)),
        (cut(ssl.SSLError, "UNEXPECTED_EOF_WHILE_READING"), Failure("connection_failed", True)),
        (
            cut(ssl.SSLZeroReturnError, "TLS/SSL connection has been closed"),
            Failure("connection_failed", True),
        ),
        (cut(ssl.SSLError, "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"), Failure("connection_failed", True)),
        (ProxyError("refused"), Failure("proxy_error", True)),
        (RequestError(cause=ValueError("Invalid URL")), Failure("unsupported_url")),
        (NoSupportingHandlers([], []), Failure("unsupported_url")),
        (NoSupportingHandlers([], [guard.AddressBlocked("10.0.0.1")]), Failure("blocked_address")),
    ],
)
def test_an_error_of_the_network_has_a_code(error: RequestError, expected: Failure) -> None:
    """The code is the same for an extractor's error with a cause and for a downloader's error with a text
    only.
    """
    assert classify(error) == expected
    assert classify(wrapped(error)) == expected
    assert classify(said(f"[download] Got error: {error}. Giving up after 2 retries"), met(error)) == expected
    assert expected.code in CODES or re.fullmatch(r"http_\d{3}", expected.code)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (wrapped(NO_SPACE), Failure("disk_full", True)),
        (extracted(OSError(errno.EDQUOT, "Disk quota exceeded")), Failure("disk_full", True)),
        (extracted(OSError(errno.EFBIG, "File too large")), Failure("too_large")),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), Failure("out_of_memory")),
        (
            said("unable to write data: [Errno 28] No space left on device"),
            Failure("extraction_failed", True),
        ),
        (utils.UnsupportedError("http://a.test/"), Failure("unsupported_url")),
        (utils.GeoRestrictedError("not here"), Failure("geo_restricted")),
        (utils.UserNotLive(), Failure("not_live")),
        (said("Did not get any data blocks"), Failure("incomplete", True, hint="nothing_came")),
        (said("fragment 7 not found, unable to continue"), Failure("incomplete", True)),
        (said("RTMP download detected but rtmpdump could not be run"), Failure("unsupported_stream")),
        (RequestError("This request requires WebSocket support."), Failure("unsupported_stream")),
        (RequestError('Impersonate target "chrome" is not available.'), Failure("bot_check", True)),
        (ValueError("Invalid IPv6 URL"), Failure("unsupported_url")),
        (wrapped(ValueError("Port could not be cast to integer value as 'x'")), Failure("unsupported_url")),
        (NOT_JSON, Failure("extraction_failed", True)),
        (said("something new"), Failure("extraction_failed", True)),
        (utils.PostProcessingError("Invalid data"), Failure("conversion_failed")),
        (MemoryError(), Failure("out_of_memory")),
        (JobFailed("no_audio"), Failure("no_audio")),
        (Expired("incomplete"), Failure("incomplete", expired=True)),
        (wrapped(JobFailed("page_too_large")), Failure("page_too_large")),
        (ZeroDivisionError("ours"), Failure("internal")),
        (ValueError("ours"), Failure("internal")),
    ],
)
def test_an_error_outside_the_network_has_a_code(error: BaseException, expected: Failure) -> None:
    assert classify(error) == expected


def test_a_connection_that_breaks_while_something_comes_leaves_it_incomplete() -> None:
    reset = transport(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
    words = said(f"[download] Got error: {reset}")
    assert classify(words, met(reset, reading=True)).code == "incomplete"
    assert classify(words, met(reset)).code == "connection_failed"
    late = transport(TimeoutError("The read operation timed out"))
    assert classify(said(f"[download] Got error: {late}"), met(late, reading=True)).code == "timeout"


def test_only_a_proxy_asks_for_a_log_in_at_the_proxy() -> None:
    trail = Trail()
    assert classify(wrapped(refusal(407)), trail).code == "http_407"
    trail.by_http_proxy = True
    assert classify(wrapped(refusal(407)), trail) == Failure("proxy_error", True)
    assert classify(wrapped(refusal(403)), trail).code == "http_403"


def test_the_last_error_with_the_words_of_a_failure_counts() -> None:
    trail = Trail()
    for error in (refusal(429, Retry_After="30"), refusal(404), refusal(429, Retry_After="5"), refusal(500)):
        trail.note(error)
    assert classify(said("HTTP Error 429: Too Many Requests"), trail) == Failure("http_429", True, 5)


def test_a_trail_keeps_no_socket_and_has_an_end() -> None:
    trail = Trail()
    error = refusal(404)
    kept = weakref.ref(error.response)
    trail.note(error)
    del error
    assert kept() is None
    for number in range(1000):
        trail.note(TransportError(f"number {number}"))
    assert trail.find_in("number 0") == ("", ())
    assert trail.find_in("number 999")[0] == "number 999"


def test_an_extractor_knows_better_than_the_status_that_it_met() -> None:
    """The extractor raised its own error while it handled a refused request."""
    private = utils.ExtractorError("Private video", expected=True)
    private.__context__ = wrapped(refusal(403))
    assert classify(extracted(private)).code == "private"


def test_an_error_that_wraps_itself_is_no_trap() -> None:
    error = utils.ExtractorError("odd")
    error.cause = error
    assert classify(error).code == "extraction_failed"


@pytest.mark.parametrize(
    "error", [UNKNOWN, wrapped(UNKNOWN), Trap()], ids=["unknown code", "wrapped", "trap"]
)
def test_an_unforeseen_error_is_internal_and_noted_in_the_log(error: Exception, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        told = job.broken_fields(error, Trail(), Log(file.fileno()))
    assert "found out" in told.pop("fault")["trace"]
    assert told == {"code": "internal", "retryable": False, "expired": False, "crashed": True}
    log = (tmp_path / "log").read_text()
    assert "internal: " in log
    assert "found out" in log


@pytest.mark.parametrize(
    ("header", "expected"),
    [("0", 0), ("120", 120), (" 5 ", 5), ("999999999", 86_400), ("-1", None), ("soon", None), (None, None)],
)
def test_a_retry_after_is_seconds(header: str | None, expected: float | None) -> None:
    assert seconds(header) == expected


def test_a_retry_after_may_be_a_date() -> None:
    in_a_minute = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert seconds(in_a_minute) == pytest.approx(60, abs=20)
    assert seconds("Mon, 01 Jan 2001 00:00:00 GMT") == 0


@pytest.fixture(autouse=True)
def nothing_was_refused_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "refused", [])


def test_an_answer_of_a_fake_ip_proxy_gets_a_hint_of_its_own() -> None:
    blocked = classify(wrapped(guard.AddressBlocked("198.19.0.7")))
    assert blocked == Failure("blocked_address", hint="blocked_address_fake_ip")


@pytest.mark.parametrize(
    ("error", "code", "is_it"),
    [
        (utils.ExtractorError("An error.", cause=KeyError("x")), "extraction_failed", True),
        (utils.ExtractorError("Unable to extract title"), "extraction_failed", True),
        (utils.ExtractorError("Video unavailable", expected=True), "unavailable", False),
        (AttributeError("x"), "internal", True),
        (JobFailed("no_media"), "no_media", False),
        (OSError(errno.EIO, "x"), "extraction_failed", False),
    ],
)
def test_a_crash_is_what_yt_dlp_did_not_expect(error: Exception, code: str, is_it: bool) -> None:
    assert is_crash(error, code) is is_it
