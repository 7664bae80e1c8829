"""Which paths need no token, whoever asks, with the prefix and without it: a proxy may take it away."""

from server.settings import ServerSettings


class OpenPaths:
    """A page load asks for several files, so what the page is made of counts for no limit either."""

    def __init__(self, settings: ServerSettings) -> None:
        prefixes = {"", settings.base_path}
        self._pages = frozenset(prefix + path for prefix in prefixes for path in ("", "/"))
        self._assets = tuple(prefix + "/static/" for prefix in prefixes)
        self._probes = frozenset(prefix + "/healthz" for prefix in prefixes)
        self._log_ins = frozenset(prefix + "/api/session" for prefix in prefixes)

    def is_probe(self, path: str) -> bool:
        """Load balancers ask, under whatever name."""
        return path in self._probes

    def is_page(self, path: str) -> bool:
        """The page and its files."""
        return path in self._pages or path.startswith(self._assets)

    def is_open(self, path: str) -> bool:
        """Nobody needs a token for these."""
        return self.is_page(path) or path in self._log_ins or path in self._probes
