"""The table of nodes: each node writes a row about itself, with a heartbeat.

A node whose heartbeat is older than `lost_after` seconds counts as dead.
"""

import json
import logging
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from hashlib import blake2b, scrypt
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from server.cluster.database import ClusterDatabase
from server.settings import Role, Settings

log = logging.getLogger(__name__)

FILES = "storage.files"
SHARED = (
    "server.base_path",
    "server.language",
    "server.tokens",
    "server.allowed_origins",
    FILES,
    "storage.redirect_downloads",
    "downloads.max_per_host",
    "downloads.pause_between",
    "downloads.max_queued",
    "downloads.max_playlist",
    "downloads.max_filesize",
    "downloads.retention_hours",
    "downloads.stall_timeout",
    "downloads.retries",
    "downloads.patience",
    "downloads.rate_limit",
    "downloads.rate_windows",
    "downloads.time_zone",
    "downloads.proxy",
    "downloads.cookies",
    "downloads.extractor_args",
    "downloads.plugins",
    "downloads.sponsorblock_api",
    "downloads.allowed_private_hosts",
    "workers.heartbeat",  # a node with a slower heartbeat than others expect would look dead
    "workers.lost_after",
    "presets",
    "webhooks.secret",
    "webhooks.default",
    "webhooks.allowed_private_hosts",
    "notify.urls",
    "subscriptions.interval",
    "subscriptions.min_interval",
    "subscriptions.pause",
    "subscriptions.max",
    "subscriptions.max_new",
    "subscriptions.profiles",
    "subscriptions.default_profile",
    "feeds.public_url",
    "feeds.max_items",
    "library.time_zone",
    "access.separate_lists",
    "access.user_header",
    "access.create_people",
    "access.oidc.issuer",
    "access.oidc.client_id",
    "access.oidc.client_secret",
    "access.oidc.admin_group",
    "access.max_running",
    "access.max_waiting",
    "access.max_bytes_per_day",
    "access.max_stored_bytes",
    "access.retention_hours",
)
"""What must be the same on all nodes: else what becomes of a task depends on which node meets it."""
SECRET = (
    "server.tokens",
    "access.oidc.client_secret",
    "webhooks.secret",
    "webhooks.default",
    "notify.urls",
    "downloads.proxy",
    "downloads.extractor_args",
)

# Writes the heartbeat of a node and of its engine's workers, and returns the other live nodes.
_TELL = """
    WITH workers AS (
        UPDATE procrastinate_workers SET last_heartbeat = now() WHERE id = ANY(%s)
    ), me AS (
        INSERT INTO nodes (node_id, roles, running, low, folder, settings) VALUES (%s, %s, %s, %s, %s, %s)
        ON CONFLICT (node_id) DO UPDATE SET heartbeat_at = now(), roles = excluded.roles,
            running = excluded.running, low = excluded.low, folder = excluded.folder,
            settings = excluded.settings
        RETURNING node_id
    )
    SELECT node_id, roles, running, low, folder, settings FROM nodes
    WHERE heartbeat_at > now() - make_interval(secs => %s) AND node_id NOT IN (SELECT node_id FROM me)"""
_LEAVE = "DELETE FROM nodes WHERE node_id = %s RETURNING node_id"


class NodeSetup(BaseModel):
    """A node's machine name, and a digest of each of its `SHARED` settings.

    `places` is how many downloads it runs at once; 0 for a node of a release that does not say.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    machine: str
    settings: dict[str, str]
    places: int = 0

    @classmethod
    def by(cls, settings: Settings) -> Self:
        """Compute the digests; takes some tenths of a second if there are secrets."""
        digests = {}
        for name in SHARED:
            value: Any = reduce(getattr, name.split("."), settings)
            if name == "downloads.time_zone" and not settings.downloads.rate_windows:
                value = None  # the setting is not used by this node, and may differ
            if name == "downloads.plugins":
                # Only whether a folder is set has to be the same; its path may differ.
                value = value is not None
            if name == "notify.urls":
                value = settings.notify.names
            if name == "server.tokens":
                value = sorted(token.get_secret_value() for token in settings.server.tokens)
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            # Equal for equal values. The digest of a secret is slow to make, so that it cannot be guessed by
            # trying.
            text = json.dumps(value, sort_keys=True, default=repr).encode()
            if name in SECRET and value:
                digests[name] = scrypt(text, salt=name.encode(), n=1 << 14, r=8, p=1, dklen=8).hex()
            else:
                digests[name] = blake2b(text, digest_size=8).hexdigest()
        places = settings.downloads.max_concurrent
        return cls(machine=socket.gethostname(), settings=digests, places=places)

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Read the text of a row; None if a release with another format has written it."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None

    def differing(self, other: Self) -> list[str]:
        """Return the settings that both nodes name, with different values."""
        return [
            name for name in self.settings if other.settings.get(name, "") not in ("", self.settings[name])
        ]


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster. `folder` is the id of the data directory that holds its finished files; None for
    a bucket.
    """

    node_id: str
    roles: tuple[Role, ...]
    running: int
    low: bool
    folder: str | None
    set_up: NodeSetup | None

    @property
    def machine(self) -> str:
        return self.set_up.machine if self.set_up else self.node_id

    @property
    def is_worker(self) -> bool:
        return "worker" in self.roles


class Nodes:
    """The live nodes, this one among them, as they were at the last heartbeat."""

    def __init__(self, database: ClusterDatabase, lost_after: float) -> None:
        self._database = database
        self._lost_after = lost_after
        self.live: list[Node] = []

    async def send_heartbeat(self, me: Node, workers: Sequence[int] = ()) -> None:
        """Send the heartbeat of this node and of its workers of the engine, and read the rows of live nodes.

        Raises `StoreUnavailable`.
        """
        text = me.set_up.model_dump_json() if me.set_up else ""
        others = await self._database.rows(
            _TELL,
            list(workers),
            me.node_id,
            list(me.roles),
            me.running,
            me.low,
            me.folder,
            text,
            self._lost_after,
        )
        self.live = [
            me,
            *(
                Node(node_id, tuple(roles), running, low, folder, NodeSetup.read(set_up))
                for node_id, roles, running, low, folder, set_up in others
            ),
        ]

    async def leave(self, node_id: str) -> None:
        await self._database.rows(_LEAVE, node_id)

    @property
    def workers(self) -> list[Node]:
        return [node for node in self.live if node.is_worker]

    def is_first_worker(self, node_id: str) -> bool:
        """Whether this worker does the chores of the cluster; all nodes agree once they know of
        each other.
        """
        return min((node.node_id for node in self.workers), default=None) == node_id

    @property
    def places(self) -> int:
        """Return how many downloads all workers together run at once."""
        return sum(node.set_up.places for node in self.workers if node.set_up)

    def all_low(self) -> bool:
        """Whether no worker has room for another download."""
        return bool(self.workers) and all(node.low for node in self.workers)

    def share(self, me: Node, limit: int) -> int:
        """Return this node's part of `limit`, the rate of all nodes, in proportion to its running
        downloads.
        """
        elsewhere = sum(node.running for node in self.live if node.node_id != me.node_id)
        return max(1, limit * max(1, me.running) // (elsewhere + max(1, me.running)))

    def in_another_folder(self, me: Node) -> list[str]:
        """Return the machines of nodes with another folder of finished files than this one."""
        return _machines(node for node in self.live if node.folder != me.folder)

    def with_other_files(self, me: Node) -> list[str]:
        """Return the machines of nodes with another `storage.files`."""
        return _machines(node for node, names in self._set_up_otherwise(me) if FILES in names)

    def differences(self, me: Node) -> str:
        """Name the `SHARED` settings of other nodes that differ from this node's, with the machines."""
        found = sorted({(node.machine, *names) for node, names in self._set_up_otherwise(me)})
        return "; ".join(f"{', '.join(names)} on {machine}" for machine, *names in found)

    def _set_up_otherwise(self, me: Node) -> list[tuple[Node, Sequence[str]]]:
        found = [(node, me.set_up.differing(node.set_up)) for node in self.live if me.set_up and node.set_up]
        return [(node, names) for node, names in found if names]


def _machines(nodes: Iterable[Node]) -> list[str]:
    return sorted({node.machine for node in nodes})
