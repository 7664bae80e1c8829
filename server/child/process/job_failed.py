"""The exceptions of failures whose code a job knows by itself."""

import errno
from collections.abc import Mapping
from typing import Any, Final

from server.core.codes import Code

OF_ERRNO: Final[dict[int, Code]] = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EFBIG: "too_large",
    errno.ENOMEM: "out_of_memory",
}
"""The errors that concern this machine, whatever raised them; all others stand in `extract.failure_rules`."""


class JobFailed(Exception):
    """A failure with a known `code`; `detail` is for the log."""

    def __init__(self, code: Code, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code: Code = code


class Expired(JobFailed):
    """A link that worked before has expired; another extraction may give a new one."""


class NotLive(JobFailed):
    """A broadcast is announced and has not begun; `info` is what is known of the video.

    `begins_at` is in seconds since the epoch, None if unknown.
    """

    def __init__(self, begins_at: float | None, info: Mapping[str, Any]) -> None:
        super().__init__("not_live")
        self.begins_at = begins_at
        self.info = info
