"""The id of the request that led to what runs now, for its answer and for the log (`server.commands.logs`).

The handler of a request sets it, and an attempt sets that of the request which made its task.
"""

from contextvars import ContextVar

REQUEST_ID: ContextVar[str] = ContextVar("request id", default="")
"""`X-Request-Id`, and empty where no request is at the bottom of it."""
