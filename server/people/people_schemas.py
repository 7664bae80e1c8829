"""The answers of the routes of people; imported with the first request, or for the description."""

from pydantic import ConfigDict, Field

from server.api.payload import Answer, Bytes, Instant
from server.core.principal import PersonRole, Way


class PersonLimits(Answer):
    """A limit that is absent does not exist."""

    max_running: int | None = Field(None, ge=1, description="tasks that run at once")
    max_waiting: int | None = Field(None, ge=1, description="tasks that wait")
    max_bytes_per_day: Bytes | None = Field(None, description="downloaded in 24 hours")
    max_stored_bytes: Bytes | None = Field(None, description="of finished files together")
    retention_hours: float | None = Field(None, gt=0, description="from a task's end to its deletion")


class PersonInfo(Answer):
    name: str
    role: PersonRole
    added_at: Instant
    has_password: bool
    limits: PersonLimits
    own_limits: dict[str, int | float] = Field(
        description="those that were set for this person, in place of the settings; `0`: no limit"
    )
    is_leaving: bool | None = Field(
        None, description="`true` while what belongs to a removed person is given or deleted"
    )
    token: str | None = Field(None, description="the first token, when the person was added just now")


class People(Answer):
    people: list[PersonInfo] = Field(description="by name")


class TokenInfo(Answer):
    label: str
    created_at: Instant
    expires_at: Instant | None = None
    used_at: Instant | None = Field(None, description="for the last time, to a minute")


class NewToken(TokenInfo):
    token: str = Field(description="shown this once")


class Tokens(Answer):
    tokens: list[TokenInfo] = Field(description="the oldest first")


class LogInInfo(Answer):
    id: str
    way: Way
    began_at: Instant | None = None
    ends_at: Instant
    address: str | None = Field(None, description="from where it was begun")
    agent: str | None = Field(None, description="the `User-Agent` that began it")
    is_current: bool = Field(description="whether this request belongs to it")


class LogInList(Answer):
    sessions: list[LogInInfo] = Field(description="the newest first")


class LimitUse(Answer):
    """What a person uses now."""

    running: int = Field(ge=0, description="tasks that run")
    waiting: int = Field(ge=0, description="tasks that wait, paused ones too")
    bytes_per_day: Bytes = Field(description="of files that were finished in the last 24 hours")
    free_in: int | None = Field(
        None,
        ge=0,
        description="seconds until fewer bytes are used; with a limit, until fewer than the limit",
    )
    stored_bytes: Bytes | None = Field(None, description="of finished files together")


class Me(Answer):
    name: str | None = Field(None, description="absent with a token of the settings, and without a log-in")
    role: PersonRole
    way: Way = Field(description="how you have logged in; `open`: no log-in is needed")
    separate_lists: bool
    has_password: bool
    limits: PersonLimits
    used: LimitUse | None = Field(None, description="absent for an admin without a name")


class AuditInfo(Answer):
    model_config = ConfigDict(serialize_by_alias=True)

    at: Instant
    who: str | None = Field(None, description="a person; absent for an admin without a name")
    what: str
    on: str | None = Field(None, description="to what or whom it was done")
    from_: str | None = Field(
        None, alias="from", description="the address; `command line` for `clipwire people`"
    )
    request_id: str | None = Field(None, description="`X-Request-Id` of the request")


class AuditPage(Answer):
    events: list[AuditInfo] = Field(description="the newest first")
    next_cursor: str | None = Field(None, description="absent on the last page")
