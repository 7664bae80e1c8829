"""Configures the server's log: one line an entry, as text or as JSON."""

import json
import logging
import sys
from datetime import UTC, datetime

from aiohttp import web
from aiohttp.http import HttpProcessingError

from server.core.redaction import clean_lines
from server.core.request_ids import PERSON, REQUEST_ID
from server.settings import LoggingSettings

FAULTS_OF_CLIENTS = (HttpProcessingError, web.RequestPayloadError)


class TextFormatter(logging.Formatter):
    """Formats an entry as one line, with its request and its person if there are any, then its traceback;
    without secrets.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- of `logging`
        request_id, person = request_id_of(record), person_of(record)
        about = [*([f"request {request_id}"] if request_id else []), *([f"of {person}"] if person else [])]
        # A line break in what a client has sent must not begin a line that looks like another entry.
        line = " ".join(super().formatMessage(record).splitlines())
        return line + (f" ({', '.join(about)})" if about else "")

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(filter(None, (clean_lines(super().format(record)), _trace(record))))


class JsonFormatter(logging.Formatter):
    """Formats an entry as one JSON object a line: `time` (RFC 3339), `level`, `logger`, `message`, and if
    known `request_id`, `person` and `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": clean_lines(record.getMessage()),
        }
        if request_id := request_id_of(record):
            entry["request_id"] = request_id
        if person := person_of(record):
            entry["person"] = person
        exception = clean_lines(self.formatException(record.exc_info)) if record.exc_info else _trace(record)
        if exception:
            entry["exception"] = exception
        return json.dumps(entry, ensure_ascii=False)


def request_id_of(record: logging.LogRecord) -> str:
    """Return the id that was logged with the record, else that of the request that is being handled."""
    return getattr(record, "request_id", "") or REQUEST_ID.get()


def person_of(record: logging.LogRecord) -> str:
    """Return the owner of the record's task, else the person of the request."""
    return getattr(record, "person", "") or PERSON.get()


def _trace(record: logging.LogRecord) -> str:
    """Return the traceback of a child, which `server.tasks.faults` adds to the record as `trace`."""
    return clean_lines(str(getattr(record, "trace", "")))


class OurErrorsOnly(logging.Filter):
    """Drops tracebacks that aiohttp logs for malformed requests and bodies: any client could fill the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], FAULTS_OF_CLIENTS))


_OUR_ERRORS_ONLY = OurErrorsOnly()


def configure(settings: LoggingSettings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    quieten()


def quieten() -> None:
    """Drop messages of libraries: those about single clients help no operator, SQL values may be secret."""
    logging.getLogger("aiohttp.server").addFilter(_OUR_ERRORS_ONLY)
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)  # aiohttp warns of unknown subprotocols
    # Aiosqlite logs values, such as URLs with passwords.
    logging.getLogger("aiosqlite").setLevel(logging.WARNING)
