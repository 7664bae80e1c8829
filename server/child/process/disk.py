"""A look at the disk: what others say about it is not believed."""

import errno
import resource
import tempfile
from pathlib import Path

_TRIED = 64 * 1024  # bytes


def is_full(directory: Path) -> bool:
    """Whether nothing more can be written there, by the quota of this user either."""
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            file.write(bytes(_TRIED))
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return False


def has_largest_file(directory: Path) -> bool:
    """Whether a file there is as large as this process may make any (`sandbox.limit`)."""
    most, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if most == resource.RLIM_INFINITY:
        return False
    return any(path.stat().st_size >= most for path in directory.rglob("*") if path.is_file())
