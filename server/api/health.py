"""`/healthz` and `/readyz`: liveness and readiness, for operators and load balancers."""

from http import HTTPStatus

from aiohttp import hdrs, web

from server.api.bodies import language, respond_answer
from server.api.health_schemas import CheckReport, Health, ReadinessReport
from server.api.keys import READINESS, TASKS
from server.api.openapi.operation import JSON, READER, Operation, Reply
from server.api.route import Access, get
from server.core.errors import InternalError
from server.locales import LANGUAGES
from server.tasks.readiness import Check, Detail


async def healthz(request: web.Request) -> web.Response:
    """Liveness: the process answers; nothing else is checked."""
    return respond_answer(Health(status="ok"))


async def readyz(request: web.Request) -> web.Response:
    """Readiness: one entry for each check; 503 only if a needed one has failed."""
    checks = await request.app[READINESS].checks()
    if request.app[TASKS].is_draining:
        checks = [*checks, Check("stopping", ok=False, detail=Detail("stopping"))]
    ready = all(check.ok for check in checks if check.needed)
    chosen = language(request)
    words = LANGUAGES[chosen]
    entries = {check.name: CheckReport.model_validate(check.entry(words)) for check in checks}
    report = ReadinessReport(status="ready" if ready else "not ready", checks=entries)
    response = respond_answer(report, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)
    response.headers[hdrs.CONTENT_LANGUAGE] = chosen
    response.headers[hdrs.VARY] = hdrs.ACCEPT_LANGUAGE
    return response


ROUTES = [
    get(
        "/healthz",
        healthz,
        Operation(
            "healthz",
            "Service",
            "The process answers",
            {200: Reply("Alive", {JSON: Health})},
            always=(InternalError,),
        ),
        access=Access.PROBE,
    ),
    get(
        "/readyz",
        readyz,
        Operation(
            "readyz",
            "Service",
            "Whether everything needed is there",
            {
                200: Reply("Ready", {JSON: ReadinessReport}),
                503: Reply("Something needed is missing", {JSON: ReadinessReport}),
            },
            parameters=READER,
        ),
    ),
]
