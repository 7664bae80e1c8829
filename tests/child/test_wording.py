"""Which error code each message of yt-dlp's extractors gets.

`child_wording.txt` holds messages from the sources of the extractors that are used most. Whoever meets a
message that gets no code adds it there, and a rule for it in `server.child.extract.failures`.
"""

import json
import os
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from yt_dlp import utils
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.networking.exceptions import HTTPError, TransportError

from server.child.extract import failures, options, plugins
from server.child.extract.failures import Trail, classify
from server.child.extract.youtube_dl import Engine
from server.child.process.log import Log
from tests.child.test_failures import extracted, refusal
from tests.jobs import download_job

ROOT = Path(__file__).parent.parent
FAQ = "https://github.com/yt-dlp/yt-dlp/wiki/FAQ#how-do-i-pass-cookies-to-yt-dlp"
HINTS = {
    "cookies": f"Use --cookies-from-browser or --cookies for the authentication. See  {FAQ}  for how",
    "password": "Use --username and --password, --netrc-cmd, or --netrc (a) to provide account credentials",
    "data_center": "If you are using a data center IP or VPN/proxy, your IP may be blocked",
}
# Only downloads fail with these codes, never extractors.
OF_DOWNLOADERS = {"ffmpeg_missing", "proxy_error", "unsupported_stream"}


def said() -> list[tuple[str, str]]:
    lines = (ROOT / "child_wording.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split(" | ", 1) for line in lines if line and not line.startswith("#")]
    return [(text.format(**HINTS), code.strip()) for code, text in rows]


class Saying(InfoExtractor):  # type: ignore[misc]
    """An extractor that fails in the way that its link names."""

    _VALID_URL = r"http://saying\.test/(?P<id>\w+)"

    def _real_extract(self, url: str) -> Any:
        getattr(self, f"_{self._match_id(url)}")()

    def _geo(self) -> None:
        self.raise_geo_restricted(countries=["DE"])

    def _login(self) -> None:
        try:
            self._refuse(403)
        except HTTPError:
            self.raise_login_required()

    def _handled(self) -> None:
        try:
            self._refuse(410)
        except HTTPError as error:
            raise utils.ExtractorError("No luck", expected=True) from error

    def _refuse(self, status: int) -> None:
        raise refusal(status)

    def _guarded(self) -> None:
        self.report_drm("abc")

    def _offline(self) -> None:
        raise utils.UserNotLive(video_id="abc")

    def _key(self) -> None:
        raise KeyError("captcha")

    def _bug(self) -> None:
        json.loads(cast("str", None))

    def _ours(self) -> None:
        self._request_webpage("data:,a", "abc")

    def _url(self) -> None:
        urlsplit("http://[::1/")


@pytest.mark.parametrize(
    ("link", "code"),
    [
        ("geo", "geo_restricted"),
        ("login", "login_required"),
        ("handled", "http_410"),
        ("guarded", "drm_protected"),
        ("offline", "not_live"),
        ("key", "extraction_failed"),
        ("bug", "extraction_failed"),
        ("url", "unsupported_url"),
    ],
)
def test_what_an_extractor_raises_has_a_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str, code: str
) -> None:
    """The error passes through all of yt-dlp, which wraps it."""
    monkeypatch.setitem(plugins.extractors, Saying.ie_key(), Saying)
    trail, log = Trail(f"http://saying.test/{link}"), Log(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT))
    with Engine(options.for_download(download_job(tmp_path), log), trail) as engine:
        engine.add_info_extractor(Saying())
        with pytest.raises(utils.YoutubeDLError) as raised:
            engine.first(trail.url)
    log.close()
    assert classify(raised.value, trail).code == code
    assert ("Traceback" in (tmp_path / "log").read_text()) == (link in ("bug", "url"))


def test_a_fault_of_ours_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extractor is at work when the fault occurs."""
    monkeypatch.setitem(plugins.extractors, Saying.ie_key(), Saying)
    log = Log(os.open(os.devnull, os.O_WRONLY))
    params: Any = options.for_download(download_job(tmp_path), log)
    uncallable: Any = None
    with Engine(params, Trail(), on_request=uncallable) as engine:
        engine.add_info_extractor(Saying())
        with pytest.raises(TypeError) as raised:
            engine.first("http://saying.test/ours")
    log.close()
    assert classify(raised.value).code == "internal"


@pytest.mark.parametrize(("text", "code"), said())
def test_what_an_extractor_says_has_a_code(text: str, code: str) -> None:
    error = utils.ExtractorError(text, expected=True, video_id="abc", ie="Site")
    assert classify(extracted(error)).code == code


def test_each_code_that_words_lead_to_has_an_example() -> None:
    known = {code for _, code in said()} | OF_DOWNLOADERS
    assert {code for code, _ in failures._WORDS} - known == set(), "a row of tests/child_wording.txt"


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


@pytest.mark.parametrize(
    ("link", "text", "code"),
    [
        ("/drm.m3u8", "This video is DRM protected", "drm_protected"),
        ("/drm", "The page says that it uses DRM", "drm_protected"),
        ("/private.mp4", "This video is private", "private"),
        (
            "/private",
            "Private video. Sign in if you've been granted access to this video. --cookies",
            "private",
        ),
        ("/private", "The playlist is set to private, or empty", "private"),
        ("/offline", "Stream is offline.", "not_live"),
        ("/offline/", "The channel is now offline; come back", "not_live"),
        ("/captcha", "Solve the captcha challenge first", "bot_check"),
        ("/sign%20in", "Sign in to watch", "login_required"),
        ("/unavailable?a=b", "Video unavailable", "unavailable"),
        ("/deleted.mp4", "dailymotion said: Content deleted.", "unavailable"),
        ("/geo-restricted", "This video may be deleted or geo-restricted. Try a VPN", "geo_restricted"),
        ("/channel", 'Channel "somebody" not found', "unavailable"),
        ("/private", 'Unable to understand "private"', "extraction_failed"),
        ("/drm.m3u8", "Unable to extract the title of drm", "extraction_failed"),
        ("/captcha", "captcha: Unable to extract the title", "extraction_failed"),
    ],
)
def test_an_error_keeps_its_words_though_the_link_is_called_like_them(
    link: str, text: str, code: str
) -> None:
    """The extractor takes the id from the link, or has no id."""
    name = link.strip("/").partition("?")[0].removesuffix(".mp4").removesuffix(".m3u8")
    for video_id in (None, name):
        said = utils.ExtractorError(text, expected=True, video_id=video_id)
        assert classify(extracted(said), Trail(f"http://a.test{link}")).code == code, video_id


def test_words_of_a_servers_reason_decide_nothing() -> None:
    error = refusal(403)
    error.msg = "HTTP Error 403: Sign in with captcha, private video"
    said = utils.ExtractorError(f"Unable to download webpage: {error.msg}", cause=error)
    assert classify(extracted(said)).code == "http_403"
