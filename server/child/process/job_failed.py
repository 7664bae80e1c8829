"""Exceptions with the failure code of a job, and checks whether the disk is full.

The error messages of programs are not reliable: whether a disk is full is found out by writing to it.
"""

import errno
import resource
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from server.core.codes import Code

OF_ERRNO: Final[dict[int, Code]] = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EFBIG: "too_large",
    errno.ENOMEM: "out_of_memory",
}
"""The codes of this machine's faults, whatever raised them; all other codes are in `extract.failures`."""


class JobFailed(Exception):
    """A failure whose `code` is known where it is raised; `detail` is for the log, `hint` the key of a hint
    that fits better than the code's own.
    """

    def __init__(self, code: Code, detail: str = "", hint: str | None = None) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code: Code = code
        self.hint = hint


class Expired(JobFailed):
    """A link that has worked before has expired; another extraction may return a new one."""


class NotLive(JobFailed):
    """A broadcast is announced and has not begun; `info` is what is known of the video.

    `begins_at` is in seconds since the epoch, None if unknown.
    """

    def __init__(self, begins_at: float | None, info: Mapping[str, Any]) -> None:
        super().__init__("not_live")
        self.begins_at = begins_at
        self.info = info


_TEST_BYTES = 64 * 1024


def is_full(directory: Path) -> bool:
    """Whether `directory` takes no more data, because the disk or this user's quota is full."""
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            file.write(bytes(_TEST_BYTES))
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return False


def has_largest_file(directory: Path) -> bool:
    """Whether a file below `directory` is as large as this process may write it (`sandbox.limit`)."""
    most, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if most == resource.RLIM_INFINITY:
        return False
    return any(path.stat().st_size >= most for path in directory.rglob("*") if path.is_file())
