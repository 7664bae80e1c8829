"""Which extractors are tried for a link: only some, and yet the one that all of yt-dlp would find."""

import gc
import re
from collections.abc import Iterator
from itertools import islice

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yt_dlp.utils import variadic

from server.child.extract import extractors, plugins
from tests.lasting import some_of


def _patterns() -> Iterator[str]:
    for kind in extractors.enabled().values():
        yield from variadic(kind._VALID_URL or ())


def _links() -> list[tuple[str, str]]:
    """Return the links in yt-dlp's own tests, with the names of the extractors that have them."""
    return [
        (name, test["url"])
        for name, kind in extractors.enabled().items()
        for test in kind.real_class.get_testcases(include_onlymatching=True)
    ]


def _knows(link: str) -> list[str]:
    known = extractors.enabled()
    return [name for name in extractors.find_candidates(link) if known[name].suitable(link)]


@pytest.mark.wide
def test_each_extractor_is_asked_of_the_links_of_its_own_tests() -> None:
    known = extractors.enabled()
    links = [(name, link) for name, link in _links() if known[name].suitable(link)]
    assert len(links) > 5000
    assert [(name, link) for name, link in links if name not in extractors.find_candidates(link)] == []


@pytest.mark.wide
def test_reading_the_patterns_leaves_no_garbage_which_the_fork_server_would_keep() -> None:
    # The first reading of yt-dlp's list leaves some garbage of its own.
    patterns = list(islice(_patterns(), 200))
    gc.collect()
    gc.disable()
    try:
        for pattern in patterns:
            extractors.required_texts(pattern)
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.long
def test_no_other_extractor_knows_a_link() -> None:
    everyone = extractors.enabled().items()
    for _, link in some_of(_links()):
        assert _knows(link) == [name for name, kind in everyone if kind.suitable(link)], link


@pytest.mark.long
def test_what_a_pattern_matches_has_what_it_is_said_to_have() -> None:
    thorough = settings(max_examples=3, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    for pattern in some_of(list(_patterns())):

        @thorough
        @given(st.from_regex(re.compile(pattern, re.ASCII), alphabet=st.characters(max_codepoint=127)))
        def look(link: str) -> None:
            texts = extractors.required_texts(pattern)  # noqa: B023  it is called below
            assert not texts or any(text in link.lower() for text in texts), pattern  # noqa: B023

        if extractors.required_texts(pattern):
            look()


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        (r"https?://(?:www\.)?film\.test/(?P<id>\d+)", ("film.test/",)),
        (r"https?://(?:one\.test|two\.(?:test|example))/\d+", ("one.test", "two.")),
        (r"https?://(?:one\.test|\w+\.x)/\d+", ()),
        (r"https?://film\.test/\d+|:films", ("://film.test/", ":films")),
        (r"https?://film\.test/\d+|\d+", ()),
        (r"(?i)https?://FILM\.test", ("://film.test",)),
        (r"(?:film\.test)?/[^/]+", ()),
        (r"(?:film\.test)*?/[^/]+", ()),
        (r"(?:film\.test){0,2}/[^/]+", ()),
        (r"(?:film\.test)+/[^/]+", ("film.test",)),
        (r"films?\.test", (".test",)),
        (r"film{1,2}s\.test", ("s.test",)),
        (r"film+?\.test", (".test",)),
        (r"(?!film\.test)(?<=other)(?=third)[a-z]+", ()),
        (r"(a)?(?(1)film\.test|other\.test)", ()),
        (r"film[\]).(|]test", ("film",)),
        (r"f\x69lm\u0020\d\.\101abcde", ("abcde",)),
        (r"\(film\)\.test", (".test",)),
        ("(?x)  https?:// film \\. test  # a (comment [with | what\n /", ("://film.test/",)),
        ("(?x)film[ #]other", ("other",)),
        (r"(?x:film\.test)", ()),
        (r"fílm\.test", ()),
        (r".*", ()),
    ],
)
def test_each_match_of_a_pattern_has_what_is_derived_from_it(pattern: str, texts: tuple[str, ...]) -> None:
    re.compile(pattern)
    assert extractors.required_texts(pattern) == texts


def test_a_link_with_other_letters_is_asked_of_all() -> None:
    assert list(extractors.find_candidates("https://ſoundcloud.com/a")) == list(extractors.enabled())


def test_a_link_is_tried_with_few_extractors() -> None:
    """Each extractor that is tried costs a child the pages of memory in which it lies."""
    assert len(list(extractors.find_candidates("http://films.test/1mb.mp4"))) < 150
    assert len(list(extractors.find_candidates(extractors.TYPICAL))) < 150


def test_plugins_are_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "extractors", {"Own": None, "Vimeo": None})
    asked = list(extractors.find_candidates("https://vimeo.com/1"))
    assert asked[:2] == ["Own", "Vimeo"]
    assert asked.count("Vimeo") == 1
