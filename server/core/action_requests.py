"""The bodies of requests about tasks, except that of `POST /api/process`."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from server.core.cookie_format import NAME as COOKIES_NAME
from server.core.task import Stage
from server.core.values import MAX_ID, Frozen, HttpUrl, Whole, at_most

MOST_AT_ONCE = 500  # most tasks that one request makes or acts on
MOST_THUMBNAILS = 20


def _once(ids: object) -> object:
    """Drop ids that are equal to an earlier one."""
    if not isinstance(ids, list):
        return ids
    first = {each: place for place, each in reversed(list(enumerate(ids))) if isinstance(each, str)}
    return [each for place, each in enumerate(ids) if not isinstance(each, str) or first[each] == place]


class Batch(Frozen):
    """The body of `POST /api/process/batch`; each of its requests is validated by itself."""

    model_config = ConfigDict(strict=True)

    requests: tuple[Any, ...] = Field(
        min_length=1,
        max_length=MOST_AT_ONCE,
        strict=False,
        description="bodies of `POST /api/process`",
        json_schema_extra={"items": {"$ref": "#/components/schemas/ProcessRequest"}},
    )


class ActionRequest(Frozen):
    """The body of `POST /api/tasks/actions`: either `ids`, or what the tasks have in common."""

    model_config = ConfigDict(strict=True)

    action: Literal["cancel", "pause", "resume", "retry", "delete"]
    ids: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=MAX_ID)], ...] | None,
        at_most(MOST_AT_ONCE),
        BeforeValidator(_once),  # before the length is checked
    ] = Field(
        default=None,
        min_length=1,
        max_length=MOST_AT_ONCE,
        strict=False,
        description="of tasks; equal ones count once",
    )
    playlist_id: str | None = Field(
        default=None, min_length=1, max_length=MAX_ID, description="all entries of that list"
    )
    stage: Stage | None = Field(default=None, strict=False, description="all that are there")
    error_code: str | None = Field(
        default=None, pattern="^[a-z0-9_]{1,64}$", description="all that ended with it"
    )


class InfoRequest(Frozen):
    """The body of `POST /api/info`."""

    model_config = ConfigDict(strict=True)

    url: HttpUrl
    cookies: str | None = Field(
        default=None, pattern=f"^{COOKIES_NAME}$", description="the name of a stored cookie file"
    )
    preset: str | None = Field(default=None, min_length=1, max_length=64)
    limit: Whole = Field(default=500, ge=1, le=500, description="entries of a list on one page")
    cursor: str | None = Field(
        default=None, pattern=r"^[1-9][0-9]{0,6}$", description="`next_cursor` of the page before"
    )

    @property
    def passed_over(self) -> int:
        """Return how many entries of the list come before this page."""
        return int(self.cursor or 0)


class ThumbnailsRequest(Frozen):
    """The body of `POST /api/info/thumbnails`."""

    model_config = ConfigDict(strict=True)

    urls: Annotated[tuple[HttpUrl, ...], at_most(MOST_THUMBNAILS)] = Field(
        min_length=1,
        max_length=MOST_THUMBNAILS,
        strict=False,
        description="links of pictures, as `thumbnail` of entries in the answer of POST /api/info",
    )


class PlaceChange(Frozen):
    """The body of `PATCH /api/tasks/{task_id}`: at least one of the two fields."""

    model_config = ConfigDict(strict=True, json_schema_extra={"minProperties": 1})

    priority: Whole | None = Field(default=None, ge=-10, le=10)
    position: Literal["first", "last"] | None = Field(
        default=None, description="before, or behind, all that are queued now, whatever their priority"
    )


class RemedyRequest(Frozen):
    """The body of `POST /api/tasks/{task_id}/remedies/{name}`, which only some remedies have."""

    model_config = ConfigDict(strict=True)

    cookies: str | None = Field(
        default=None, pattern=f"^{COOKIES_NAME}$", description="for `use_cookies`: the name of a stored file"
    )
