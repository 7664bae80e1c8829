"""Subtitles are moved and cut as their film is."""

import pytest

from server.child.media.timeline import Kept, Span, retime_subtitles

VTT = """WEBVTT - a film

STYLE
::cue { color: red }

one
00:01.000 --> 00:03.000 line:0
Hello <00:00:02.500>there

NOTE of somebody

01:00:05.000 --> 01:00:06.000
Bye
"""
FIRST, SECOND = "Hello\nthere", "Bye"
SRT = f"1\n00:00:01,000 --> 00:00:03,000\n{FIRST}\n\n2\n00:00:04,000 --> 00:00:06,000\n{SECOND}\n"


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([(0, 9)], [(1, 3, FIRST), (4, 6, SECOND)]),
        ([(2, 9)], [(0, 1, FIRST), (2, 4, SECOND)]),
        ([(3, 5)], [(1, 2, SECOND)]),
        ([(0, 2), (5, 9)], [(1, 2, FIRST), (2, 3, SECOND)]),
        ([(1.5, 2), (2.5, 2.75)], [(0, 0.75, FIRST)]),
        ([(7, 9)], []),
        ([], []),
    ],
)
def test_the_remaining_subtitles_are_shown_when_they_are_spoken(
    spans: list[Span], expected: list[tuple[float, float, str]]
) -> None:
    blocks = [
        f"{at}\n00:00:{begin:06.3f} --> 00:00:{end:06.3f}\n{words}".replace(".", ",")
        for at, (begin, end, words) in enumerate(expected, 1)
    ]
    found = retime_subtitles(SRT, "srt", Kept(tuple(spans)))
    assert found == retime_subtitles(SRT.replace("\n", "\r\n"), "srt", Kept(tuple(spans)))
    assert found == ("\n\n".join(blocks) + "\n\n" if blocks else None)


def test_all_else_of_webvtt_is_kept() -> None:
    assert retime_subtitles(VTT, "vtt", Kept(((2, 3601),))) == (
        "WEBVTT - a film\n\nSTYLE\n::cue { color: red }\n\n"
        "one\n00:00:00.000 --> 00:00:01.000 line:0\nHello <00:00:00.500>there\n\nNOTE of somebody\n\n"
    )
    assert "00:59:58.000 --> 00:59:59.000\nBye" in (retime_subtitles(VTT, "vtt", Kept(((7, 7200),))) or "")
