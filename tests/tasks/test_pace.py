"""When a source sends so little that it is not waited for."""

from server.tasks.next_attempt import LEAST, WINDOW, Pace


def is_given_up(bytes_per_second: float, share: int | None = None, hours: int = 10) -> bool:
    pace = Pace(0)
    return any(
        pace.is_too_slow(int(now * bytes_per_second), share, float(now)) for now in range(0, hours * 3600, 2)
    )


def test_a_source_that_drips_is_given_up() -> None:
    assert is_given_up(0.5)
    assert is_given_up(0.9 * LEAST / WINDOW)


def test_a_slow_source_is_waited_for() -> None:
    assert not is_given_up(1.1 * LEAST / WINDOW)


def test_a_source_that_begins_to_drip_later_is_given_up_ten_minutes_after() -> None:
    pace = Pace(0)
    assert not any(pace.is_too_slow(now * 100_000, None, now) for now in range(1000))
    given_up = next(now for now in range(1000, 3000) if pace.is_too_slow(99_900_000 + now, None, now))
    assert given_up == 999 + WINDOW


def test_what_begins_anew_may_have_less_than_before() -> None:
    pace = Pace(0)
    assert not pace.is_too_slow(50_000_000, None, 1)
    assert not any(pace.is_too_slow(now * 200, None, 2 + now) for now in range(2000))


def test_what_the_operator_allows_is_no_fault_of_the_source() -> None:
    assert not is_given_up(10, share=10)
