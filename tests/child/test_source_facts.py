"""What a source says of itself: which of its pictures is shown for it, and its description without markup."""

from typing import Any

import pytest

from server.child.extract.feed_parser import parse_feed
from server.child.extract.source_facts import facts_of_list

ITUNES = 'xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"'
ITEM = (
    '<item><title>A</title><enclosure url="/a.mp3" type="audio/mpeg"/>'
    '<itunes:image href="/of-the-episode.jpg"/></item>'
)


def of_feed(channel: str) -> dict[str, Any]:
    text = f'<rss version="2.0" {ITUNES}><channel><title>Pods</title>{channel}{ITEM}</channel></rss>'
    return parse_feed(text.encode(), "https://a.test/dir/feed")[2]


def test_a_channel_is_known_by_its_whole_avatar_and_its_banner() -> None:
    squares = [
        {"url": f"https://a.test/avatar={n}", "id": str(n), "width": n, "height": n} for n in (72, 900)
    ]
    banners = [
        {"url": f"https://a.test/b={n}", "width": n, "height": n // 6, "preference": -10}
        for n in (1060, 2560)
    ]
    whole = [
        {"url": "https://a.test/avatar=s0", "id": "avatar_uncropped", "preference": 1},
        {"url": "https://a.test/banner=s0", "id": "banner_uncropped", "preference": -5},
    ]
    said = {"id": "UC1", "channel": "Some Channel", "description": "One\n\nTwo\x07", "channel_id": "UC1"}
    found = facts_of_list(said | {"thumbnails": [*squares, whole[0], *banners, whole[1]]})
    assert found["pictures"] == {"picture": "https://a.test/avatar=s0", "banner": "https://a.test/banner=s0"}
    assert (found["id"], found["author"], found["description"]) == ("UC1", "Some Channel", "One\n\nTwo")
    cropped = facts_of_list({"thumbnails": [*squares, *banners]})["pictures"]
    assert cropped == {"picture": "https://a.test/avatar=900", "banner": "https://a.test/b=2560"}


@pytest.mark.parametrize(
    "thumbnails",
    [
        None,
        "https://a.test/x.jpg",
        [None, 5, "x"],
        [{}],
        [{"url": "file:///etc/passwd"}, {"url": 5}, {"url": "https://user:secret@/"}],
        [{"url": "javascript:1", "width": "1", "height": None, "preference": "x", "id": []}],
    ],
)
def test_pictures_that_are_none_are_not_named(thumbnails: Any) -> None:
    assert facts_of_list({"thumbnails": thumbnails, "description": 5, "uploader": {}}) == {"pictures": {}}


def test_of_one_picture_alone_it_is_taken() -> None:
    assert facts_of_list({"thumbnail": "https://a.test/x.jpg"})["pictures"] == {
        "picture": "https://a.test/x.jpg"
    }


@pytest.mark.parametrize(
    ("channel", "picture"),
    [
        ('<itunes:image href="/big.jpg"/><image><url>/tiny.png</url></image>', "/big.jpg"),
        (
            "<image><url>/tiny.png</url></image><itunes:image href='/big.jpg?a=1&amp;b=2'/>",
            "/big.jpg?a=1&b=2",
        ),
        ("<image><url>tiny.png</url></image>", "/dir/tiny.png"),
        ("<image><url>data:image/png;base64,AAAA</url></image>", None),
        ('<itunes:image href="file:///etc/passwd"/><image><url>/tiny.png</url></image>', "/tiny.png"),
        ("", None),
    ],
)
def test_a_podcast_has_its_own_cover_and_not_that_of_an_episode(channel: str, picture: str | None) -> None:
    assert of_feed(channel)["pictures"] == ({"picture": f"https://a.test{picture}"} if picture else {})


def test_the_text_of_a_feed_is_text() -> None:
    said = "<description>&lt;p&gt;Sounds &amp;amp; more&lt;/p&gt;&lt;p&gt;Two</description>"
    found = of_feed(
        f"{said}<itunes:author>Radio A</itunes:author><managingEditor>x@a.test (X)</managingEditor>"
    )
    assert found["description"] == "Sounds & more\nTwo"
    assert found["author"] == "Radio A"
    assert of_feed(f"{said}<itunes:summary>In short</itunes:summary>")["description"] == "In short"


def test_an_atom_feed_has_a_logo_a_subtitle_and_an_author() -> None:
    text = (
        '<feed xmlns="http://www.w3.org/2005/Atom"><title>T</title><subtitle>Sub</subtitle><icon>/i.ico</icon>'
        "<logo>/logo.png</logo><author><name>Au</name></author>"
        '<entry><title>e</title><link href="/e"/></entry></feed>'
    )
    found = parse_feed(text.encode(), "https://a.test/feed")[2]
    told = {"author": "Au", "description": "Sub", "pictures": {"picture": "https://a.test/logo.png"}}
    assert found == told
