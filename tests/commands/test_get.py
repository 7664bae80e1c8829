"""`clipwire get` and `watch`, as a shell sees them: against the real service, and without one."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.commands.shell import Shell, line_with
from tests.ports import free_port
from tests.service import Service, Services, gone
from tests.site import Site

FIRST = "00000000-0000-4000-8000-000000000000"
# Runs at Python's start: the server that `get` starts for itself waits as long as that `get` is there.
HELD = """
import os, sys
if "own_server.run" in sys.orig_argv[-1]:
    os.read(0, 1)
"""


OWN_SERVER = """
import signal
from server.commands import own_server

class Ended:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

def lose_an_exception():
    Ended()

def _serve():
    {served}

own_server._serve = _serve
own_server.run()
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.fixture
def shell(here: Path, service: Service) -> Shell:
    return Shell(here).using(service)


@pytest.fixture
def alone(here: Path, tmp_path: Path) -> Shell:
    """A shell at whose configured address no server listens; temporary files go to a folder of its own."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    return Shell(
        here,
        TMPDIR=str(temporary),
        CLIPWIRE_SERVER__PORT=str(free_port()),
        CLIPWIRE_DOWNLOADS__ALLOWED_PRIVATE_HOSTS='["127.0.0.1"]',
    )


# --- what is saved, and where ---


@pytest.mark.wide
async def test_the_video_is_saved_here_under_its_title_and_nothing_else(shell: Shell, site: Site) -> None:
    link = site.url("/page?title=A%20film%3A%20one&src=/1mb.mp4")
    ran = await shell.run("get", link)
    assert (ran.status, shell.files()) == (0, {"A film one.mp4": 1_000_000}), ran
    assert ran.task_id in ran.out
    assert "saved A film one.mp4" in ran.out
    assert "\x1b" not in ran.out + ran.err
    assert "100% Completed!" in ran.err


async def test_equal_titles_get_a_number_and_no_file_is_written_over(
    shell: Shell, here: Path, site: Site
) -> None:
    (here / "1mb.mp4").write_text("mine")
    ran = await shell.run("get", site.url("/1mb.mp4"), site.url("/1mb.mp4?etag=yes"))
    assert (ran.status, shell.files()) == (
        0,
        {"1mb.mp4": 4, "1mb (2).mp4": 1_000_000, "1mb (3).mp4": 1_000_000},
    )


async def test_o_is_a_file_or_a_folder_for_several(shell: Shell, here: Path, site: Site) -> None:
    one, two = site.url("/1mb.mp4"), site.url("/silent.mp4")
    assert (await shell.run("get", one, "-o", "film.mp4")).status == 0
    ran = await shell.run("get", one, "-o", "film.mp4")
    assert (ran.status, ran.out, "film.mp4 is there already" in ran.err) == (1, "", True)
    assert (await shell.run("get", one, two, "-o", "films")).status == 0
    assert (await shell.run("get", one, "-o", "films")).status == 0
    ran = await shell.run("get", one, two, "-o", "film.mp4")
    assert (ran.status, ran.out, "no folder" in ran.err) == (1, "", True)
    names = {"film.mp4", "films/1mb.mp4", "films/1mb (2).mp4", "films/silent.mp4"}
    assert set(shell.files()) == names


@pytest.mark.wide
async def test_links_come_from_standard_input_and_wishes_from_options(shell: Shell, site: Site) -> None:
    typed = f"\ufeff{site.url('/video.mp4')}\r\n\r\n# and another\n{site.url('/clip.webm')}\n"
    ran = await shell.run("get", "-", "--audio", "--audio-format", "m4a", typed=typed)
    assert (ran.status, set(shell.files())) == (0, {"video.m4a", "clip.m4a"}), ran


@pytest.mark.wide
async def test_of_a_list_that_reuses_tasks_all_entries_are_saved(shell: Shell, site: Site) -> None:
    ran = await shell.run("get", site.url("/feed?entry=/1mb.mp4"), "--playlist", "-o", "one")
    assert (ran.status, set(shell.files())) == (0, {"one/Entry 1.mp4"}), ran
    both = site.url("/feed?entry=/1mb.mp4&entry=/silent.mp4")
    ran = await shell.run("get", both, "--playlist", "--reuse", "-o", "both")
    names = {"one/Entry 1.mp4", "both/Entry 1.mp4", "both/Entry 2.mp4"}
    assert (ran.status, set(shell.files())) == (0, names), ran


@pytest.mark.wide
async def test_of_a_list_its_entries_are_saved(shell: Shell, site: Site) -> None:
    ran = await shell.run("get", site.url("/feed?entry=/1mb.mp4&entry=/silent.mp4"), "--playlist")
    assert (ran.status, len(shell.files())) == (0, 2), ran


@pytest.mark.wide
async def test_a_link_that_fails_ends_no_other_and_is_told_with_its_reason(shell: Shell, site: Site) -> None:
    ran = await shell.run("get", "ftp://media.test/", site.url("/video.mp4?status=404"), site.url("/1mb.mp4"))
    assert (ran.status, set(shell.files())) == (1, {"1mb.mp4"})
    assert "ftp://media.test/: " in ran.err
    assert "url: " in ran.err
    assert "HTTP 404" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.long
async def test_a_locale_that_lacks_letters_gets_them_escaped_and_names_without_them(
    shell: Shell, site: Site
) -> None:
    shell.environment |= {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    ran = await shell.run("get", site.url("/page?title=Caf%C3%A9%20%F0%9F%8E%AC%20one&src=/1mb.mp4"))
    assert (ran.status, shell.files()) == (0, {"Caf_ _ one.mp4": 1_000_000}), ran
    shell.environment["PYTHONIOENCODING"] = "ascii"
    ran = await shell.run("list")
    assert (ran.status, "Caf\\u00e9 \\ud83c\\udfac one" in ran.out) == (0, True), ran
    ran = await shell.run("list", "--json")
    assert json.loads(ran.out)["video_info"]["title"] == "Café 🎬 one"


@pytest.mark.wide
async def test_a_full_disk_is_a_clear_word_and_watch_goes_on_from_there(shell: Shell, site: Site) -> None:
    blocks = 1000  # blocks of 512 bytes that a file may have
    ran = await shell.in_sh(f'ulimit -f {blocks}; exec "$@"', "get", site.url("/1mb.mp4"))
    assert (ran.status, "cannot be written" in ran.err, "Traceback" in ran.err) == (1, True, False), ran
    [(name, size)] = shell.files().items()
    assert (name.endswith(".part"), size) == (True, 512_000)
    ran = await shell.run("watch", ran.task_id)
    assert (ran.status, shell.files()) == (0, {"1mb.mp4": 1_000_000}), ran


@pytest.mark.wide
async def test_an_output_that_cannot_be_is_told_before_anything_is_submitted(
    shell: Shell, here: Path, service: Service, site: Site
) -> None:
    (here / "file").touch()
    for output, said in (("x" * 300, "too long"), ("file/x", "Not a directory"), ("", "neither a file")):
        ran = await shell.run("get", site.url("/1mb.mp4"), "-o", output)
        assert (ran.status, ran.out, said in ran.err, "Traceback" in ran.err) == (1, "", True, False), ran
    assert (await shell.run("list")).out == ""


async def test_standard_input_that_is_closed_has_no_links(shell: Shell) -> None:
    ran = await shell.in_sh('"$@" <&-', "get", "-")
    assert (ran.status, "no link in the input" in ran.err, "Traceback" in ran.err) == (2, True, False), ran


@pytest.mark.wide
async def test_how_to_come_back_says_to_which_server(shell: Shell, service: Service, site: Site) -> None:
    named = ("--server", service.url)
    arguments = ("get", site.url("/1mb.mp4"), *named)
    ran = await shell.in_sh('ulimit -f 1000; exec "$@"', *arguments)
    assert f"clipwire watch {ran.task_id} --server {service.url}\n" in ran.err
    ran = await shell.run("watch", ran.task_id, FIRST, *named)
    assert f"{FIRST}: No task has this id" in ran.err


async def test_nothing_is_written_to_standard_output(shell: Shell, site: Site) -> None:
    ran = await shell.run("get", site.url("/1mb.mp4"), "-o", "-")
    assert (ran.status, ran.out, shell.files()) == (1, "", {})
    assert "name a file" in ran.err


@pytest.mark.wide
@pytest.mark.parametrize(
    "output",
    [
        ">/dev/full",
        *(pytest.param(each, marks=pytest.mark.long) for each in (">&-", "2>&-", "| head -c 1 >/dev/null")),
    ],
)
async def test_output_that_goes_nowhere_is_no_traceback(
    shell: Shell, service: Service, site: Site, output: str
) -> None:
    await service.submit(site.url("/1mb.mp4"), auto_start=False)
    for arguments in (("list",), ("get", site.url("/1mb.mp4"))):
        ran = await shell.in_sh(f'"$@" {output}', *arguments)
        assert "Traceback" not in ran.err
        assert "Exception" not in ran.err
        if output == ">/dev/full":
            assert (ran.status, "No space left" in ran.err) == (1, True), ran
        elif output.endswith("-"):
            assert ran.status == 0, ran


async def test_a_wrong_prefix_is_told(shell: Shell, service: Service, site: Site) -> None:
    ran = await shell.run("get", site.url("/1mb.mp4"), "--server", f"{service.url}/films")
    assert (ran.status, ran.out, "server.base_path" in ran.err) == (1, "", True)


# --- how the download is shown ---


async def test_a_terminal_gets_a_bar_with_speed_and_time_left(shell: Shell, site: Site) -> None:
    def let_go(shown: str) -> None:
        if "kB/s" in shown and "0:0" in shown:
            site.release()

    link = site.url("/1mb.mp4?rate=700000&stall=600000&after=1&times=1")
    status, shown = await shell.on_terminal("get", link, seen=let_go)
    assert status == 0
    assert re.search(r"\b\d\d%", shown)
    assert "\r" in shown
    assert "saved 1mb.mp4" in shown


async def test_json_is_one_payload_a_line_as_the_server_sent_it(
    shell: Shell, service: Service, site: Site
) -> None:
    ran = await shell.run("get", site.url("/1mb.mp4"), "--json")
    lines = ran.out.splitlines()
    *payloads, saved = [json.loads(line) for line in lines]
    assert (payloads[0]["stage"], payloads[-1]["stage"]) == ("queued", "completed")
    assert [each["revision"] for each in payloads] == sorted({each["revision"] for each in payloads})
    task_id = payloads[0]["task_id"]
    async with service.client.get(f"/api/status/{task_id}?lang=en") as answer:
        assert await answer.text() == lines[-2]
    assert saved == {"task_id": task_id, "kind": "video", "saved": "1mb.mp4"}


@pytest.mark.wide
async def test_json_tells_of_a_list_where_each_file_of_its_entries_is(shell: Shell, site: Site) -> None:
    link = site.url("/feed?entry=/1mb.mp4&entry=/silent.mp4")
    ran = await shell.run("get", link, "--playlist", "--json", "-o", "films/")
    told = [json.loads(line) for line in ran.out.splitlines()]
    saved = [each for each in told if "saved" in each]
    assert {each["saved"] for each in saved} == set(shell.files()), ran
    assert ran.task_id not in {each["task_id"] for each in saved}
    assert len({each["task_id"] for each in saved}) == len(saved) == 2


@pytest.mark.wide
async def test_quiet_says_nothing_but_errors(shell: Shell, site: Site) -> None:
    ran = await shell.run("get", site.url("/1mb.mp4"), "--quiet")
    assert (ran.status, ran.out, ran.err) == (0, "", "")
    ran = await shell.run("get", site.url("/1mb.mp4?status=404"), "--quiet")
    assert (ran.status, ran.out, "HTTP 404" in ran.err) == (1, "", True)


@pytest.mark.wide
async def test_it_speaks_the_language_of_the_reader(shell: Shell, site: Site) -> None:
    shell.environment["LANG"] = "zh_CN.GB18030"
    ran = await shell.run("get", site.url("/1mb.mp4"))
    assert "处理完成！" in ran.err
    assert "已保存 1mb.mp4" in ran.out


# --- Ctrl-C, and watching again ---


@pytest.mark.wide
async def test_ctrl_c_leaves_the_task_and_watch_saves_what_get_would_have(shell: Shell, site: Site) -> None:
    process = await shell.start("get", site.url("/1mb.mp4?stall=100000&after=1&times=1"))
    await line_with(process.stderr, "20%")
    process.send_signal(signal.SIGINT)
    ran = await process.end()
    assert ran.status == 130
    [line] = [line for line in ran.err.splitlines() if "goes on" in line]
    task_id = line.rpartition("clipwire watch ")[2]
    site.release()
    ran = await shell.run("watch", task_id)
    assert (ran.status, shell.files()) == (0, {"1mb.mp4": 1_000_000}), ran


@pytest.mark.wide
async def test_ctrl_c_says_of_no_task_that_it_goes_on_whose_files_are_here(shell: Shell, site: Site) -> None:
    links = [site.url(link) for link in ("/1mb.mp4?stall=100000", "/silent.mp4", "/video.mp4")]
    process = await shell.start("get", *links)
    stalled, silent, video = [(await line_with(process.stdout, "task ")).split()[1] for _ in links]
    first = await line_with(process.stdout, "saved ")
    await line_with(process.stdout, "saved ")  # by now both finished links are saved
    process.send_signal(signal.SIGINT)
    ran = await process.end()
    assert f"goes on; to come back: clipwire watch {stalled}" in ran.err
    assert (silent if "silent" in first else video) not in ran.err


async def test_ctrl_c_cancels_where_that_is_asked_for(shell: Shell, service: Service, site: Site) -> None:
    process = await shell.start("get", "--cancel", site.url("/1mb.mp4?stall=100000"))
    task_id = (await line_with(process.stdout, "task ")).split()[1]
    await line_with(process.stderr, "20%")
    process.send_signal(signal.SIGINT)
    ran = await process.end()
    assert (ran.status, "Cancelled" in ran.err, "goes on" in ran.err) == (130, True, False)
    assert (await service.status(task_id))["stage"] == "cancelled"


# --- without a server ---


async def test_without_a_server_it_runs_one_for_itself_and_leaves_nothing(alone: Shell, site: Site) -> None:
    ran = await alone.run("get", site.url("/1mb.mp4"))
    assert (ran.status, alone.files()) == (0, {"1mb.mp4": 1_000_000}), ran
    assert list(Path(alone.environment["TMPDIR"]).iterdir()) == []


@pytest.mark.wide
async def test_ctrl_c_while_its_own_server_starts_begins_nothing(
    alone: Shell, site: Site, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(HELD)
    alone.environment["PYTHONPATH"] += f":{tmp_path}"
    process = await alone.start("get", site.url("/1mb.mp4"))
    while not (started := psutil.Process(process.pid).children(recursive=True)):
        await asyncio.sleep(0.005)
    process.send_signal(signal.SIGINT)
    ran = await process.end()
    assert (ran.status, ran.out, alone.files()) == (130, "", {}), ran
    assert "Traceback" not in ran.err
    await gone(started)
    await left_nothing(alone)


async def test_ctrl_c_while_python_makes_a_class_of_a_text_ends_with_130_as_well(alone: Shell) -> None:
    (alone.here / "interrupted.py").write_text("""
import subprocess
import sys
from server.__main__ import main
from server.commands import cli

def run(arguments, name):
    try:
        exec("import signal; signal.raise_signal(signal.SIGINT)")
    except KeyboardInterrupt:
        return 130

cli.run = run
sys.exit(main([]))
""")
    process = await asyncio.create_subprocess_exec(
        *("env", "--default-signal=INT", sys.executable, "-m", "interrupted"),
        cwd=alone.here,
        env=alone.environment,
    )
    assert await process.wait() == 130


@pytest.mark.parametrize(
    ("served", "status"),
    [("lose_an_exception(); return 7", 0), ("raise BaseExceptionGroup('', [SystemExit()])", 1)],
)
async def test_its_own_server_deletes_its_folder_however_it_ends(
    alone: Shell, tmp_path: Path, served: str, status: int
) -> None:
    folder = tmp_path / "own"
    (folder / "data").mkdir(parents=True)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWN_SERVER.format(served=served)),
        env=alone.environment | {"CLIPWIRE_STORAGE__DATA_DIR": str(folder / "data")},
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert (await process.wait(), folder.exists()) == (status, False)


async def left_nothing(alone: Shell) -> None:
    """Wait until the temporary folder is empty: a server that lost its `get` takes a moment to notice
    that.
    """
    while list(Path(alone.environment["TMPDIR"]).iterdir()):
        await asyncio.sleep(0.02)


@pytest.mark.wide
async def test_ctrl_c_ends_the_download_of_its_own_server(alone: Shell, site: Site) -> None:
    process = await alone.start("get", site.url("/1mb.mp4?stall=100000"))
    await line_with(process.stderr, "20%")
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    ran = await process.end()
    assert (ran.status, "Cancelled" in ran.err, alone.files()) == (130, True, {})
    await gone(started)
    assert list(Path(alone.environment["TMPDIR"]).iterdir()) == []


@pytest.mark.wide
@pytest.mark.parametrize("second", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
async def test_another_ctrl_c_leaves_nothing_either(alone: Shell, site: Site, second: signal.Signals) -> None:
    process = await alone.start("get", site.url("/1mb.mp4?stall=100000"))
    await line_with(process.stderr, "20%")
    [server, *started] = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    await gone([server])
    process.send_signal(second)  # comes while `get` removes what the server has left
    ran = await process.end()
    assert (ran.status, "Traceback" in ran.err, alone.files()) == (130, False, {}), ran
    await gone(started)
    assert list(Path(alone.environment["TMPDIR"]).iterdir()) == []


@pytest.mark.wide
async def test_a_kill_leaves_neither_a_server_nor_its_data(alone: Shell, site: Site) -> None:
    process = await alone.start("get", site.url("/1mb.mp4?stall=100000"))
    await line_with(process.stderr, "20%")
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    await process.end()
    await gone(started)
    assert list(Path(alone.environment["TMPDIR"]).iterdir()) == []


# --- a server that goes away ---


@pytest.mark.parametrize("how", [pytest.param("stop", marks=pytest.mark.long), "kill"])
async def test_a_restart_of_the_server_ends_nothing(
    services: Services, here: Path, site: Site, how: str
) -> None:
    async with services.lend() as service:
        shell = Shell(here).using(service)
        process = await shell.start("get", site.url("/1mb.mp4?stall=100000&after=1&times=1"))
        await line_with(process.stderr, "20%")
        await (service.stop() if how == "stop" else service.kill())
        site.release()
        await service.start()
        ran = await process.end()
        assert (ran.status, shell.files()) == (0, {"1mb.mp4": 1_000_000}), ran


# --- tokens ---


@pytest.mark.wide
async def test_the_token_comes_from_the_environment(services: Services, here: Path, site: Site) -> None:
    async with services.lend(CLIPWIRE_SERVER__TOKENS='["s3cret"]') as service:
        service.client.headers["Authorization"] = "Bearer s3cret"
        shell = Shell(here)
        wrong = await shell.run("get", site.url("/1mb.mp4"), "--server", service.url)
        assert (wrong.status, wrong.out, "CLIPWIRE_TOKEN" in wrong.err) == (1, "", True)
        shell.environment["CLIPWIRE_TOKEN"] = "s3cret"
        ran = await shell.run("get", site.url("/1mb.mp4"), "--server", service.url)
        assert (ran.status, set(shell.files())) == (0, {"1mb.mp4"}), ran


# --- actions on tasks ---


async def test_tasks_are_listed_paused_resumed_cancelled_retried_and_removed(
    shell: Shell, service: Service, site: Site
) -> None:
    task = await service.submit(site.url("/1mb.mp4?stall=100000"), outputs=["video"])
    task_id = task["task_id"]
    await service.wait(task_id, "download")
    for command, stage in (("pause", "paused"), ("resume", None), ("cancel", "cancelled"), ("retry", None)):
        ran = await shell.run(command, task_id)
        assert (ran.status, ran.out.startswith(task_id), ran.err) == (0, True, ""), ran
        if stage:
            ran = await shell.run("list", "--stage", stage)
            assert [line.split()[:2] for line in ran.out.splitlines()] == [[task_id, stage]]
    site.release()
    await service.wait(task_id)
    ran = await shell.run("list", "--json", "--search", "1mb")
    assert [json.loads(line)["task_id"] for line in ran.out.splitlines()] == [task_id]
    assert (await shell.run("rm", task_id)).status == 0
    ran = await shell.run("rm", task_id, FIRST)
    assert (ran.status, ran.err.count(f"clipwire: {task_id}: "), ran.err.count(f"clipwire: {FIRST}: ")) == (
        1, 1, 1,
    )  # fmt: skip


async def test_watch_without_an_id_shows_what_changes(shell: Shell, service: Service, site: Site) -> None:
    process = await shell.start("watch", "--json")
    try:
        told = asyncio.create_task(process.stdout.readline())
        while not told.done():  # until the command is connected, it misses new tasks
            task = await service.submit(site.url("/1mb.mp4"), auto_start=False)
            await asyncio.wait([told], timeout=0.3)
        assert json.loads(told.result())["url"] == task["url"]
    finally:
        process.send_signal(signal.SIGINT)
        assert (await process.end()).status == 130
