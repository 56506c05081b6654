"""`gatehouse service NAME`: a new service that works, to be changed into what is wanted."""

import keyword
import re
from collections.abc import Iterable
from pathlib import Path
from string import Template

TEMPLATES = Path(__file__).parent / "scaffold"
FIRST_FREE_PORT = 8090  # those below are spoken for
# Names of programs, and first segments of paths that the gateway keeps for itself.
TAKEN = frozenset("contracts gatehouse gateway shared tests api internal health metrics docs console".split())

ENTRY = Template("""\
  - path: /$name
    backend: $${${upper}_URL:-http://127.0.0.1:$port}
    methods: ["GET", "POST", "PUT", "PATCH", "DELETE"]

""")


class NotPossible(Exception):
    """The service cannot be made; the message says why."""


def create(root: Path, name: str) -> list[Path]:
    """Write the service's folder, its tests, and its entry in routes.yaml; return what was written."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,30}", name):
        raise NotPossible(f"{name!r} is no good name: 2 to 31 lower-case letters, digits and underscores")
    if keyword.iskeyword(name) or name in TAKEN:
        raise NotPossible(f"{name!r} has a meaning already; choose another name")
    folders = {TEMPLATES / "service": root / "services" / name, TEMPLATES / "tests": root / "tests" / name}
    for folder in folders.values():
        if folder.exists():
            raise NotPossible(f"{folder.relative_to(root)} is there already")
    values = {"name": name, "port": str(_free_port(root))}
    routes = root / "routes.yaml"
    routes_with_it = _with_route(routes, values)  # before anything is written
    written = [file for source, target in folders.items() for file in _fill(source, target, values)]
    routes.write_text(routes_with_it)
    return [*written, routes]


def _fill(source: Path, target: Path, values: dict[str, str]) -> Iterable[Path]:
    for template in sorted(source.rglob("*.txt")):
        file = target / template.relative_to(source).with_suffix("")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(Template(template.read_text()).substitute(values))
        yield file


def _with_route(file: Path, values: dict[str, str]) -> str:
    entry = ENTRY.substitute(values, upper=values["name"].upper())
    text, found = re.subn(
        r"^routes:[ \t]*(#.*)?\n", lambda line: line.group() + entry, file.read_text(), flags=re.MULTILINE
    )
    if found != 1:
        raise NotPossible(f"{file.name} has no line `routes:` with a list below; add this to it:\n{entry}")
    return text


def _free_port(root: Path) -> int:
    settings = [file.read_text() for file in (root / "services").glob("*/settings.py")]
    taken = {int(port) for text in settings for port in re.findall(r"default=(\d{4,5})", text)}
    return max([FIRST_FREE_PORT - 1, *taken]) + 1
