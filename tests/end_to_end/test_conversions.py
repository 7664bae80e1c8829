"""Conversions by ffmpeg in the real service: which count as alive, which as stalled, and what the task
says.
"""

from pathlib import Path

import pytest

from tests.service import Service
from tests.site import Site, probe
from tests.tools import FFMPEG

SETTINGS = {
    "CLIPWIRE_DOWNLOADS__STALL_TIMEOUT": "3",
    "CLIPWIRE_DOWNLOADS__RETRIES": "1",
    "CLIPWIRE_SERVER__LANGUAGE": "en",
}
# An ffmpeg that first does `body` when it converts; `tell` writes a line into the pipe of ffmpeg's progress.
PROGRAM = """#!/bin/bash
case "$*" in *-progress*audio.mp3*)
    to=$(echo "$*" | sed "s/.*-progress pipe:\\([0-9]*\\) .*/\\1/")
    out="${{@: -1}}"
    tell() {{ eval "echo $1 >&$to"; }}
    {body}
esac
exec {ffmpeg} "$@"
"""


def ffmpeg_that(folder: Path, body: str) -> dict[str, str]:
    """Return the environment in which the service finds an ffmpeg that does `body` first."""
    path = folder / "bin" / "ffmpeg"
    path.parent.mkdir()
    path.write_text(PROGRAM.format(body=body, ffmpeg=FFMPEG))
    path.chmod(0o700)
    return {"IMAGEIO_FFMPEG_EXE": str(path)}


@pytest.mark.long
@pytest.mark.parametrize("body", ["while :; do tell out_time_us=1000000; sleep 0.2; done", "sleep 60"])
async def test_a_conversion_without_progress_fails_as_stalled(site: Site, tmp_path: Path, body: str) -> None:
    async with Service(tmp_path, **SETTINGS, **ffmpeg_that(tmp_path, body)) as service:
        task = await service.submit(site.url("/video.mp4"), outputs=["audio"])
        failed = await service.wait(task["task_id"], "failed")
        assert (failed["error_code"], failed["attempt"]) == ("conversion_stalled", 2)
        assert failed["error"] == "The file was downloaded, but its conversion got stuck"
        assert len(site.requests) == 3  # the second attempt downloads nothing
        assert service.complaints() == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            'printf x >"${out#file:}"; for n in $(seq 12); do sleep 0.5;'
            ' printf x | dd of="${out#file:}" conv=notrunc 2>/dev/null; done',
            id="a second pass, which says nothing",
        ),
        pytest.param("for n in $(seq 12); do tell out_time_us=${n}000; sleep 0.5; done", id="a slow encoder"),
        pytest.param(
            "for n in {1..12}; do tell out_time_us=${n}000; seq -f 'warning %.0f' 60000; sleep 0.3; done >&2",
            id="700,000 warnings",
        ),
    ],
)
@pytest.mark.long
async def test_a_slow_conversion_does_not_count_as_stalled(site: Site, tmp_path: Path, body: str) -> None:
    async with Service(tmp_path, **SETTINGS, **ffmpeg_that(tmp_path, body)) as service:
        task = await service.submit(site.url("/video.mp4"), outputs=["audio"])
        done = await service.wait(task["task_id"])
        assert done["attempt"] == 1
        fetched = await service.fetch(done["files"]["audio"], tmp_path / "audio.mp3")
        assert (await probe(fetched)).codecs == ["mp3"]
        async with service.client.get(f"/api/tasks/{task['task_id']}/log") as answer:
            assert len(await answer.read()) < 1 << 20


@pytest.mark.long
async def test_a_remux_of_a_plain_file_has_its_share_of_the_progress(service: Service, site: Site) -> None:
    task = await service.submit(site.url("/video.mp4?rate=250000"), outputs=["video"], video_format="mkv")
    await service.wait(task["task_id"], "download")
    highest = 0
    while (payload := await service.status(task["task_id"]))["stage"] == "download":
        highest = max(highest, payload["progress"])
    assert 20 < highest <= 96
    assert (await service.wait(task["task_id"]))["progress"] == 100


@pytest.mark.wide
async def test_the_ffmpeg_that_the_operator_names_makes_the_files(site: Site, tmp_path: Path) -> None:
    named = ffmpeg_that(tmp_path, "echo by the operator >&2")["IMAGEIO_FFMPEG_EXE"]
    async with Service(tmp_path, **SETTINGS, CLIPWIRE_DOWNLOADS__FFMPEG=named) as service:
        await service.ready()
        async with service.client.get("/readyz?lang=en") as answer:
            ffmpeg = (await answer.json())["checks"]["ffmpeg"]
        assert (ffmpeg["ok"], ffmpeg["detail"].split()[0]) == (True, "version")
        task = await service.submit(site.url("/video.mp4"), outputs=["audio"])
        await service.wait(task["task_id"])
        async with service.client.get(f"/api/tasks/{task['task_id']}/log") as answer:
            assert "by the operator" in await answer.text()
