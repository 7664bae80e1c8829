"""PO tokens, by which YouTube tells browsers from programs, from a provider that runs beside the service.

The operator names the provider, and only its plugin for yt-dlp is loaded. Only the plugin's requests may go
to the provider's address. The guard blocks it for all others, because such a provider trusts every client.
"""

import functools
import importlib
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Final

from yt_dlp.networking.common import Request

from server.child.network import guard
from server.child.process import borrowed
from server.child.process.log import Log
from server.core.jobs import Job


@dataclass(frozen=True, slots=True)
class _Plugin:
    """`argument` of the extractor `key` is the extractor argument with the provider's address."""

    module: str
    key: str
    argument: str


_PLUGINS: Final = {
    "bgutil": _Plugin("yt_dlp_plugins.extractor.getpot_bgutil_http", "youtubepot-bgutilhttp", "base_url")
}


def install(job: Job, log: Log) -> Job:
    """Have YouTube's extractor use the job's provider; returns `job` with the plugin's extractor argument."""
    if not job.pot_provider or not borrowed.fits("tokens"):
        return job
    name, _, address = job.pot_provider.partition(":")
    plugin = _PLUGINS[name]
    try:
        module = importlib.import_module(plugin.module)
    except ImportError as error:
        log.write(f"downloads.pot_provider: no tokens, for its plugin cannot be loaded: {error}")
        return job
    for provider in _providers(module):
        provider._request_webpage = _going_to(address, provider._request_webpage)
    told = {**job.extractor_args.get(plugin.key, {}), plugin.argument: [address]}
    return replace(job, extractor_args={**job.extractor_args, plugin.key: told})


def _providers(module: ModuleType) -> list[Any]:
    from yt_dlp.extractor.youtube.pot.provider import PoTokenProvider

    found = [each for each in vars(module).values() if isinstance(each, type)]
    return [
        each for each in found if issubclass(each, PoTokenProvider) and each.__module__ == module.__name__
    ]


def _going_to(address: str, ask: Any) -> Any:
    @functools.wraps(ask)
    def asked(provider: Any, request: Request, *args: Any, **kwargs: Any) -> Any:
        request.headers["Connection"] = "close"  # if kept alive, it could serve others past the guard
        with guard.going_to(address):
            return ask(provider, request, *args, **kwargs)

    return asked
