"""Conditional requests: clients say what they have already."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from server.api.bodies import allows_part, client_has, http_date

DAY = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
ABSURD = [
    "",
    "0",
    "nonsense",
    "Sun, 06 Nov 10000 08:49:37 GMT",
    "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
    "Sun, 06 Nov -1 08:49:37 GMT",
    "Sun, 06 Nov 0000 08:49:37 GMT",
    "Sun, 99 Nov 1994 08:49:37 GMT",
    "Sun, 31 Feb 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 99:99:99 GMT",
    "Sun, 06 Nov 1994 08:49:37 +99999999999999999999",
    "Sun, 06 Nov 1994",
    ", , , , ,",
    "9" * 5000,
]


def asking(*headers: tuple[str, str]) -> web.Request:
    return make_mocked_request("GET", "/", CIMultiDict(headers), app=Mock())


@pytest.mark.parametrize("text", [DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])
def test_a_date_has_three_forms(text: str) -> None:
    assert http_date(text) == DAY


@pytest.mark.parametrize("text", ABSURD)
def test_what_is_no_date_is_passed_over(text: str) -> None:
    """Python's own parsers raise unexpected errors for some of these texts."""
    assert http_date(text) is None
    assert not client_has(asking(("If-Modified-Since", text)), '"e"', DAY)
    if text:
        assert not allows_part(asking(("If-Range", text)), '"e"', DAY)


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_date_that_can_be_written_is_read(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    assert http_date(format_datetime(moment, usegmt=True)) == moment


@pytest.mark.wide
@given(st.text(st.characters(max_codepoint=255)))
def test_no_text_does_harm(text: str) -> None:
    http_date(text)
    for name in ("If-None-Match", "If-Modified-Since", "If-Range"):
        client_has(asking((name, text)), '"e"', DAY)
        allows_part(asking((name, text)), '"e"', DAY)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], False),
        ([("If-None-Match", '"e"')], True),
        ([("If-None-Match", 'W/"e"')], True),
        ([("If-None-Match", '"a",W/"e" , "b"')], True),
        ([("If-None-Match", '"a"'), ("If-None-Match", '"e"')], True),
        ([("If-None-Match", "*")], True),
        ([("If-None-Match", "e")], False),
        ([("If-None-Match", "")], False),
        ([("If-None-Match", ',"",W/,"""')], False),
        ([("If-None-Match", '"a"'), ("If-Modified-Since", DATE)], False),
        ([("If-Modified-Since", DATE)], True),
        ([("If-Modified-Since", format_datetime(DAY - timedelta(seconds=1), usegmt=True))], False),
        ([("If-Modified-Since", format_datetime(DAY + timedelta(days=1), usegmt=True))], True),
    ],
)
def test_who_has_it(headers: list[tuple[str, str]], expected: bool) -> None:
    assert client_has(asking(*headers), '"e"', DAY) is expected
    assert not client_has(asking(("If-Modified-Since", DATE)), '"e"'), (
        "without a date there is none to compare"
    )


@pytest.mark.parametrize(
    ("header", "expected"),
    [('"e"', True), (DATE, True), ('W/"e"', False), ('"a"', False), ("Sun, 06 Nov 1994 08:49:38 GMT", False)],
)
def test_who_has_a_part_of_it(header: str, expected: bool) -> None:
    assert allows_part(asking(), '"e"', DAY)
    assert allows_part(asking(("If-Range", header)), '"e"', DAY) is expected
