"""The playlist that a recording reads: it also lists the segments that were there at the first reading."""

from server.child.extract.first_read import FirstRead

ADDRESS = "https://a.test/live/index.m3u8"


def playlist(first: int, last: int, *tags: str, end: str = "") -> tuple[str, str]:
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", f"#EXT-X-MEDIA-SEQUENCE:{first}", *tags]
    for number in range(first, last + 1):
        lines += ["#EXTINF:2.0,", f"{number}.ts?signed={last}"]
    return "\n".join([*lines, end]), ADDRESS


def shown(reads: list[tuple[str, str]], now: tuple[str, str]) -> list[str]:
    return FirstRead(reads, lambda: now).text().split()


def numbers(lines: list[str]) -> list[int]:
    return [int(line.partition(".ts")[0].rpartition("/")[2]) for line in lines if line.startswith("http")]


def test_the_playlist_begins_with_the_last_three_segments_of_the_first_reading() -> None:
    lines = shown([playlist(1, 5), playlist(3, 7)], playlist(5, 9))
    assert numbers(lines) == [3, 4, 5, 6, 7, 8, 9]
    assert "#EXT-X-MEDIA-SEQUENCE:3" in lines
    assert "https://a.test/live/9.ts?signed=9" in lines, "the newest link of each"
    assert lines[-1] != "#EXT-X-ENDLIST"


def test_segments_before_a_gap_are_left_out() -> None:
    assert numbers(shown([playlist(1, 3)], playlist(7, 9))) == [7, 8, 9]


def test_a_playlist_that_begins_anew_is_passed_on_as_it_is() -> None:
    assert numbers(shown([playlist(90, 92)], playlist(0, 2))) == [0, 1, 2]


def test_the_end_of_a_playlist_is_passed_on() -> None:
    assert shown([playlist(1, 3)], playlist(1, 4, end="#EXT-X-ENDLIST"))[-1] == "#EXT-X-ENDLIST"


def test_the_playlist_keeps_a_limited_number_of_segments() -> None:
    followed, last = FirstRead([playlist(1, 3)], lambda: playlist(last - 2, last)), 3
    for last in range(3, 100):  # noqa: B007 - `last` is read above
        text = followed.text()
    assert numbers(text.split())[0] >= 70
    assert numbers(text.split())[-1] == 99


def test_keys_and_beginnings_hold_for_the_segments_that_they_held_for() -> None:
    one = ('#EXT-X-KEY:METHOD=AES-128,URI="one"', '#EXT-X-MAP:URI="/init.mp4"')
    other = ('#EXT-X-KEY:METHOD=AES-128,URI="other"', '#EXT-X-MAP:URI="/init.mp4"')
    lines = shown([playlist(1, 3, *one)], playlist(4, 5, *other))
    assert [line for line in lines if line.startswith(("#EXT-X-KEY", "#EXT-X-MAP", "http"))] == [
        '#EXT-X-KEY:METHOD=AES-128,URI="https://a.test/live/one"',
        '#EXT-X-MAP:URI="https://a.test/init.mp4"',
        *(f"https://a.test/live/{number}.ts?signed=3" for number in (1, 2, 3)),
        '#EXT-X-KEY:METHOD=AES-128,URI="https://a.test/live/other"',
        *(f"https://a.test/live/{number}.ts?signed=5" for number in (4, 5)),
    ]
    assert "#EXT-X-KEY:METHOD=NONE" in shown([playlist(1, 3, one[0])], playlist(4, 5))


def test_byte_ranges_that_follow_one_another_are_left_alone() -> None:
    odd = playlist(1, 3)[0].replace("#EXTINF", "#EXT-X-BYTERANGE:5\n#EXTINF", 1), ADDRESS
    assert not FirstRead([odd], lambda: odd).is_possible
    assert FirstRead([playlist(1, 3)], lambda: odd).is_possible
