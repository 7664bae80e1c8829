"""The library's folder, if there is one, and whether it can be filled now."""

from server.library.placements import LibraryFiles
from server.settings import LibrarySettings
from server.tasks.readiness import Check, Said

_OF_TROUBLE = {
    "missing": Said("library_missing"),
    "unmarked": Said("library_unmarked"),
    "read_only": Said("library_read_only"),
    "silent": Said("library_silent"),
}


def library_of(settings: LibrarySettings) -> LibraryFiles | None:
    """The library's folder; None if there is no library."""
    if settings.path is None:
        return None
    # Of no use without a library.
    from server.library.library_folder import METHODS, LibraryFolder
    from server.library.placing import PlacedFiles

    methods = METHODS[settings.method]
    return PlacedFiles(LibraryFolder(settings.path, methods, settings.file_mode, settings.folder_mode))


async def library_check(library: LibraryFiles) -> Check:
    """Tasks are completed without it; their files get there when it is back."""
    trouble = await library.trouble()
    said = _OF_TROUBLE[trouble] if trouble else Said("library")
    return Check("library", trouble is None, said, needed=False)
