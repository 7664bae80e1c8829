"""When the picture of a source is fetched: once, and again when it may have changed."""

import base64

import pytest
from pydantic import ValidationError

from server.subscriptions.source import (
    TRY_AGAIN_AFTER,
    PictureNote,
    SourcePicture,
    need_not_be_fetched,
    noted,
)

URL = "https://a.test/a.jpg?signature=1"
NOW = 1_800_000_000.0
JPEG = base64.b64encode(b"\xff\xd8\xff of a picture").decode()


def picture(url: str = URL, data: str | None = JPEG) -> SourcePicture:
    return SourcePicture.model_validate({"role": "picture", "url": url, "data": data})


@pytest.mark.parametrize(
    ("is_lost", "later", "expected"),
    [
        (False, 0.0, {"picture": "https://a.test/a.jpg"}),
        (False, TRY_AGAIN_AFTER, {"picture": URL}),
        (True, 0.0, {"picture": "https://a.test/a.jpg"}),
        (True, TRY_AGAIN_AFTER, {}),
        (True, -1.0, {}),  # the time was stored by a clock that was ahead
    ],
)
def test_what_is_lost_is_tried_again_after_a_day_and_another_signature_counts_then(
    is_lost: bool, later: float, expected: dict[str, str]
) -> None:
    notes = {"picture": PictureNote(url=URL, tried_at=NOW, is_lost=is_lost)}
    assert need_not_be_fetched(notes, NOW + later) == expected  # type: ignore[arg-type]


def test_a_picture_that_is_lost_leaves_the_one_before() -> None:
    first = noted({}, [picture()], NOW)
    assert first["picture"].tag
    for lost in (picture("https://a.test/b.jpg", None), picture(data=base64.b64encode(b"<svg/>").decode())):
        after = noted(first, [lost], NOW + 1)["picture"]
        assert (after.tag, after.is_lost, after.url) == (first["picture"].tag, True, lost.url)
    assert noted(first, [], NOW + 1) == first


@pytest.mark.parametrize(
    "odd",
    [
        {"role": "poster"},
        {"url": "file:///etc/passwd"},
        {"data": base64.b64encode(bytes(5 << 20)).decode()},
    ],
)
def test_what_a_child_may_not_say_of_a_picture_is_refused(odd: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        SourcePicture.model_validate({"role": "picture", "url": URL, "data": JPEG} | odd)
