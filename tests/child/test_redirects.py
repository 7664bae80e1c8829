"""The new address of a source, by the redirects that a check has followed."""

import pytest

from server.child.network.redirects import Redirect, follow_permanent


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], "http://a.test/"),
        ([("http://a.test/", 301, "http://b.test/")], "http://b.test/"),
        ([("http://a.test/", 308, "https://a.test/")], "https://a.test/"),
        ([("http://a.test/", 302, "http://b.test/"), ("http://b.test/", 301, "http://c.test/")], "http://a.test/"),
        ([("http://a.test/", 301, "http://b.test/"), ("http://b.test/", 307, "http://c.test/")], "http://b.test/"),
        ([("http://a.test/", 301, "https://b.test/"), ("https://b.test/", 301, "http://c.test/")], "https://b.test/"),
        ([("http://a.test/", 301, "http://user:secret@b.test/")], "http://a.test/"),
        ([("http://x.test/", 301, "http://b.test/")], "http://a.test/"),
        ([("http://a.test/", 301, "http://b.test/"), ("http://b.test/", 301, "http://a.test/")], "http://a.test/"),
    ],
)  # fmt: skip
def test_a_link_has_moved_as_far_as_its_redirects_last(steps: list[Redirect], expected: str) -> None:
    assert follow_permanent("http://a.test/", steps) == expected
