"""The metrics of the kernel: each is a row of `FAMILIES`; features add theirs by `Added`.

This module does not import `prometheus_client`, which takes 60 ms: `server.api.metrics` does, at the first
scrape.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from server import __version__
from server.core.codes import CODES, OF_THE_SERVER
from server.core.counts import Counts, Histogram
from server.core.task import Stage


@dataclass(frozen=True, slots=True)
class Scrape:
    """The values for one scrape: `counts` since the start, and the present state, `seen`, by name."""

    counts: Counts
    seen: Mapping[str, float]


Samples = Iterable[tuple[Sequence[str], float]]


@dataclass(frozen=True, slots=True)
class Family:
    """`name` is without a counter's `_total`. `read`, which runs in a thread, returns the values with their
    `labels`, or a histogram; None while the value is unknown.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    read: Callable[[Scrape], Samples | Histogram | None]
    labels: tuple[str, ...] = ()


def _seen(name: str, factor: float = 1.0) -> Callable[[Scrape], Samples | None]:
    def read(scrape: Scrape) -> Samples | None:
        return [((), scrape.seen[name] * factor)] if name in scrape.seen else None

    return read


def _counted(name: str) -> Callable[[Scrape], Samples]:
    return lambda scrape: [((), getattr(scrape.counts, name))]


def _outcomes(scrape: Scrape) -> Samples:
    """Start all outcomes at 0: for Prometheus a series that begins with 1 shows no increase."""
    outcomes = dict.fromkeys(_OUTCOMES, 0)
    for (ended, code, _), count in scrape.counts.ends.items():
        outcome = ended, f"{code[:6]}xx" if _HTTP_CODE.fullmatch(code) else code
        known = outcome if outcome in outcomes else (ended, "other")
        outcomes[known] = outcomes.get(known, 0) + count
    return outcomes.items()


def _answers(scrape: Scrape) -> Samples:
    statuses = dict.fromkeys(map(int, HTTPStatus), 0)
    for (_, _, status), count in scrape.counts.requests.items():
        statuses[status] = statuses.get(status, 0) + count
    return [((str(status),), count) for status, count in statuses.items()]


def _requests(scrape: Scrape) -> Samples:
    requests = sorted(scrape.counts.requests.items())
    return [((method, route, str(status)), count) for (method, route, status), count in requests]


_HTTP_CODE = re.compile(r"http_[1-9][0-9]{2}", re.ASCII)
_OUTCOMES = [
    ("completed", ""),
    ("cancelled", "cancelled"),
    *(
        ("failed", code)
        for code in sorted(CODES | OF_THE_SERVER | {"http_3xx", "http_4xx", "http_5xx", "other"})
        if code != "cancelled"
    ),
]
FAMILIES = (
    Family(
        "clipwire_build_info",
        "gauge",
        "The release that runs.",
        lambda _: [((__version__,), 1)],
        ("version",),
    ),
    Family(
        "clipwire_tasks",
        "gauge",
        "Tasks by stage, of all nodes.",
        lambda scrape: [((stage.value,), scrape.seen[f"tasks {stage.value}"]) for stage in Stage],
        ("stage",),
    ),
    Family("clipwire_sockets", "gauge", "Open WebSockets and event streams.", _seen("sockets")),
    Family("clipwire_fork_server_asleep", "gauge", "1 while it sleeps.", _seen("asleep")),
    Family("clipwire_disk_free_bytes", "gauge", "Free on the disk of the data.", _seen("free")),
    Family("clipwire_disk_floor_bytes", "gauge", "downloads.min_free_disk.", _seen("floor")),
    Family(
        "clipwire_yt_dlp_age_seconds",
        "gauge",
        "Since the release of the yt-dlp that runs.",
        _seen("days", 86_400),
    ),
    Family(
        "clipwire_task_outcomes",
        "counter",
        "Ends of tasks recorded here.",
        _outcomes,
        ("stage", "error_code"),
    ),
    Family("clipwire_answers", "counter", "Answers, of all routes.", _answers, ("status",)),
    Family(
        "clipwire_task_ends",
        "counter",
        "Ends of tasks recorded here.",
        lambda scrape: sorted(scrape.counts.ends.items()),
        ("stage", "error_code", "extractor"),
    ),
    Family("clipwire_requests", "counter", "Answers.", _requests, ("method", "route", "status")),
    Family("clipwire_child_starts", "counter", "Attempts that began here.", _counted("child_starts")),
    Family("clipwire_file_bytes", "counter", "Sizes of files made here.", _counted("file_bytes")),
    Family(
        "clipwire_downloaded_bytes",
        "counter",
        "What downloads here have fetched.",
        _counted("downloaded_bytes"),
    ),
    Family("clipwire_database_commits", "counter", "Transactions written here.", _counted("commits")),
    Family("clipwire_database_changes", "counter", "Changes in them.", _counted("changes")),
    Family(
        "clipwire_task_duration_seconds",
        "histogram",
        "From acceptance to the end.",
        lambda scrape: scrape.counts.durations,
    ),
    Family(
        "clipwire_queue_wait_seconds",
        "histogram",
        "From acceptance to the first attempt.",
        lambda scrape: scrape.counts.waits,
    ),
)
