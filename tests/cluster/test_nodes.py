"""What a node concludes from what it knows of the other nodes."""

import fcntl
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from server.cluster.identity import claim_name, read_folder_id
from server.cluster.nodes import SHARED, Node, Nodes, NodeSetup
from server.settings import DownloadSettings, Role, ServerSettings, Settings, WorkerSettings
from tests.project.test_docs import settings

# Settings that may differ from node to node.
OF_EACH_NODE = {
    *("server.host", "server.port", "server.allowed_hosts", "server.trusted_proxies", "server.roles"),
    *("storage.data_dir", "storage.database", "storage.s3_endpoint"),
    *("downloads.max_concurrent", "downloads.min_free_disk", "downloads.drain", "downloads.pot_provider"),
    *("downloads.ffmpeg", "downloads.sleep_after"),
    *("limits.requests_per_minute", "limits.sockets_per_client", "metrics.public"),
    *("library.path", "library.method", "library.file_mode", "library.folder_mode"),
    *("subscriptions.max_concurrent", "updates.yt_dlp", "logging.level", "logging.format"),
}


def node(name: str, *, roles: tuple[Role, ...] = ("worker",), running: int = 0, low: bool = False) -> Node:
    return Node(name, roles, running, low, "folder", None)


def nodes(*live: Node) -> Nodes:
    known = Nodes(None, 30)  # type: ignore[arg-type]
    known.live = list(live)
    return known


@pytest.mark.parametrize(
    ("here", "elsewhere", "share"),
    [(1, 0, 1000), (1, 1, 500), (3, 1, 750), (0, 0, 1000), (0, 3, 250), (1, 4000, 1)],
)
def test_each_node_has_its_share_of_the_rate(here: int, elsewhere: int, share: int) -> None:
    me = node("me", running=here)
    # The stored number of this node's own downloads is outdated, and must not count.
    known = nodes(node("me", running=7), node("other", running=elsewhere))
    assert known.share(me, 1000) == share


def test_there_is_no_room_only_if_every_worker_says_so() -> None:
    web = node("web", roles=("web",), low=True)
    assert nodes(web, node("a", low=True), node("b", low=True)).all_low()
    assert not nodes(web, node("a", low=True), node("b")).all_low()
    assert not nodes(web).all_low(), "a worker that comes may have room"


def set_up(machine: str, **settings: str) -> NodeSetup:
    return NodeSetup(machine=machine, settings={"storage.files": "f", "server.language": "l"} | settings)


def on(machine: str, **fields: Any) -> Node:
    return replace(node(machine), **{"set_up": set_up(machine)} | fields)


def test_settings_that_differ_are_named_with_the_machine_where_they_do() -> None:
    me = on("here")
    assert nodes(me, on("same")).differences(me) == ""
    one = on("one", set_up=set_up("one", **{"server.language": "x"}))
    two = on("two", set_up=set_up("two", **{"server.language": "y", "storage.files": "z"}))
    assert nodes(me, two, one, on("same")).differences(me) == (
        "server.language on one; storage.files, server.language on two"
    )
    assert nodes(me, one, two).with_other_files(me) == ["two"]


def test_a_node_of_another_release_is_compared_in_what_both_tell() -> None:
    me, older = on("here"), on("older", set_up=NodeSetup.read("0123456789abcdef"))
    newer = on("newer", set_up=NodeSetup(machine="newer", settings={"server.language": "l", "more": "m"}))
    known = nodes(me, older, newer)
    assert known.differences(me) == ""
    assert known.with_other_files(me) == known.in_another_folder(me) == []


def test_nodes_with_another_folder_are_named_by_their_machines() -> None:
    me = on("here")
    assert nodes(me, on("there", folder="another")).in_another_folder(me) == ["there"]


SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "downloads.max_per_host": ({"max_per_host": 9}, {"max_per_host": 8}),
    "downloads.pause_between": ({"pause_between": 9}, {"pause_between": 8}),
    "downloads.stall_timeout": ({"stall_timeout": 9}, {"stall_timeout": 8}),
    "downloads.proxy": ({"proxy": "http://me:sesame@proxy:1"}, {"proxy": "http://me:other@proxy:1"}),
    "downloads.cookies": ({"cookies": {"one.test": "a"}}, {"cookies": {"one.test": "b"}}),
    "downloads.extractor_args": (
        {"extractor_args": {"youtube": {"token": "sesame"}}},
        {"extractor_args": {"youtube": {"token": "other"}}},
    ),
    "downloads.rate_windows": (
        {"rate_windows": [{"from": "08:00", "to": "09:00", "rate": 1}]},
        {"rate_windows": [{"from": "08:00", "to": "09:00", "rate": 2}]},
    ),
}


def of_downloads(fields: dict[str, Any]) -> NodeSetup:
    return NodeSetup.by(Settings(downloads=DownloadSettings.model_validate(fields)))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_all_must_share_is_compared_and_never_told(name: str) -> None:
    ours, theirs = map(of_downloads, SETTINGS[name])
    assert ours.differing(theirs) == [name]
    assert ours.differing(of_downloads(SETTINGS[name][0])) == []
    assert "sesame" not in ours.model_dump_json()


def test_only_what_all_must_have_in_common_is_compared() -> None:
    ours = NodeSetup.by(Settings())
    assert ours.differing(of_downloads({"max_concurrent": 9})) == []
    assert ours.differing(of_downloads({"time_zone": "Asia/Tokyo"})) == [], "without hours"
    assert ours.differing(NodeSetup.by(Settings(workers=WorkerSettings(heartbeat=10)))) == [
        "workers.heartbeat"
    ]
    tokens = [NodeSetup.by(Settings(server=ServerSettings(tokens=(SecretStr(one),)))) for one in ("a", "b")]
    assert tokens[0].differing(tokens[1]) == ["server.tokens"]


def test_every_setting_is_the_same_on_all_nodes_or_may_differ() -> None:
    differ = (set(settings()) - set(SHARED)) ^ OF_EACH_NODE
    assert differ == set(), "`SHARED` in server/cluster/nodes.py, or `OF_EACH_NODE` here"


def test_the_handbook_names_all_that_must_be_the_same() -> None:
    text = Path("docs/operations.md").read_text(encoding="utf-8")
    listed = text[text.index("These must be the same on all nodes") :].partition("\n* ")[0]
    assert {name for name in SHARED if f"`{name}`" not in listed} == set()


def test_a_node_takes_the_name_of_one_that_is_dead_and_never_of_one_that_lives(tmp_path: Path) -> None:
    with claim_name(tmp_path) as one, claim_name(tmp_path) as other:
        assert one != other
    with claim_name(tmp_path) as again:
        assert again in (one, other)
        with claim_name(tmp_path) as third:
            assert {again, third} == {one, other}


def test_a_node_whose_new_name_another_one_was_faster_to_take_gets_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, refused = fcntl.flock, iter([True])

    def taken_once(descriptor: int, how: int) -> None:
        if next(refused, False):
            raise BlockingIOError
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", taken_once)
    with claim_name(tmp_path) as name:
        assert name in os.listdir(tmp_path / "nodes")


def test_a_folder_has_one_name_for_all_who_see_it(tmp_path: Path) -> None:
    assert read_folder_id(tmp_path) == read_folder_id(tmp_path)
    assert len(os.listdir(tmp_path)) == 1
