"""The id and the person of the request that is being handled, for its answer and for the log
(`server.commands.logs`).

The handler of a request sets them. An attempt sets those of its task.
"""

from contextvars import ContextVar

REQUEST_ID: ContextVar[str] = ContextVar("request id", default="")
"""The value of `X-Request-Id`; empty in work that no request began."""
PERSON: ContextVar[str] = ContextVar("person", default="")
"""The name of the person who asks, or whose task it is; empty where there is none."""
