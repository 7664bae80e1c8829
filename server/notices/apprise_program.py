"""The program that notifies people by apprise; the server starts it for its first notification.

    python -I …/server/notices/apprise_program.py

In: one JSON object a line, {"id": …, "url": …, "text": …, "good": whether the task went well}; without
"text" the address is only read. Out: {"id": …, "error": null or a word for what was wrong}. Addresses come by
standard input, so they stand in no list of processes; words and not sentences go out, for apprise's own may
name an address. It ends with its input, so also when the server was killed.
"""

import json
import logging
import os
import re
import threading
from typing import Any, TextIO

import apprise

TITLE = "Clipwire"  # of services that show one, such as the subject of a mail

# Services that show a text as it is. For HTML apprise escapes the text; what other services do with a text
# that apprise calls plain is theirs to say: Discord, Slack and Mattermost find links and people in it.
PLAIN = {
    "NotifyAppriseAPI", "NotifyEmail", "NotifyForm", "NotifyGotify", "NotifyJSON", "NotifyNtfy",
    "NotifyPushBullet", "NotifyPushover", "NotifySyslog", "NotifyXML",
}  # fmt: skip
# `<@id>`, `<!here>`, `<url|text>`, `[text](url)`, `@name`, but no address of mail and no link with an `@`.
_MARKUP = re.compile(r"(?<=<)|(?<=\])(?=[(\[])|(?<=(?<![\w/])@)(?=[\w*])")

_warnings = threading.local()  # apprise's warnings in this thread
_writing = threading.Lock()


class _Warnings(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _warnings.text = f"{getattr(_warnings, 'text', '')}\n{record.getMessage()}"


def main() -> None:
    said_by_apprise = logging.getLogger("apprise")
    said_by_apprise.addHandler(_Warnings(logging.WARNING))
    said_by_apprise.propagate = False
    # Keep plugins and the programs that they start away from the pipes of this protocol.
    asked, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nothing, stream)
    for line in asked:
        threading.Thread(target=_answer, args=(json.loads(line), answers), daemon=True).start()
    os._exit(0)  # threads may still wait for a receiver


def _answer(asked: dict[str, Any], answers: TextIO) -> None:
    try:
        error = _notify(asked["url"], asked.get("text"), good=asked.get("good", True))
    except Exception as exc:  # of any service; its text may contain the address
        error = type(exc).__name__
    with _writing:
        answers.write(json.dumps({"id": asked["id"], "error": error}) + "\n")
        answers.flush()


def _notify(url: str, text: str | None, *, good: bool) -> str | None:
    # apprise's own time limit uses a thread pool, which a few receivers that hang would fill.
    asset = apprise.AppriseAsset(service_timeout=0)
    asset.app_id = asset.app_desc = TITLE
    asset.http_redirects = False
    service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if not isinstance(service, apprise.NotifyBase):
        return "invalid_url"
    if text is None:
        return None
    told = apprise.Apprise(asset=asset)
    told.add(service)
    text = without_markup(text, type(service).__name__, service.resolve_format("text"))
    kind = apprise.NotifyType.SUCCESS if good else apprise.NotifyType.FAILURE
    title = TITLE if service.title_maxlen else ""  # else it would be a part of the text
    if told.notify(text, title=title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT.value):
        return None
    warned = getattr(_warnings, "text", "")
    if found := re.search(r"\berror=([1-5]\d\d)\b", warned):
        return f"http_{found[1]}"
    return "unreachable" if re.search("connection error", warned, re.IGNORECASE) else "not_accepted"


def without_markup(text: str, service: str, shown_as: str) -> str:
    """Return `text` for a service of this name: an invisible character breaks links and mentions
    of people.
    """
    if shown_as == "html" or (shown_as == "text" and service in PLAIN):
        return text
    return _MARKUP.sub("\N{ZERO WIDTH SPACE}", text)


if __name__ == "__main__":
    main()
