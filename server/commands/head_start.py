"""Speeds up the start: the fork server, which takes half of it, starts beside the service."""

from server.settings import Settings
from server.tasks.children import Launched, cache_of, configuration, launch
from server.tasks.programs_found import find_tools
from server.tasks.yt_dlp_releases import Releases


def launch_early(settings: Settings) -> Launched | None:
    """Launch a fork server with the installed yt-dlp. None with PostgreSQL, or if an update has chosen a
    release.
    """
    if settings.storage.database != "sqlite" or Releases(settings.storage.data_dir).chosen() is not None:
        return None
    tools = find_tools(settings.downloads.ffmpeg)
    try:
        return launch(configuration(tools.ffmpeg, tools.deno, cache=cache_of(settings.storage.data_dir)))
    except OSError:  # the service launches one itself later, and logs what fails then
        return None
