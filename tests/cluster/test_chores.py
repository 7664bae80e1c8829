"""Chores that one node does for all nodes: the first of the live workers does them, until it leaves or
dies.
"""

from pathlib import Path

import pytest

from server.cluster.database import open_database
from server.cluster.nodes import Node, Nodes
from server.cluster.presence import Presence
from server.core.errors import StorageAway
from server.files.public_names import short_of
from server.settings import Role
from server.storage.postgresql.store import open_store
from server.tasks.disk_space import Disk

WORKER: tuple[Role, ...] = ("worker",)


async def test_a_chore_is_done_by_the_first_of_the_live_workers_and_by_the_next_when_that_is_gone(
    clean_database: str, tmp_path: Path
) -> None:
    did: list[str] = []
    async with (
        open_store(clean_database, max_queued=1, find_short=short_of),
        open_database(clean_database, 1) as database,
    ):
        roles: dict[str, tuple[Role, ...]] = {"a": ("web",), "b": WORKER, "c": WORKER}
        nodes = {
            name: Presence(
                Node(name, own, 0, False, None, None), Nodes(database, 30), Disk(tmp_path, 0), None, None
            )
            for name, own in roles.items()
        }

        async def all_offer_it() -> list[str]:
            for presence in nodes.values():
                await presence.send_heartbeat()
            for name, presence in nodes.items():

                async def chore(name: str = name) -> None:
                    did.append(name)

                await presence.send_heartbeat()
                await presence.do_for_all(chore)
            told, did[:] = [*did], []
            return told

        assert await all_offer_it() == ["b"]
        await nodes.pop("b").nodes.leave("b")
        assert await all_offer_it() == ["c"]
        await database.rows("UPDATE nodes SET heartbeat_at = '2020-01-01' RETURNING node_id")
        nodes.pop("c")
        assert await all_offer_it() == [], "a web node does none"


async def test_an_outage_of_the_bucket_is_left_to_the_bucket_to_tell(tmp_path: Path) -> None:
    known = Nodes(None, 30)  # type: ignore[arg-type]
    me = Node("me", WORKER, 0, False, None, None)
    known.live = [me]
    presence = Presence(me, known, Disk(tmp_path, 0), None, None)

    async def away() -> None:
        raise StorageAway

    async def fails() -> None:
        raise ValueError("broken")

    await presence.do_for_all(away)
    with pytest.raises(ValueError, match="broken"):
        await presence.do_for_all(fails)
