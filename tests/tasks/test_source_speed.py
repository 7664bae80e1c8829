"""When a source sends so slowly that its download is given up."""

from server.tasks.runner import LEAST_BYTES, SLOW_FOR, SourceSpeed


def is_given_up(bytes_per_second: float, share: int | None = None, hours: int = 10) -> bool:
    speed = SourceSpeed(0)
    return any(
        speed.is_too_slow(int(now * bytes_per_second), share, float(now)) for now in range(0, hours * 3600, 2)
    )


def test_a_source_that_drips_is_given_up() -> None:
    assert is_given_up(0.5)
    assert is_given_up(0.9 * LEAST_BYTES / SLOW_FOR)


def test_a_slow_source_is_waited_for() -> None:
    assert not is_given_up(1.1 * LEAST_BYTES / SLOW_FOR)


def test_a_source_that_begins_to_drip_later_is_given_up_ten_minutes_after() -> None:
    speed = SourceSpeed(0)
    assert not any(speed.is_too_slow(now * 100_000, None, now) for now in range(1000))
    given_up = next(now for now in range(1000, 3000) if speed.is_too_slow(99_900_000 + now, None, now))
    assert given_up == 999 + SLOW_FOR


def test_what_begins_anew_may_have_less_than_before() -> None:
    speed = SourceSpeed(0)
    assert not speed.is_too_slow(50_000_000, None, 1)
    assert not any(speed.is_too_slow(now * 200, None, 2 + now) for now in range(2000))


def test_what_the_operator_allows_is_no_fault_of_the_source() -> None:
    assert not is_given_up(10, share=10)
