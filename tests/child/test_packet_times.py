"""A recording of live DASH is checked before it is kept: ffmpeg may have repeated a segment without end."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from server.child.media import packet_times
from server.child.process.job_failed import JobFailed
from tests.tools import FFMPEG

FRAME = 1024
HEAD = "#tb 0: 1/1000\n#tb 1: 1/44100\n"


def sound(times: list[int], lasts: int = FRAME) -> list[str]:
    packets = [f"1, {time}, {time}, {lasts}, 300, 0x0" for time in times]
    return [*HEAD.splitlines(), *packets]


def test_packets_for_much_more_than_its_length_are_disorder() -> None:
    """Seen in a real recording: 13,094 frames of sound in 9.6 s of film."""
    times = [int(n * 9.6 * 44100 / 13_094) for n in range(13_094)]
    assert packet_times.find_disorder(sound(times)) == "304.0 s of packets in 9.6 s"


def test_packets_that_go_back_in_time_are_disorder() -> None:
    once = [n * FRAME for n in range(200)]
    assert packet_times.find_disorder(sound(once * 3, lasts=1)) is None, "a jump or two are not"
    flood = [n * FRAME - (n % 2) * 3 * FRAME for n in range(400)]
    assert packet_times.find_disorder(sound(flood)) == "200 of 400 packets go back in time"


def test_gaps_and_an_overlap_at_a_seam_are_none() -> None:
    times = [n * FRAME + (n > 100) * 900_000 for n in range(300)]
    assert packet_times.find_disorder(sound(times)) is None
    assert packet_times.find_disorder([]) is None


@pytest.mark.wide
@pytest.mark.parametrize("of_dash", [False, True])
async def test_what_is_in_disorder_is_dropped_and_recorded_anew(tmp_path: Path, of_dash: bool) -> None:
    """The recording has twenty seconds of sound within half a second. Only recordings of DASH are checked."""
    piece = tmp_path / "recorded-0001.mkv"
    crowded = ("-f", "lavfi", "-i", "sine=duration=20", "-c:a", "aac", "-bsf:a", "setts=ts=TS/40")
    ffmpeg = await asyncio.create_subprocess_exec(FFMPEG, "-v", "error", "-nostdin", *crowded, str(piece))
    assert await ffmpeg.wait() == 0
    if not of_dash:
        packet_times.check_pieces(tmp_path, FFMPEG, lambda: None)
        return
    packet_times.note_dash(tmp_path)
    with pytest.raises(JobFailed, match=r"^incomplete: .*s of packets in") as failed:
        packet_times.check_pieces(tmp_path, FFMPEG, lambda: None)
    assert failed.value.code == "incomplete"
    assert os.listdir(tmp_path) == []


def test_a_film_is_in_order(tmp_path: Path, media: Path) -> None:
    piece = tmp_path / "recorded-0001.mkv"
    shutil.copy(media / "video.mp4", piece)
    packet_times.note_dash(tmp_path)
    packet_times.check_pieces(tmp_path, FFMPEG, lambda: None)
    assert piece.exists()
