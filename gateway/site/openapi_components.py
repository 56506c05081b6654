"""Merges parts of several OpenAPI documents: the components each part needs, and their new names."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

Document = dict[str, Any]
Rename = Callable[[str], str]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_ROOT = "#/components/"
_SCHEMES = "#/components/securitySchemes/"
# Not an OpenAPI section: operation ids have to be unique, like the names of components.
_IDS = "#/components/operationIds/"
# Below these are values or user-defined names, not OpenAPI keywords.
_DATA = frozenset(("default", "const", "enum", "example", "value"))
_NAMED = frozenset(
    ("properties", "patternProperties", "$defs", "dependentSchemas", "responses", "headers", "content")
)


def is_usable(document: Any) -> TypeGuard[Document]:
    """Whether this is an OpenAPI 3.1 document with a valid outline."""
    if not isinstance(document, dict) or not str(document.get("openapi", "")).startswith("3.1."):
        return False
    paths, sections = document.get("paths"), document.get("components", {})
    return (
        isinstance(paths, dict)
        and all(isinstance(item, dict) for item in paths.values())
        and all(isinstance(item.get(method, {}), dict) for item in paths.values() for method in METHODS)
        and isinstance(sections, dict)
        and all(isinstance(section, dict) for section in sections.values())
    )


def operations(item: Document) -> Iterator[tuple[str, Document]]:
    """Yield the operations of one path, by method."""
    return ((method, item[method]) for method in METHODS if method in item)


class Place(NamedTuple):
    """The public path of an operation."""

    path: str
    parameters: Sequence[str] = ()  # names in the path that the service does not know
    route: str = ""


PlacesOf = Callable[[str, str], Iterable[Place]]


def part_of(document: Document, places_of: PlacesOf) -> Document:
    """Return the operations of a document that have public paths, with the components they refer to."""
    paths: Document = {}
    ids: set[str] = set()
    for path, item in document["paths"].items():
        for method, written in operations(item):
            operation = {"security": document.get("security", []), **written}
            for place in places_of(path, method):
                if place.path == path:
                    shared = {
                        key: item[key] for key in ("summary", "description", "parameters") if key in item
                    }
                    paths.setdefault(path, {}).update(shared | {method: _with_id(operation, place, ids)})
                else:
                    moved = _moved(operation, item.get("parameters", []), place)
                    paths.setdefault(place.path, {})[method] = _with_id(moved, place, ids)
    return {"paths": paths, "components": _reached(paths, document.get("components", {}))}


def _moved(operation: Document, shared: Sequence[Document], place: Place) -> Document:
    """Return the operation for a path that differs from the service's, with all its parameters."""
    own = operation.get("parameters", [])
    named = {(each.get("name"), each.get("in")) for each in own}
    more = [each for each in shared if (each.get("name"), each.get("in")) not in named or "$ref" in each]
    added = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in place.parameters
    ]
    return {**operation, "parameters": [*more, *own, *added]}


def _with_id(operation: Document, place: Place, ids: set[str]) -> Document:
    """Return the operation, with an id that differs from those at its other public paths."""
    name = operation.get("operationId")
    if name in ids:
        operation = {**operation, "operationId": f"{name}.{place.route}"}
    ids.add(str(operation.get("operationId")))
    return operation


class Names:
    """The names of each part's components in the merged document.

    A name is kept if it means the same everywhere; otherwise it is prefixed with the name of its part.
    """

    def __init__(self, parts: Mapping[str, Document]) -> None:
        found: dict[str, list[Any]] = {}
        for part_name, part in parts.items():
            for reference, shape in _components(part):
                found.setdefault(reference, []).append(shape)
            for path, item in part["paths"].items():
                for method, operation in operations(item):
                    identity = (part_name, path, method)
                    found.setdefault(f"{_IDS}{operation.get('operationId')}", []).append(identity)
        self._taken = found.keys()
        self._clashing = _clashing(found)

    def rename(self, part_name: str) -> Rename:
        """Return a function that renames the references of this part."""

        def renamed(reference: str) -> str:
            head, rest = _split(reference)
            if head not in self._clashing:
                return reference
            section, _, name = head.rpartition("/")
            candidate = f"{section}/{part_name}.{name}"
            while candidate in self._taken:
                candidate += "_"
            return candidate + rest

        return renamed


def unite(parts: Mapping[str, Document], names: Names) -> tuple[Document, Document]:
    """Return all paths and all components, under their new names."""
    paths: Document = {}
    components: Document = {}
    for part_name, part in parts.items():
        rename = names.rename(part_name)
        for path, item in part["paths"].items():
            paths.setdefault(path, {}).update(_rewritten(item, rename))
        for reference, shape in _components(part):
            section, name = rename(reference).removeprefix(_ROOT).split("/", 1)
            rewritten = _rewritten(shape, rename)
            components.setdefault(section, {})[name] = _titled(section, name, rewritten)
    # Sorted, so that every gateway of a cluster writes the same document.
    return paths, {section: dict(sorted(entries.items())) for section, entries in sorted(components.items())}


def _titled(section: str, name: str, shape: Any) -> Any:
    """Return a schema under its own name: generators name types after titles, which others may have too."""
    if section != "schemas" or not isinstance(shape, dict):
        return shape
    return {**shape, "title": "".join(part[:1].upper() + part[1:] for part in name.split("."))}


def _clashing(found: Mapping[str, list[Any]]) -> set[str]:
    """Return the references with more than one meaning."""
    clashing = {
        reference for reference, shapes in found.items() if len({_text(shape) for shape in shapes}) > 1
    }
    while True:
        # Equal texts that refer to unequal components are unequal too.
        more = {
            reference
            for reference, shapes in found.items()
            if reference not in clashing
            and len(shapes) > 1
            and not clashing.isdisjoint(_references(shapes[0]))
        }
        if not more:
            return clashing
        clashing |= more


def _text(shape: Any) -> str:
    # In Python, 1, 1.0 and True are equal; in JSON they are not.
    return json.dumps(shape, sort_keys=True)


def _reached(paths: Document, sections: Document) -> Document:
    """Return the components that `paths` refers to, directly or not."""
    reached: Document = {}
    waiting = _references(paths)
    while waiting:
        section, _, name = waiting.pop().removeprefix(_ROOT).partition("/")
        if name in sections.get(section, {}) and name not in reached.get(section, {}):
            shape = sections[section][name]
            reached.setdefault(section, {})[name] = shape
            waiting |= _references(shape)
    return reached


def _components(part: Document) -> Iterator[tuple[str, Any]]:
    for section, entries in part["components"].items():
        for name, shape in entries.items():
            yield f"{_ROOT}{section}/{name}", shape


def _references(value: Any) -> set[str]:
    found: set[str] = set()

    def note(reference: str) -> str:
        found.add(_split(reference)[0])
        return reference

    _rewritten(value, note)
    return found


def _split(reference: str) -> tuple[str, str]:
    """Split a reference into `#/components/schemas/Order` and the pointer inside it."""
    if not reference.startswith(_ROOT):
        return reference, ""
    parts = reference.split("/", 4)
    return "/".join(parts[:4]), "".join(f"/{part}" for part in parts[4:])


def _rewritten(value: Any, rename: Rename, *, are_names: bool = False) -> Any:
    """Return a copy with every reference renamed; `are_names` means that the keys are not keywords."""
    if isinstance(value, list):
        return [_rewritten(item, rename) for item in value]
    if not isinstance(value, dict):
        return value
    if are_names:
        return {key: _rewritten(item, rename) for key, item in value.items()}
    return {key: _keyword(key, item, rename) for key, item in value.items()}


def _keyword(key: str, value: Any, rename: Rename) -> Any:
    if key in _DATA or (key == "examples" and isinstance(value, list)):
        return value
    if key == "$ref" and isinstance(value, str):
        return rename(value)
    if key == "operationId" and isinstance(value, str):
        return rename(_IDS + value).removeprefix(_IDS)
    if key == "security" and isinstance(value, list):
        return [
            {rename(_SCHEMES + name).removeprefix(_SCHEMES): scopes for name, scopes in one.items()}
            for one in value
        ]
    if key == "mapping" and isinstance(value, dict):
        return {
            name: rename(target if "/" in target else f"{_ROOT}schemas/{target}")
            for name, target in value.items()
        }
    return _rewritten(value, rename, are_names=key in _NAMED)
