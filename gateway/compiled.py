"""The hot modules of the gateway as machine code, if `make compile` has made it from the present source.

Next to its source, Python would load an extension module whatever the age of either. So the compiled modules
have a folder of their own, and are loaded only if every source file is the one that they were compiled with.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

# What runs for each request or response and can be compiled as it is. Left out are exchange (a class needs
# its bases compiled, and mypyc refuses Transfer, which narrows attributes of RequestState), repeated_heads
# (no slots below a base that is not compiled), balancer (weak references to methods), and pool and ejection
# (tests replace a method of the one, and the clock of the other).
MODULES = (
    "gateway.forwarding.admission",
    "gateway.forwarding.attempts",
    "gateway.forwarding.heads",
    "gateway.forwarding.request_head",
    "gateway.http.coalescing",
    "gateway.http.framing",
    "gateway.http.headers",
    "gateway.http.known_head",
    "gateway.http.whole_answer",
    "gateway.policies.authentication",
    "gateway.policies.concurrency",
    "gateway.policies.limit_subjects",
    "gateway.policies.rate_limits",
    "gateway.routing.path_tree",
    "gateway.routing.request_target",
    "gateway.routing.table",
    "gateway.telemetry.metrics",
    "gateway.telemetry.tally",
    "gateway.upstream.connection",
)
ROOT = Path(__file__).resolve().parent.parent
FOLDER, BUILD = ".compiled", "build.json"
SOURCES = ("gateway", "shared")  # constants and classes of any of them may be part of the machine code
WISH = "GATEHOUSE_COMPILED"  # true: do not start without; false: do not use; otherwise: use if possible
OFF, ABSENT = f"{WISH}=false", "make compile has not been run"
STALE = "the source has changed since, run make compile again"


class Unusable(Exception):
    """The compiled modules cannot be used; the message says why."""


class Finder(MetaPathFinder):
    """Finds the compiled modules before their source."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self._files.get(name)
        if file is None:
            return None
        return spec_from_file_location(name, file, loader=ExtensionFileLoader(name, str(file)))


def digest_of_sources(root: Path) -> str:
    """Return one hash of the names and contents of all source files."""
    found = hashlib.sha256()
    for part in SOURCES:
        for file in sorted((root / part).rglob("*.py")):
            content = file.read_bytes()
            found.update(f"{file.relative_to(root)} {len(content)}\n".encode())
            found.update(content)
    return found.hexdigest()


def system() -> str:
    """Return what machine code depends on besides the source: Python, the processor and the C library."""
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION")
    except ValueError:
        library = None  # another C library; the suffix names it
    return f"{EXTENSION_SUFFIXES[0]} {library or ''}".strip()


def usable_files(root: Path) -> dict[str, Path]:
    """Return the file of each compiled module if they belong to this source, Python and system."""
    folder = root / FOLDER
    try:
        build = json.loads((folder / BUILD).read_text())
        made_for, sources, names = str(build["system"]), build["sources"], dict(build["files"])
    except FileNotFoundError as error:
        raise Unusable(ABSENT) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unusable(f"{folder / BUILD} cannot be read, run make compile again") from error
    if made_for != system():
        raise Unusable(f"it was run for another Python or system ({made_for}), run make compile again")
    if sources != digest_of_sources(root):
        raise Unusable(STALE)
    files = {name: folder / file for name, file in names.items()}
    missing = [str(file) for file in files.values() if not file.is_file()]
    if missing:
        raise Unusable(f"{missing[0]} is missing, run make compile again")
    return files


def use(root: Path = ROOT) -> str:
    """Let Python load the compiled modules; return why not if they cannot be used."""
    if os.environ.get(WISH) == "false":
        return OFF
    try:
        files = usable_files(root)
    except Unusable as error:
        return str(error)
    sys.meta_path.insert(0, Finder(files))
    return ""


def is_required() -> bool:
    wish = os.environ.get(WISH, "")
    if wish not in ("", "true", "false"):
        raise ValueError(f"{WISH} must be true, false or empty.")
    return wish == "true"
