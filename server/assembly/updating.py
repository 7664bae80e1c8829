"""What keeps yt-dlp new in a server, on one machine or many, where the settings ask for that."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from server.core.background import in_background
from server.settings import Settings
from server.tasks.fork_servers import ForkServers


@asynccontextmanager
async def kept_new(settings: Settings, fork_servers: ForkServers, data_dir: Path) -> AsyncIterator[None]:
    """Look for a newer yt-dlp once a day, if `updates.yt_dlp` says so; nothing is loaded else."""
    if settings.updates.yt_dlp != "daily":
        yield
        return
    from server.tasks.daily_update import look_daily

    look = look_daily(fork_servers, data_dir, settings.downloads.min_free_disk)
    async with in_background(look, "updates"):
        yield
