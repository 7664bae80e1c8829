"""Which entries a child reports of a list; and links that are refused because they lead to a list."""

import json
from pathlib import Path
from typing import Any

import pytest
from yt_dlp.utils import smuggle_url

from tests.jobs import Jobs, Outcome, broken, told, told_list
from tests.shelf import Shelf
from tests.site import Site

FILM = {"id": "a", "title": "A film", "url": "http://media.test/a.mp4", "ext": "mp4"}


def film(n: int) -> dict[str, Any]:
    return {"_type": "url", "url": f"http://media.test/{n}.mp4", "title": f"Film {n}", "duration": n}


def playlist(*entries: Any, **more: Any) -> dict[str, Any]:
    return {"_type": "playlist", "id": "l", "title": "A list", "entries": list(entries)} | more


def links(outcome: Outcome) -> list[str]:
    return [entry["url"].rpartition("/")[2] for entry in outcome.entries]


# --- an entry whose link has expired ---


def feed(shelf: Shelf, *links: tuple[str, str]) -> str:
    """Put a feed with these titles and links on the shelf."""
    items = "".join(f"<item><title>{title}</title><link>{link}</link></item>" for title, link in links)
    text = f'<rss version="2.0"><channel><title>Feed</title>{items}</channel></rss>'
    return shelf.put("feed", text.encode(), "application/rss+xml")


async def test_an_expired_link_is_replaced_by_that_of_the_entry_with_its_title_and_place(
    jobs: Jobs, site: Site, shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    listed = feed(
        shelf,
        ("Part 1", site.url("/silent.mp4?n=1")),
        ("Part 2", site.url("/silent.mp4?wait=0")),
        ("Part 2", site.url("/1mb.mp4?wait=0")),
    )
    link = site.url("/1mb.mp4?ticket=old")
    outcome = await jobs.download(tmp_path / "t", link, lists=(listed,), title="Part 2", outputs=["video"])
    assert outcome.file("video").read_bytes() == (media / "1mb.mp4").read_bytes()


@pytest.mark.parametrize(
    ("title", "asked"),
    [
        ("Part 1", 1),  # its link in the list is the expired one
        ("Part 2", 1),  # the list has two entries of this title
        ("Part 3", 1),  # the list has no entry of this title
        (None, 0),
    ],
)
async def test_an_expired_link_without_a_certain_entry_stays_refused(
    jobs: Jobs, site: Site, shelf: Shelf, tmp_path: Path, title: str | None, asked: int
) -> None:
    link = site.url("/1mb.mp4?ticket=old")
    film = site.url("/silent.mp4")
    listed = feed(shelf, ("Part 1", link), ("Part 2", f"{film}?wait=0"), ("Part 2", film))
    outcome = await jobs.download(tmp_path / "t", link, lists=(listed,), title=title)
    assert broken(outcome) == ("http_403", False, None)
    assert shelf.asked["feed"] == asked
    assert not site.seen("/silent.mp4")


async def test_a_list_that_does_not_answer_any_more_changes_nothing_of_the_reason(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    link, listed = site.url("/1mb.mp4?status=410"), site.url("/1mb.mp4?status=500")
    outcome = await jobs.download(tmp_path / "t", link, lists=(listed,), title="Part 1")
    assert broken(outcome) == ("http_410", False, None)


# --- reading a list ---


async def test_a_feed_is_told_in_its_order_and_what_it_is_called(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    outcome = await jobs.expand(tmp_path / "1", site.url("/feed?entry=/video.mp4&entry=/page&entry=/1mb.mp4"))
    assert outcome.last == {"kind": "expanded", "truncated": False}
    assert outcome.described["title"] == "Feed"
    assert outcome.entries == [
        {"url": site.url(path), "title": f"Entry {n}", "index": n, "says": {"title": f"Entry {n}"}}
        for n, path in enumerate(("/video.mp4", "/page", "/1mb.mp4"), 1)
    ]


async def test_what_a_feed_says_of_an_episode_is_told_with_it(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.expand(tmp_path / "1", site.url("/texts/podcast.rss"))
    [episode] = outcome.entries
    assert (episode["url"], episode["title"], episode["duration"]) == (site.url("/audio.mp3"), "The first", 4)
    assert episode["says"] == {
        "title": "The first",
        "description": "How it began",
        "thumbnail": site.url("/thumbnail.jpg"),
        "timestamp": 1704103200.0,
        "season_number": 2,
        "episode_number": 7,
    }


async def test_what_only_extractors_understand_of_a_link_is_for_them_alone(
    tmp_path: Path, shelf: Shelf
) -> None:
    """The id that an extractor adds to a link is of no use to others; a Referer is, to the extractor of the
    entry.
    """
    one = smuggle_url("http://media.test/1.mp4", {"force_videoid": "x"})
    two = smuggle_url("http://media.test/2.mp4", {"referer": "http://media.test/"})
    listed = playlist(film(1) | {"url": one}, film(2) | {"url": two})
    outcome = await told_list(tmp_path / "1", shelf, listed)
    assert [entry["url"] for entry in outcome.entries] == ["http://media.test/1.mp4", two]
    assert "smuggle" not in outcome.log


async def test_a_link_that_is_no_list_is_a_list_of_one(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    url = site.url("/page?title=Alone")
    outcome = await jobs.expand(tmp_path / "1", url)
    [entry] = outcome.entries
    assert (entry["url"], entry["title"], "item" in entry) == (url, "Alone", False)


async def test_films_without_a_page_are_places_in_their_list(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    url = site.url("/page/playlist")
    outcome = await jobs.expand(tmp_path / "1", url)
    assert [(entry["url"], entry["item"]) for entry in outcome.entries] == [(url, 1), (url, 2)]


async def test_one_place_of_a_list_can_be_downloaded(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.download(tmp_path / "1", site.url("/page/playlist"), item=2, outputs=["video"])
    assert outcome.last["kind"] == "produced"
    assert site.seen("/silent.mp4")
    assert not site.seen("/video.mp4")
    gone = await jobs.download(tmp_path / "2", site.url("/page/playlist"), item=3)
    assert broken(gone)[0] == "no_such_entry"


@pytest.mark.parametrize(
    ("items", "numbers"),
    [
        ("2", [2]),
        ("1-2,5,-1", [1, 2, 5, 6]),
        ("-2-", [5, 6]),
        ("5,1:3", [5, 1, 2, 3]),
        ("::2", [1, 3, 5]),
        ("4,4,3-5", [4, 3, 5]),
        ("5-99", [5, 6]),
    ],
)
async def test_entries_are_chosen_as_yt_dlp_does(
    jobs: Jobs, site: Site, tmp_path: Path, items: str, numbers: list[int]
) -> None:
    outcome = await jobs.expand(tmp_path / "1", site.url("/feed?count=6"), playlist_items=items)
    assert links(outcome) == [f"video.mp4?times={n}" for n in numbers]
    assert [entry["index"] for entry in outcome.entries] == list(range(1, len(numbers) + 1))


async def test_entries_that_do_not_exist_are_named(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.expand(tmp_path / "1", site.url("/feed?count=2"), playlist_items="3-5")
    assert broken(outcome)[0] == "no_such_entry"
    empty = await jobs.expand(tmp_path / "2", site.url("/feed"), playlist_items="3-5")
    assert broken(empty)[0] == "no_media"
    assert broken(await jobs.expand(tmp_path / "3", site.url("/feed")))[0] == "no_media"


async def test_known_entries_are_not_reported_again(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.expand(tmp_path / "1", site.url("/feed?count=5"), known=3)
    assert [entry["index"] for entry in outcome.entries] == [4, 5]
    nothing_new = await jobs.expand(tmp_path / "2", site.url("/feed?count=5"), known=5)
    assert (nothing_new.last["kind"], nothing_new.entries) == ("expanded", [])


@pytest.mark.parametrize("items", [None, "1-", "1,2-9,-1"])
async def test_an_endless_list_ends_and_its_log_says_why(
    tmp_path: Path, shelf: Shelf, items: str | None
) -> None:
    endless = playlist(film(1), film(2), film(3), endless=True)
    outcome = await told_list(tmp_path / "1", shelf, endless, max_playlist=7, playlist_items=items)
    assert outcome.last == {"kind": "expanded", "truncated": True}
    assert links(outcome) == [f"{n}.mp4" for n in (1, 2, 3, 1, 2, 3, 1)]
    assert "downloads.max_playlist is 7" in outcome.log


async def test_a_list_of_the_largest_allowed_length_is_whole(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.expand(tmp_path / "1", site.url("/feed?count=3"), max_playlist=3)
    assert outcome.last == {"kind": "expanded", "truncated": False}


async def test_found_entries_are_reported_before_more_are_requested(tmp_path: Path, shelf: Shelf) -> None:
    endless = playlist(film(1), film(2), endless=True)
    outcome = await told_list(tmp_path / "1", shelf, endless, max_playlist=5)
    bundles = [len(event["entries"]) for event in outcome.events if event["kind"] == "found"]
    assert bundles == [2, 2, 1]


async def test_many_entries_are_reported_in_bundles(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.expand(tmp_path / "1", site.url("/feed?count=250"))
    assert [len(event["entries"]) for event in outcome.events if event["kind"] == "found"] == [100, 100, 50]


async def test_a_list_in_a_list_stands_for_its_entries(tmp_path: Path, shelf: Shelf) -> None:
    inner = playlist(film(2), film(3), webpage_url="http://media.test/inner")
    outcome = await told_list(tmp_path / "1", shelf, playlist(film(1), inner, None, film(4)))
    assert links(outcome) == ["1.mp4", "2.mp4", "3.mp4", "4.mp4"]
    assert [entry["index"] for entry in outcome.entries] == [1, 2, 3, 4]


@pytest.mark.parametrize("link", ["ftp://media.test/a", "abc123", "http://a b/", "http://user:@/"])
async def test_what_only_an_extractor_understands_is_a_place_in_the_list(
    tmp_path: Path, shelf: Shelf, link: str
) -> None:
    outcome = await told_list(tmp_path / "1", shelf, playlist(film(1), {"_type": "url", "url": link}))
    assert outcome.entries[1]["item"] == 2
    assert outcome.entries[1]["url"].endswith("/told/it")


async def test_the_titles_of_entries_are_harmless(tmp_path: Path, shelf: Shelf) -> None:
    odd = film(1) | {"title": "a\x00\u202eb\n c" + "x" * 600, "duration": -1, "uploader": 7}
    outcome = await told_list(tmp_path / "1", shelf, playlist(odd))
    [entry] = outcome.entries
    assert entry["title"].startswith("ab cx")
    assert len(entry["title"]) == 500
    assert entry.keys() == {"url", "title", "index"}


async def test_an_entry_is_fetched_with_what_was_added_to_its_link_and_tells_nobody(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    plain = site.url("/video.mp4?referer=own")
    link = smuggle_url(plain, {"referer": site.url("/")})
    outcome = await jobs.download(tmp_path / "1", link, outputs=["video"])
    assert outcome.file("video").exists()
    assert outcome.described["webpage_url"] == plain
    assert "smuggle" not in json.dumps(outcome.events) + outcome.log


# --- an entry that turns out to be a list ---

LIST = "http://media.test/list"


async def test_an_entry_that_turns_out_to_be_a_list_is_told_by_its_entries(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    outcome = await jobs.download(tmp_path / "1", site.url("/feed?count=3"), lists=(LIST,))
    assert outcome.last == {"kind": "expanded", "truncated": False}
    assert links(outcome) == [f"video.mp4?times={n}" for n in (1, 2, 3)]
    assert "this entry of a list is a list itself" in outcome.log


async def test_an_entry_without_a_link_is_told_by_its_entries_too(tmp_path: Path, shelf: Shelf) -> None:
    inner = playlist(film(1), film(2), webpage_url="http://media.test/inner")
    listed = playlist(FILM, inner)
    outcome = await told(tmp_path / "1", shelf, listed, item=2, lists=(shelf.url("told/it"),))
    assert links(outcome) == ["1.mp4", "2.mp4"]


async def test_a_list_that_leads_back_to_one_that_it_is_in_ends(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    outer, inner = site.url("/feed?entry=/a"), "/feed?entry=/feed%3Fentry%3D/a&entry=/video.mp4"
    outcome = await jobs.download(tmp_path / "1", site.url(inner), lists=(outer,))
    assert links(outcome) == ["video.mp4"]
    alone = await jobs.download(tmp_path / "2", site.url(inner), lists=(outer, site.url("/video.mp4")))
    assert broken(alone) == ("no_media", False, None)
    assert "it leads back to a list that it is in" in alone.log


async def test_lists_in_lists_are_followed_three_deep_and_then_refused(
    jobs: Jobs, site: Site, tmp_path: Path
) -> None:
    url = site.url("/feed?count=2")
    outcome = await jobs.download(tmp_path / "1", url, lists=(LIST, f"{LIST}/1", f"{LIST}/2"))
    assert outcome.last["kind"] == "expanded"
    refused = await jobs.download(tmp_path / "2", url, lists=(LIST, f"{LIST}/1", f"{LIST}/2", f"{LIST}/3"))
    assert broken(refused)[0] == "is_playlist"


# --- links to a list that are refused ---


@pytest.mark.parametrize(
    "path", ["/feed?count=2", "/feed?entry=/gone.mp4&entry=/video.mp4", "/texts/list.xspf"]
)
async def test_a_list_is_refused_and_none_of_it_is_fetched(
    jobs: Jobs, site: Site, tmp_path: Path, path: str
) -> None:
    outcome = await jobs.download(tmp_path / "1", site.url(path))
    assert broken(outcome) == ("is_playlist", False, None)
    assert {request.path for request in site.requests} == {path.partition("?")[0]}


async def test_a_list_of_an_extractor_is_refused(tmp_path: Path, shelf: Shelf) -> None:
    outcome = await told(tmp_path / "1", shelf, playlist(FILM, FILM))
    assert broken(outcome)[0] == "is_playlist"
    endless = await told(tmp_path / "2", shelf, playlist(FILM, endless=True))
    assert broken(endless)[0] == "is_playlist"


async def test_a_list_of_one_gives_that_one(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.download(tmp_path / "1", site.url("/feed?entry=/video.mp4"))
    assert outcome.file("video").stat().st_size == len(outcome.file("video").read_bytes()) > 0
    broken_one = await jobs.download(tmp_path / "2", site.url("/feed?entry=/gone.mp4"))
    assert broken(broken_one)[0] == "http_404"


async def test_a_page_with_several_films_gives_the_first(jobs: Jobs, site: Site, tmp_path: Path) -> None:
    outcome = await jobs.download(tmp_path / "1", site.url("/page/playlist"), outputs=["video"])
    assert outcome.last["kind"] == "produced"
    assert not site.seen("/silent.mp4")
