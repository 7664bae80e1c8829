"""The id of the request that is being worked on, for its answer and for the log (`server.commands.logs`).

The handler of a request sets it. An attempt sets the id of the request that made its task.
"""

from contextvars import ContextVar

REQUEST_ID: ContextVar[str] = ContextVar("request id", default="")
"""The value of `X-Request-Id`; empty in work that no request began."""
