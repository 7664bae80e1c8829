"""Errors as answers: problem details (RFC 9457), in the reader's language."""

from aiohttp import web
from pydantic import Field

from server.api.bodies import docs_path, encoded, language
from server.api.payload import Answer
from server.core.errors import AppError, InvalidOpml, InvalidRequest, NotStreamable, SourceRefused
from server.core.request_ids import REQUEST_ID
from server.locales import LANGUAGES


class WrongField(Answer):
    field: str = Field(description="`outputs.0`: the first element of `outputs`; empty: the body itself")
    message: str


class Problem(Answer):
    """An error (RFC 9457). Texts are in the reader's language and may change, codes may not."""

    type: str = Field(
        description="leads to the explanation of `code`", json_schema_extra={"format": "uri-reference"}
    )
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    code: str
    request_id: str = Field(description="`X-Request-Id` of this response")
    errors: list[WrongField] | None = Field(
        None, description="`invalid_request`: what is wrong, of elements and unknown fields the first 20"
    )
    subscription_id: str | None = Field(
        None, description="`subscribed`, `feed_name_taken`: the id of the other one"
    )
    reason: str | None = Field(None, description="`not_streamable`: why")
    line: int | None = Field(None, description="`invalid_cookies`, `invalid_opml`: the number of the line")
    id: str | None = Field(None, description="`internal`: stands in the log beside the cause")
    error_code: str | None = Field(None, description="`source_refused`: what a task would have ended with")
    limit: str | None = Field(None, description="`over_limit`: the name of the limit")
    most: int | None = Field(None, description="`over_limit`: what it allows")
    used: int | None = Field(None, description="`over_limit`: what of it is used")
    retry_after: int | None = Field(
        None, description="`over_limit`: seconds until some of it is free again, where that is known"
    )
    ways: list[str] | None = Field(
        None, description="`token_required`, where people were added: how one can log in to the page"
    )
    error: str | None = Field(None, description="`source_refused`: the cause in one short sentence")
    hint: str | None = Field(None, description="`source_refused`: what the reader can do about it")


def problem(request: web.Request, error: AppError) -> web.Response:
    """The response for `error`."""
    chosen = language(request)
    body = encoded(problem_of(request, error, chosen))
    response = web.Response(body=body, status=error.status, content_type="application/problem+json")
    response.headers.update(error.headers)
    response.headers["Content-Language"] = chosen
    response.headers["Vary"] = "Accept-Language"
    return response


def problem_of(request: web.Request, error: AppError, chosen: str) -> Problem:
    """Return `error` as a problem in the language `chosen`; codes are stable, texts are not."""
    words = LANGUAGES[chosen]
    values, of_kind = error.values, dict[str, object]()
    match error:
        case InvalidOpml():
            values = {**values, "cause": words.opml(error.cause, error.of_cause)}
        case InvalidRequest(wrong=wrong):
            of_kind = {
                "errors": [{"field": name, "message": words.field(key, ctx)} for name, key, ctx in wrong]
            }
        case NotStreamable(reason=reason):
            of_kind = {"hint": words.no_stream(reason)}
        case SourceRefused(error_code=code, hint=better, cookies=cookies):
            hint = words.hint(better or code, cookies)
            of_kind = {"error_code": code, "error": words.error(code), "hint": hint or None}
    title, detail = words.problem(error.code, values)
    return Problem.model_validate(
        {
            "type": f"{docs_path(request)}#{error.code}",
            "title": title,
            "status": int(error.status),
            "detail": detail,
            "code": error.code,
            "request_id": REQUEST_ID.get(),
            **error.extra,
            **of_kind,
        }
    )
