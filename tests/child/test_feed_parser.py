"""What the parser reads from feeds of every form."""

import pytest
from yt_dlp.utils import ExtractorError

from server.child.extract.feed_parser import is_feed, parse_feed

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
    name, entries, *_ = parse_feed((FEED % title).encode(), "https://a.test/feed")
    assert name == "Feed"
    assert [(entry["title"], entry["url"]) for entry in entries] == [(read, "https://a.test/1")]


def test_a_feed_that_crashes_its_reader_was_not_understood() -> None:
    with pytest.raises(ExtractorError, match="not understood"):
        parse_feed(b"<?xml version='1.0' encoding='\x8e'?><rss><channel/></rss>", "https://a.test/feed")


def of(*items: tuple[str, str, str]) -> bytes:
    """Return a feed of items with link, guid and date; an empty one is left out."""
    told = (
        f"<item><title>Same</title><link>{link}</link>"
        + (f"<guid isPermaLink='false'>{guid}</guid>" if guid else "")
        + (f"<pubDate>{date}</pubDate>" if date else "")
        + "</item>"
        for link, guid, date in items
    )
    return f"<rss version='2.0'><channel>{''.join(told)}</channel></rss>".encode()


@pytest.mark.parametrize("guid", ["same", ""])
def test_a_guid_that_several_entries_share_identifies_none_of_them(guid: str) -> None:
    _, entries, *_ = parse_feed(
        of(("/1", guid, ""), ("/2", guid, ""), ("/3", "own", "")), "https://a.test/feed"
    )
    assert [entry["url"] for entry in entries] == [f"https://a.test/{n}" for n in (1, 2, 3)]
    assert [entry.get("guid") for entry in entries] == [None, None, "own"]


def test_one_entry_without_a_date_does_not_turn_the_order_round() -> None:
    days = ("Sat, 03 Jan 2026 10:00:00 GMT", "Sun, 04 Jan 2026 10:00:00 EST", "", "5 Jan 2026 10:00:00 +0100")
    _, entries, *_ = parse_feed(
        of(*((f"/{n}", f"g{n}", day) for n, day in enumerate(days))), "https://a.test/"
    )
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


RSS = (
    '<rss version="2.0" xmlns:media="http://search.yahoo.com/mrss/"><channel><item>%s</item></channel></rss>'
)
ATOM = '<feed xmlns="http://www.w3.org/2005/Atom" xml:base="/base/"><entry xml:base="sub/">%s</entry></feed>'


def entry_of(document: str, inner: str) -> dict[str, object]:
    _, [entry], *_ = parse_feed((document % inner).encode(), "https://a.test/dir/feed")
    return entry


@pytest.mark.parametrize(
    ("document", "inner", "url"),
    [
        (RSS, '<enclosure url="/My Show 1.mp3" type="audio/mpeg"/>', "/My%20Show%201.mp3"),
        (RSS, "<link>\n https://a.test/a\n b </link>", "/a%20b"),
        (RSS, '<media:content url="/get?id=1" medium="video"/>', "/get?id=1"),
        (RSS, '<enclosure url="/get?id=1" type="application/octet-stream"/>', "/get?id=1"),
        (RSS, '<enclosure url="/t" type="application/x-bittorrent"/><link>/page</link>', "/page"),
        (RSS, '<enclosure url="/x" type="application/ogg"/><link>/page</link>', "/x"),
        (
            RSS,
            '<media:content url="/480.mp4" height="480"/><media:content url="/1080.mp4" height="1080"/>',
            "/1080.mp4",
        ),
        (
            RSS,
            '<media:content url="/a.mp4" isDefault="true"/><media:content url="/b.mp4" bitrate="9"/>',
            "/a.mp4",
        ),
        (ATOM, '<title>A</title><link href="a.mp4"/>', "/base/sub/a.mp4"),
        (
            RSS.replace("<channel>", '<channel xml:base="/x/">'),
            '<title>A</title><enclosure url="a.mp3" type="audio/mpeg"/>',
            "/x/a.mp3",
        ),
    ],
)
def test_an_entry_leads_to_its_film_however_its_feed_names_that(document: str, inner: str, url: str) -> None:
    assert entry_of(document, inner)["url"] == f"https://a.test{url}"


@pytest.mark.parametrize(
    ("date", "published"),
    [
        ("Sunday, 06-Nov-94 08:49:37 GMT", "1994-11-06T08:49:37Z"),
        ("Sun, 06 Nov 2022 08:49:37", "2022-11-06T08:49:37Z"),
        ("Di, 06 Jan 2026 10:00:00 +0100", "2026-01-06T09:00:00Z"),
        ("soon", None),
    ],
)
def test_dates_are_read_that_feedparser_does_not_read(date: str, published: str | None) -> None:
    entry = entry_of(RSS, f"<link>/1</link><pubDate>{date}</pubDate>")
    assert entry.get("published_at") == published


@pytest.mark.parametrize(
    ("document", "inner", "title"),
    [
        (RSS, "<link>/1</link><title>Tom &amp;amp; Jerry&amp;#8217;s</title>", "Tom & Jerry’s"),
        (RSS, "<link>/1</link><title><![CDATA[Tom & Jerry]]></title>", "Tom & Jerry"),
        (RSS, "<link>/1</link><title>a &lt; b &gt; c</title>", "a < b > c"),
        (RSS, "<link>/1</link><title>Q&amp;A &lt;b&gt;why&lt;/b&gt; ]]&gt;</title>", "Q&A <b>why</b> ]]>"),
        (ATOM, '<link href="/1"/><title type="html">A &lt;i&gt;b&lt;/i&gt; &amp;amp; c</title>', "A b & c"),
        (ATOM, '<link href="/1"/><title>A &amp;amp; c</title>', "A &amp; c"),
    ],
)
def test_a_title_that_is_html_is_read_as_html(document: str, inner: str, title: str) -> None:
    assert entry_of(document, inner)["title"] == title


def test_a_feed_that_does_not_say_how_long_an_entry_is_says_zero() -> None:
    entry = entry_of(RSS, '<media:content url="/a.mp4" duration="77"/>')
    assert entry["duration"] == 77
    apple = 'xmlns:i="http://www.itunes.com/dtds/podcast-1.0.dtd"'
    assert "duration" not in entry_of(RSS, f"<link>/1</link><i:duration {apple}>00:00:00</i:duration>")


def test_the_encoding_of_the_answer_counts_where_the_feed_names_none() -> None:
    text = (RSS % "<title>Мир</title><link>/1</link>").encode("cp1251")
    _, [entry], *_ = parse_feed(text, "https://a.test/", "windows-1251")
    assert entry["title"] == "Мир"
    named = b'<?xml version="1.0" encoding="windows-1251"?>' + text
    _, [entry], *_ = parse_feed(named, "https://a.test/", "iso-8859-1")
    assert entry["title"] == "Мир"


@pytest.mark.parametrize("inner", ["<link>/a.mp4</link>", '<enclosure url="/get?id=1"/>'])
def test_a_bare_file_gets_its_facts_from_its_feed(inner: str) -> None:
    day = "<pubDate>Tue, 06 Jan 2026 10:00:00 +0100</pubDate>"
    said = entry_of(RSS, f"<title>A film</title>{inner}{day}")["says"]
    assert said == {"title": "A film", "timestamp": 1767690000.0}
