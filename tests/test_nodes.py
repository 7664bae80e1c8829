"""What nodes make of what they know of each other."""

import fcntl
import os
from pathlib import Path

import pytest

from server.backends.cluster.identity import name_of, own_name
from server.backends.cluster.nodes import Node, Nodes, shared
from server.settings import DownloadSettings, Role, Settings, WorkerSettings


def node(name: str, *, roles: tuple[Role, ...] = ("worker",), running: int = 0, low: bool = False) -> Node:
    return Node(name, roles, running, low, "folder", "settings")


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
    known = nodes(node("me", running=7), node("other", running=elsewhere))  # what was said of me is older
    assert known.share(me, 1000) == share


def test_there_is_no_room_only_if_every_worker_says_so() -> None:
    web = node("web", roles=("web",), low=True)
    assert nodes(web, node("a", low=True), node("b", low=True)).all_low()
    assert not nodes(web, node("a", low=True), node("b")).all_low()
    assert not nodes(web).all_low(), "a worker that comes may have room"


def test_nodes_that_are_set_up_otherwise_are_named() -> None:
    me, same = node("me"), node("same")
    other = Node("other", ("web",), 0, False, "another folder", "other settings")
    assert nodes(me, same).set_up_otherwise(me) == nodes(me, same).in_another_folder(me) == []
    assert nodes(me, other).set_up_otherwise(me) == nodes(me, other).in_another_folder(me) == ["other"]


def test_only_what_all_must_have_in_common_is_compared() -> None:
    ours = shared(Settings())
    assert shared(Settings(downloads=DownloadSettings(max_concurrent=9))) == ours
    assert shared(Settings(downloads=DownloadSettings(max_per_host=9))) != ours
    assert shared(Settings(downloads=DownloadSettings(time_zone="Asia/Tokyo"))) == ours
    hours = {"rate_windows": [{"from": "08:00", "to": "09:00", "rate": 1}]}
    assert shared(Settings(downloads=DownloadSettings.model_validate(hours))) != ours
    assert shared(Settings(workers=WorkerSettings(heartbeat=10))) != ours


def test_a_node_takes_the_name_of_one_that_is_dead_and_never_of_one_that_lives(tmp_path: Path) -> None:
    with own_name(tmp_path) as one, own_name(tmp_path) as other:
        assert one != other
    with own_name(tmp_path) as again:
        assert again in (one, other)
        with own_name(tmp_path) as third:
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
    with own_name(tmp_path) as name:
        assert name in os.listdir(tmp_path / "nodes")


def test_a_folder_has_one_name_for_all_who_see_it(tmp_path: Path) -> None:
    assert name_of(tmp_path) == name_of(tmp_path)
    assert len(os.listdir(tmp_path)) == 1
