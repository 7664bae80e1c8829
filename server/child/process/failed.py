"""How a job says that it found out by itself what is wrong."""

import errno
from collections.abc import Mapping
from typing import Any, Final

from server.codes import Code

OF_ERRNO: Final[dict[int, Code]] = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EFBIG: "too_large",
    errno.ENOMEM: "out_of_memory",
}
"""What the system says of this machine, whoever asked it; of others it has more to say."""


class JobFailed(Exception):
    """The job knows the code; `detail` is for the log."""

    def __init__(self, code: Code, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code: Code = code


class Expired(JobFailed):
    """A link that was good leads elsewhere now; looked for anew, it may be another one."""


class NotLive(JobFailed):
    """A broadcast is announced, of which `info` is known; `begins_at` is in seconds since 1970, if known."""

    def __init__(self, begins_at: float | None, info: Mapping[str, Any]) -> None:
        super().__init__("not_live")
        self.begins_at = begins_at
        self.info = info
