"""Pages that answer with 200 and have no film, but say why."""

import time
from pathlib import Path

import pytest

from server.child.extract.generic import reason_of_page
from tests.jobs import Jobs, broken
from tests.shelf import Shelf

WORDS = "<p>" + "All about films and where they are shown. " * 80 + "</p>"
SAYING = {
    "seen_removed": "<title>Oops</title><h1>This video has been removed by its uploader</h1>",
    "seen_login": "<title>Members</title><form><input type=text><input type='password'></form>",
    "seen_age": "<title>A site</title><p>You must be over 18 to watch this.</p><a href=/>Leave</a>",
    "seen_captcha": "<title>Verify that you are human</title><div class='g-recaptcha'></div>",
}


@pytest.mark.parametrize(("seen", "page"), SAYING.items())
async def test_a_page_without_a_film_stays_unsupported_and_says_what_was_seen(
    jobs: Jobs, shelf: Shelf, tmp_path: Path, seen: str, page: str
) -> None:
    link = shelf.put("page", f"<html><head></head><body>{page}</body></html>".encode(), "text/html")
    outcome = await jobs.download(tmp_path / "t", link)
    assert broken(outcome) == ("unsupported_url", False, None)
    assert outcome.last["hint"] == seen


async def test_a_page_that_says_nothing_of_it_has_no_such_hint(
    jobs: Jobs, shelf: Shelf, tmp_path: Path
) -> None:
    link = shelf.put("page", f"<html><title>Films</title><a>Log in</a>{WORDS}</html>".encode(), "text/html")
    outcome = await jobs.download(tmp_path / "t", link)
    assert broken(outcome) == ("unsupported_url", False, None)
    assert "hint" not in outcome.last


@pytest.mark.parametrize(
    ("page", "seen"),
    [
        ("<title>Sign in - Films</title>", "seen_login"),
        ("<title>\u767b\u5f55</title>", "seen_login"),
        ("<h1>404</h1>", "seen_removed"),
        ("<p>\u8be5\u89c6\u9891\u5df2\u88ab\u5220\u9664</p>", "seen_removed"),
        ("<h2>Age verification</h2><input type=password>", "seen_age"),
        ("<title>Robot Check</title><p>Sign in</p>", "seen_captcha"),
        ("<title>Removed</title>", None),
        ("<nav><a>Log in</a></nav><p>Nothing is on today.</p>", None),
        ("<script>captcha('has been removed')</script><style>h1::after{content:'404'}</style>", None),
        (f"<p>This site has a captcha.</p>{WORDS}", None),
        (f"{WORDS}<input type=password>", "seen_login"),
        (
            "<title>A site</title><div class='big g-recaptcha' data-sitekey=a></div>",
            "seen_captcha",
        ),
        ("<p>One moment</p><div class=h-captcha></div>", "seen_captcha"),
        ("<div class='cf-turnstile' data-sitekey='0x'></div>", "seen_captcha"),
        (
            "<script src='https://challenges.cloudflare.com/turnstile/v0/api.js'></script>",
            "seen_captcha",
        ),
        ("<script src=//js.hcaptcha.com/1/api.js></script>", "seen_captcha"),
        ("<script src='https://www.google.com/recaptcha/api.js?render=explicit'></script>", "seen_captcha"),
        ("<script src='https://www.google.com/recaptcha/api.js?render=6Lc'></script>", None),
        ("<p>The video is unavailable</p><div class=g-recaptcha></div>", "seen_removed"),
        ("<input type=password><div class=g-recaptcha></div>", "seen_login"),
        (f"{WORDS}<div class=g-recaptcha></div>", None),
        ("", None),
    ],
)
def test_what_a_page_says(page: str, seen: str | None) -> None:
    assert reason_of_page(f"<html>{page}</html>") == seen


@pytest.mark.parametrize("piece", ["<script>", "<", "<h1>captch", "<!--", "<a b=", "&#", "</", "your age"])
def test_no_page_takes_long_to_read(piece: str) -> None:
    began = time.process_time()
    reason_of_page(piece * (4_000_000 // len(piece)))
    assert time.process_time() - began < 2
