"""How a job says that it found out by itself what is wrong."""

import errno
from typing import Final

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
