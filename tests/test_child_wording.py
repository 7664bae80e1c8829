"""What the extractors of yt-dlp say, in their own words, and the code that it comes to.

`child_wording.txt` holds texts of the extractors that are used most, from their sources. Whoever meets one
that is not understood adds it there, and the rule for it in `server.child.source.rules`.
"""

from pathlib import Path
from typing import Any

import pytest
from yt_dlp import utils
from yt_dlp.networking.exceptions import TransportError

from server.child.source.facts import Trail
from server.child.source.failures import classify
from tests.test_child_failures import extracted, refusal

ROOT = Path(__file__).parent
FAQ = "https://github.com/yt-dlp/yt-dlp/wiki/FAQ#how-do-i-pass-cookies-to-yt-dlp"
HINTS = {
    "cookies": f"Use --cookies-from-browser or --cookies for the authentication. See  {FAQ}  for how",
    "password": "Use --username and --password, --netrc-cmd, or --netrc (a) to provide account credentials",
    "data_center": "If you are using a data center IP or VPN/proxy, your IP may be blocked",
}


def said() -> list[tuple[str, str]]:
    lines = (ROOT / "child_wording.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split(" | ", 1) for line in lines if line and not line.startswith("#")]
    return [(text.format(**HINTS), code.strip()) for code, text in rows]


@pytest.mark.parametrize(("text", "code"), said())
def test_what_an_extractor_says_has_a_code(text: str, code: str) -> None:
    error = utils.ExtractorError(text, expected=True, video_id="abc", ie="Site")
    assert classify(extracted(error)).code == code


@pytest.mark.parametrize(
    ("url", "error", "code"),
    [
        ("/how-captcha-works.mp4", refusal(404), "http_404"),
        ("/My%20blog%20in%20Paris.mp4", TransportError("/My%20blog%20in%20Paris.mp4"), "connection_failed"),
        ("/no space left on device.mp4", TransportError("/no space left on device.mp4"), "connection_failed"),
        ("/sign in.mp4", TransportError("/sign in.mp4 timed out"), "connection_failed"),
        ("/This video is private.mp4", refusal(410), "http_410"),
        ("/drm.mp4", refusal(503), "http_503"),
    ],
)
def test_words_of_a_link_decide_nothing(url: str, error: Any, code: str) -> None:
    name = url.strip("/").removesuffix(".mp4")
    trail = Trail(f"http://a.test{url}")
    of_a_page = utils.ExtractorError(f"Unable to download webpage: {error}", cause=error, video_id=name)
    assert classify(extracted(of_a_page), trail).code == code
    trail.note(error)
    of_a_file = utils.DownloadError(f"ERROR: \r[download] Got error: {error}. Giving up after 2 retries")
    assert classify(of_a_file, trail).code == code


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("captcha", "captcha does not exist", "unavailable"),
        ("sign-in-to-drm", "Video sign-in-to-drm does not exist", "unavailable"),
        ("log in", "Unable to extract log in", "extraction_failed"),
        ("abc", "Unable to understand https://a.test/sign-in?captcha=1", "extraction_failed"),
        ("in", "Sign in to watch", "login_required"),
    ],
)
def test_words_of_an_id_decide_nothing(name: str, text: str, code: str) -> None:
    said = utils.ExtractorError(text, expected=True, video_id=name)
    assert classify(extracted(said), Trail(f"http://a.test/{name}")).code == code


def test_words_of_a_servers_reason_decide_nothing() -> None:
    error = refusal(403)
    error.msg = "HTTP Error 403: Sign in with captcha, private video"
    said = utils.ExtractorError(f"Unable to download webpage: {error.msg}", cause=error)
    assert classify(extracted(said)).code == "http_403"
