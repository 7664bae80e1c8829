"""Where in the library a film lies, and what lies beside it, as Jellyfin, Kodi and Plex look for it.

All of it is a pure function of what a client asks and what is known of the film, so that a preview, a
placement and a later `rename` agree. Paths are relative to the library's root and have `/`.

Decisions: docs/decisions/library.md
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, tzinfo
from typing import Final, Self

from server.core.file_names import (
    LONGEST_BASE,
    LONGEST_FOLDER,
    LONGEST_PATH,
    clean,
    cut,
    file_name,
    trim_ends,
    utf16_length,
)
from server.core.library import ID, Layout, Library, fill_template, is_never_folder
from server.library.layouts import SHARED, Role, has_nfo, rules_of, template_of

_OF_A_SHOW: Final = {"channel", "channel_id", "extractor"}
EARLIEST_YEAR, LATEST_YEAR = 1928, 2500  # years that are used as a season; Jellyfin recognises no others
LONGEST_ID = 40  # bytes in a name
LONGEST_LANGUAGE = 30  # characters in a name
_LONGEST_ENDING = 48  # units: a language, `.forced`, `.srt`, and what a file is called until it is whole
MOST_NAMES = 50  # names to try if others have taken the first ones
_LEAST_BASE = 100  # bytes that folders leave for the name, if they can
_LEAST = 16  # bytes that are left of a text, or of a folder, while another one can be cut
_OF_A_NUMBER = 6  # bytes: ` (999)`
# Matches an episode number, which media servers look for anywhere in a name.
_EPISODE = re.compile(r"(s[0-9]+)[\[\] ._x-]*(?=e[0-9])", re.IGNORECASE)
_TIMES = re.compile(r"(?<=[0-9])[xX](?=[0-9])")
# Kodi ignores each path that contains one of these.
_SAMPLE = re.compile(r"((?:^|[!-._ ])sample)(?:[-._ ]|$)", re.IGNORECASE)
_PASSED_OVER = re.compile(r"-(?=trailer)|@(?=eadir)|\.(?=ds_store|appledouble|ite$)", re.IGNORECASE)
# Matches the name of a person whose folder could be the same as another person's; see `_distinct`.
_DEVICE_OF_PERSON = re.compile(r"^((?:con|prn|aux|nul|(?:com|lpt)[0-9])_+)(\..*)?$")
_SAMPLE_OF_PERSON = re.compile(r"((?:^|[-._])sample)(?=[._]|-(?![a-z0-9]))")
_DOTS_AT_ENDS = re.compile(r"^\.+|\.+$")
# An id that is more than an id between brackets: the part of a film, another film's number, a bracket, or the
# numbers of episodes.
_MISREAD = re.compile(
    r"[\[\]{}]"
    r"|(?:^|[ _.-])(?:cd|dvd|part|pt|dis[ck]|file)[ _.-]*(?:[0-9]+|[a-h])\)?$"
    r"|^(?:imdb|tmdb|tvdb|tvmaze|anidb)\w*[-=]"
    r"|s[0-9]+[ ._x-]*e[0-9]"
    r"|[0-9]x[0-9]{1,3}(?:[xe]|-[xe]{0,2}| - )[0-9]",
    re.IGNORECASE,
)
# `[tmdbid-603]` names another film to Jellyfin and Kodi, `{edition-x}` something to Plex.
_PROVIDER = re.compile(
    r"[\[{](\s*(?:imdb|tmdb|tvdb|tvmaze|anidb|edition)\w*\s*[-=][^\]}]*)[\]}]", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedChapter:
    start: float  # seconds
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """The facts of a film or a sound that is to be placed.

    `day` (see `day_of`), `season` and `episode` are given once and stay, whatever the source says later.
    Without `episode` its name is not known yet, its folder is. `source` is the key of the feed, or the list,
    that has in place of a channel what only its link identifies. `user` is the person whose it is.
    """

    key: str
    day: date
    episode: int = 0
    url: str = ""
    id: str | None = None
    extractor: str | None = None
    title: str | None = None
    channel: str | None = None
    channel_id: str | None = None
    source: str | None = None
    playlist: str | None = None
    playlist_index: int | None = None
    user: str | None = None
    published_at: str | None = None
    duration: int | None = None  # seconds
    description: str | None = None
    chapters: tuple[NamedChapter, ...] = ()
    tags: tuple[str, ...] = ()
    added_at: datetime | None = None

    @property
    def season(self) -> int:
        return self.day.year

    @property
    def label(self) -> str:
        """Return the text in the brackets of a name: the id, or a hash if the id does not fit into a name."""
        known = "" if self.key.startswith("url ") else self.id or ""
        is_name = known == trim_ends(clean(known)) and 0 < len(known.encode(errors="replace")) <= LONGEST_ID
        is_read_well = known == _seen(known) and not _MISREAD.search(known)
        if is_name and is_read_well:
            return known
        return label_of(self.key)

    @property
    def show(self) -> str:
        """Identifies the folder's show: all films of a channel have the same, even if its name changes."""
        if self.source:
            return self.source
        return f"{(self.extractor or '').lower()} {self.channel_id or self.channel or ''}"


def label_of(key: str) -> str:
    """Return the text in the brackets in place of an id."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()[:12]


def episode_of(day: date, index: int) -> int:
    """Return the number of the `index`-th episode of its `day`, from 1 on: month, day and two digits of
    `index`, so that episodes are in the order of their days. From the 100th episode of a day on it has eight
    digits, so that no two days share a number.
    """
    of_day = day.month * 100 + day.day
    return of_day * 100 + index if index < 100 else 10_000_000 + of_day * 10_000 + index


def day_of(published_at: str | None, found_at: float, zone: tzinfo) -> date:
    """The day of `published_at` (a time or a day, as in `video_info`), where it is a plausible one; else that
    of `found_at` (seconds since 1970), by the clocks of `zone`.
    """
    try:
        if published_at and len(published_at) == 10:
            day = date.fromisoformat(published_at)
        else:
            day = datetime.fromisoformat(published_at or "").astimezone(zone).date()
        if EARLIEST_YEAR <= day.year <= LATEST_YEAR:
            return day
    except (ValueError, OverflowError):
        pass
    return datetime.fromtimestamp(found_at, UTC).astimezone(zone).date()


@dataclass(frozen=True, slots=True)
class Place:
    """`folder` is that of the film, empty for the root; `base` its name without ending; `show` the folder
    that has what is common to all films of a channel.
    """

    form: Layout | None
    folder: str
    base: str
    show: str
    season: int
    alone: bool  # whether it is the only film in its folder

    def path(self, role: Role, ending: str = "jpg", language: str = "", *, forced: bool = False) -> str:
        """The path of the file that is the film's `role`; `ending` is without a dot."""
        match role:
            case "film":
                name = f"{self.base}.{ending}"
            case "subtitles":
                tag = re.sub(r"[^A-Za-z0-9-]+", "-", language)[:LONGEST_LANGUAGE].strip("-") or "und"
                name = f"{self.base}.{tag}{'.forced' if forced else ''}.{ending}"
            case "nfo":
                name = f"{self.base}.nfo"
            case "poster" | "fanart" if self.alone:
                name = f"{role}.{ending}"
            case "thumb" | "poster" | "fanart":
                name = f"{self.base}-{role}.{ending}"
            case "cover":
                name = f"cover.{ending}"
            case "show_nfo":
                return _join(self.show, "tvshow.nfo")
            case "show_poster":
                return _join(self.show, f"poster.{ending}")
            case "show_fanart":
                return _join(self.show, f"fanart.{ending}")
            case "season_poster":
                return _join(self.show, f"season{self.season}-poster.{ending}")
        return _join(self.folder, name)

    def numbered(self, number: int) -> Self:
        """Return another name in the same folder, to try if this one is taken."""
        head, opening, label = self.base.rpartition("[")
        return replace(self, base=f"{head.rstrip()} ({number}) {opening}{label}".strip())

    def names_to_try(self) -> Iterator[Self]:
        """Yield this place, then the same folder with other names, as some may be taken."""
        yield self
        yield from (self.numbered(number) for number in range(2, MOST_NAMES + 1))


def place_of(library: Library, film: Film, show: str | None = None) -> Place:
    """The place of `film`; `show`: the folder that its show has already, whatever it is called now."""
    form = library.form
    *folders, last = template_of(library).split("/")
    values = _values(film, form)
    if rules_of(form).has_episodes and "{episode}" in last:
        # Without texts that look like the number of an episode: ours must be the only one.
        for name in ("title", "channel", "playlist"):
            values[name] = _TIMES.sub("×", _EPISODE.sub("\\1·", values[name]))
    above = library.folder.split("/") if library.folder else []
    room = LONGEST_PATH - _LONGEST_ENDING - 1 - _LEAST_BASE - utf16_length("/".join([*above, ""]))
    made = _folders(folders, values, film.label, room)
    path = [*above, *made]
    shown = _join(*path[: len(above) + 1]) if made else _join(*above)
    if show is not None:
        path = [*([show] if show else []), *made[1:]]
        shown = show
    folder = "/".join(path)
    longest = LONGEST_PATH - _LONGEST_ENDING - 1 - utf16_length(folder)
    base = _named(last, values, film.label, min(longest, LONGEST_BASE) - _OF_A_NUMBER)
    alone = bool(folders) and "{id}" in folders[-1]
    return Place(form, folder, base, shown, film.season, alone)


def has_own_folder(wanted: Library) -> bool:
    """Return whether the first folder is that of a show, and so stays when the show gets another name."""
    first, *others = template_of(wanted).split("/")
    fields = {*re.findall(r"\{([a-z_]+)\}", first)}
    return bool(others) and fields <= _OF_A_SHOW and bool(fields & {"channel", "channel_id"})


@dataclass(frozen=True, slots=True)
class ListedAs:
    """What a subscription's source is called: its key, its own id, its title, and whose it is."""

    key: str
    id: str | None = None
    title: str | None = None


def is_of_source(wanted: Library, film: Film, source: ListedAs, is_own: bool, role: Role) -> bool:
    """Whether the folder that gets the picture or the text `role` is that of a subscription's source: of its
    channel or podcast, or of a playlist where folders are called so. A playlist has films of other channels,
    whose folders are theirs. `is_own`: it is by this source that the film was found.
    """
    folders = template_of(wanted).split("/")[:-1]
    if not folders:
        return False
    fields = {*re.findall(r"\{([a-z_]+)\}", folders[-1] if role == "cover" else folders[0])}
    if "playlist" in fields:
        return is_own
    if not fields & {"channel", "channel_id"}:
        return False
    if film.source is not None:
        return film.source == source.key
    if film.channel_id is not None and source.id is not None:
        return film.channel_id == source.id
    return film.channel is not None and film.channel == source.title


def pictures_of(place: Place) -> tuple[Role, ...]:
    """Return the roles of a film's only picture. Where the channel has no picture of its own, that of the
    first film also stands for the show's folder and the season: media servers and podcast players show an
    empty frame otherwise. The library itself has none.
    """
    roles = rules_of(place.form).pictures
    return roles if place.show else tuple(role for role in roles if role not in SHARED)


def roles_of(library: Library, place: Place) -> tuple[Role, ...]:
    """Return the roles of the files beside a film, without subtitles, if all its facts are known."""
    pictures = pictures_of(place) if library.with_artwork else ()
    texts: tuple[Role, ...] = ("nfo",) if has_nfo(library) else ()
    is_of_show = bool(texts) and rules_of(library.form).has_episodes and has_own_folder(library)
    return (*texts, *pictures, *(("show_nfo",) if is_of_show else ()))


def _values(film: Film, form: Layout | None) -> dict[str, str]:
    """Each field's text: one that has a name's meaning is never empty, whatever the source says."""
    title = _first(film.title, film.id, film.label)
    channel = _first(film.channel, film.channel_id, film.extractor, "Unknown")
    return {
        "title": title,
        "channel": channel,
        "channel_id": _first(film.channel_id, channel),
        "id": film.label,
        "date": film.day.isoformat(),
        "year": f"{film.day.year:04}",
        "month": f"{film.day.month:02}",
        "day": f"{film.day.day:02}",
        "season": f"{film.season:04}",
        "episode": f"{film.episode:06}",
        "playlist": _first(film.playlist, rules_of(form).no_playlist),
        "playlist_index": f"{film.playlist_index:02}" if film.playlist_index is not None else "",
        "extractor": _first(film.extractor),
        "user": _first(_distinct(film.user or "")),
    }


def _distinct(person: str) -> str:
    """Return the name of a person, changed a little where its folder would be that of another one.

    `con`, which Windows reserves, becomes `con_`, so `con_` becomes `con__`. `sample-a`, which Kodi ignores,
    becomes `sample·a`, and `sample_a` does not. Dots at an end, which people of earlier releases may have,
    are seen.
    """
    shown = _DOTS_AT_ENDS.sub(lambda dots: "··" * len(dots[0]), person)
    return _DEVICE_OF_PERSON.sub(r"\1_\2", _SAMPLE_OF_PERSON.sub(r"\1·", shown))


def _first(*texts: str | None) -> str:
    """Return the first text that fits into a name, in the form it has there; empty if none does."""
    for text in texts:
        if text and (name := trim_ends(cut(clean(text[:2000]), LONGEST_BASE))):
            return _PROVIDER.sub(r"(\1)", name)
    return ""


def _seen(name: str) -> str:
    """Return `name`, changed if Kodi would ignore a file of that name."""
    return _PASSED_OVER.sub("·", _SAMPLE.sub("\\1·", name))


def _folders(parts: list[str], values: dict[str, str], label: str, room: int) -> list[str]:
    """Return the names of folders: each has at most `LONGEST_FOLDER` bytes, all with their `/` at most `room`
    units.
    """
    limits = [LONGEST_FOLDER] * len(parts)
    while True:
        names = []
        for part, limit in zip(parts, limits, strict=True):
            name = _named(part, values, label, limit) if part.endswith(ID) else _part(part, values, limit)
            hides_season = "{channel}" in part and _is_of_a_season(name)
            names.append(f"{name}_" if is_never_folder(name) else f"{name}·" if hides_season else name)
        over = sum(utf16_length(name) + 1 for name in names) - room
        can_be_cut = [place for place, limit in enumerate(limits) if limit > _LEAST]
        if over <= 0 or not can_be_cut:
            return [name for name in names if name]
        longest = max(can_be_cut, key=lambda place: len(names[place].encode()))
        limits[longest] = max(min(len(names[longest].encode()) - over, limits[longest] - 1), _LEAST)


def _is_of_a_season(name: str) -> bool:
    """Whether it is a part of `Season 2026`, or all of it: Jellyfin takes the name of a show's folder out of
    those in it before it looks for a season's number.
    """
    bare = re.sub(r"[ ._\[\]-]", "", name).lower()
    letters = bare.rstrip("0123456789")
    return "season".endswith(letters) if letters != bare else letters in "season"


def _named(part: str, values: dict[str, str], label: str, longest: int) -> str:
    """A name that ends in the `label`, which is never cut."""
    tail = f"[{label}]"
    head = _part(part.removesuffix(ID), values, longest - len(tail.encode()) - 1)
    return f"{head} {tail}" if head else tail


def _part(part: str, values: dict[str, str], longest: int) -> str:
    """One part of a template, filled in; where it is too long, its title is cut before anything else."""
    chosen = dict(values)
    longest -= len("·".encode())  # the separator may become necessary by the cut
    for name in ("title", "playlist", "channel", "channel_id", "extractor", "user"):
        over = len(_filled(part, chosen).encode()) - longest
        own = chosen[name].encode()
        if over > 0 and f"{{{name}}}" in part:
            chosen[name] = trim_ends(cut(chosen[name], max(len(own) - over, min(_LEAST, len(own)))))
    text = _filled(part, chosen)
    if any(
        not values[name]
        for name in ("playlist", "playlist_index", "extractor", "user")
        if f"{{{name}}}" in part
    ):
        person = chosen["user"] if chosen["user"] in text else ""
        before, person, behind = text.partition(person) if person else ("", "", text.lstrip(" -_"))
        text = before.lstrip(" -_") + person + behind.rstrip(" -_")  # the person's own "-" and "_" stay
    return _seen(file_name(text, longest))


def _filled(part: str, values: dict[str, str]) -> str:
    return _seen(clean(fill_template(part, values)))


def _join(*names: str) -> str:
    return "/".join(name for name in names if name)
