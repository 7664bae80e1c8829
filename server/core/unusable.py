"""Errors that prevent a start: this server cannot work with a database or a store of files."""

from pathlib import Path


class _Unusable(Exception):
    """One line that names the file or the setting, what is wrong with it and what to do."""

    def __init__(self, place: Path | str, why: str) -> None:
        super().__init__(f"{place} {why}")
        self.place, self.why = place, why


class DatabaseUnusable(_Unusable):
    """The database cannot be worked with."""


class DataDirUnusable(_Unusable):
    """A folder of the data directory cannot be worked with."""


class FilesUnusable(_Unusable):
    """Finished files cannot be stored where the settings say."""
