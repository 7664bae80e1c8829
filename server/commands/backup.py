"""`python -m server backup FILE`: makes a copy of the database, also while the server runs.

`python -m server restore FILE`: puts the copy as the database into an empty data directory.
"""

import sys
from pathlib import Path

from server.assembly import DatabaseUnusable, DataDirInUse, back_up, restore_database
from server.settings import Settings


async def backup(settings: Settings, target: Path) -> int:
    try:
        await back_up(settings, target)
    except DatabaseUnusable as exc:
        print(f"clipwire: {exc}", file=sys.stderr)
        return 1
    print(target)
    return 0


async def restore(settings: Settings, source: Path) -> int:
    """Restore the copy. Exit status 1 if the file is no backup, or the folder is not empty; 3 if a server is
    using it.
    """
    try:
        place = await restore_database(settings, source)
    except DataDirInUse as exc:
        print(f"clipwire: {exc}", file=sys.stderr)
        return 3
    except DatabaseUnusable as exc:
        print(f"clipwire: {exc}", file=sys.stderr)
        return 1
    print(place)
    return 0
