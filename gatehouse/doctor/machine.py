"""Checks of this machine: Python, packages, disks, open files."""

import os
import re
import resource
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from shared.process.checkup import Finding, fault, good, warning

PYTHON_MIN = (3, 11)
MIB = 1 << 20
FREE_MIN = 512 * MIB
SHARE_MIN = 0.05  # of the disk; less free space is a warning
DESCRIPTORS_PER_CLIENT = 2  # the client's connection, and the one to the service
DESCRIPTORS_BESIDE = 100
SHOWN_MAX = 3
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)( *;)?", re.MULTILINE)


def python(version: tuple[int, ...] = sys.version_info[:3]) -> Iterator[Finding]:
    found = ".".join(map(str, version))
    if version < PYTHON_MIN:
        wanted = ".".join(map(str, PYTHON_MIN))
        yield fault("Python", f"is {found}", f"Install Python {wanted} or newer.")
    else:
        yield good("Python", found)


def packages(lock: Path) -> Iterator[Finding]:
    """Compare the installed packages with the lock file; the tests were run with its versions."""
    if not lock.exists():  # in an image
        yield good("packages", "there is no lock file here to compare them with")
        return
    wrong = []
    locked = _LOCKED.findall(lock.read_text())
    for name, wanted, is_conditional in locked:
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            if not is_conditional:
                wrong.append(f"{name} is missing")
            continue
        if installed != wanted:
            wrong.append(f"{name} is {installed} instead of {wanted}")
    if wrong:
        more = f" and {len(wrong) - SHOWN_MAX} more" if len(wrong) > SHOWN_MAX else ""
        words = f"differ from {lock.name}: {', '.join(wrong[:SHOWN_MAX])}{more}"
        yield fault("packages", words, "Run make up, which installs the pinned versions.")
    else:
        yield good("packages", f"all {len(locked)} as in {lock.name}")


def disk(name: str, folder: Path) -> Iterator[Finding]:
    while not folder.exists():  # created on first use
        folder = folder.absolute().parent
    found = os.statvfs(folder)
    free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    words = f"{free / MIB / 1024:,.1f} GiB free at {folder}"
    if free < FREE_MIN:
        yield fault(name, words, "Free some space: services refuse writes on a full disk.")
    elif free < SHARE_MIN * size:
        yield warning(name, words, "Free some space, or move DATA_DIR or BACKUP_DIR to a larger disk.")
    else:
        yield good(name, words)


def open_files(clients: int, limit: int | None = None) -> Iterator[Finding]:
    """Compare the limit on open files, which the gateway raises as far as it may, with CONNECTIONS_MAX."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1] if limit is None else limit
    needed = clients * DESCRIPTORS_PER_CLIENT + DESCRIPTORS_BESIDE
    if allowed in (resource.RLIM_INFINITY, -1) or allowed >= needed:
        yield good("open files", f"enough for CONNECTIONS_MAX={clients}")
    else:
        remedy = f"Raise the hard limit (ulimit -Hn {needed}, or LimitNOFILE={needed} in systemd)."
        words = f"at most {allowed:,}, but CONNECTIONS_MAX={clients} needs {needed:,}"
        yield warning("open files", words, remedy)
