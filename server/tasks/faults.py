"""Faults of this program: each is an error in the log, with a traceback and an id that the task's log has.

What a source, a client or the machine is to blame for is none.
"""

import logging
import secrets

from server.events import Fault
from server.redaction import trace_of

log = logging.getLogger(__name__)


def fault_of(error: BaseException) -> Fault:
    return Fault(id=secrets.token_hex(8), trace=trace_of(error))


def tell(what: str, fault: Fault | None) -> None:
    """Say what ended by `fault`; a child that died of one may have had no time to describe it."""
    number, trace = (fault.id, fault.trace) if fault else ("without an id", "no traceback")
    log.error("%s ended as internal: error %s", what, number, extra={"trace": trace})
