"""Each layout of the library is complete: its names, its description, and the places where users choose it. A
test names the file that lacks a new layout.
"""

import re
from datetime import date
from typing import get_args, get_type_hints

import pytest
from clipwire_client.wishes import LibraryWish

from server.core.library import OUTPUTS, Layout, Library
from server.library.layouts import LAYOUTS
from server.library.library_names import Film, place_of, roles_of
from server.locales import LANGUAGES
from tests.page_tables import ROOT, page_table, page_texts

GUIDE = (ROOT / "docs" / "api.md").read_text("utf-8")
PAGE, ON_THE_PAGE = page_table("LAYOUTS")
OF_THE_CLIENT = get_args(get_type_hints(LibraryWish)["layout"])


@pytest.mark.parametrize(
    "layout", sorted({*get_args(Layout), *OUTPUTS, *LAYOUTS, *ON_THE_PAGE, *OF_THE_CLIENT})
)
def test_a_layout_has_all_its_parts(layout: Layout) -> None:
    assert layout in get_args(Layout), "`Layout` in server/core/library.py"
    assert layout in OUTPUTS, "`OUTPUTS` in server/core/library.py"
    assert layout in LAYOUTS, "`LAYOUTS` in server/library/layouts.py"
    assert layout in OF_THE_CLIENT, "`LibraryWish` in clients/python/clipwire_client/wishes.py"
    assert layout in ON_THE_PAGE, f"`LAYOUTS` in {PAGE}"
    for path, texts in page_texts().items():
        assert texts.get(ON_THE_PAGE[layout]), f"`{ON_THE_PAGE[layout]}` in {path}"
    for row in ("outputs", "layout"):
        told = re.search(rf"^\| `{row}` \|.*`{layout}`", GUIDE, re.MULTILINE)
        assert told, f"the row `{row}` in docs/api.md"
    for language, words in LANGUAGES.items():
        option = words.texts.command["option.library"]
        assert layout in option, f"`option.library` in server/locales/{language}.toml"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_layout_makes_of_a_film_can_be_told_apart(layout: Layout) -> None:
    film = Film(key="x 1", day=date(2026, 3, 14), episode=31401, id="1", title="A film", channel="A channel")
    library = Library(layout=layout, nfo=True)
    place = place_of(library, film)
    paths = [place.path("film", "mp4"), *(place.path(role) for role in roles_of(library, place))]
    assert len({*paths}) == len(paths) > 2
    assert place.base.endswith("[1]")
