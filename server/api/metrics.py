"""`GET /metrics`: this node's counts and present state, for Prometheus."""

import asyncio
import re
from itertools import accumulate
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from server.api.connections import CONNECTIONS
from server.api.keys import COUNTS, METRICS, READINESS, SEES, SETTINGS, TASKS, admins_alone
from server.api.metric_families import FAMILIES, Family, Scrape
from server.api.openapi.operation import Operation, Reply, header
from server.api.route import Access, get
from server.api.security import DOORS
from server.api.session import GATE
from server.core.counts import SECONDS, Histogram
from server.core.task import Stage
from server.tasks.readiness import Detail

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric


async def metrics(request: web.Request) -> web.Response:
    """Answer in the text format of Prometheus, or in OpenMetrics if the scraper prefers that. Any `Host` is
    allowed, as for `/healthz`.
    """
    gate = request.app[GATE]
    if gate.is_locked and not request.app[SETTINGS].metrics.public:
        await gate.admit(request, request.app[DOORS].client(request))
        admins_alone(request)
    stages = await request.app[TASKS].count()
    seen = {f"tasks {stage.value}": float(stages.get(stage, 0)) for stage in Stage}
    for check in await request.app[READINESS].checks():
        if isinstance(check.detail, Detail):
            if check.name == "fork_server":
                seen["asleep"] = float(check.detail.key == "asleep")
            for name in ("free", "floor", "days"):
                if name in check.detail.values:
                    seen[name] = float(str(check.detail.values[name]))
    for sees in request.app[SEES]:
        seen |= await sees()
    seen["sockets"] = float(request.app[CONNECTIONS].open_sockets)
    is_open = prefers_openmetrics(",".join(request.headers.getall(hdrs.ACCEPT, ())))
    scrape, families = Scrape(request.app[COUNTS], seen), (*FAMILIES, *request.app[METRICS])
    body, content_type = await asyncio.to_thread(_text, scrape, families, is_open=is_open)
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type, hdrs.VARY: hdrs.ACCEPT})


def prefers_openmetrics(accept: str) -> bool:
    """Whether `Accept` prefers OpenMetrics 1 to plain text (RFC 9110, section 12.5.1).

    `prometheus_client` ignores weights, and fails for a version that is no number.
    """
    openmetrics, text = 0.0, 0.0
    for part in accept.lower().split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        values = dict(each.partition("=")[::2] for each in parameters)
        weight = float(values.get("q", "1")) if _WEIGHT.fullmatch(values.get("q", "1")) else 0.0
        if name == "application/openmetrics-text" and values.get("version", "1").strip('"').startswith("1"):
            openmetrics = max(openmetrics, weight)
        elif name == "text/plain":
            text = max(text, weight)
    return openmetrics > 0 and openmetrics >= text


def _text(scrape: Scrape, families: "Iterable[Family]", *, is_open: bool) -> tuple[bytes, str]:
    """Return the text. Call it in a thread: the first call imports `prometheus_client`, which takes 60 ms."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
    from prometheus_client.openmetrics import exposition as openmetrics
    from prometheus_client.registry import Collector

    class FamilyCollector(Collector):
        def collect(self) -> "Iterator[Metric]":
            for family in families:
                name, found = family.name, family.read(scrape)
                if isinstance(found, Histogram):
                    bounds = (*map(str, SECONDS), "+Inf")
                    below = map(float, accumulate(found.counts))
                    yield HistogramMetricFamily(
                        name, family.text, list(zip(bounds, below, strict=True)), found.sum
                    )
                elif found is not None:
                    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
                    metric = kind(name, family.text, labels=family.labels)
                    for labels, value in found:
                        metric.add_metric(labels, value)
                    yield metric

    registry = CollectorRegistry(auto_describe=False)
    registry.register(FamilyCollector())
    if is_open:
        body: bytes = openmetrics.generate_latest(registry, version="1.0.0")  # type: ignore[no-untyped-call]
        return body, openmetrics.CONTENT_TYPE_LATEST
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


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
