"""Faults (bugs) of this program: each is logged as an error, with a traceback and an id.

The id is in the task's log, too. Errors of a source, a client or the machine are no faults.
"""

import logging
import secrets

from server.core.events import Fault
from server.core.redaction import trace_of

log = logging.getLogger(__name__)


def fault_of(error: BaseException) -> Fault:
    return Fault(id=secrets.token_hex(8), trace=trace_of(error))


def log_fault(what: str, fault: Fault | None, request_id: str = "") -> None:
    """Log that `what` ended by `fault`, which is None if the child died before it could describe it."""
    number, trace = (fault.id, fault.trace) if fault else ("without an id", "no traceback")
    more = {"trace": trace, "request_id": request_id}
    log.error("%s ended as internal: error %s", what, number, extra=more)
