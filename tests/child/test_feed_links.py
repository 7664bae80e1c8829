"""Which feeds a web page names."""

import pytest

from server.child.extract.feed_links import MOST_FEEDS, feeds_named

NUMBERED = [f"https://a.test/b/{n}" for n in range(MOST_FEEDS)]
RSS = 'rel="alternate" type="application/rss+xml"'


def named(page: str) -> list[str]:
    return [feed["url"] for feed in feeds_named(page.encode(), "https://a.test/b/", None)]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (f'<link {RSS} href="feed">', ["https://a.test/b/feed"]),
        (f'<base href="/c/"><link {RSS} href="feed">', ["https://a.test/c/feed"]),
        ('<LINK REL="home Alternate" TYPE="Application/Atom+XML; x=y" HREF=//b.test/>', ["https://b.test/"]),
        (f'<link {RSS} href="1"><link {RSS} href="2"><link {RSS} href="1">', NUMBERED[1:3]),
        (f'<link {RSS}><link {RSS} href=" "><link {RSS} href="javascript:x"><link {RSS} href="//[">', []),
        ('<link rel="alternate" type="text/html" href="/en">', []),
        ('<link rel="stylesheet" type="application/rss+xml" href="/x">', []),
        (f'<!-- <link {RSS} href="feed"> --><body><link {RSS} href="feed">', []),
        (f'<link {RSS} href="https://user:word@a.test/feed">', ["https://a.test/feed"]),
        ("".join(f'<link {RSS} href="{n}">' for n in range(99)), NUMBERED),
    ],
)
def test_the_feeds_of_the_head_are_named(head: str, expected: list[str]) -> None:
    assert named(f"<!doctype html><title>A</title>{head}") == expected


def test_a_title_is_read_in_the_encoding_of_the_page() -> None:
    page = f'<link {RSS} href="/f" title="Эпизоды">'.encode("windows-1251")
    assert feeds_named(page, "https://a.test/", "windows-1251")[0]["title"] == "Эпизоды"
    assert feeds_named(page, "https://a.test/", "no-such")[0]["url"] == "https://a.test/f"
