"""What YouTube needs in addition: the orders in which its players put characters of signatures, and PO
tokens.

`PlayerCache` replaces the cache of yt-dlp, and stores nothing else that extractors keep there: tokens and
log-ins must not reach other jobs. Nothing is written to disk; new orders are sent to the server, which
validates them.

PO tokens, by which YouTube tells browsers from programs, come from a provider that runs beside the service.
The operator names the provider, and only its plugin for yt-dlp is loaded. Only the plugin's requests may go
to the provider's address. The guard blocks it for all others, because such a provider trusts every client.
"""

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from yt_dlp.networking.common import Request
from yt_dlp.version import __version__

from server.child.network import guard
from server.child.process import yt_dlp_parts
from server.child.process.log import Log
from server.core.jobs import MOST_OF_AN_ORDER, Job

_SECTION: Final = "youtube-sigfuncs"


class PlayerCache:
    """In place of `YoutubeDL.cache`: looks up orders in `known`, and sends new ones to the server.

    `known`: release of yt-dlp, player and number of characters (see `_name`) -> order.
    """

    enabled = True

    def __init__(self, known: Mapping[str, Sequence[int]], send: Callable[..., None]) -> None:
        self._known = dict(known)
        self._send = send

    def load(
        self, section: str, key: str, dtype: str = "json", default: Any = None, *, min_ver: str | None = None
    ) -> Any:
        return self._known.get(_name(key), default) if section == _SECTION else default

    def store(self, section: str, key: str, data: Any, dtype: str = "json") -> None:
        is_list = isinstance(data, list) and 0 < len(data) <= MOST_OF_AN_ORDER
        if section == _SECTION and is_list and all(isinstance(place, int) for place in data):
            self._known[_name(key)] = data
            self._send("learned", player=_name(key), order=data)


def _name(key: str) -> str:
    """Return `key` with yt-dlp's release: another release may mean something else by the same key."""
    return f"{__version__}/{key}"


@dataclass(frozen=True, slots=True)
class _Plugin:
    """`argument` of the extractor `key` is the extractor argument with the provider's address."""

    module: str
    key: str
    argument: str


_PLUGINS: Final = {
    "bgutil": _Plugin("yt_dlp_plugins.extractor.getpot_bgutil_http", "youtubepot-bgutilhttp", "base_url")
}


def with_provider(job: Job, provider: str, log: Log) -> Job:
    """Have YouTube's extractor use `provider` (`<plugin>:<address>`), for the rest of this process; returns
    `job` with the plugin's extractor argument."""
    if not yt_dlp_parts.fits("tokens"):
        return job
    name, _, address = provider.partition(":")
    plugin = _PLUGINS[name]
    try:
        from yt_dlp.extractor.youtube.pot.provider import PoTokenProvider

        module = importlib.import_module(plugin.module)
    except ImportError as error:
        log.write(f"downloads.pot_provider: no tokens, for its plugin cannot be loaded: {error}")
        return job
    for each in vars(module).values():
        is_own = isinstance(each, type) and each.__module__ == module.__name__
        if is_own and issubclass(each, PoTokenProvider):
            each._request_webpage = _going_to(address, each._request_webpage)
    told = {**job.extractor_args.get(plugin.key, {}), plugin.argument: [address]}
    return replace(job, extractor_args={**job.extractor_args, plugin.key: told})


def _going_to(address: str, ask: Any) -> Any:
    @functools.wraps(ask)
    def asked(provider: Any, request: Request, *args: Any, **kwargs: Any) -> Any:
        request.headers["Connection"] = "close"  # if kept alive, it could serve others past the guard
        with guard.also_allow(address):
            return ask(provider, request, *args, **kwargs)

    return asked
