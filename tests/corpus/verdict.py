"""The verdict on a source: whether Clipwire's result is as good as that of the command line."""

from dataclasses import dataclass
from enum import Enum

from tests.corpus.films import Film
from tests.corpus.sources import Source

_PICTURES = 0.98  # part of the pictures that is enough: containers differ in how they count the last one
_SPARE = 1
_OF_A_BROADCAST = 0.6
_SECONDS = 0.15


class Verdict(Enum):
    WORSE = "worse"
    AS_WELL = "as well"
    BETTER = "better"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a program: a film, or the reason why there is none, which is a code of ours or yt-dlp's
    words.

    `aside` is the sound that was requested besides. A program that `crashed` says nothing about its source.
    """

    film: Film | None
    reason: str = ""
    aside: Film | None = None
    crashed: bool = False

    def __str__(self) -> str:
        return str(self.film) if self.film else self.reason


def judge(source: Source, theirs: Outcome, ours: Outcome) -> Verdict:
    """Compare two results. An error is worse than the film, and better than a film with a hole or one that
    does not decode.
    """
    good, they_are_good = _is_good(source, ours), _is_good(source, theirs)
    if ours.film is None:
        if they_are_good or source.code not in (None, ours.reason):
            return Verdict.WORSE
        return Verdict.BETTER if theirs.film else _both_failed(source, theirs, ours)
    if not _has_its_sound(ours):
        return Verdict.WORSE
    if theirs.film is None or (good != they_are_good and not source.live):
        return Verdict.BETTER if good else Verdict.WORSE
    return _compare(source, ours.film, theirs.film)


def _both_failed(source: Source, theirs: Outcome, ours: Outcome) -> Verdict:
    return Verdict.AS_WELL if theirs.crashed or ours.reason == source.code else Verdict.WORSE


def _is_good(source: Source, outcome: Outcome) -> bool:
    """Return whether the film is that of the source: all of it, and no more."""
    film = outcome.film
    if film is None or film.complaints or not (source.pictures or source.sound):
        return False
    pictures, sound = source.pictures, source.sound
    return (
        _PICTURES * pictures <= film.pictures <= 2 * pictures - _PICTURES * pictures + _SPARE
        and sound - _SECONDS <= film.sound <= sound + 2 * _SECONDS
    )


def _has_its_sound(ours: Outcome) -> bool:
    """Return whether the sound that was requested besides is as long as the film."""
    has = ours.aside.sound if ours.aside and not ours.aside.complaints else 0.0
    return ours.film is None or has >= ours.film.sound - _SECONDS


def _compare(source: Source, ours: Film, theirs: Film) -> Verdict:
    """Compare two results that are both good, or both not. The places where a broadcast is joined are a
    matter of chance.
    """
    enough = _OF_A_BROADCAST if source.live else 1.0
    if (ours.complaints and not theirs.complaints) or theirs.streams["subtitle"] > ours.streams["subtitle"]:
        return Verdict.WORSE
    if ours.pictures < enough * _PICTURES * theirs.pictures or ours.sound < enough * theirs.sound - _SECONDS:
        return Verdict.WORSE
    if ours.size != theirs.size:
        return Verdict.BETTER if ours.size > theirs.size else Verdict.WORSE
    return Verdict.BETTER if theirs.complaints and not ours.complaints else Verdict.AS_WELL
