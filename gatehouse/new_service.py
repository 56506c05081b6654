"""`gatehouse service NAME`: creates a working service as a starting point."""

import keyword
import re
from collections.abc import Iterator
from pathlib import Path
from string import Template

from gatehouse import compose, stack
from gatehouse.kubernetes import drawing as kubernetes

TEMPLATES = Path(__file__).parent / "scaffold"
FIRST_FREE_PORT = 8090  # lower ports belong to the services that come with the suite
# Names of programs, and first path segments that the gateway reserves.
TAKEN = frozenset(
    "contracts gatehouse gateway shared tests api internal health metrics docs console events".split()
)
# Names that the templates use for something else.
TAKEN_THINGS = frozenset(
    "account action body caller client database duty event id operation page query record session setting "
    "table title token trail work".split()
)

ROUTE = Template("""\
  - path: $routed
    backend: $${${upper}_URL:-http://127.0.0.1:$port}
    methods: ["GET", "POST", "PUT", "PATCH", "DELETE"]

  - path: /events/$name
    backend: $${${upper}_URL:-http://127.0.0.1:$port}
    methods: ["GET", "POST"]
    roles: ["admin"]
    body_max: 64KiB

""")
CONTRACT = Template('''\
class ${Thing}State(Event):
    """$A $one as it is after the change."""

    key = "${thing}_id"
    source = "$name"

    ${thing}_id: str
    user_id: str
    title: str


class ${Thing}Added(${Thing}State):
    """$A $one was added."""

    topic = "$thing.added"


class ${Thing}Changed(${Thing}State):
    """The title or the expiry of $a $one changed."""

    topic = "$thing.changed"


class ${Thing}Deleted(Event):
    """$A $one was deleted or has expired."""

    topic = "$thing.deleted"
    key = "${thing}_id"
    source = "$name"

    ${thing}_id: str
    user_id: str


''')
SUBSCRIBER = Template('    "$name": Subscriber("http://127.0.0.1:$port", AccountDeleted, *_EXPORTS),\n')
SCOPES = Template("""\
    "$name:read": "See your $many",
    "$name:write": "Add, change and delete $many for you",
""")


class NotPossible(Exception):
    """The service cannot be created; the message says why."""


def create(root: Path, name: str, thing: str = "entry") -> list[Path]:
    """Write the service, its tests, and its entries in routes, contracts and containers; return the files."""
    _require_usable(name, TAKEN, "service")
    _require_usable(thing, TAKEN_THINGS, "thing")
    folders = {TEMPLATES / "service": root / "services" / name, TEMPLATES / "tests": root / "tests" / name}
    for folder in folders.values():
        if folder.exists():
            raise NotPossible(f"{folder.relative_to(root)} already exists")
    values = _values(name, thing, _free_port(root))
    texts = {  # complete before anything is written
        file: text for source, target in folders.items() for file, text in _filled(source, target, values)
    } | {
        root / "routes.yaml": _with_route(root / "routes.yaml", values),
        root / "contracts" / "events.py": _with_events(root / "contracts" / "events.py", values),
        root / "contracts" / "scopes.py": _with_scopes(root / "contracts" / "scopes.py", values),
    }
    for file, text in texts.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    changed = [*compose.write(root), *kubernetes.write(root, root / kubernetes.FOLDER)]
    (root / stack.FILE).write_text(stack.drawn(root))
    return [*texts, *changed, root / stack.FILE]


def _require_usable(word: str, taken: frozenset[str], what: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,30}", word):
        raise NotPossible(
            f"{word!r} is not a valid {what} name: use 2 to 31 lower-case letters, digits and underscores"
        )
    if keyword.iskeyword(word) or word in taken:
        raise NotPossible(f"{word!r} already has a meaning; choose another {what} name")


def _values(name: str, thing: str, port: int) -> dict[str, str]:
    things = plural(thing)
    article = "an" if thing[0] in "aeiou" else "a"
    return {
        "name": name,
        "upper": name.upper(),
        "port": str(port),
        "thing": thing,
        "things": things,
        "one": thing.replace("_", " "),
        "many": things.replace("_", " "),
        "Thing": "".join(part.capitalize() for part in thing.split("_")),
        "THINGS": things.upper(),
        "a": article,
        "A": article.capitalize(),
        "path": f"/{name}" if name == things else f"/{name}/{things}",
    }


def plural(thing: str) -> str:
    if re.search(r"[^aeiou]y$", thing):
        return f"{thing[:-1]}ies"
    return f"{thing}es" if re.search(r"(s|x|z|ch|sh)$", thing) else f"{thing}s"


def _filled(source: Path, target: Path, values: dict[str, str]) -> Iterator[tuple[Path, str]]:
    """Yield the files of a template, with their texts."""
    for template in sorted(source.rglob("*.txt")):
        named = str(template.relative_to(source).with_suffix("")).replace("things", values["things"])
        yield target / named, Template(template.read_text()).substitute(values)


def _with_route(file: Path, values: dict[str, str]) -> str:
    routes = file.read_text()
    entry = ROUTE.substitute(values, routed=_free_path(routes, values))
    text, found = re.subn(
        r"^routes:[ \t]*(#.*)?\n", lambda line: line.group() + entry, routes, flags=re.MULTILINE
    )
    if found != 1:
        raise NotPossible(f"{file.name} has no line `routes:` before a list; add this by hand:\n{entry}")
    return text


def _free_path(routes: str, values: dict[str, str]) -> str:
    """Return the path of the service, or of its things if another service has a route with the former."""
    taken = re.findall(r"^  - \{?path: ([^,\s}]+)", routes, re.MULTILINE)
    free = [path for path in (f"/{values['name']}", values["path"]) if path not in taken]
    if not free:
        raise NotPossible(f"{values['path']} already has a route; choose another name or thing")
    return free[0]


def _with_events(file: Path, values: dict[str, str]) -> str:
    """Return contracts/events.py with the events of the thing, and with the service as a subscriber."""
    text = file.read_text()
    if re.search(rf"^class {values['Thing']}(State|Added|Changed|Deleted)\b", text, re.MULTILINE):
        raise NotPossible(
            f"contracts/events.py already has events of {values['thing']!r}; choose another thing"
        )
    listed = re.search(r"^(?:#.*\n)*SUBSCRIBERS = \{\n(?:.*\n)*?\}\n", text, re.MULTILINE)
    if listed is None:
        raise NotPossible("contracts/events.py has no SUBSCRIBERS table with one line each")
    with_it = listed.group().removesuffix("}\n") + SUBSCRIBER.substitute(values) + "}\n"
    return text[: listed.start()] + CONTRACT.substitute(values) + with_it + text[listed.end() :]


def _with_scopes(file: Path, values: dict[str, str]) -> str:
    """Return the scopes with those of the service at the end of the list."""
    entries, text = SCOPES.substitute(values), file.read_text()
    if not text.endswith("}\n"):
        raise NotPossible(
            f"contracts/scopes.py does not end with the list of scopes; add these to it:\n{entries}"
        )
    return text.removesuffix("}\n") + entries + "}\n"


def _free_port(root: Path) -> int:
    return max([FIRST_FREE_PORT - 1, *dict(_ports(root)).values()]) + 1


def _ports(root: Path) -> Iterator[tuple[str, int]]:
    for file in sorted((root / "services").glob("*/settings.py")):
        for port in re.findall(r"default=(\d{4,5})", file.read_text()):
            yield file.parent.name, int(port)
