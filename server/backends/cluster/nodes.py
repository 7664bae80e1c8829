"""The table of nodes: each node writes a row about itself, with a heartbeat.

A node whose heartbeat is older than `lost_after` seconds counts as dead.
"""

import hashlib
import logging
from dataclasses import dataclass

from server.backends.cluster.database import Database
from server.settings import DownloadSettings, Role, Settings

log = logging.getLogger(__name__)

# Returns the other live nodes: what this statement writes it does not read.
_TELL = """
    WITH me AS (
        INSERT INTO nodes (node_id, roles, running, low, folder, settings) VALUES (%s, %s, %s, %s, %s, %s)
        ON CONFLICT (node_id) DO UPDATE SET heartbeat_at = now(), roles = excluded.roles,
            running = excluded.running, low = excluded.low, folder = excluded.folder,
            settings = excluded.settings
        RETURNING node_id
    )
    SELECT node_id, roles, running, low, folder, settings FROM nodes
    WHERE heartbeat_at > now() - make_interval(secs => %s) AND node_id NOT IN (SELECT node_id FROM me)"""
_LEAVE = "DELETE FROM nodes WHERE node_id = %s RETURNING node_id"


@dataclass(frozen=True, slots=True)
class Node:
    """`folder` is the id of the folder of its finished files, None for a bucket; `settings`: see `shared`."""

    node_id: str
    roles: tuple[Role, ...]
    running: int
    low: bool
    folder: str | None
    settings: str

    @property
    def is_worker(self) -> bool:
        return "worker" in self.roles


class Nodes:
    """The live nodes, this one among them, as they were at the last `tell`."""

    def __init__(self, database: Database, lost_after: float) -> None:
        self._database = database
        self._lost_after = lost_after
        self.live: list[Node] = []

    async def tell(self, me: Node) -> None:
        """Write this node's row, and read those of the live nodes. Raises `StoreUnavailable`."""
        values = (me.node_id, list(me.roles), me.running, me.low, me.folder, me.settings)
        others = await self._database.rows(_TELL, *values, self._lost_after)
        self.live = [me, *(Node(name, tuple(roles), *rest) for name, roles, *rest in others)]

    async def leave(self, node_id: str) -> None:
        await self._database.rows(_LEAVE, node_id)

    @property
    def workers(self) -> list[Node]:
        return [node for node in self.live if node.is_worker]

    def all_low(self) -> bool:
        """Whether no worker has room for another download."""
        return bool(self.workers) and all(node.low for node in self.workers)

    def share(self, me: Node, limit: int) -> int:
        """This node's part of `limit`, the rate of all nodes, in proportion to the downloads it runs."""
        elsewhere = sum(node.running for node in self.live if node.node_id != me.node_id)
        return max(1, limit * max(1, me.running) // (elsewhere + max(1, me.running)))

    def in_another_folder(self, me: Node) -> list[str]:
        """The nodes whose finished files this one does not see, or that do not see its own."""
        return sorted(node.node_id for node in self.live if node.folder != me.folder)

    def set_up_otherwise(self, me: Node) -> list[str]:
        """The nodes whose `shared` settings differ from this node's."""
        return sorted(node.node_id for node in self.live if node.settings != me.settings)


def shared(settings: Settings) -> str:
    """A hash of what must be the same on all nodes, or clients would see different answers."""
    texts = (
        settings.server.base_path,
        settings.server.language,
        sorted(token.get_secret_value() for token in settings.server.tokens),
        sorted(settings.presets.items()),
        settings.storage.files,
        settings.downloads.max_per_host,
        settings.downloads.max_queued,
        settings.downloads.retention_hours,
        settings.downloads.rate_limit,
        *_hours(settings.downloads),
        settings.downloads.max_filesize,
        settings.downloads.max_playlist,
        settings.workers,  # a heartbeat slower than other nodes expect would look like a death
    )
    return hashlib.sha256(repr(texts).encode()).hexdigest()[:16]


def _hours(downloads: DownloadSettings) -> tuple[object, ...]:
    """The rate windows and their time zone, which without windows does not matter."""
    return (downloads.rate_windows, downloads.time_zone) if downloads.rate_windows else ()
