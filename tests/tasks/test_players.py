"""What jobs learn of YouTube's players: what the server accepts of it, and how the next job uses it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from yt_dlp.version import __version__

from server.child.extract import youtube
from server.child.extract.failures import Trail
from server.child.extract.youtube_dl import Engine
from server.core.action_requests import InfoRequest
from server.core.events import Learned
from server.files.cookie_folder import LocalCookies
from server.files.workplace import LocalWorkplace
from server.settings import DownloadSettings
from server.tasks.inspector import Inspector
from server.tasks.job_builder import MAX_PLAYERS, JobMaker, Players
from server.tasks.programs_found import Tools
from tests.jobs import told
from tests.shelf import Shelf

PLAYER = "https://www.youtube.com/s/player/0004de42/player_ias.vflset/en_US/base.js"
VIDEO = "https://www.youtube.com/watch?v=BaW_jenozKc"
DAY = 24 * 3600
ORDER = (2, 0, 3)


def learned(player: str = "2026.10.26/0004de42-main-4", order: tuple[int, ...] = ORDER) -> Learned:
    return Learned(player=player, order=order)


def numbered(number: int) -> Learned:
    return learned(f"2026.10.26/{number:08x}-main-4")


def order_of(engine: Engine) -> list[int] | None:
    """Return what yt-dlp has cached for signatures of four characters."""
    known: list[int] | None = engine.get_info_extractor("Youtube")._load_player_data_from_cache(
        "sigfuncs", PLAYER, 4, use_disk_cache=True
    )
    return known


def solve(engine: Engine) -> None:
    """Cache the result as yt-dlp does after it has run the player."""
    extractor = engine.get_info_extractor("Youtube")
    extractor._store_player_data_to_cache([*ORDER], "sigfuncs", PLAYER, 4, use_disk_cache=True)


@contextmanager
def job(known: Mapping[str, Sequence[int]], said: list[dict[str, Any]]) -> Iterator[Engine]:
    """Open the engine of a child that starts with the cache `known`, and notes in `said` what it reports."""
    with Engine({"quiet": True}, Trail()) as engine:
        engine.cache = youtube.PlayerCache(known, lambda kind, **fields: said.append({"kind": kind} | fields))
        yield engine


def test_what_a_job_learns_of_a_player_the_next_one_knows() -> None:
    kept, said = Players(), list[dict[str, Any]]()
    with job(kept.known, said) as engine:
        assert order_of(engine) is None
        solve(engine)
        assert order_of(engine) == [*ORDER]
    [event] = said
    kept.learn(VIDEO, Learned.model_validate(event))
    with job(json.loads(json.dumps(kept.known)), said) as engine:
        assert order_of(engine) == [*ORDER]
    assert len(said) == 1


async def test_a_child_says_what_it_has_learned(shelf: Shelf, media: Path, tmp_path: Path) -> None:
    link = shelf.put("film.mp4", (media / "video.mp4").read_bytes(), "video/mp4")
    film = {"id": "a", "title": "a", "url": link, "ext": "mp4"}
    lesson = {"learns": ["youtube-sigfuncs", "0004de42-main-4", ORDER]}
    outcome = await told(tmp_path / "t", shelf, film | lesson, outputs=["video"])
    [event] = [event for event in outcome.events if event["kind"] == "learned"]
    assert event == {"kind": "learned", "player": f"{__version__}/0004de42-main-4", "order": [*ORDER]}


async def test_a_look_at_a_link_teaches_and_is_told_too(tmp_path: Path) -> None:
    jobs = JobMaker(DownloadSettings(), Tools(None, None))
    where = LocalWorkplace(tmp_path), jobs.settings, jobs, LocalCookies(tmp_path / "cookies")
    lines = iter([{"kind": "learned"} | learned().model_dump(), {"kind": "extracted", "info": {"id": "a"}}])

    async def read_line() -> bytes:
        return json.dumps(next(lines)).encode()

    async def nothing(*_: object) -> None:
        pass

    async def start(*_: object) -> Any:
        return SimpleNamespace(read_line=read_line, stop=nothing)

    (tmp_path / "scratch").mkdir()
    fork_server: Any = SimpleNamespace(warm=nothing, start=start, run=lambda _, work: work(False))
    assert await Inspector(fork_server, *where).inspect(InfoRequest(url=VIDEO)) == {"id": "a"}
    next_job = jobs.info(InfoRequest(url=VIDEO), tmp_path / "work", tmp_path / "lock")
    assert next_job.players == {learned().player: ORDER}


def test_another_yt_dlp_learns_for_itself() -> None:
    with job({f"{__version__}.1/0004de42-main-4": ORDER}, []) as engine:
        assert order_of(engine) is None


@pytest.mark.parametrize(
    ("section", "key", "data"),
    [
        ("soundcloud", "client_id", "secret"),
        ("vimeo", "token", [1, 2]),
        ("youtube-sigfuncs", "0004de42-main-4", "code"),
        ("youtube-sigfuncs", "0004de42-main-4", ["code"]),
        ("youtube-sigfuncs", "0004de42-main-999", [*range(600)]),
    ],
)
def test_nothing_else_that_extractors_keep_leaves_the_job(section: str, key: str, data: object) -> None:
    said = list[dict[str, Any]]()
    with job({}, said) as engine:
        engine.cache.store(section, key, data)
        assert engine.cache.load(section, key, default="nothing") == "nothing"
    assert said == []


@pytest.mark.parametrize("url", [VIDEO, "https://youtu.be/BaW_jenozKc", "http://M.YouTube.com/x"])
def test_what_a_job_for_a_link_of_youtubes_says_is_taken(url: str) -> None:
    kept = Players()
    kept.learn(url, learned())
    assert kept.known == {"2026.10.26/0004de42-main-4": ORDER}


@pytest.mark.parametrize(
    "url", ["https://example.org/youtube.com", "https://notyoutube.com/", "https://youtube.com.example.org/"]
)
def test_what_a_job_for_another_link_says_is_not(url: str) -> None:
    kept = Players()
    kept.learn(url, learned())
    assert kept.known == {}


@pytest.mark.parametrize(
    "wrong",
    [
        learned(order=(0, 0, 1)),
        learned(order=(0, 4)),
        learned(order=(-1, 0)),
        learned("2026.10.26/0004de42-main"),
        learned("0004de42-main-4"),
        learned("2026.10.26/../../x-main-4"),
    ],
)
def test_what_cannot_be_is_not_taken(wrong: Learned) -> None:
    kept = Players()
    kept.learn(VIDEO, wrong)
    assert kept.known == {}


def test_the_first_word_counts_for_a_day() -> None:
    now = 0.0
    kept = Players(lambda: now)
    kept.learn(VIDEO, learned())
    now = DAY - 1
    kept.learn(VIDEO, learned(order=(0, 1)))
    assert [*kept.known.values()] == [ORDER]
    now = DAY
    assert kept.known == {}
    kept.learn(VIDEO, learned(order=(0, 1)))
    assert [*kept.known.values()] == [(0, 1)]


def test_the_oldest_are_forgotten_where_there_are_too_many() -> None:
    kept = Players()
    for number in range(MAX_PLAYERS + 3):
        kept.learn(VIDEO, numbered(number))
    assert [*kept.known] == [numbered(number).player for number in range(3, MAX_PLAYERS + 3)]
