"""Each benchmark runs with tiny numbers; only `make bench` measures real figures."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.bench import noise
from tests.bench.__main__ import LONG, NAMES, main, run
from tests.bench.against import against, checked_out
from tests.bench.figures import Figure, table
from tests.bench.lab import Lab, open_lab
from tests.bench.noise import CpuUsage, foreign
from tests.bench.programs import ROOT
from tests.bench.vitals import rise


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory, media: Path) -> AsyncIterator[Lab]:
    async with open_lab(tmp_path_factory.mktemp("bench"), media, smoke=True) as lab:
        yield lab


@pytest.mark.long
@pytest.mark.asyncio(loop_scope="module")  # the laboratory runs on the event loop of the module
@pytest.mark.parametrize("name", [*NAMES, *LONG])
async def test_a_benchmark_runs_and_has_figures(name: str, lab: Lab) -> None:
    figures = await run([name], lab)
    assert figures
    assert any(figure.has_target for figure in figures), "without a target nothing is guarded"


@pytest.mark.long
@pytest.mark.asyncio(loop_scope="module")
async def test_the_service_of_another_commit_is_measured_by_the_benchmarks_of_today(
    lab: Lab, tmp_path: Path
) -> None:
    other = checked_out("HEAD", tmp_path / "other")
    (other / "server/api/status.py").write_text("raise SystemExit('the other service')")
    assert [figure.what for figure in await run(["polling"], lab)]
    with pytest.raises(RuntimeError, match="the other service"):
        await run(["polling"], lab, other)


async def test_two_commits_take_turns_and_their_medians_are_compared(tmp_path: Path) -> None:
    order: list[str] = []
    values = {ROOT: iter([1.0, 9.0, 2.0]), tmp_path: iter([4.0, 4.0, 5.0])}

    async def measure(tree: Path) -> list[Figure]:
        order.append("today" if tree == ROOT else "other")
        return [Figure("start", next(values[tree]), "s", foreign=0.02 if tree == ROOT else 0.3)]

    text = await against(tmp_path, 3, measure)
    assert order == ["today", "other", "other", "today", "today", "other"]
    [row] = text.splitlines()[2:]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "start (s)", "2", "4", "0.50", "30.0%", "1 9 2", "4 4 5",
    ]  # fmt: skip


@pytest.mark.wide
def test_benchmarks_that_compare_commits_import_nothing_of_the_service() -> None:
    """A commit may name its modules otherwise. Journeys are counted with this checkout's modules only."""
    names = [name for name in (*NAMES, *LONG) if name not in ("corpus", "journeys")]
    code = "import sys, importlib\n" + "".join(f"importlib.import_module('tests.bench.{n}')\n" for n in names)
    code += "print([name for name in sys.modules if name.startswith('server.')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, timeout=60)
    imported = set(json.loads(done.stdout.replace(b"'", b'"')))
    assert imported <= {"server.tasks", "server.tasks.programs_found"}, "which says where ffmpeg is"


def test_a_limit_is_one_of_the_ratio_where_there_is_a_reference() -> None:
    assert Figure("a", 90, "x", reference=100, at_least=0.85).met
    assert not Figure("a", 80, "x", reference=100, at_least=0.85).met
    assert Figure("a", 4, "ms", at_most=5).met
    assert not Figure("a", 6, "ms", at_most=5).met
    assert Figure("a", 6, "ms").met is None


def test_no_target_counts_as_met_that_was_measured_on_a_busy_machine() -> None:
    text = table([
        Figure("quiet", 4, "ms", at_most=5, foreign=0.01),
        Figure("missed", 6, "ms", at_most=5, foreign=0.01),
        Figure("noisy", 4, "ms", at_most=5, foreign=0.2),
        Figure("crowded", 4, "ms", at_most=5, foreign=0.01, is_crowded=True),
        Figure("a count", 4, "", at_most=5, is_crowded=True),
    ])  # fmt: skip
    rows = [line.strip("|").split("|") for line in text.splitlines()[2:]]
    assert [row[-1].strip() for row in rows] == ["yes", "NO", "busy", "busy", "yes"]


@pytest.mark.parametrize(("noise", "status"), [(0.01, 0), (0.2, 1)])
def test_a_check_fails_unless_all_targets_are_met(
    noise: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def measured(*_: object, **__: object) -> list[Figure]:
        return [Figure("fast", 90, "x", reference=100, at_least=0.85, foreign=noise)]

    monkeypatch.setattr("tests.bench.__main__._measure", measured)
    monkeypatch.setattr("tests.bench.__main__.is_crowded", lambda: False)
    arguments = ["--only", "starts", "--json", str(tmp_path / "new" / "figures.json")]
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == status
    [figure] = json.loads((tmp_path / "new" / "figures.json").read_text())["figures"]
    assert (figure["ratio"], figure["met"]) == (0.9, True if status == 0 else None)


@pytest.mark.wide
async def test_a_noisy_round_is_repeated_and_the_least_noisy_ones_count(
    lab_of_noise: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shares = iter([0.01, 0.5, 0.02, 0.9, 0.03, 0.8])
    monkeypatch.setattr("tests.bench.noise.foreign", lambda *_: next(shares))
    order: list[str] = []

    async def one() -> int:
        order.append("one")
        return len(order)

    async def two() -> int:
        order.append("two")
        return len(order)

    assert await lab_of_noise.alternate(3, one, two) == [[1, 5, 9], [2, 6, 10]]
    assert order == ["one", "two"] * 5
    assert lab_of_noise.foreign == [0.01, 0.02, 0.03]
    assert "2 of 3 rounds repeated" in capsys.readouterr().err
    shares = iter([0.5, 0.6, 0.3, 0.4])
    await lab_of_noise.alternate(2, one)
    assert lab_of_noise.foreign[3:] == [0.3, 0.4], "then the machine is too busy, and the figure says so"


@pytest.fixture
def lab_of_noise(tmp_path: Path) -> Lab:
    return Lab(tmp_path, tmp_path, False, None, None, None)  # type: ignore[arg-type]


def test_what_rises_is_told_in_per_cent_of_its_mean_with_the_error_of_that() -> None:
    times = [0.0, 1.0, 2.0, 3.0, 4.0]
    assert rise(times, [98.0, 99.0, 100.0, 101.0, 102.0]) == pytest.approx((4.0, 0.0))
    assert rise(times, [7.0] * 5) == (0.0, 0.0)
    grown, error = rise(times, [98.0, 102.0, 100.0, 98.0, 102.0])
    assert error > grown > 0, "noise is not taken for a leak"


def test_what_takes_an_hour_runs_only_if_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []

    async def measured(names: object, *_: object, **__: object) -> list[Figure]:
        asked.append(names)
        return [Figure("a count", 4, "")]

    monkeypatch.setattr("tests.bench.__main__._measure", measured)
    json_file = ["--json", str(tmp_path / "figures.json")]
    main(json_file)
    main(["--only", "week", *json_file])
    assert asked == [NAMES, ["week"]]
    assert "week" not in NAMES
    assert "| a count | 4" in (tmp_path / "figures.md").read_text()


def test_what_others_had_of_the_cpu_is_a_share_of_all_cores() -> None:
    before = CpuUsage(at=10.0, all=100.0, ours=40.0)
    assert foreign(before, CpuUsage(at=12.0, all=101.0, ours=41.0)) == 0
    assert foreign(before, CpuUsage(at=12.0, all=101.0, ours=40.5)) == pytest.approx(0.25 / noise.CORES)


@pytest.mark.wide
def test_what_this_process_and_its_children_use_is_ours() -> None:
    before = noise.cpu_usage()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"], check=True)
    after = noise.cpu_usage()
    assert after.ours - before.ours >= 0.4
    assert after.all - before.all >= 0.4
