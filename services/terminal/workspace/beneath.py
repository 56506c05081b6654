"""Opens paths below a directory so that no link, whoever changes it meanwhile, leads out of it.

`openat2` resolves a path in the kernel and refuses to leave the directory. On kernels without it, every part
is opened on its own and links are refused.
"""

import ctypes
import errno
import os
from functools import cache

_SYS_OPENAT2, _SYS_RENAMEAT2 = 437, 276 if os.uname().machine == "aarch64" else 316
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
_RENAME_NOREPLACE = 1
_UNSUPPORTED = (errno.ENOSYS, errno.EPERM, errno.E2BIG)
RACES_MAX = 8  # retries after something was renamed meanwhile

_syscall = ctypes.CDLL(None, use_errno=True).syscall


class _How(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def open_beneath(folder: int, path: str, flags: int, *, follow: bool) -> int:
    """Open a path below a directory; with `follow`, links may lead to other places below it.

    Raises OSError: EXDEV if a link leads out, ELOOP for any link without `follow`.
    """
    if not has_openat2():
        return _open_by_parts(folder, path, flags)
    for _ in range(RACES_MAX):
        try:
            return _openat2(folder, path, flags, follow=follow)
        except BlockingIOError:  # EAGAIN: a directory on the way was renamed meanwhile
            continue
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)


def _openat2(folder: int, path: str, flags: int, *, follow: bool) -> int:
    resolve = _BENEATH | _NO_MAGICLINKS | (0 if follow else _NO_SYMLINKS)
    how = _How(flags | os.O_CLOEXEC, 0, resolve)
    name = ctypes.c_char_p(os.fsencode(path))
    descriptor: int = _syscall(_SYS_OPENAT2, folder, name, ctypes.byref(how), ctypes.sizeof(how))
    if descriptor < 0:
        raise _error(path)
    return descriptor


@cache
def has_openat2() -> bool:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(_openat2(root, ".", os.O_PATH | os.O_DIRECTORY, follow=False))
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return False
    finally:
        os.close(root)
    return True


def _open_by_parts(folder: int, path: str, flags: int) -> int:
    *above, last = path.split("/")
    held = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    way = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    for part in above:
        try:
            below = os.open(part, way, dir_fd=held)
        finally:
            os.close(held)
        held = below
    try:
        return os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=held)
    finally:
        os.close(held)


def rename_new(source: int, name: str, target: int, new_name: str) -> None:
    """Rename a file or folder, and raise FileExistsError if the new name is taken."""
    old, new = ctypes.c_char_p(os.fsencode(name)), ctypes.c_char_p(os.fsencode(new_name))
    if _syscall(_SYS_RENAMEAT2, source, old, target, new, _RENAME_NOREPLACE) == 0:
        return
    error = _error(new_name)
    if error.errno not in (errno.EINVAL, errno.ENOSYS):
        raise error
    # A file system without this flag, or a folder into itself. A name that appears just now is overwritten.
    try:
        os.stat(new_name, dir_fd=target, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new_name)


def _error(path: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), path)
