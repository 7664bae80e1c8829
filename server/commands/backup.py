"""`python -m server backup FILE`: a copy of the database, safe while the server runs."""

import sys
from pathlib import Path

from server.assembly import DatabaseUnusable, back_up
from server.settings import Settings


async def backup(settings: Settings, target: Path) -> int:
    try:
        await back_up(settings, target)
    except DatabaseUnusable as exc:
        print(f"clipwire: {exc}", file=sys.stderr)
        return 1
    print(target)
    return 0
