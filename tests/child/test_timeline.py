"""Which parts of a film are kept, at which times they are shown, and how chapters and subtitles move with
them.
"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.child.media import timeline
from server.child.media.timeline import ALL, ChapterSpan, Kept, retime_chapters

TWO = Kept(((10.0, 20.0), (30.0, 35.0)))
times = st.floats(0, 1000)


@pytest.mark.parametrize(
    ("moment", "seen"),
    [(0, 0), (10, 0), (12, 2), (20, 10), (25, 10), (30, 10), (33, 13), (99, 15), (math.inf, 15)],
)
def test_what_is_left_out_is_seen_as_what_follows_it(moment: float, seen: float) -> None:
    assert TWO.when(moment) == seen


@pytest.mark.wide
@given(st.lists(st.tuples(times, times)), times, times)
def test_whatever_is_cut_out_time_goes_on(cut: list[tuple[float, float]], one: float, other: float) -> None:
    kept = ALL.without(cut).within(0, 1000)
    assert list(kept.spans) == sorted(kept.spans)
    assert all(start < end for start, end in kept.spans)
    earlier, later = sorted((one, other))
    assert 0 <= kept.when(earlier) <= kept.when(later) <= sum(end - start for start, end in kept.spans) + 1e-6
    assert kept.when(later) - kept.when(earlier) <= later - earlier + 1e-6


def test_cuts_may_overlap_and_come_in_any_order() -> None:
    kept = ALL.within(0, 60).without([(40, 50), (5, 12), (10, 20), (45, 47), (50, 52)])
    assert kept.spans == ((0, 5), (20, 40), (52, 60))


def test_chapters_follow_and_tiny_rests_belong_to_their_neighbours() -> None:
    said = [
        ChapterSpan(0, 10.5, "a"),
        ChapterSpan(10.5, 19.8, "b"),
        ChapterSpan(19.8, 32, "c"),
        ChapterSpan(40, 50, "d"),
    ]
    assert retime_chapters(said, TWO) == [ChapterSpan(0, 9.8, "b"), ChapterSpan(9.8, 12, "c")]


def test_a_chapter_that_was_short_before_stays() -> None:
    assert retime_chapters([ChapterSpan(11, 11.5, "a")], TWO) == [ChapterSpan(1, 1.5, "a")]


SRT = """1
00:00:01,000 --> 00:00:02,000
before

2
00:00:19,000 --> 00:00:31,500
across

3
00:00:32,000 --> 00:00:33,250
within,
in two lines
"""
VTT = """WEBVTT

STYLE
::cue { color: red }

first
00:11.000 --> 00:12.500 align:start position:0%
Hello <00:00:11.750><c>there</c>

00:22.000 --> 00:24.000
left out
"""


def test_srt_follows() -> None:
    assert timeline.retime_subtitles(SRT, "srt", TWO) == (
        "1\n00:00:09,000 --> 00:00:11,500\nacross\n\n"
        "2\n00:00:12,000 --> 00:00:13,250\nwithin,\nin two lines\n\n"
    )


def test_webvtt_follows_with_its_settings_and_the_times_within() -> None:
    assert timeline.retime_subtitles(VTT.replace("\n", "\r\n"), "vtt", TWO) == (
        "WEBVTT\n\nSTYLE\n::cue { color: red }\n\n"
        "first\n00:00:01.000 --> 00:00:02.500 align:start position:0%\nHello <00:00:01.750><c>there</c>\n\n"
    )


@pytest.mark.parametrize("text", [SRT, "", "x\n\n\n", "00:00:61,0 --> x"])
def test_of_subtitles_nothing_may_be_left(text: str) -> None:
    assert timeline.retime_subtitles(text, "srt", ALL.within(100, 200)) is None
