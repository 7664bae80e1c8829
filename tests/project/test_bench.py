"""Each benchmark runs, with tiny numbers; what the figures are is the business of `make bench`."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.bench.__main__ import BENCHMARKS, main
from tests.bench.against import compared
from tests.bench.documented import documented, fallen_behind
from tests.bench.figures import Figure, alternate, percentile, save, table
from tests.bench.lab import Lab, open_lab
from tests.bench.page import worst


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory, media: Path) -> AsyncIterator[Lab]:
    async with open_lab(tmp_path_factory.mktemp("bench"), media, smoke=True) as lab:
        yield lab


@pytest.mark.long
@pytest.mark.asyncio(loop_scope="module")  # which is the laboratory's
@pytest.mark.parametrize("name", BENCHMARKS)
async def test_a_benchmark_runs_and_has_figures(name: str, lab: Lab) -> None:
    async with asyncio.timeout(150):
        figures = await BENCHMARKS[name](lab)
    assert figures
    assert any(figure.met is not None for figure in figures), "without a target nothing is guarded"


def test_layout_shift_is_the_worst_session_window() -> None:
    assert worst([]) == 0
    assert worst([(0, 0.1), (500, 0.2), (1_600, 0.25)]) == pytest.approx(0.3)
    assert worst([(at, 0.1) for at in range(0, 9_000, 900)]) == pytest.approx(0.6)  # a window ends after 5 s


def test_a_limit_is_one_of_the_ratio_where_there_is_a_reference() -> None:
    assert Figure("a", 90, "x", reference=100, at_least=0.85).met
    assert not Figure("a", 80, "x", reference=100, at_least=0.85).met
    assert Figure("a", 4, "ms", at_most=5).met
    assert not Figure("a", 6, "ms", at_most=5).met
    assert Figure("a", 6, "ms").met is None


def test_the_table_says_what_was_missed() -> None:
    text = table([Figure("fast", 90, "x", reference=100, at_least=0.85), Figure("slow", 6, "ms", at_most=5)])
    rows = [line.split("  ") for line in text.splitlines()]
    assert [row[-1].strip() for row in rows[2:]] == ["yes", "NO"]


def test_the_figures_are_kept_as_json(tmp_path: Path) -> None:
    save([Figure("fast", 90, "x", reference=100, at_least=0.85)], tmp_path / "new" / "figures.json")
    [figure] = json.loads((tmp_path / "new" / "figures.json").read_text())["figures"]
    assert (figure["ratio"], figure["met"]) == (0.9, True)


def test_a_missed_target_fails_a_check_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def measured(names: list[str], *, smoke: bool) -> list[Figure]:
        return [Figure("slow", 6, "ms", at_most=5)]

    monkeypatch.setattr("tests.bench.__main__.measure", measured)
    arguments = ["--only", "idle", "--json", str(tmp_path / "figures.json")]
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 1


def test_a_steady_figure_that_is_a_tenth_worse_than_documented_fails_a_check() -> None:
    told = documented("""
| what | figure | reference | ratio | target | met |
|---|---|---|---|---|---|
| status | 24,300 requests/s | 28,700 requests/s | 0.85 | >= 0.8 | yes |
| idle server | 44.3 MiB | | | <= 50 MiB | yes |
| start | 0.39 s | | | <= 5 s | yes |

| another table | of its own |
|---|---|
| idle server | 1 MiB |
""")
    assert told == {"status": 0.85, "idle server": 44.3, "start": 0.39}
    as_told = [
        Figure("status", 80, "requests/s", reference=100, at_least=0.7),
        Figure("idle server", 48, "MiB", at_most=50),
        Figure("start", 3, "s", at_most=5),  # seconds say more about the machine
        Figure("of which nothing is told", 3, "MiB", at_most=5),
    ]
    assert fallen_behind(as_told, told) == []
    worse = [
        Figure("status", 75, "requests/s", reference=100, at_least=0.7),
        Figure("idle server", 49, "MiB", at_most=50),
    ]
    assert [sentence.partition(":")[0] for sentence in fallen_behind(worse, told)] == [
        "status",
        "idle server",
    ]


def test_two_commits_are_compared_by_the_medians_of_what_both_have() -> None:
    text = compared(
        [{"start": 1.0, "new": 1.0}, {"start": 9.0, "new": 1.0}, {"start": 2.0, "new": 1.0}],
        [{"start": 4.0}, {"start": 4.0}, {"start": 5.0}],
        {"start": "s", "new": "s"},
    )
    [row] = text.splitlines()[2:]
    assert row.split("  ")[0] == "start (s)"
    assert row.split()[2:5] == ["2", "4", "0.50"]
    assert row.endswith("4 4 5")


def test_commits_take_turns_each_with_its_own_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[tuple[str, bool, bool]] = []

    def run(arguments: list[str], *, cwd: Path, **_: object) -> None:
        if arguments[1:3] == ["-m", "tests.bench"]:
            ran.append((cwd.name, (cwd / "server/__main__.py").exists(), (cwd / "tests/bench").exists()))
            figures = [{"what": "start", "unit": "s", "value": 2.0 if cwd.name == "other" else 1.0}]
            Path(arguments[4]).write_text(json.dumps({"figures": figures}))

    def checked_out(commit: str, folder: Path) -> Path:
        (folder / "tests").mkdir(parents=True)
        (folder / "server").mkdir()
        (folder / "server/__main__.py").touch()
        return folder

    monkeypatch.setattr("tests.bench.against.checked_out", checked_out)
    monkeypatch.setattr("tests.bench.against.subprocess.run", run)
    assert main(["--against", "HEAD~1", "--only", "idle", "--rounds", "2"]) == 0
    assert [name for name, _, _ in ran][1:3] == ["other", "other"]
    assert all(has_server and has_bench for _, has_server, has_bench in ran)
    assert "0.50" in capsys.readouterr().out


async def test_a_figure_and_its_reference_take_turns() -> None:
    order = []

    async def one() -> int:
        order.append("one")
        return 1

    async def two() -> int:
        order.append("two")
        return 2

    assert await alternate(2, one, two) == [[1, 1], [2, 2]]
    assert order == ["one", "two", "one", "two"]


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([5, 1, 3], 99) == 5
    assert percentile(range(1000), 50) == 500
