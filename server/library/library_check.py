"""The library's folder, if there is one, and whether it can be filled now."""

from collections.abc import Callable, Mapping
from contextlib import suppress

from server.core.errors import StoreUnavailable
from server.library.placement_rows import PlacementRows
from server.library.placements import Reason
from server.library.placing import PlacedFiles
from server.settings import LibrarySettings
from server.tasks.readiness import Check, Detail

_OF_TROUBLE = {
    "missing": Detail("library_missing"),
    "unmarked": Detail("library_unmarked"),
    "read_only": Detail("library_read_only"),
    "silent": Detail("library_silent"),
}
# `/readyz` shows the first reason that applies, so the most urgent ones come first.
_OF_REASON: Mapping[Reason, Callable[[int], Detail]] = {
    "full": lambda count: Detail("library_full", {"count": count}),
    "blocked": lambda count: Detail("library_blocked", {"count": count}),
    "files_gone": lambda count: Detail("library_files_gone", {"count": count}),
    "away": lambda count: Detail("library_away", {"count": count}),
}


def library_of(settings: LibrarySettings) -> PlacedFiles | None:
    """The library's folder; None if there is no library."""
    if settings.path is None:
        return None
    # Imported here: a server without a library needs neither module.
    from server.library.library_folder import METHODS, LibraryFolder
    from server.library.placing import PlacedFiles

    methods = METHODS[settings.method]
    return PlacedFiles(LibraryFolder(settings.path, methods, settings.file_mode, settings.folder_mode))


async def library_check(library: PlacedFiles, store: PlacementRows | None) -> Check:
    """Report the state of the library; never a needed check: tasks complete without the library, and their
    files get there when it is back. Only tasks name the path of a blocked folder: `/readyz` is open to those
    who need not know what is in the library.
    """
    if trouble := await library.trouble():
        return Check("library", False, _OF_TROUBLE[trouble], needed=False)
    waiting: dict[Reason, int] = {}
    with suppress(StoreUnavailable):  # a database that does not answer is reported by its own check
        waiting = await store.waiting_for() if store else {}
    for reason, said in _OF_REASON.items():
        if count := waiting.get(reason):
            return Check("library", False, said(count), needed=False)
    return Check("library", True, Detail("library"), needed=False)
