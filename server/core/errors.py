"""Every error that a response can be, with its stable `code`.

The texts are in `locales/*.toml` under `[problem.<code>]`. The failure of a *task* is not one of these: it is
the `error_code` of a status, with its text under `[failure.<code>]`.

AppError
├── Unreadable               400  the request is not HTTP
│   ├── TargetTooLong        414
│   ├── HeadTooLarge         431
│   └── VersionNotSupported  505  HTTP/2 and others
├── AmbiguousHeader          400  it was sent twice, with different values
├── NotJson                  400  the body is not JSON
├── TokenRequired            401  tokens are set and none was sent, or a wrong one
├── OriginForbidden          403  the request comes from a page of another site
├── HostForbidden            403  the Host header names another host
├── AdminOnly                403  only admins may do this
├── WrongPassword            403  the old password is another one
├── TaskNotFound             404
├── FileNotFound             404  no file of a task has this name
├── DeliveryNotFound         404  nothing is to be delivered to a webhook under this id
├── ThumbnailNotFound        404  the task has none, or none yet
├── RemedyNotFound           404  no remedy has this name
├── CookiesNotFound          404  no cookie file has this name
├── SubscriptionNotFound     404  no subscription has this id
├── ItemNotFound             404  the subscription has no item with this key
├── FeedNotFound             404  no feed has this address
├── PictureNotFound          404  the source has none, or none yet
├── MediaNotFound            404  what is at the link was never fetched
├── PersonNotFound           404  nobody has this name
├── PersonTokenNotFound      404  the person has no token with this label
├── LogInNotFound            404  the person has no log-in with this id
├── LinkNotFound             404  no link to a file has this id or address
├── NotFound                 404  no such route
├── MethodNotAllowed         405
├── BodyTooSlow              408  the body did not arrive in time
├── TaskAlreadyFinal         409  the task has ended
├── WrongStage               409  the task's stage does not allow the action
├── QueuePaused              409  nothing begins before the queue is resumed
├── NoRoom                   409  nothing begins while the disk has so little room
├── TooManyRunning           409  no more downloads can be started beyond the limit
├── AlreadySubscribed        409  another subscription wants the same of the same source
├── FeedNameTaken            409  another subscription's feed has this name
├── TooManySubscriptions     409  there are as many as subscriptions.max allows
├── TooManyCookies           409  as many cookie files are stored as may be
├── WrongState               409  the item's state does not allow the action
├── NoFiles                  409  the task has no files, or none any more
├── NoLibrary                409  neither the task nor the request says where in the library
├── LibraryIsBusy            409  another action on the whole library is under way
├── PersonExists             409  somebody has this name, or is being removed
├── LabelTaken               409  another token of the person has this label
├── TooManyTokens            409  the person has as many tokens as one may have
├── LastAdmin                409  nobody would be left who could change people
├── NotStreamable            409  nothing of the task can be played now; says why
├── TooManyLinks             409  as many links to files of the task are open as may be
├── RemedyNotOffered         409  the remedy does not fit the task's failure
├── LinkGone                 410  the link to a file has expired, or was revoked
├── PreconditionFailed       412  the client wants another version of the file
├── BodyTooLarge             413
├── NotJsonType              415  Content-Type is not application/json
├── NotTextType              415  Content-Type is not that of the text which is expected
├── EncodingUnknown          415  the body has a Content-Encoding that this server cannot decode
├── RangeNotSatisfiable      416
├── InvalidRequest           422  well-formed and wrong; names the fields
├── InvalidQuery             422  a query parameter or a header is invalid; names it
├── InvalidCookies           422  the body is not a cookie file; names the line
├── InvalidOpml              422  the body is not a list of subscriptions
├── NoCookies                422  the cookie file contains no cookies
├── IdempotencyMismatch      422  the key was used with another request
├── UpgradeRequired          426  a plain request on a WebSocket path
├── TooManyRequests          429
├── OverLimit                429  a person has used up a limit of theirs; names it
├── InternalError            500
├── MethodUnknown            501  no route has such a method
├── TransferCodingUnknown    501
├── SourceRefused            502  POST /api/info: the source could not be read
├── ShuttingDown             503
├── QueueFull                503
├── StorageAway              503  the bucket of finished files does not answer
├── ServerBusy               503  others' large bodies are being worked on
├── LibraryIsAway            503  the library's folder is not there
├── WorkerSilent             503  the worker that runs the task does not answer
└── StoreUnavailable              the store cannot be read or written, for a reason outside this program
    ├── DatabaseBusy         503  another program locks the database
    ├── DatabaseAway         503  the database does not answer
    ├── StorageFailed        503  a faulty or read-only disk
    └── DiskFull             507
"""

from collections.abc import Iterable, Sequence
from errno import EDQUOT, ENOSPC
from http import HTTPStatus
from typing import ClassVar


class AppError(Exception):
    """An error response. `values` fill the placeholders of its text; `extra` becomes members of the body."""

    status: ClassVar[HTTPStatus]
    code: ClassVar[str]

    def __init__(
        self,
        *,
        headers: dict[str, str] | None = None,
        extra: dict[str, object] | None = None,
        **values: object,
    ) -> None:
        super().__init__(f"{self.code} {values}" if values else self.code)
        self.values = values
        self.headers = headers or {}
        self.extra = extra or {}


class Unreadable(AppError):
    """The bytes that came are no HTTP/1 request, so neither its host nor its token is known."""

    status, code = HTTPStatus.BAD_REQUEST, "unreadable"


class TargetTooLong(Unreadable):
    status, code = HTTPStatus.REQUEST_URI_TOO_LONG, "target_too_long"


class HeadTooLarge(Unreadable):
    status, code = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large"


class VersionNotSupported(Unreadable):
    status, code = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "version_not_supported"


class NotJson(AppError):
    status, code = HTTPStatus.BAD_REQUEST, "not_json"


class AmbiguousHeader(AppError):
    status, code = HTTPStatus.BAD_REQUEST, "ambiguous_header"

    def __init__(self, name: str) -> None:
        super().__init__(name=name)


class TokenRequired(AppError):
    """`ways`: how people can log in to the page, if people were added."""

    status, code = HTTPStatus.UNAUTHORIZED, "token_required"

    def __init__(self, ways: Sequence[str] = ()) -> None:
        super().__init__(
            headers={"WWW-Authenticate": 'Bearer realm="clipwire"'}, extra={"ways": [*ways]} if ways else None
        )


class OriginForbidden(AppError):
    status, code = HTTPStatus.FORBIDDEN, "origin_forbidden"


class HostForbidden(AppError):
    status, code = HTTPStatus.FORBIDDEN, "host_forbidden"


class AdminOnly(AppError):
    status, code = HTTPStatus.FORBIDDEN, "admin_only"


class WrongPassword(AppError):
    status, code = HTTPStatus.FORBIDDEN, "wrong_password"


class TaskNotFound(AppError):
    status, code = HTTPStatus.NOT_FOUND, "task_not_found"


class FileNotFound(AppError):
    status, code = HTTPStatus.NOT_FOUND, "file_not_found"


class DeliveryNotFound(AppError):
    status, code = HTTPStatus.NOT_FOUND, "delivery_not_found"


class ThumbnailNotFound(AppError):
    status, code = HTTPStatus.NOT_FOUND, "thumbnail_not_found"


class PictureNotFound(AppError):
    status, code = HTTPStatus.NOT_FOUND, "picture_not_found"


class CookiesNotFound(AppError):
    status, code = HTTPStatus.NOT_FOUND, "cookies_not_found"


class SubscriptionNotFound(AppError):
    status, code = HTTPStatus.NOT_FOUND, "subscription_not_found"


class ItemNotFound(AppError):
    status, code = HTTPStatus.NOT_FOUND, "item_not_found"


class FeedNotFound(AppError):
    """Also raised for a wrong secret, so that nobody learns which addresses exist."""

    status, code = HTTPStatus.NOT_FOUND, "feed_not_found"


class AlreadySubscribed(AppError):
    """Another subscription wants the same of this source; `subscription_id` is its id."""

    status, code = HTTPStatus.CONFLICT, "subscribed"

    def __init__(self, subscription_id: str) -> None:
        super().__init__(extra={"subscription_id": subscription_id})


class FeedNameTaken(AppError):
    """`subscription_id` is that of the subscription whose feed has the name."""

    status, code = HTTPStatus.CONFLICT, "feed_name_taken"

    def __init__(self, subscription_id: str) -> None:
        super().__init__(extra={"subscription_id": subscription_id})


class TooManySubscriptions(AppError):
    status, code = HTTPStatus.CONFLICT, "too_many_subscriptions"

    def __init__(self, most: int) -> None:
        super().__init__(most=most)


class TooManyCookies(AppError):
    status, code = HTTPStatus.CONFLICT, "too_many_cookies"

    def __init__(self, most: int) -> None:
        super().__init__(most=most)


class WrongState(AppError):
    status, code = HTTPStatus.CONFLICT, "wrong_state"

    def __init__(self, state: str) -> None:
        super().__init__(state=state)


class NoFiles(AppError):
    status, code = HTTPStatus.CONFLICT, "no_files"


class NoLibrary(AppError):
    status, code = HTTPStatus.CONFLICT, "no_library"


class LibraryIsBusy(AppError):
    status, code = HTTPStatus.CONFLICT, "library_busy"


class InvalidOpml(AppError):
    """`cause` is a key of the catalogues' `[opml]`, whose placeholders are filled from `of_cause`."""

    status, code = HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_opml"

    def __init__(self, cause: str, line: int, **of_cause: object) -> None:
        super().__init__(line=line, cause=cause, extra={"line": line})
        self.cause = cause
        self.of_cause = of_cause


class MediaNotFound(AppError):
    status, code = HTTPStatus.NOT_FOUND, "media_not_found"


class PersonNotFound(AppError):
    status, code = HTTPStatus.NOT_FOUND, "person_not_found"


class PersonTokenNotFound(AppError):
    status, code = HTTPStatus.NOT_FOUND, "person_token_not_found"


class LogInNotFound(AppError):
    status, code = HTTPStatus.NOT_FOUND, "log_in_not_found"


class PersonExists(AppError):
    status, code = HTTPStatus.CONFLICT, "person_exists"

    def __init__(self, name: str) -> None:
        super().__init__(name=name)


class LabelTaken(AppError):
    status, code = HTTPStatus.CONFLICT, "label_taken"

    def __init__(self, label: str) -> None:
        super().__init__(label=label)


class TooManyTokens(AppError):
    status, code = HTTPStatus.CONFLICT, "too_many_tokens"

    def __init__(self, most: int) -> None:
        super().__init__(most=most)


class LinkNotFound(AppError):
    status, code = HTTPStatus.NOT_FOUND, "link_not_found"


class LinkGone(AppError):
    """A link to a file has expired or was revoked; also raised if its file is deleted."""

    status, code = HTTPStatus.GONE, "link_gone"


class TooManyLinks(AppError):
    status, code = HTTPStatus.CONFLICT, "too_many_links"

    def __init__(self, most: int) -> None:
        super().__init__(most=most)


class LastAdmin(AppError):
    status, code = HTTPStatus.CONFLICT, "last_admin"


class RemedyNotFound(AppError):
    status, code = HTTPStatus.NOT_FOUND, "remedy_not_found"


class NotFound(AppError):
    status, code = HTTPStatus.NOT_FOUND, "not_found"

    def __init__(self, docs: str) -> None:
        super().__init__(docs=docs)


class MethodNotAllowed(AppError):
    status, code = HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed"

    def __init__(self, allow: str) -> None:
        super().__init__(headers={"Allow": allow}, allow=allow)


class TaskAlreadyFinal(AppError):
    status, code = HTTPStatus.CONFLICT, "task_already_final"


class WrongStage(AppError):
    status, code = HTTPStatus.CONFLICT, "wrong_stage"

    def __init__(self, stage: str) -> None:
        super().__init__(stage=stage)


class QueuePaused(AppError):
    status, code = HTTPStatus.CONFLICT, "queue_paused"


class NoRoom(AppError):
    status, code = HTTPStatus.CONFLICT, "no_room"


class TooManyRunning(AppError):
    status, code = HTTPStatus.CONFLICT, "too_many_running"

    def __init__(self, most: int) -> None:
        super().__init__(most=most)


class NotStreamable(AppError):
    """`reason` is a key of the catalogues' `[stream]`."""

    status, code = HTTPStatus.CONFLICT, "not_streamable"

    def __init__(self, reason: str) -> None:
        super().__init__(extra={"reason": reason})
        self.reason = reason


class RemedyNotOffered(AppError):
    status, code = HTTPStatus.CONFLICT, "remedy_not_offered"

    def __init__(self, offered: Iterable[str]) -> None:
        super().__init__(offered=", ".join(offered) or "-")


class BodyTooSlow(AppError):
    status, code = HTTPStatus.REQUEST_TIMEOUT, "body_too_slow"

    def __init__(self) -> None:
        super().__init__(headers={"Connection": "close"})


class BodyTooLarge(AppError):
    status, code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large"


class NotJsonType(AppError):
    status, code = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_json_type"


class EncodingUnknown(AppError):
    status, code = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "encoding_unknown"


class NotTextType(AppError):
    status, code = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_text_type"

    def __init__(self, expected: str = "text/plain") -> None:
        super().__init__(expected=expected)


class InvalidCookies(AppError):
    """Names the line, never its content, which is secret."""

    status, code = HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_cookies"

    def __init__(self, line: int) -> None:
        super().__init__(line=line, extra={"line": line})


class NoCookies(AppError):
    status, code = HTTPStatus.UNPROCESSABLE_ENTITY, "no_cookies"


class PreconditionFailed(AppError):
    status, code = HTTPStatus.PRECONDITION_FAILED, "precondition_failed"


class RangeNotSatisfiable(AppError):
    status, code = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(headers={"Content-Range": f"bytes */{size}"}, size=size)


# A field's name, what is wrong with it (a key under `[field]` in the catalogues), and the values of that
# text's placeholders.
WrongField = tuple[str, str, dict[str, object]]


MOST_NAMED = 20  # fields that the sentence of `InvalidRequest` names


class InvalidRequest(AppError):
    status, code = HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request"

    def __init__(self, wrong: list[WrongField]) -> None:
        self.wrong = wrong
        names = sorted({field for field, _, _ in wrong})
        more = ", …" if len(names) > MOST_NAMED else ""
        super().__init__(fields=", ".join(names[:MOST_NAMED]) + more)


class InvalidQuery(InvalidRequest):
    code = "invalid_query"

    def __init__(self, *names: str) -> None:
        super().__init__([(name, "other", {}) for name in names])


class IdempotencyMismatch(AppError):
    status, code = HTTPStatus.UNPROCESSABLE_ENTITY, "idempotency_mismatch"


class UpgradeRequired(AppError):
    status, code = HTTPStatus.UPGRADE_REQUIRED, "upgrade_required"

    def __init__(self) -> None:
        super().__init__(headers={"Upgrade": "websocket", "Connection": "Upgrade"})


class TooManyRequests(AppError):
    status, code = HTTPStatus.TOO_MANY_REQUESTS, "too_many_requests"

    def __init__(self, retry_after: int) -> None:
        super().__init__(headers={"Retry-After": str(retry_after)}, seconds=retry_after)


class OverLimit(AppError):
    """A person has used up a limit of theirs; `retry_after`: in how many seconds some is free, if known."""

    status, code = HTTPStatus.TOO_MANY_REQUESTS, "over_limit"

    def __init__(self, limit: str, most: int, used: int, retry_after: int | None = None) -> None:
        known = {"retry_after": retry_after} if retry_after is not None else {}
        super().__init__(
            headers={"Retry-After": str(retry_after)} if retry_after is not None else None,
            extra={"limit": limit, "most": most, "used": used, **known},
            limit=limit,
            most=most,
            used=used,
        )


class InternalError(AppError):
    """`id` stands beside the traceback in the log; the response never contains the traceback."""

    status, code = HTTPStatus.INTERNAL_SERVER_ERROR, "internal"

    def __init__(self, error_id: str) -> None:
        super().__init__(extra={"id": error_id}, id=error_id)


class MethodUnknown(AppError):
    status, code = HTTPStatus.NOT_IMPLEMENTED, "method_unknown"


class TransferCodingUnknown(AppError):
    status, code = HTTPStatus.NOT_IMPLEMENTED, "transfer_coding_unknown"


class SourceRefused(AppError):
    """`error_code` is the one with which a task would have failed; `error` and `hint` follow from it.

    `hint` is the key of a hint that fits better; `cookies` is the name of those that were used.
    """

    status, code = HTTPStatus.BAD_GATEWAY, "source_refused"

    def __init__(self, error_code: str, hint: str | None = None, cookies: str | None = None) -> None:
        super().__init__(error_code=error_code)
        self.error_code = error_code
        self.hint = hint
        self.cookies = cookies


class ShuttingDown(AppError):
    status, code = HTTPStatus.SERVICE_UNAVAILABLE, "shutting_down"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "5"})


class QueueFull(AppError):
    status, code = HTTPStatus.SERVICE_UNAVAILABLE, "queue_full"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "30"})


class StorageAway(AppError):
    """The bucket does not answer; `__cause__` says why. Callers may retry."""

    status, code = HTTPStatus.SERVICE_UNAVAILABLE, "storage_away"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "5"})


class ServerBusy(AppError):
    status, code = HTTPStatus.SERVICE_UNAVAILABLE, "server_busy"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "10"})


class LibraryIsAway(AppError):
    status, code = HTTPStatus.SERVICE_UNAVAILABLE, "library_away"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "30"})


class WorkerSilent(AppError):
    """The action may still take effect; retrying it does no harm."""

    status, code = HTTPStatus.SERVICE_UNAVAILABLE, "worker_silent"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "10"})


class StoreUnavailable(AppError):
    """Nothing was changed (but see `DatabaseAway`); `__cause__` says why. Callers may retry."""

    is_logged = False  # Whether the cause has been logged already: it is logged only once.


class DatabaseBusy(StoreUnavailable):
    status, code = HTTPStatus.SERVICE_UNAVAILABLE, "database_busy"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "5"})


class DatabaseAway(StoreUnavailable):
    """`perhaps_done`: the connection broke before the answer to COMMIT, and the database could not be asked
    since whether the transaction committed.
    """

    status, code = HTTPStatus.SERVICE_UNAVAILABLE, "database_away"

    def __init__(self, *, perhaps_done: bool = False) -> None:
        super().__init__(headers={"Retry-After": "5"})
        self.perhaps_done = perhaps_done


class StorageFailed(StoreUnavailable):
    status, code = HTTPStatus.SERVICE_UNAVAILABLE, "storage_failed"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "60"})


class DiskFull(StoreUnavailable):
    status, code = HTTPStatus.INSUFFICIENT_STORAGE, "disk_full"


def disk_error(error: OSError) -> StoreUnavailable:
    """Return the error that a client gets for an error of the disk."""
    return DiskFull() if error.errno in (ENOSPC, EDQUOT) else StorageFailed()
