"""What is read of a feed, whatever it is."""

import pytest

from server.child.extract.looking import is_feed, parsed

FEED = """<rss version="2.0"><channel><title>Feed</title><item><title>%s</title>
    <link>https://a.test/1</link></item></channel></rss>"""


@pytest.mark.parametrize(
    ("title", "read"),
    [
        ("It&#39;s &#55357;&#56832; on", "It's on"),
        ("It&#39;s &#xD83D;&#xde00 on", "It's on"),
        ("It&#39;s &#99999999999; on", "It's on"),
        (f"It&#39;s &#{'9' * 5000}; on", "It's on"),
        (f"It&#39;s &#x{'f' * 5000}; on", "It's on"),
    ],
)
def test_a_reference_to_no_character_costs_nothing_but_itself(title: str, read: str) -> None:
    name, entries = parsed((FEED % title).encode(), "https://a.test/feed")
    assert name == "Feed"
    assert [(entry["title"], entry["url"]) for entry in entries] == [(read, "https://a.test/1")]


def of(*items: tuple[str, str, str]) -> bytes:
    """A feed of items with link, guid and date, as far as they are not empty."""
    told = (
        f"<item><title>Same</title><link>{link}</link>"
        + (f"<guid isPermaLink='false'>{guid}</guid>" if guid else "")
        + (f"<pubDate>{date}</pubDate>" if date else "")
        + "</item>"
        for link, guid, date in items
    )
    return f"<rss version='2.0'><channel>{''.join(told)}</channel></rss>".encode()


@pytest.mark.parametrize("guid", ["same", ""])
def test_a_guid_of_several_entries_tells_none_of_them(guid: str) -> None:
    _, entries = parsed(of(("/1", guid, ""), ("/2", guid, ""), ("/3", "own", "")), "https://a.test/feed")
    assert [entry["url"] for entry in entries] == [f"https://a.test/{n}" for n in (1, 2, 3)]
    assert [entry.get("guid") for entry in entries] == [None, None, "own"]


def test_one_entry_without_a_date_does_not_turn_the_order_round() -> None:
    days = ("Sat, 03 Jan 2026 10:00:00 GMT", "Sun, 04 Jan 2026 10:00:00 EST", "", "5 Jan 2026 10:00:00 +0100")
    _, entries = parsed(of(*((f"/{n}", f"g{n}", day) for n, day in enumerate(days))), "https://a.test/")
    assert [entry["url"][-1] for entry in entries] == ["3", "1", "2", "0"]
    assert "published_at" not in entries[2]


@pytest.mark.parametrize(
    ("begin", "expected"),
    [
        (of(("/1", "", "")), True),
        (
            b"<?xml version='1.0'?><!-- " + b"x" * 5000 + b" --><feed xmlns='http://www.w3.org/2005/Atom'>",
            True,
        ),
        (b"<?xml version='1.0'?><!-- <feed> " + b"x" * 5000, False),
        ("<?xml version='1.0' encoding='utf-16'?><feed>".encode("utf-16"), True),
        (b"<!doctype html><title>feed</title>" + b" " * 3000 + b"<rss>", False),
    ],
)
def test_a_feed_is_known_by_its_beginning(begin: bytes, expected: bool) -> None:
    assert is_feed(begin) is expected
