"""The few system calls of Linux that Python has no names for.

Where one is missing (another system, an old kernel, another libc) the functions say so by `OSError`;
callers decide whether they can do without.
"""

import ctypes
import errno
import os
import signal

# prctl(2)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that forked it ends.

    `parent` is the process id to expect: if it has died already, the signal would never come.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Descendants whose parent dies become children of this process instead of init's."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def give_up_new_privileges() -> None:
    """Keep set-user-id programs from giving this process more privileges; Landlock requires that."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def syscall(number: int, *arguments: int | bytes | None) -> int:
    """Make a system call with integers and buffers."""
    if not hasattr(_libc, "syscall"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *wide))


def _prctl(option: int, value: int) -> None:
    if not hasattr(_libc, "prctl"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    _checked(_libc.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
