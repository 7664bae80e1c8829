"""How media servers read the path of a file: their rules in our code, with the source file of each rule.

Media servers read more forms of names than these. The tests only need to know that no name of ours is
misread, so a rule here may be wider than the real one where that is simpler.
"""

import re

EXTRA_FOLDERS = frozenset(
    (
        "trailers",
        "backdrops",
        "theme-music",
        "behind the scenes",
        "deleted scenes",
        "interviews",
        "scenes",
        "samples",
        "shorts",
        "featurettes",
        "extras",
        "extra",
        "other",
        "clips",
    )
)
"""Jellyfin, `Emby.Naming/Common/NamingOptions.cs`, VideoExtraRules: what lies in them is an extra."""
EXTRA_WORDS = (
    "trailer",
    "sample",
    "scene",
    "clip",
    "interview",
    "behindthescenes",
    "deleted",
    "deletedscene",
    "featurette",
    "short",
    "extra",
    "other",
)
"""Likewise, behind a hyphen, dot, underscore or space at the end of a name; digits behind them count for
nothing.
"""
UNSEEN_FOLDERS = frozenset(
    ("metadata", "extrafanart", "extrathumbs", "lost+found", "subs", "sample", "minta", "@eadir", "#recycle")
)
"""Jellyfin, `Emby.Server.Implementations/Library/IgnorePatterns.cs`."""
_BETWEEN = "[] ._x-"  # characters between the numbers of a season and an episode, in Jellyfin or Kodi
_VOLUMES = ("cd", "dvd", "part", "pt", "disc", "disk", "file")


def episodes(name: str) -> list[tuple[int, int, int, int]]:
    """Yield each `s<season>e<episode>` in `name`, in any case: its numbers, and where it begins and ends.

    Jellyfin takes the first (`NamingOptions.cs`, EpisodeExpressions), Kodi each of them as one more episode
    (`xbmc/settings/AdvancedSettings.cpp`, m_tvshowEnumRegExps; `VideoInfoScanner.cpp` goes on with the rest).
    """
    found = []
    for start in re.finditer("[sSſ](?=[0-9])", name):
        rest = name[start.end() :]
        season = re.match("[0-9]+", rest)
        assert season
        behind = rest[season.end() :].lstrip(_BETWEEN + "X")
        episode = re.match("[eE]([0-9]+)", behind)
        if episode:
            end = len(name) - len(behind) + episode.end()
            found.append((int(season[0]), int(episode[1]), start.start(), end))
    return found


def continues(behind: str) -> bool:
    """Return whether Kodi finds another number after that of an episode (m_tvshowMultiPartEnumRegExp), or a
    part of an episode (a letter, or a digit after a dot).
    """
    return bool(re.match(r"[-_exEX]+[0-9]|[a-iA-I](?![0-9])|\.[1-9]", behind))


def crossed(name: str) -> bool:
    """Return whether a name has numbers like 1x02-03, which Jellyfin takes for several episodes, whatever is
    before them (MultipleEpisodeExpressions).
    """
    return bool(re.search("[0-9][xX][0-9]{1,3}(?:[xXeE]|-[xXeE]{0,2}| - )[0-9]", name))


def is_extra(path: str) -> bool:
    """Return whether Jellyfin takes a file for an extra of a film (`ExtraRuleResolver.cs`)."""
    *folders, name = path.split("/")
    stem = name.rpartition(".")[0].rstrip("0123456789").lower()
    return (
        stem in ("trailer", "sample", "theme")
        or any(stem.endswith(f"{mark}{word}") for mark in "-._ " for word in EXTRA_WORDS)
        or (bool(folders) and folders[-1].lower() in EXTRA_FOLDERS)
    )


def is_unseen(path: str, *, film: bool) -> bool:
    """Return whether Jellyfin or Kodi ignores the file (m_tvshowExcludeFromScanRegExps and those of
    movies).
    """
    folders = path.lower().split("/")[:-1]
    is_sample = re.search(r"[!-._ /\\]sample[-._ /\\]", f"/{path.lower()}")  # `!-.` is a range of characters
    return bool(
        any(folder in UNSEEN_FOLDERS or folder.startswith(".") for folder in folders)
        or is_sample
        or "@eadir" in path.lower()
        or (film and "-trailer" in path.lower())
    )


def is_volume(name: str) -> bool:
    """Return whether a name ends like that of a part of a film, `part 2` or `[cd1]` (Jellyfin's
    VideoFileStackingRules).
    """
    stem = name.rpartition(".")[0].lower().rstrip(")]")
    bare = stem.rstrip("0123456789")
    if bare == stem:
        bare = stem[:-1] if stem[-1:] in ("a", "b", "c", "d") else stem + "\0"
    bare = bare.rstrip(" _.-")
    return any(bare.endswith(f"{mark}{word}") for mark in "([])} _.-" for word in _VOLUMES)


def season_of_folder(name: str, parent: str) -> int | None:
    """Return the season that Jellyfin reads in a folder's name (`SeasonPathParser.cs`); it removes the name
    of the show's folder first.
    """
    bare, above = (re.sub(r"[ ._\[\]-]", "", each).lower() for each in (name, parent))
    found = re.fullmatch("season([0-9]+)", bare.replace(above, "") if above else bare)
    return int(found[1]) if found else None


def refused_by_windows(path: str) -> str | None:
    """Return the first name in `path` that no program on Windows can use, or None."""
    for name in path.split("/"):
        stem = name.partition(".")[0].rstrip(" ").upper()
        if (
            not name
            or name != name.rstrip(" .")
            or re.search(r'[\x00-\x1f"*:<>?|\\]', name)
            or re.fullmatch(r"CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|CLOCK\$|(?:COM|LPT)[0-9¹²³]", stem)
        ):
            return name
    return None
