"""Exceptions as yt-dlp wraps them, and the one word that they come to."""

import email.utils
import errno
import http.client
import io
import re
import time
from pathlib import Path
from typing import Any

import pytest
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
from server.child.network import guard
from server.child.process.failed import JobFailed
from server.child.process.log import Log
from server.child.source.failures import Failure, classify, seconds
from server.codes import CODES


def refusal(status: int, **headers: str) -> HTTPError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HTTPError(Response(io.BytesIO(), "http://a.test/", named, status), redirect_loop=status == 302)


def wrapped(error: Exception) -> Any:
    """As `extract_info` hands it on."""
    extractor = utils.ExtractorError("Unable to download webpage", cause=error)
    return utils.DownloadError(str(extractor), (type(extractor), extractor, None))


def said(text: str) -> Any:
    return utils.DownloadError(f"ERROR: [site] abc: {text}")


UNKNOWN = JobFailed("no_such_code", "found out")  # type: ignore[arg-type]


class Trap(Exception):
    """Who looks into it is caught."""

    @property
    def reason(self) -> str:
        raise LookupError("found out")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (wrapped(refusal(404)), Failure("http_404")),
        (wrapped(refusal(403)), Failure("http_403")),
        (wrapped(refusal(503, Retry_After="12")), Failure("http_503", True, 12)),
        (wrapped(refusal(302)), Failure("redirect_loop")),
        (said("HTTP Error 404: Not Found. Giving up after 2 retries"), Failure("http_404")),
        (said("HTTP Error 502: Bad Gateway"), Failure("http_502", True)),
        (wrapped(TransportError("connection refused")), Failure("connection_failed", True)),
        (wrapped(TransportError("The read operation timed out")), Failure("timeout", True)),
        (wrapped(TransportError("Failed to resolve 'a': Name or service not known")), Failure("dns_error")),
        (wrapped(TransportError("Temporary failure in name resolution")), Failure("dns_error", True)),
        (wrapped(IncompleteRead(10, 20)), Failure("incomplete", True)),
        (wrapped(CertificateVerifyError("expired")), Failure("tls_error")),
        (wrapped(SSLError("wrong version number")), Failure("tls_error")),
        (wrapped(ProxyError("refused")), Failure("proxy_error", True)),
        (wrapped(TransportError(cause=guard.AddressBlocked("10.0.0.1"))), Failure("blocked_address")),
        (wrapped(OSError(errno.ENOSPC, "No space left on device")), Failure("disk_full", True)),
        (wrapped(OSError(errno.EFBIG, "File too large")), Failure("too_large")),
        (utils.UnsupportedError("http://a.test/"), Failure("unsupported_url")),
        (utils.GeoRestrictedError("not here"), Failure("geo_restricted")),
        (said("This video is DRM protected"), Failure("drm_protected")),
        (said("Sign in to confirm you're not a bot"), Failure("bot_check", True)),
        (said("Sign in to confirm your age"), Failure("age_restricted")),
        (said("This video is only available for registered users. Use --cookies"), Failure("login_required")),
        (said("Private video. Sign in if you've been granted access"), Failure("private")),
        (said("Join this channel to get access to members-only content"), Failure("members_only")),
        (said("Video unavailable. This video has been removed"), Failure("unavailable")),
        (said("Requested format is not available"), Failure("format_unavailable")),
        (said("No video formats found!"), Failure("no_media")),
        (said("Did not get any data blocks"), Failure("incomplete", True)),
        (said("RTMP download detected but rtmpdump could not be run"), Failure("unsupported_stream")),
        (RequestError("No connection adapters were found for 'file:///a'"), Failure("unsupported_url")),
        (ValueError("Invalid IPv6 URL"), Failure("unsupported_url")),
        (NoSupportingHandlers([], []), Failure("unsupported_url")),
        (said("something new"), Failure("extraction_failed", True)),
        (utils.PostProcessingError("Invalid data"), Failure("conversion_failed")),
        (MemoryError(), Failure("out_of_memory")),
        (JobFailed("no_audio"), Failure("no_audio")),
        (ZeroDivisionError("ours"), Failure("internal")),
        (http.client.RemoteDisconnected("Remote end closed connection"), Failure("connection_failed", True)),
    ],
)
def test_an_error_comes_to_one_word(error: Exception, expected: Failure) -> None:
    assert classify(error) == expected
    assert expected.code in CODES or re.fullmatch(r"http_\d{3}", expected.code)


def test_a_refusal_that_is_only_text_still_has_its_retry_after() -> None:
    error = said("HTTP Error 429: Too Many Requests. Giving up after 2 retries")
    assert classify(error, [refusal(404), refusal(429, Retry_After="30")]) == Failure("http_429", True, 30)


def test_a_bot_check_is_more_than_its_status() -> None:
    error = utils.ExtractorError(
        "Got HTTP Error 403 caused by Cloudflare anti-bot challenge", cause=refusal(403)
    )
    assert classify(error).code == "bot_check"


def test_an_error_that_wraps_itself_is_no_trap() -> None:
    error = utils.ExtractorError("odd")
    error.cause = error
    assert classify(error).code == "extraction_failed"


@pytest.mark.parametrize(
    "error", [UNKNOWN, wrapped(UNKNOWN), Trap()], ids=["unknown code", "wrapped", "trap"]
)
def test_what_nobody_foresaw_is_internal_and_told_in_the_log(error: Exception, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        assert job._told(error, [], Log(file.fileno())) == {"code": "internal", "retryable": False}
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
    assert seconds(in_a_minute) == pytest.approx(60, abs=2)
    assert seconds("Mon, 01 Jan 2001 00:00:00 GMT") == 0


@pytest.fixture(autouse=True)
def nothing_was_refused_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "refused", [])


def test_an_answer_of_a_fake_ip_proxy_gets_a_hint_of_its_own() -> None:
    blocked = classify(wrapped(guard.AddressBlocked("198.19.0.7")))
    assert blocked == Failure("blocked_address", hint="blocked_address_fake_ip")
