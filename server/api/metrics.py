"""`GET /metrics`: what this node has counted and what it sees now, for Prometheus."""

import asyncio
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from server import __version__
from server.api.connections import CONNECTIONS
from server.api.keys import COUNTS, METRICS, READINESS, SETTINGS, TASKS
from server.api.openapi.operation import Operation, Reply, header
from server.api.route import Access, get
from server.api.security import DOORS
from server.api.session import GATE
from server.core.codes import CODES, OF_THE_SERVER
from server.core.counts import SECONDS, Counts
from server.core.task import Stage
from server.tasks.readiness import Said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prometheus_client import Metric


async def metrics(request: web.Request) -> web.Response:
    """Text of Prometheus, or of OpenMetrics for a scraper that asks for it. Any `Host`, as for `/healthz`."""
    gate = request.app[GATE]
    if gate.is_locked and not request.app[SETTINGS].metrics.public:
        await gate.admit(request, request.app[DOORS].client(request))
    stages = await request.app[TASKS].count()
    seen = {f"tasks {stage.value}": float(stages.get(stage, 0)) for stage in Stage}
    for check in await request.app[READINESS].checks():
        if isinstance(check.detail, Said):
            if check.name == "fork_server":
                seen["asleep"] = float(check.detail.key == "asleep")
            for name in ("free", "floor", "days"):
                if name in check.detail.values:
                    seen[name] = float(str(check.detail.values[name]))
    seen["sockets"] = float(request.app[CONNECTIONS].open_sockets)
    is_open = prefers_openmetrics(",".join(request.headers.getall(hdrs.ACCEPT, ())))
    others = request.app[METRICS]
    body, content_type = await asyncio.to_thread(_text, request.app[COUNTS], seen, others, is_open=is_open)
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type, hdrs.VARY: hdrs.ACCEPT})


def prefers_openmetrics(accept: str) -> bool:
    """Whether `Accept` prefers OpenMetrics 1 to plain text (RFC 9110, section 12.5.1).

    `prometheus_client` would pass over weights, and fail for a version that is no number.
    """
    openmetrics, text = 0.0, 0.0
    for part in accept.lower().split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        said = dict(each.partition("=")[::2] for each in parameters)
        weight = float(said.get("q", "1")) if _WEIGHT.fullmatch(said.get("q", "1")) else 0.0
        if name == "application/openmetrics-text" and said.get("version", "1").strip('"').startswith("1"):
            openmetrics = max(openmetrics, weight)
        elif name == "text/plain":
            text = max(text, weight)
    return openmetrics > 0 and openmetrics >= text


def _text(
    counts: Counts,
    seen: dict[str, float],
    others: "Sequence[Callable[[], Iterable[Metric]]]",
    *,
    is_open: bool,
) -> tuple[bytes, str]:
    """In a thread: the first call imports `prometheus_client`, which takes 60 ms. `others`: of features."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily as Counter
    from prometheus_client.core import GaugeMetricFamily as Gauge
    from prometheus_client.core import HistogramMetricFamily as Histogram
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
    from prometheus_client.openmetrics import exposition as openmetrics
    from prometheus_client.registry import Collector

    class Ours(Collector):
        def collect(self) -> "Iterator[Metric]":
            build = Gauge("clipwire_build_info", "The release that runs.", labels=["version"])
            build.add_metric([__version__], 1)
            yield build
            tasks = Gauge("clipwire_tasks", "Tasks by stage, of all nodes.", labels=["stage"])
            for stage in Stage:
                tasks.add_metric([stage.value], seen[f"tasks {stage.value}"])
            yield tasks
            yield Gauge("clipwire_sockets", "Open WebSockets and event streams.", seen["sockets"])
            if "asleep" in seen:
                yield Gauge("clipwire_fork_server_asleep", "1 while it sleeps.", seen["asleep"])
            if "free" in seen:
                free, floor = seen["free"], seen["floor"]
                yield Gauge("clipwire_disk_free_bytes", "Free on the disk of the data.", free)
                yield Gauge("clipwire_disk_floor_bytes", "downloads.min_free_disk.", floor)
            if "days" in seen:
                age = seen["days"] * 86_400
                yield Gauge("clipwire_yt_dlp_age_seconds", "Since the release of the yt-dlp that runs.", age)
            # Alerts and panels ask for these: a series that begins with 1 has no increase for them.
            outcomes = dict.fromkeys(_OUTCOMES, 0)
            for (ended, code, _), count in counts.ends.items():
                outcome = ended, f"{code[:6]}xx" if _HTTP_CODE.fullmatch(code) else code
                known = outcome if outcome in outcomes else (ended, "other")
                outcomes[known] = outcomes.get(known, 0) + count
            task_outcomes = Counter(
                "clipwire_task_outcomes", "Ends of tasks recorded here.", labels=["stage", "error_code"]
            )
            for outcome, count in outcomes.items():
                task_outcomes.add_metric(outcome, count)
            yield task_outcomes
            statuses = dict.fromkeys(map(int, HTTPStatus), 0)
            for (_, _, status), count in counts.requests.items():
                statuses[status] = statuses.get(status, 0) + count
            answers = Counter("clipwire_answers", "Answers, of all routes.", labels=["status"])
            for status, count in statuses.items():
                answers.add_metric([str(status)], count)
            yield answers
            labels = ["stage", "error_code", "extractor"]
            ends = Counter("clipwire_task_ends", "Ends of tasks recorded here.", labels=labels)
            for end, count in sorted(counts.ends.items()):
                ends.add_metric(end, count)
            yield ends
            requests = Counter("clipwire_requests", "Answers.", labels=["method", "route", "status"])
            for (method, route, status), count in sorted(counts.requests.items()):
                requests.add_metric([method, route, str(status)], count)
            yield requests
            for metrics in others:
                yield from metrics()
            yield Counter("clipwire_child_starts", "Attempts that began here.", counts.child_starts)
            yield Counter("clipwire_file_bytes", "Sizes of files made here.", counts.file_bytes)
            yield Counter(
                "clipwire_downloaded_bytes", "What downloads here have fetched.", counts.downloaded_bytes
            )
            yield Counter("clipwire_database_commits", "Transactions written here.", counts.commits)
            yield Counter("clipwire_database_changes", "Changes in them.", counts.changes)
            for name, text, measured in (
                ("clipwire_task_duration_seconds", "From acceptance to the end.", counts.durations),
                ("clipwire_queue_wait_seconds", "From acceptance to the first attempt.", counts.waits),
            ):
                below, buckets = 0, list[tuple[str, float]]()
                for bound, count in zip((*map(str, SECONDS), "+Inf"), measured.counts, strict=True):
                    below += count
                    buckets.append((bound, float(below)))
                yield Histogram(name, text, buckets, measured.sum)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Ours())
    if is_open:
        body: bytes = openmetrics.generate_latest(registry, version="1.0.0")  # type: ignore[no-untyped-call]
        return body, openmetrics.CONTENT_TYPE_LATEST
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


_OUTCOMES = [
    ("completed", ""),
    ("cancelled", "cancelled"),
    *(
        ("failed", code)
        for code in sorted(CODES | OF_THE_SERVER | {"http_3xx", "http_4xx", "http_5xx", "other"})
        if code != "cancelled"
    ),
]
_HTTP_CODE = re.compile(r"http_[1-9][0-9]{2}", re.ASCII)
_WEIGHT = re.compile(r"[01](\.[0-9]*)?", re.ASCII)
_TEXT = {"text/plain": {"type": "string"}}
ROUTES = [
    get(
        "/metrics",
        metrics,
        Operation(
            "metrics",
            "Service",
            "Metrics for Prometheus",
            {200: Reply("Text of Prometheus, or of OpenMetrics", _TEXT)},
            "Needs a token where tokens are set, unless `metrics.public`; any `Host`.",
            parameters=(header("Accept", "`application/openmetrics-text` for OpenMetrics"),),
        ),
        access=Access.PROBE,
    )
]
