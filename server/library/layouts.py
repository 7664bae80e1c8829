"""The layouts: what each of them makes of a film in the library. A new one is a row of `LAYOUTS`.

Which output a layout is for stands in `server.core.library`, since a request depends on it.

Decisions: docs/decisions/library.md
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from server.core.library import Layout, Library

Role = Literal[
    "film",
    "subtitles",
    "nfo",
    "thumb",
    "poster",
    "fanart",
    "cover",
    "show_nfo",
    "show_poster",
    "show_fanart",
    "season_poster",
]
SHARED: Final[frozenset[Role]] = frozenset(
    ("cover", "show_nfo", "show_poster", "show_fanart", "season_poster")
)
"""Roles of files that all films of a folder have in common: they go with the last of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutRules:
    """`template` names folders and film where a client gives no `name`. `pictures` are the roles that the one
    picture of a film has; `of_source` those for which a source has one of its own, and which of its pictures
    that is. `has_episodes`: each film is an episode of a show, which is described as well. `has_nfo`: there
    are NFO files unless a client says otherwise. `no_playlist` stands for `{playlist}` in names of what is in
    none.
    """

    template: str
    pictures: tuple[Role, ...]
    of_source: Mapping[Role, Literal["picture", "banner"]] = field(default_factory=dict)
    has_episodes: bool = False
    has_nfo: bool = False
    no_playlist: str | None = None


LAYOUTS: Final[Mapping[Layout, LayoutRules]] = {
    "shows": LayoutRules(
        template="{channel}/Season {season}/{channel} - S{season}E{episode} - {title} [{id}]",
        pictures=("thumb", "show_poster", "season_poster"),
        of_source={"show_poster": "picture", "show_fanart": "banner"},
        has_episodes=True,
        has_nfo=True,
    ),
    "movies": LayoutRules(
        template="{title} ({year}) [{id}]/{title} ({year}) [{id}]",
        pictures=("poster", "fanart"),
        has_nfo=True,
    ),
    "music": LayoutRules(
        template="{channel}/{playlist}/{playlist_index} {title} [{id}]",
        pictures=("cover",),
        of_source={"cover": "picture"},
        no_playlist="Tracks",
    ),
    "podcast": LayoutRules(
        template="{channel}/{date} {title} [{id}]",
        pictures=("thumb", "cover"),
        of_source={"cover": "picture"},
    ),
}
_FILES_ALONE: Final = LayoutRules(template="{title} [{id}]", pictures=("thumb",))
"""Without a layout a client always gives a `name`."""


def rules_of(form: Layout | None) -> LayoutRules:
    return _FILES_ALONE if form is None else LAYOUTS[form]


def template_of(library: Library) -> str:
    return library.name or rules_of(library.form).template


def has_nfo(library: Library) -> bool:
    """Return whether NFO files are made for media servers."""
    return rules_of(library.form).has_nfo if library.nfo is None else library.nfo
