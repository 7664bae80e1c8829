"""Restricts a child: Landlock for files and sockets, resource limits for memory, descriptors and file sizes.

Both are inherited by every program that the child starts, and cannot be undone. Landlock is best effort:
where an old kernel lacks it, or a container forbids it, `abi` returns 0, and all other protection works.

Python has no functions for the few Linux system calls used here. Where one is missing (another system, an old
kernel, another libc) `syscall` and its callers raise `OSError`.
"""

import contextlib
import ctypes
import errno
import functools
import os
import resource
import signal
import stat
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

# prctl(2)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that forked it ends.

    `parent` is the id of the process that forked this one: if that has died already, no signal would come.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Make this process, instead of init, the parent of descendants whose own parent dies."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def syscall(number: int, *arguments: int | bytes | None) -> int:
    """Make a system call whose arguments are integers or buffers. Raises `OSError`."""
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


MEMORY: Final = 1_500_000_000  # bytes of private memory of one process

# Landlock (https://docs.kernel.org/userspace-api/landlock.html); the numbers are the same on all machines.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GET_ABI = 1
_RULE_PATH_BENEATH, _RULE_NET_PORT = 1, 2
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = (1 << bit for bit in range(4))
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_RIGHTS_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_BIND, _CONNECT = 1, 2
_ALL_TCP = _BIND | _CONNECT
_ALL_SCOPES = 1 | 2  # forbid abstract Unix sockets, and signals to processes outside the sandbox

# ABI 1 does not allow renaming a file into another directory, which children need: Landlock is not used
# there.
_FIRST_ABI, _TCP_ABI, _SCOPE_ABI = 2, 4, 6
# ABI -> how many file access rights it knows; later ABIs as the last.
_FILE_RIGHTS: Final = {2: 14, 3: 15, 4: 15, 5: 16}

# Paths that the interpreter, TLS, name resolution, ffmpeg and deno read. Not all of /etc, which may hold
# secrets.
_SYSTEM: Final = (
    "/usr", "/bin", "/lib", "/lib64", "/nix/store", "/dev/urandom", "/dev/random", "/dev/zero",
    "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/ld.so.cache", "/etc/localtime", "/etc/fonts",
    "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/resolv.conf", "/etc/gai.conf",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu", "/sys/fs/cgroup",
)  # fmt: skip
_SERVER: Final = Path(__file__).parents[2]


@functools.cache
def abi() -> int:
    """Return the version of the kernel's Landlock; 0 if there is none that children can use."""
    try:
        version = syscall(_CREATE_RULESET, None, 0, _GET_ABI)
    except OSError:
        return 0
    return version if version >= _FIRST_ABI else 0


def restrict(directory: Path, read_only: Iterable[Path | str] = ()) -> int:
    """Allow writes only below `directory`, and reads only there, of system files and of `read_only`.

    Applies to the calling thread, to threads started later and to programs started by them, not to threads
    that run already. Returns `abi`.
    """
    version = abi()
    if not version:
        return 0
    rights = (1 << _FILE_RIGHTS[min(version, max(_FILE_RIGHTS))]) - 1
    scopes = _ALL_SCOPES if version >= _SCOPE_ABI else 0
    ruleset = _new_ruleset(files=rights, scopes=scopes)
    try:
        _allow(ruleset, directory, rights)
        _allow(ruleset, os.devnull, rights)
        certificates = filter(None, map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR")))
        python = (sys.prefix, sys.base_prefix, _SERVER)
        for path in (*_SYSTEM, *python, *certificates, *read_only):
            with contextlib.suppress(FileNotFoundError, PermissionError, NotADirectoryError):
                _allow(ruleset, path, _READ)
        enter(ruleset)
    finally:
        os.close(ruleset)
    return version


def knows_tcp() -> bool:
    """Whether the kernel's Landlock can restrict TCP connections."""
    return abi() >= _TCP_ABI


def no_tcp() -> int | None:
    """Return a ruleset for `enter` that forbids all TCP connections; None if the kernel has no such rules.

    It is made beforehand, so that only one system call is left to do between fork and exec.
    """
    return _new_ruleset(tcp=_ALL_TCP) if knows_tcp() else None


def one_tcp_port(port: int) -> int | None:
    """Return a ruleset as `no_tcp` does, but with connections to `port` allowed."""
    ruleset = no_tcp()
    if ruleset is not None:
        syscall(_ADD_RULE, ruleset, _RULE_NET_PORT, struct.pack("=QQ", _CONNECT, port), 0)
    return ruleset


def enter(ruleset: int) -> None:
    """Restrict the calling thread by `ruleset`, for good; Landlock requires that it gains no privileges."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    syscall(_RESTRICT_SELF, ruleset, 0)


def limit(max_filesize: int | None = None) -> None:
    """Limit what this process and each one that it starts may use, and lower their CPU priority.

    There is no RLIMIT_AS (deno reserves far more address space than it uses) and no RLIMIT_NPROC (it counts
    all processes of the user, also those that are not ours). Writing beyond `max_filesize` bytes of a file
    fails with EFBIG: Python ignores SIGXFSZ.
    """
    os.umask(0o077)
    os.nice(5)
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 512, resource.RLIMIT_DATA: MEMORY}
    if max_filesize is not None:
        limits[resource.RLIMIT_FSIZE] = max_filesize
    for kind, value in limits.items():
        _, most = resource.getrlimit(kind)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (value, value))


def _new_ruleset(files: int = 0, tcp: int = 0, scopes: int = 0) -> int:
    attributes = struct.pack("=QQQ", files, tcp, scopes)
    known = 8 if abi() < _TCP_ABI else 16 if abi() < _SCOPE_ABI else 24
    return syscall(_CREATE_RULESET, attributes[:known], known, 0)


def _allow(ruleset: int, path: Path | str, rights: int) -> None:
    below = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = rights if stat.S_ISDIR(os.fstat(below).st_mode) else rights & _RIGHTS_ON_FILES
        syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", allowed, below), 0)
    finally:
        os.close(below)
