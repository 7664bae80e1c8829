"""The path of a film in the library, and how media servers read it."""

import tempfile
import unicodedata
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from server.core.file_names import (
    LONGEST_BASE,
    LONGEST_FOLDER,
    LONGEST_PATH,
    clean,
    cut,
    file_name,
    utf16_length,
)
from server.core.library import FIELDS, Layout, Library
from server.library.layouts import LAYOUTS, has_nfo
from server.library.library_names import Film, Place, day_of, episode_of, place_of
from server.library.placements import folded
from tests.library import media_servers

DAY = date(2026, 3, 14)
FILM = Film(
    key="youtube dQw4w9WgXcQ",
    day=DAY,
    episode=31401,
    id="dQw4w9WgXcQ",
    extractor="Youtube",
    title="A title",
    channel="Some Channel",
    channel_id="UC123",
)
# Parts of titles and names that some program reads as something else.
_PIECES = st.sampled_from(
    [
        "S01E02",
        "s5",
        "E4",
        "e05",
        "x",
        "-",
        "_",
        ".",
        " ",
        "1x2-3",
        "16x9",
        "4x4e1",
        "E03-E04",
        "part 2",
        "cd1",
        "pt.3",
        "trailer",
        "-trailer",
        " sample ",
        "Sample",
        "subs",
        "extras",
        "Shorts",
        "Season 2",
        "2026",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        "[tmdbid=603]",
        "S",
        "e",
        "0",
        "12",
        "1080p",
        "..",
        "/",
        "\\",
        "CON",
        "nul.txt",
        "COM1",
        "e\u0301",
        "\u202e",
        "\u200b",
        "日本",
        "각",
        "👨‍👩‍👧",
        "🇩🇪",
        "ſ1e2",
        "\x07",
        "\n",
        "·",
        "×",
        "ep 7",
        "file 3",
        "a",
        "-short",
        "@eaDir",
        "E10-20",
        " - 3x4",
        "s1-e2",
        "S1.E2",
        "-e3",
        "~",
        ": ",
        "?",
    ]
)
_TEXTS = st.one_of(
    st.lists(_PIECES, max_size=12).map("".join),
    st.text(max_size=300),
    st.tuples(_PIECES, st.integers(1, 200)).map(lambda pair: pair[0] * pair[1]),
)
_IDS = st.one_of(st.text("ABCDEFGHabcdefsStTxXeEpPdD0123456789-_", min_size=11, max_size=11), _TEXTS)
_FILMS = st.builds(
    lambda id_, title, channel, channel_id, playlist, day, nth: Film(
        key=f"youtube {id_}",
        day=day,
        episode=episode_of(day, nth),
        id=id_,
        extractor="Youtube",
        title=title,
        channel=channel,
        channel_id=channel_id,
        playlist=playlist,
    ),
    _IDS,
    _TEXTS | st.none(),
    _TEXTS | st.none(),
    _TEXTS | st.none(),
    _TEXTS | st.none(),
    st.dates(date(1928, 1, 1), date(2500, 12, 31)),
    st.sampled_from((1, 2, 99, 100, 9999)),
)
_LIBRARIES = st.builds(
    lambda layout, folder, name: Library(layout=layout, folder=folder, name=name),
    st.sampled_from((None, *LAYOUTS)),
    st.sampled_from((None, "YouTube", "a" * 30 + "/" + "b" * 29)),
    st.sampled_from(
        (None, "{channel}/{date} {title}", "{playlist}/{extractor} - {playlist_index}", "{title}")
    ),
)


def _place(film: Film = FILM, **wanted: object) -> Place:
    return place_of(Library.model_validate(wanted), film)


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ({}, "Some Channel/Season 2026/Some Channel - S2026E031401 - A title [dQw4w9WgXcQ].mp4"),
        (
            {"layout": "shows", "folder": "YouTube"},
            "YouTube/Some Channel/Season 2026/Some Channel - S2026E031401 - A title [dQw4w9WgXcQ].mp4",
        ),
        ({"layout": "movies"}, "A title (2026) [dQw4w9WgXcQ]/A title (2026) [dQw4w9WgXcQ].mp4"),
        ({"layout": "music"}, "Some Channel/Tracks/A title [dQw4w9WgXcQ].mp4"),
        ({"layout": "podcast"}, "Some Channel/2026-03-14 A title [dQw4w9WgXcQ].mp4"),
        ({"name": "{channel}/{date} {title}"}, "Some Channel/2026-03-14 A title [dQw4w9WgXcQ].mp4"),
        ({"name": "{title} [{id}]"}, "A title [dQw4w9WgXcQ].mp4"),
        ({"layout": "shows", "name": "{year}/{month}/{day}/{title}"}, "2026/03/14/A title [dQw4w9WgXcQ].mp4"),
        ({"name": "{extractor}-{channel_id}"}, "Youtube-UC123 [dQw4w9WgXcQ].mp4"),
        ({"name": "{playlist}/{playlist_index} - {title}"}, "A title [dQw4w9WgXcQ].mp4"),
    ],
)
def test_a_layout_or_a_template_says_where_a_film_lies(wanted: dict[str, object], path: str) -> None:
    assert place_of(Library.model_validate(wanted), FILM).path("film", "mp4") == path


def test_an_album_has_its_tracks_in_order() -> None:
    track = replace(FILM, playlist="An album", playlist_index=7)
    assert _place(track, layout="music").path("film", "m4a") == (
        "Some Channel/An album/07 A title [dQw4w9WgXcQ].m4a"
    )


def test_what_lies_beside_an_episode_is_named_as_media_servers_look_for_it() -> None:
    place = _place(folder="YouTube")
    base = "YouTube/Some Channel/Season 2026/Some Channel - S2026E031401 - A title [dQw4w9WgXcQ]"
    assert place.path("nfo") == f"{base}.nfo"
    assert place.path("thumb", "jpg") == f"{base}-thumb.jpg"
    assert place.path("subtitles", "srt", "zh-Hans") == f"{base}.zh-Hans.srt"
    assert place.path("subtitles", "srt", "en", forced=True) == f"{base}.en.forced.srt"
    assert place.path("subtitles", "vtt", "English (UK).x") == f"{base}.English-UK-x.vtt"
    assert place.path("show_nfo") == "YouTube/Some Channel/tvshow.nfo"
    assert place.path("show_poster", "png") == "YouTube/Some Channel/poster.png"
    assert place.path("season_poster") == "YouTube/Some Channel/season2026-poster.jpg"
    assert place.show == "YouTube/Some Channel"


def test_a_movie_has_a_folder_for_its_poster_or_shares_one() -> None:
    folder = "A title (2026) [dQw4w9WgXcQ]"
    assert _place(layout="movies").path("poster") == f"{folder}/poster.jpg"
    assert _place(layout="movies", name="{title}").path("poster") == "A title [dQw4w9WgXcQ]-poster.jpg"


def test_a_show_keeps_its_folder_when_the_channel_is_renamed() -> None:
    renamed = replace(FILM, channel="New Name")
    place = place_of(Library(folder="YouTube"), renamed, show="Elsewhere/Some Channel")
    assert place.path("film", "mp4") == (
        "Elsewhere/Some Channel/Season 2026/New Name - S2026E031401 - A title [dQw4w9WgXcQ].mp4"
    )
    assert place.show == "Elsewhere/Some Channel"
    assert renamed.show == FILM.show


def test_another_name_for_the_same_film_still_ends_in_its_id() -> None:
    numbered = _place().numbered(2)
    assert numbered.base == "Some Channel - S2026E031401 - A title (2) [dQw4w9WgXcQ]"
    assert _place(replace(FILM, title="x" * 500)).numbered(999).base.endswith(" (999) [dQw4w9WgXcQ]")
    assert len(_place(replace(FILM, title="日" * 500)).numbered(999).base.encode()) <= LONGEST_BASE


@pytest.mark.wide
@given(_FILMS, st.sampled_from((None, "YouTube", "a" * 30 + "/" + "b" * 29)))
@example(replace(FILM, channel="Class5 E4"), None)  # without care, this would be season 5, episode 4
@example(replace(FILM, channel="16x9-4 lenses"), None)  # without care, this would be several episodes
@example(replace(FILM, title="S01E02 and s3.e4"), None)
@example(replace(FILM, id="a1x2-3bcdef"), None)
@example(replace(FILM, channel="Shorts"), None)
@example(replace(FILM, channel="Sample Sounds", title="Free sample"), None)
@example(replace(FILM, channel="2026"), None)
@example(replace(FILM, channel="e"), None)
@example(replace(FILM, channel="..", title=".."), None)
@example(replace(FILM, title="\u0301" * 300), None)
def test_media_servers_read_one_episode_whatever_it_is_called(film: Film, folder: str | None) -> None:
    place = place_of(Library(layout="shows", folder=folder), film)
    path = place.path("film", "mp4")
    name = path.rpartition("/")[2]
    head, opening, _ = name.rpartition(" [")
    [(season, episode, start, end)] = media_servers.episodes(head)
    assert (season, episode) == (film.day.year, film.episode)
    assert start > 0  # without a show before the number, Jellyfin looks for more numbers
    assert not media_servers.episodes(f"{opening}{film.label}]")
    assert not media_servers.continues(name[end:])
    assert not media_servers.crossed(name)
    assert not media_servers.is_extra(path)
    assert not media_servers.is_unseen(path, film=False)
    assert not media_servers.is_volume(name)
    *_, show, in_season, _ = path.split("/")
    assert media_servers.season_of_folder(in_season, show) == film.day.year


@pytest.mark.wide
@given(_FILMS)
@example(replace(FILM, title="Free-trailer part 2"))
@example(replace(FILM, id="part2"))
def test_media_servers_see_a_movie_and_no_part_of_one(film: Film) -> None:
    path = place_of(Library(layout="movies"), film).path("film", "mp4")
    assert not media_servers.is_extra(path)
    assert not media_servers.is_unseen(path, film=True)
    assert not media_servers.is_volume(path.rpartition("/")[2])


@pytest.mark.wide
@given(_FILMS, _LIBRARIES)
def test_a_path_can_be_on_any_file_system(film: Film, library: Library) -> None:
    place = place_of(library, film)
    paths = [
        place.path("film", "webm"),
        place.path("subtitles", "srt", "x" * 80, forced=True),
        place.numbered(999).path("thumb"),
    ]
    for path in paths:
        assert utf16_length(path) <= LONGEST_PATH
        assert unicodedata.is_normalized("NFC", path)
        assert media_servers.refused_by_windows(path) is None
        seen = path.replace("\u200d", "")  # this character joins emoji
        assert not any(unicodedata.category(letter) in ("Cc", "Cf", "Cs") for letter in seen)
        assert all(not each.startswith(".") for each in path.split("/"))
        assert all(len(each.encode()) <= 255 for each in path.split("/"))
    assert len(place.base.encode()) <= LONGEST_BASE
    assert all(len(each.encode()) <= LONGEST_FOLDER + 4 for each in place.folder.split("/"))
    assert place.base.endswith(f"[{film.label}]")
    with tempfile.TemporaryDirectory() as root:
        made = Path(root, paths[1])
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch()
        assert made.resolve().is_relative_to(Path(root).resolve())
        assert [str(each.relative_to(root)) for each in Path(root).rglob("*.srt")] == [paths[1]]


def test_what_has_no_id_of_its_own_has_a_hash_of_its_link() -> None:
    generic = replace(FILM, key="url https://a.test/video.mp4", id="video", extractor="Generic")
    other = replace(generic, key="url https://b.test/video.mp4")
    assert len(generic.label) == 12
    assert generic.label != other.label
    assert FILM.label == "dQw4w9WgXcQ"


@pytest.mark.parametrize(
    "id_", ["x" * 41, "a/b", "a:b", "x.", "part 1", "a-sample-b", "1x2-3", "xS1E2", "tmdbid-603", "a]b"]
)
def test_an_id_that_cannot_stand_in_a_name_is_hashed(id_: str) -> None:
    assert len(replace(FILM, key=f"site {id_}", id=id_).label) == 12


def test_a_title_that_names_another_film_does_not() -> None:
    assert "[tmdbid" not in _place(replace(FILM, title="Not [tmdbid=603]"), layout="movies").folder


def test_no_two_days_have_one_number() -> None:
    days = [date(2028, 1, 1) + timedelta(n) for n in range(366)]
    numbers = [episode_of(day, index) for day in days for index in (1, 2, 99, 100, 101, 9999)]
    assert len(set(numbers)) == len(numbers)
    assert [episode_of(DAY, index) for index in (1, 99, 100)] == [31401, 31499, 13_140_100]
    first = [episode_of(day, 99) for day in days]
    assert all(one < episode_of(day, 1) for one, day in zip(first, days[1:], strict=False))


def test_the_day_is_that_of_the_publication_by_the_clocks_of_the_library() -> None:
    found = datetime(2026, 5, 6, 12, tzinfo=UTC).timestamp()
    berlin, tokyo = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Tokyo")
    assert day_of("2026-03-14T23:30:00Z", found, berlin) == date(2026, 3, 15)
    assert day_of("2026-03-14T14:30:00Z", found, berlin) == DAY
    assert day_of("2026-03-14", found, tokyo) == DAY
    for unknown in (None, "", "soon", "0001-01-01", "9999-12-31T23:59:59Z", "2026-02-30", "1900-01-01"):
        assert day_of(unknown, found, tokyo) == date(2026, 5, 6), unknown


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("name", "{titel}", "template_field"),
        ("name", "{title", "template_form"),
        ("name", "{{title}}", "template_form"),
        ("name", "%(title)s", "template_form"),
        ("name", "/{title}", "template_form"),
        ("name", "{title}/", "template_form"),
        ("name", "../{title}", "template_form"),
        ("name", "a/ . /{title}", "template_form"),
        ("name", "a/b/c/d/{title}", "template_form"),
        ("name", "{id}/{id}/{title}", "template_form"),
        ("name", "Shorts/{title}", "library_extras"),
        ("name", "", "string_too_short"),
        ("name", "x" * 201, "string_too_long"),
        ("folder", "", "string_too_short"),
        ("folder", "/srv", "library_folder"),
        ("folder", "a//b", "library_folder"),
        ("folder", "a/", "library_folder"),
        ("folder", "..", "library_folder"),
        ("folder", "a/../b", "library_folder"),
        ("folder", ".hidden", "library_folder"),
        ("folder", "C:\\films", "library_folder"),
        ("folder", "NUL", "library_folder"),
        ("folder", "a\x00b", "library_folder"),
        ("folder", "\u202eb", "library_folder"),
        ("folder", "a/b/c/d/e", "library_folder"),
        ("folder", "x" * 61, "string_too_long"),
        ("folder", "Films/behind the scenes", "library_extras"),
        ("folder", "Trailers", "library_extras"),
        ("layout", "series", "literal_error"),
        ("nfo", 1, "bool_type"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(field: str, value: object, kind: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Library.model_validate({field: value})
    assert [(problem["loc"], problem["type"]) for problem in caught.value.errors()] == [((field,), kind)]


@pytest.mark.parametrize(
    ("wanted", "form", "nfo", "artwork"),
    [
        ({}, "shows", True, True),
        ({"layout": "movies"}, "movies", True, True),
        ({"layout": "music"}, "music", False, True),
        ({"name": "{title}"}, None, False, False),
        ({"name": "{title}", "nfo": True}, None, True, False),
        ({"layout": "podcast", "name": "{title}", "artwork": False}, "podcast", False, False),
        ({"layout": "shows", "name": "{title}", "nfo": False}, "shows", False, True),
    ],
)
def test_without_a_layout_a_template_has_just_the_files(
    wanted: dict[str, object], form: Layout | None, nfo: bool, artwork: bool
) -> None:
    library = Library.model_validate(wanted)
    assert (library.form, has_nfo(library), library.with_artwork) == (form, nfo, artwork)


def test_a_folder_of_another_composition_is_the_same() -> None:
    assert Library(folder="Cafe\u0301").folder == "Caf\u00e9"


@pytest.mark.parametrize("field", FIELDS)
def test_a_template_may_have_each_field(field: str) -> None:
    assert "{" not in _place(name=f"x {{{field}}}").base


@pytest.mark.parametrize(
    ("text", "longest", "left"),
    [
        ("abc", 3, "abc"),
        ("abc", 2, "ab"),
        ("a日", 3, "a"),
        ("ae\u0301\u0302", 4, "a"),
        ("a🇩🇪🇫🇷", 13, "a🇩🇪"),
        ("a👍🏽", 5, "a"),
        ("क्ष", 6, ""),
        ("\u1100\u1161\u11a8", 6, ""),
    ],
)
def test_a_text_is_cut_where_readers_see_an_end(text: str, longest: int, left: str) -> None:
    assert cut(text, longest) == left


def test_a_letter_with_countless_marks_is_cut_all_the_same() -> None:
    assert len(cut("a" + "\u0302" * 300, 200)) > 90


@given(st.text(max_size=100), st.integers(0, 60))
def test_a_name_is_stable_and_bounded(text: str, longest: int) -> None:
    once = clean(text)
    assert clean(once) == once
    name = file_name(text, longest)
    assert len(name.encode()) <= longest + 1  # a reserved name gets one more letter
    assert file_name(name, longest + 2) == name


@given(st.text(max_size=50))
def test_forms_of_one_name_collide(text: str) -> None:
    assert folded(unicodedata.normalize("NFD", text)) == folded(unicodedata.normalize("NFC", text))


def test_names_of_other_case_collide() -> None:
    assert folded("Straße/ÉTÉ") == folded("STRASSE/e\u0301te\u0301")


def test_emoji_that_are_joined_of_several_stay_whole_and_nothing_else_that_is_not_seen() -> None:
    family, runner, heart = "👨‍👩‍👧", "🏃🏽‍♀️", "❤️‍🔥"
    assert clean(f"a {family} b{runner}{heart}") == f"a {family} b{runner}{heart}"
    assert clean("a\u200db \u200d👩\u200d c\u200e") == "ab 👩 c"
    for longest in range(40):
        name = file_name(f"{family}{family}", longest)
        assert name in ("", family, family * 2), longest
