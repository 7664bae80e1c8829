"""Errors as problem details (RFC 9457), in the reader's language."""

from aiohttp import web

from server.api.bodies import docs_path, language, respond_json
from server.api.request_id import request_id
from server.core.errors import AppError, InvalidRequest, NotStreamable, SourceRefused
from server.locales import LANGUAGES, Catalogue


def problem(request: web.Request, error: AppError) -> web.Response:
    """The response for `error`."""
    chosen = language(request)
    response = respond_json(problem_body(request, error, chosen), error.status, "application/problem+json")
    response.headers.update(error.headers)
    response.headers["Content-Language"] = chosen
    response.headers["Vary"] = "Accept-Language"
    return response


def problem_body(request: web.Request, error: AppError, chosen: str) -> dict[str, object]:
    """The JSON object for `error`, in the language `chosen`; codes are stable, texts are not."""
    words = LANGUAGES[chosen]
    title, detail = words.problem(error.code, error.values)
    body: dict[str, object] = {
        "type": f"{docs_path(request)}#{error.code}",
        "title": title,
        "status": int(error.status),
        "detail": detail,
        "code": error.code,
        "request_id": request_id(request),
    }
    return body | error.extra | _members(error, words)


def _members(error: AppError, words: Catalogue) -> dict[str, object]:
    """The extra members of some errors."""
    match error:
        case InvalidRequest(wrong=wrong):
            return {"errors": [{"field": name, "message": words.field(key, ctx)} for name, key, ctx in wrong]}
        case NotStreamable(reason=reason):
            return {"hint": words.no_stream(reason)}
        case SourceRefused(error_code=code, hint=better, cookies=cookies):
            hint = words.hint(better or code, cookies)
            told = {"error_code": code, "error": words.error(code), "hint": hint}
            return {name: value for name, value in told.items() if value}
    return {}
