"""`gatehouse service NAME`: a new service that works, to be changed into what is wanted."""

import keyword
import re
from collections.abc import Iterable
from pathlib import Path
from string import Template

TEMPLATES = Path(__file__).parent / "scaffold"
FIRST_FREE_PORT = 8090  # those below are spoken for


class NotPossible(Exception):
    """The service cannot be made; the message says why."""


def create(root: Path, name: str) -> list[Path]:
    """Write the service's folder, its tests, and its entry in routes.yaml; return what was written."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,30}", name) or keyword.iskeyword(name):
        raise NotPossible(f"{name!r} is no good name: 2 to 31 lower-case letters, digits and underscores")
    folders = {TEMPLATES / "service": root / "services" / name, TEMPLATES / "tests": root / "tests" / name}
    for folder in folders.values():
        if folder.exists():
            raise NotPossible(f"{folder.relative_to(root)} is there already")
    values = {"name": name, "port": str(_free_port(root))}
    written = [file for source, target in folders.items() for file in _fill(source, target, values)]
    return [*written, _add_route(root / "routes.yaml", values)]


def _fill(source: Path, target: Path, values: dict[str, str]) -> Iterable[Path]:
    for template in sorted(source.rglob("*.txt")):
        file = target / template.relative_to(source).with_suffix("")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(Template(template.read_text()).substitute(values))
        yield file


def _add_route(file: Path, values: dict[str, str]) -> Path:
    entry = Template(
        "  - path: /$name\n    backend: $${${upper}_URL:-http://127.0.0.1:$port}\n    methods: [GET, POST]\n"
    ).substitute(values, upper=values["name"].upper())
    text, found = re.subn(
        r"^routes:.*\n", lambda line: line.group() + entry, file.read_text(), flags=re.MULTILINE
    )
    if found != 1:
        raise NotPossible(f"{file.name} has no single line `routes:`; add this there by hand:\n{entry}")
    file.write_text(text)
    return file


def _free_port(root: Path) -> int:
    settings = [file.read_text() for file in (root / "services").glob("*/settings.py")]
    taken = {int(port) for text in settings for port in re.findall(r"default=(\d{4,5})", text)}
    return max([FIRST_FREE_PORT - 1, *taken]) + 1
