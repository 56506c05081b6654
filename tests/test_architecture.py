"""Rules for the direction of imports, the size of files and functions, and the contents of lock files."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("contracts", "gatehouse", "gateway", "services", "shared")
FUNCTION_LINES_MAX = 60
HANDLERS = re.compile(r"(services\..+?)\.(?:\w+_)?handlers(?:\.|$)")
FILE_LINES_MAX = 400
# The layers of each part, lowest first, with their packages and modules. A file may import only from its own
# layer and from lower ones, type-only imports included. A file that is in no layer is an error.
LAYERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "gateway": (
        ("compiled",),
        ("__init__", "errors"),
        ("http",),
        ("routing",),
        ("request",),
        ("telemetry",),
        ("policies",),
        ("settings",),
        ("config",),
        ("upstream",),
        ("clients",),
        ("runtime",),
        ("forwarding",),
        ("site",),
        ("checkup", "cli", "compiling"),
        ("__main__",),
        ("worker",),
    ),
    "services.auth": (
        ("__init__", "errors", "fields", "provider_settings"),
        ("settings", "tables"),
        ("export_models", "key_models", "passkey_models", "provider_models"),
        ("models",),
        ("events", "schemas"),
        ("revocations",),
        ("keys",),
        ("credentials",),
        ("accounts",),
        ("clients", "factors", "mails"),
        ("sessions",),
        ("access_keys", "passkeys"),
        ("oauth", "lifecycle"),
        ("providers",),
        ("exports",),
        ("own_account", "administration", "duo"),
        ("classic", "explanations", "impersonation"),
        ("pages",),
        ("routes",),
        ("app", "checkup", "cli", "migrations"),
        ("__main__",),
    ),
    "shared": (
        ("__init__", "errors", "caller", "clock", "hashing", "ids", "look", "words"),
        ("tracing",),
        ("process",),
        ("data", "pdf"),
        ("peers",),
        ("identity",),
        ("http",),
        ("lists",),
        ("events",),
        ("work",),
        ("reports",),
        ("service",),
        ("testing",),
    ),
}
HTTPX_DOORS = ("shared/peers/client.py", "shared/testing.py")

FILES = [file for part in PARTS for file in sorted((ROOT / part).rglob("*.py"))]
LOCKS = sorted(ROOT.glob("requirements*.lock"))


@cache
def imported(source: str, package: str) -> frozenset[str]:
    """Return the full names of all modules that a file imports, anywhere in it."""
    return frozenset(_imported(source, package))


def _imported(source: str, package: str) -> Iterator[str]:
    for node in _nodes(source):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            # `from services import orders` imports a module as well
            yield from (f"{base}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


@lru_cache(maxsize=1)  # one check of a file follows the other
def _nodes(source: str) -> list[ast.AST]:
    return [*ast.walk(ast.parse(source))]


def _called(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def allowed(path: str) -> tuple[str, ...]:
    """Return the packages of this project that a file may import."""
    parts = path.split("/")
    if parts[0] == "services" and len(parts) > 2:
        return (f"services.{parts[1]}", "contracts", "shared")
    if parts[0] == "gatehouse":
        return ("gatehouse", "contracts", "shared")
    return (parts[0], "shared")


def layer_faults(path: str, source: str) -> list[str]:
    package = ".".join(path.split("/")[:-1])
    faults = []
    for name in sorted(imported(source, package)):
        ours = name.split(".")[0] in (*PARTS, "tests")
        if ours and not any(name == one or name.startswith(f"{one}.") for one in allowed(path)):
            faults.append(f"{path} imports {name}")
        if name.split(".")[0] == "httpx" and path.startswith("shared/") and path not in HTTPX_DOORS:
            faults.append(f"{path} imports httpx")
    return faults


def module_of(path: str) -> str:
    """Return the name under which a file is imported."""
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def import_graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Map every module to the modules among these files that it imports."""
    modules = {module_of(path) for path in sources}
    found: dict[str, set[str]] = {}
    for path, source in sources.items():
        package = ".".join(path.split("/")[:-1])
        names = {_nearest(name, modules) for name in imported(source, package)}
        found[module_of(path)] = names - {"", module_of(path)}
    return found


def _nearest(name: str, modules: set[str]) -> str:
    """Return the module that `name` is or is defined in; empty if it is not one of ours."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def room_faults(graph: Mapping[str, set[str]]) -> list[str]:
    """List files that are in no layer, and imports from higher layers."""
    floors = {
        (part, room): floor
        for part, layers in LAYERS.items()
        for floor, rooms in enumerate(layers)
        for room in rooms
    }
    faults = []
    for module, imports in graph.items():
        if _room(module)[0] not in LAYERS:
            continue
        floor = floors.get(_room(module))
        if floor is None:
            faults.append(f"{module} is in no layer")
            continue
        faults += [
            f"{module} imports {name}, which is in a higher layer"
            for name in sorted(imports)
            if _room(name)[0] == _room(module)[0] and floors.get(_room(name), 0) > floor
        ]
    return faults


def _room(module: str) -> tuple[str, str]:
    """Return a module's part and its entry in that part's table; the part is empty if it has no table."""
    part = next((one for one in LAYERS if module == one or module.startswith(f"{one}.")), "")
    return part, module.removeprefix(f"{part}.").split(".")[0] if module != part else "__init__"


def circle_faults(graph: Mapping[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" imports ".join(reversed(error.args[1]))]
    return []


def handler_faults(graph: Mapping[str, set[str]]) -> list[str]:
    """List handlers that are imported by a module other than the routes beside them."""
    faults = []
    for module, imports in graph.items():
        for name in sorted(imports):
            handlers = HANDLERS.match(name)
            if handlers and not re.fullmatch(rf"{re.escape(handlers[1])}\.(?:\w+_)?routes", module):
                faults.append(f"{module} imports {name}")
    return faults


def size_faults(path: str, source: str) -> list[str]:
    faults = []
    lines = len(source.splitlines())
    if lines > FILE_LINES_MAX:
        faults.append(f"{path} has {lines} lines")
    for node in _nodes(source):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                faults.append(f"{path}: {node.name} has {length} lines")
    return faults


def service_name_faults(path: str, source: str, services: list[str]) -> list[str]:
    """List names of services in identifiers and strings; docstrings and comments are ignored."""
    nodes = _nodes(source)
    said = {
        id(node.body[0].value)
        for node in nodes
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        f"{path}:{getattr(node, 'lineno', 0)} names {service}"
        for node in nodes
        for text in _texts(node)
        for service in services
        if id(node) not in said and re.search(rf"\b{service}\b", text)
    ]


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr


def lock_faults(name: str, text: str) -> list[str]:
    """List lines that are not one pinned version with hashes, such as index URLs."""
    requirements = re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    pinned = re.compile(r"[A-Za-z0-9._-]+(\[[a-z0-9,_-]+\])?==\S+( ; [^-]+)?( --hash=sha256:[0-9a-f]{64})+")
    faults = [f"{name}: {line[:60]}" for line in requirements if line and not pinned.fullmatch(line)]
    if not requirements:
        faults.append(f"{name}: is empty")
    return faults


def test_imports_follow_the_rules_and_files_and_functions_stay_small() -> None:
    faults = []
    for file in FILES:
        path, source = str(file.relative_to(ROOT)), file.read_text()
        faults += layer_faults(path, source) + size_faults(path, source)

    assert faults == []


def test_imports_point_to_lower_layers_without_cycles_and_only_routes_import_handlers() -> None:
    graph = import_graph({str(file.relative_to(ROOT)): file.read_text() for file in FILES})

    assert room_faults(graph) + circle_faults(graph) + handler_faults(graph) == []


def test_every_entry_of_the_layers_is_a_directory_or_a_file() -> None:
    parts = {part.replace(".", "/"): layers for part, layers in LAYERS.items()}
    rooms = {f"{part}/{room}" for part, layers in parts.items() for layer in layers for room in layer}
    missing = {room for room in rooms if not ((ROOT / room).is_dir() or (ROOT / f"{room}.py").is_file())}

    assert missing == set()


def test_checks_find_files_in_every_part() -> None:
    assert {file.relative_to(ROOT).parts[0] for file in FILES} == set(PARTS)
    assert len(LOCKS) == 4


def test_shared_code_names_no_service() -> None:
    services = [folder.parent.name for folder in (ROOT / "services").glob("*/__main__.py")]
    known = {"auth"}  # every verifier needs its URL and key set
    faults = [
        fault
        for file in (ROOT / "shared").rglob("*.py")
        for fault in service_name_faults(
            str(file.relative_to(ROOT)), file.read_text(), sorted(set(services) - known)
        )
    ]

    assert faults == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_lock_files_contain_only_versions_and_hashes(lock: Path) -> None:
    assert lock_faults(lock.name, lock.read_text()) == []


class TestTheChecksThemselves:
    @pytest.mark.parametrize(
        ("path", "source"),
        [
            ("services/orders/handlers.py", "import services.users.models"),
            ("services/orders/handlers.py", "from services.users import models"),
            ("services/orders/handlers.py", "from services import users"),
            ("services/orders/handlers.py", "from ..users import models"),
            ("services/orders/handlers.py", "from gateway.routing.table import Route"),
            ("services/orders/handlers.py", "def late():\n    import services.users"),
            ("services/orders/handlers.py", "importlib.import_module('services.users.models')"),
            ("services/orders/handlers.py", "from tests.support import free_port"),
            ("services/orders/sub/deep.py", "from ...users import models"),
            ("shared/service.py", "from services.orders import models"),
            ("shared/service.py", "import gateway"),
            ("shared/service.py", "import httpx"),
            ("shared/service.py", "from httpx import Client"),
            ("gateway/site/app.py", "from services.auth.app import create_app"),
        ],
    )
    def test_forbidden_import_is_found(self, path: str, source: str) -> None:
        assert layer_faults(path, source) != []

    @pytest.mark.parametrize(
        ("path", "source"),
        [
            (
                "services/orders/handlers.py",
                "from services.orders import models\nfrom shared.errors import X",
            ),
            ("services/orders/handlers.py", "from . import models\nfrom .money import Amount"),
            ("services/orders/handlers.py", "import httpx, sharedlike"),
            ("shared/peers/client.py", "import httpx\nfrom shared import errors"),
            (
                "gateway/site/app.py",
                "from gateway.routing.table import Route\nimport httpx\nimport shared.errors",
            ),
        ],
    )
    def test_permitted_import_is_accepted(self, path: str, source: str) -> None:
        assert layer_faults(path, source) == []

    @pytest.mark.parametrize(
        ("path", "source"),
        [
            ("gateway/policies/x.py", "from gateway.forwarding.exchange import Exchange"),
            ("gateway/policies/x.py", "from gateway.forwarding import exchange"),
            ("gateway/policies/x.py", "import gateway.forwarding.exchange"),
            ("gateway/policies/x.py", "from ..forwarding.exchange import Exchange"),
            ("gateway/policies/x.py", "def late():\n    from gateway.forwarding import exchange"),
            ("gateway/policies/x.py", "importlib.import_module('gateway.forwarding.exchange')"),
            ("gateway/policies/x.py", "if TYPE_CHECKING:\n    from gateway.forwarding import exchange"),
            ("gateway/errors.py", "from gateway.policies.y import Y"),
            ("services/auth/keys/x.py", "from services.auth.sessions.y import Y"),
            ("shared/caller.py", "from shared.http.y import Y"),
            ("shared/process/x.py", "from shared.http.y import Y"),
            ("shared/http/x.py", "if TYPE_CHECKING:\n    from shared.service import create_service"),
        ],
    )
    def test_import_from_a_higher_layer_is_found(self, path: str, source: str) -> None:
        above = (
            "gateway/forwarding/exchange.py",
            "gateway/policies/y.py",
            "services/auth/sessions/y.py",
            "shared/http/y.py",
        )
        graph = import_graph(dict.fromkeys((*above, "shared/service.py"), "") | {path: source})

        assert len(room_faults(graph)) == 1

    def test_import_from_the_same_or_a_lower_layer_is_accepted(self) -> None:
        source = "from gateway.policies import y\nfrom gateway.errors import Refusal\nimport shared.service"
        others = ("gateway/policies/y.py", "gateway/errors.py", "shared/service.py")
        graph = import_graph(dict.fromkeys(others, "") | {"gateway/policies/x.py": source})

        assert room_faults(graph) == []

    @pytest.mark.parametrize(
        "path", ["gateway/limits.py", "gateway/helpers/x.py", "services/auth/helpers.py", "shared/helpers.py"]
    )
    def test_file_in_no_layer_is_found(self, path: str) -> None:
        assert room_faults(import_graph({path: ""})) == [f"{module_of(path)} is in no layer"]

    @pytest.mark.parametrize("path", ["gateway/__init__.py", "gateway/worker.py", "gateway/cli/__init__.py"])
    def test_file_in_a_layer_is_accepted(self, path: str) -> None:
        assert room_faults(import_graph({path: ""})) == []

    def test_import_cycle_within_a_layer_is_found(self) -> None:
        third = "if TYPE_CHECKING:\n    from shared.http import a"
        graph = import_graph(
            {
                "shared/http/a.py": "from shared.http.b import B",
                "shared/http/b.py": "from shared.http.c import C",
                "shared/http/c.py": third,
            }
        )
        (circle,) = circle_faults(graph)

        assert sorted(set(circle.split(" imports "))) == ["shared.http.a", "shared.http.b", "shared.http.c"]
        assert circle_faults(graph | {"shared.http.c": set()}) == []

    @pytest.mark.parametrize(
        ("path", "source"),
        [
            ("services/files/sweeper.py", "from services.files.handlers.trash import purge"),
            ("services/files/handlers/shares.py", "from services.files.handlers.trash import purge"),
            ("services/files/handlers/shares.py", "from services.files.handlers import trash"),
            ("services/files/handlers/shares.py", "from .trash import purge"),
            ("services/orders/sweeper.py", "from services.orders import handlers"),
            ("services/orders/routes.py", "from services.files.handlers import trash"),
            ("services/auth/pages/step_up_handlers.py", "from services.auth.pages.duo_handlers import begin"),
            ("services/auth/routes.py", "from services.auth.pages.duo_handlers import begin"),
        ],
    )
    def test_handler_imported_by_a_module_other_than_routes_is_found(self, path: str, source: str) -> None:
        handlers = (
            "services/files/handlers/trash.py",
            "services/orders/handlers.py",
            "services/auth/pages/duo_handlers.py",
        )

        assert len(handler_faults(import_graph(dict.fromkeys(handlers, "") | {path: source}))) == 1

    def test_handler_imported_by_routes_is_accepted(self) -> None:
        sources = {
            "services/files/routes.py": "from services.files.handlers import trash",
            "services/files/handlers/trash.py": "",
            "services/auth/pages/duo_routes.py": "from services.auth.pages import duo_handlers",
            "services/auth/pages/duo_handlers.py": "",
        }

        assert handler_faults(import_graph(sources)) == []

    def test_files_and_functions_that_are_too_long_are_found(self) -> None:
        body = "    pass\n"
        assert size_faults("a.py", "def f():\n" + body * FUNCTION_LINES_MAX) == ["a.py: f has 61 lines"]
        assert size_faults("a.py", "def f():\n" + body * (FUNCTION_LINES_MAX - 1)) == []
        assert size_faults("a.py", "class C:\n    async def f(self):\n" + "        pass\n" * 60) != []
        assert size_faults("a.py", "x = 1\n" * FILE_LINES_MAX) == []
        assert size_faults("a.py", "x = 1\n" * (FILE_LINES_MAX + 1)) == ["a.py has 401 lines"]

    def test_name_of_a_service_is_found(self) -> None:
        source = '"""As orders does."""\nif name == "orders":\n    orders()\n'
        assert service_name_faults("a.py", source, ["orders"]) == [
            "a.py:2 names orders",
            "a.py:3 names orders",
        ]

    @pytest.mark.parametrize(
        "line",
        [
            "starlette",
            "starlette==1.0",
            "starlette>=1.0 --hash=sha256:" + "0" * 64,
            "starlette==1.0 --hash=sha256:short",
            "--index-url https://example.com/simple",
            "starlette @ https://example.com/starlette.whl --hash=sha256:" + "0" * 64,
            "-e .",
            "# from https://example.com",
            "",
        ],
    )
    def test_lock_file_with_anything_else_is_found(self, line: str) -> None:
        assert lock_faults("x.lock", line) != []
