"""Checks whether a disk is full by writing to it, since the error messages of programs are not reliable."""

import errno
import resource
import tempfile
from pathlib import Path

_TRIED = 64 * 1024  # bytes


def is_full(directory: Path) -> bool:
    """Whether `directory` takes no more data, because the disk or this user's quota is full."""
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            file.write(bytes(_TRIED))
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return False


def has_largest_file(directory: Path) -> bool:
    """Whether a file below `directory` has the largest size that this process may write (`sandbox.limit`)."""
    most, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if most == resource.RLIM_INFINITY:
        return False
    return any(path.stat().st_size >= most for path in directory.rglob("*") if path.is_file())
