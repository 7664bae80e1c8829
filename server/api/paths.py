"""Paths that need no token, with and without `base_path`, since a reverse proxy may strip that prefix."""

from server.settings import ServerSettings


class OpenPaths:
    """The page and its files are also exempt from the rate limit, since one page load requests several."""

    def __init__(self, settings: ServerSettings) -> None:
        prefixes = {"", settings.base_path}
        self._pages = frozenset(prefix + path for prefix in prefixes for path in ("", "/"))
        self._assets = tuple(prefix + "/static/" for prefix in prefixes)
        self._probes = frozenset(prefix + "/healthz" for prefix in prefixes)
        self._log_ins = frozenset(prefix + "/api/session" for prefix in prefixes)

    def is_probe(self, path: str) -> bool:
        """The liveness check, which load balancers request under any host name."""
        return path in self._probes

    def is_page(self, path: str) -> bool:
        """The page and its files."""
        return path in self._pages or path.startswith(self._assets)

    def is_open(self, path: str) -> bool:
        """Whether `path` needs no token."""
        return self.is_page(path) or path in self._log_ins or path in self._probes
