"""The updates as a feature: the daily check for a newer yt-dlp, if `updates.yt_dlp` says so."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.core.background import in_background
from server.feature import Added, Feature, Kernel


@asynccontextmanager
async def _open(kernel: Kernel) -> AsyncIterator[Added]:
    if kernel.settings.updates.yt_dlp != "daily":
        yield Added()
        return
    from server.updates.daily_update import check_daily  # loaded only where it is needed

    data_dir, downloads = kernel.settings.storage.data_dir, kernel.settings.downloads
    checks = check_daily(kernel.fork_server, data_dir, downloads.min_free_disk, downloads.ffmpeg)
    async with in_background(checks, "updates"):
        yield Added()


UPDATES = Feature("updates", _open)
