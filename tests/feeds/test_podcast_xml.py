"""Podcast feeds are read back correctly, by a strict parser and by feedparser, which apps use."""

import html
import re
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET

import feedparser  # type: ignore[import-untyped]
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.core.xml_text import xml_text
from server.feeds.podcast_xml import (
    MAX_DESCRIPTION_BYTES,
    Enclosed,
    Episode,
    Podcast,
    as_html,
    guid_of,
    one_line,
    to_xml,
    without_tags,
)

AT = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
SOUND = Enclosed("https://pods.test/feeds/s/a/files/audio_a_1.m4a", 12345, "audio/mp4")
FILM = Enclosed("https://pods.test/feeds/s/a/files/video_a_1.mp4", 99999, "video/mp4")
ITUNES, PODCAST = "{http://www.itunes.com/dtds/podcast-1.0.dtd}", "{https://podcastindex.org/namespace/1.0}"
# Characters of every plane, also those that XML forbids, and half surrogates.
ANY = st.text(st.characters(), max_size=60)


def episode(key: str = "site 1", **more: Any) -> Episode:
    return Episode(**{"key": key, "title": "One", "published": AT, "enclosure": SOUND, **more})


def podcast(*episodes: Episode, **more: Any) -> Podcast:
    about = {
        "url": "https://pods.test/feeds/s/a.xml",
        "lasting_id": "clipwire/123",
        "title": "A & B",
        "description": "Of <all>",
        "language": "zh",
        "link": "https://a.test/",
        "cover": "https://pods.test/feeds/s/a/cover-1.jpg",
        "medium": "podcast",
        "ttl": 60,
        "category": "TV & Film",
        "explicit": False,
    }
    return Podcast(**{**about, "episodes": episodes, **more})


def parsed(one: Podcast) -> tuple[ET.Element, Any]:
    """Parse a feed; return the channel by a strict parser, and the result of feedparser, which must not have
    repaired anything.
    """
    body = to_xml(one)
    told = feedparser.parse(body)
    assert not told.bozo, told.get("bozo_exception")
    channel = ET.fromstring(body).find("channel")
    assert channel is not None
    return channel, told


def text_of(element: ET.Element, name: str) -> str:
    found = element.find(name)
    assert found is not None, name
    return found.text or ""


def as_feedparser_has_it(text: str) -> str:
    """Return a text as feedparser would: it decodes a text again whose Latin-1 bytes are valid UTF-8."""
    try:
        return text.encode("iso-8859-1").decode("utf-8")
    except UnicodeError:
        return text


@pytest.mark.wide
@example(title="", description="", author="", key="Â¡", name="")
@given(title=ANY, description=st.text(st.characters(), max_size=300), author=ANY, key=ANY, name=ANY)
def test_texts_of_any_kind_are_read_back(
    title: str, description: str, author: str, key: str, name: str
) -> None:
    one = episode(key=key, title=title, description=description, author=author)
    channel, told = parsed(podcast(one, title=name, description=description))
    item = channel.find("item")
    assert item is not None
    assert text_of(item, "title") == (one_line(title) or guid_of(key))
    assert text_of(channel, "title") == one_line(name)
    assert text_of(item, "guid") == guid_of(key)
    assert told.entries[0].id == as_feedparser_has_it(guid_of(key))
    assert "\n" not in text_of(item, "title")
    if wanted := xml_text(description).strip():
        shown = html.unescape(text_of(item, "description").replace("<br>", "\n"))
        assert shown == wanted.replace("\r\n", "\n").replace("\r", "\n").strip()
    if author := one_line(author):
        assert text_of(item, f"{ITUNES}author") == author


@given(st.text(st.sampled_from("<&>\"'\n\r 猫\x00\ud800a"), max_size=6000))
def test_a_description_is_short_and_shows_nothing_but_text(text: str) -> None:
    shown = as_html(text)
    assert len(shown.encode()) <= MAX_DESCRIPTION_BYTES
    assert re.fullmatch(r"([^<>&\"'\x00\ud800]|<br>|&(lt|gt|amp|quot|#x27);)*", shown)


def test_a_description_has_as_much_of_its_text_as_fits() -> None:
    assert as_html("a" * 5000) == "a" * 4000
    assert as_html("猫" * 5000) == "猫" * 1333
    assert as_html("&" * 5000) == "&amp;" * 800
    assert as_html("a\n" * 5000) == "a<br>" * 799 + "a"
    assert as_html("  \n ") == ""


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("5 < 6 and 7 > 6", "5 < 6 and 7 > 6"),
        ("<p>One &amp; two</p><p>three<br/>four</p>", "One & two\nthree\nfour\n"),
        ('<a href="https://a.test/">there</a><img src="x">', "there"),
        ("Tom &amp; Jerry", "Tom &amp; Jerry"),
    ],
)
def test_tags_of_other_feeds_are_not_shown(said: str, shown: str) -> None:
    assert without_tags(said) == shown


def test_what_apps_and_directories_ask_for_is_there() -> None:
    chapters = "https://pods.test/feeds/s/a/chapters/1.json"
    text = Enclosed("https://pods.test/feeds/s/a/files/subtitle-en_a_1.vtt", 5, "text/vtt", "en")
    one = episode(
        others=(FILM,),
        description="5 < 6\n& more",
        duration=61,
        author="C",
        link="https://a.test/1",
        season=2,
        number=3,
        picture="https://pods.test/1.jpg",
        chapters=chapters,
        transcripts=(text,),
    )
    channel, told = parsed(podcast(one))
    image, category = channel.find(f"{ITUNES}image"), channel.find(f"{ITUNES}category")
    assert image is not None
    assert image.get("href") == "https://pods.test/feeds/s/a/cover-1.jpg"
    assert category is not None
    assert category.get("text") == "TV & Film"
    assert text_of(channel, "language") == "zh"
    assert text_of(channel, f"{ITUNES}explicit") == "false"
    assert text_of(channel, f"{ITUNES}block") == "Yes"
    assert text_of(channel, f"{PODCAST}medium") == "podcast"
    assert UUID(text_of(channel, f"{PODCAST}guid")).version == 5
    [entry] = told.entries
    assert [(link.rel, link.get("type"), link.get("length"), link.href) for link in entry.links] == [
        ("enclosure", "audio/mp4", "12345", SOUND.url),
        ("alternate", "text/html", None, "https://a.test/1"),
    ]
    assert entry.published_parsed[:6] == (2026, 3, 14, 15, 9, 26)
    assert (entry.itunes_duration, entry.itunes_season, entry.itunes_episode) == ("61", "2", "3")
    assert entry.guidislink is False
    assert entry.media_thumbnail == [{"url": "https://pods.test/1.jpg"}]
    assert entry.podcast_chapters == {"url": chapters, "type": "application/json+chapters"}
    assert entry.podcast_transcript == {"url": text.url, "type": "text/vtt", "language": "en"}
    form = channel.find(f"item/{PODCAST}alternateEnclosure")
    assert form is not None
    assert (form.get("type"), form.get("length")) == ("video/mp4", "99999")
    source = form.find(f"{PODCAST}source")
    assert source is not None
    assert source.get("uri") == FILM.url


def test_the_guid_of_a_podcast_depends_on_nothing_that_changes() -> None:
    def guid(one: Podcast) -> str:
        return text_of(parsed(one)[0], f"{PODCAST}guid")

    first = guid(podcast())
    assert guid(podcast(url="https://other.test/feeds/t/b.xml", title="C", link="https://c.test/")) == first
    assert guid(podcast(lasting_id="clipwire/124")) != first


def test_the_guid_of_an_episode_is_its_key_and_never_a_link() -> None:
    assert guid_of("youtube dQw4w9WgXcQ") == "youtube dQw4w9WgXcQ"
    secret = guid_of("url https://a.test/feed/1.mp3?token=s3cr3t")
    assert re.fullmatch("[0-9a-f]{40}", secret)
    assert secret == guid_of("url https://a.test/feed/1.mp3?token=s3cr3t")
    for odd in ("site \x01", "site \ud800", "site a  b", " site", "site\n1"):
        assert re.fullmatch("[0-9a-f]{40}", guid_of(odd))


@pytest.mark.wide
def test_a_feed_of_300_costs_little() -> None:
    text = "Ein längerer Text, wie ihn Kanäle haben: https://a.test/?x=1&y=2\n" * 80
    many = podcast(*(episode(f"youtube {n:011}", title=f"Film {n}", description=text) for n in range(300)))
    began = time.process_time()
    body = to_xml(many)
    took = time.process_time() - began
    assert len(feedparser.parse(body).entries) == 300
    assert took < 1, "it takes 0.06 s"


def test_category_and_explicit_are_what_was_asked_for() -> None:
    one = Episode(key="site 1", title="A", published=AT, enclosure=SOUND)
    channel, _ = parsed(podcast(one, category="Society & Culture", explicit=True))
    category = channel.find(f"{ITUNES}category")
    assert category is not None
    assert category.get("text") == "Society & Culture"
    assert [one.text for one in channel.iter(f"{ITUNES}explicit")] == ["true", "true"]
