"""What is read of a feed, whatever it is."""

import pytest

from server.child.extract.looking import parsed

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
