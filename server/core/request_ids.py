"""The request that is being worked on, for its answer and for the log (`server.commands.logs`): its id, and
the person it belongs to.

The handler of a request sets them. An attempt sets those of its task.
"""

from contextvars import ContextVar

REQUEST_ID: ContextVar[str] = ContextVar("request id", default="")
"""The value of `X-Request-Id`; empty in work that no request began."""
PERSON: ContextVar[str] = ContextVar("person", default="")
"""The name of the person who asks, or whose task it is; empty where there is none."""
