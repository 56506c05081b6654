"""Every service has the same layout, and its documentation matches the code."""

import importlib
import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from contracts.scopes import SCOPES
from gateway.site.admin.access import SCOPE
from shared.caller import BROAD_SCOPES, Caller
from shared.data import migrate
from shared.events.operations import SCOPE as EVENTS
from shared.events.operations import event_operations
from shared.http.endpoints import serialiser
from shared.http.operations import Operation, Signature
from shared.identity.tokens import admin, internal, person, person_or_nobody, public
from shared.process.settings import ProcessSettings, ServiceSettings
from shared.testing import TEST_INTERNAL_SECRET, TEST_JWT_SECRET, running
from tests.shared.test_openapi import sound

ROOT = Path(__file__).parent.parent
ROUTES = ROOT / "routes.yaml"
SERVICES = sorted(file.parent.name for file in (ROOT / "services").glob("*/__main__.py"))
PROGRAMS = [*SERVICES, "gateway"]
FILES = (
    "__main__.py app.py settings.py routes.py schemas.py models.py errors.py events.py migrations README.md"
).split()

every_service = pytest.mark.parametrize("service", SERVICES)


def module(service: str, name: str) -> Any:
    return importlib.import_module(f"services.{service}.{name}")


def settings_class(program: str) -> type[ProcessSettings]:
    where = "gateway" if program == "gateway" else f"services.{program}"
    found: type[ProcessSettings] = importlib.import_module(f"{where}.settings").Settings
    return found


def operations(service: str) -> list[Operation]:
    """Return the operations of a service, with those that the chassis adds for its events."""
    found: list[Operation] = module(service, "routes").OPERATIONS
    return [*found, *(event_operations(service) if hasattr(module(service, "models"), "EVENTS") else [])]


def test_services_are_found() -> None:
    assert {"auth", "orders", "users"} <= set(SERVICES)


@every_service
def test_every_service_has_the_same_files(service: str) -> None:
    folder = ROOT / "services" / service
    missing = [name for name in FILES if not (folder / name).exists()]
    places = [folder / "handlers.py", folder / "handlers", [*folder.glob("*/handlers.py")]]

    assert missing == []
    assert sum(place.exists() if isinstance(place, Path) else bool(place) for place in places) == 1
    assert list((folder / "migrations").glob("0001_*.py"))
    assert settings_class(service).service == service


def test_no_two_programs_have_the_same_default_port() -> None:
    ports = {program: settings_class(program).model_fields["port"].default for program in PROGRAMS}

    assert len(set(ports.values())) == len(PROGRAMS), ports


@every_service
def test_every_public_endpoint_is_routed_by_the_gateway(service: str) -> None:
    from gateway.config.routes_file import load

    table = load(ROUTES, development=True)
    routed = {route.path.decode() for route in table.routes}
    outside = {one.path for one in operations(service) if not one.path.startswith("/internal")}

    assert [path for path in outside if not _covered(path, routed)] == []


def _covered(path: str, routed: set[str]) -> bool:
    return any(path == prefix or path.startswith(f"{prefix.rstrip('/')}/") for prefix in routed)


def documented(program: str) -> set[str]:
    """Return the variables that docs/settings.md and a program's README describe."""
    own = ROOT / ("gateway" if program == "gateway" else f"services/{program}") / "README.md"
    texts = [file.read_text() for file in (ROOT / "docs/settings.md", own) if file.exists()]
    return set(re.findall(r"`([A-Z][A-Z0-9_]+)`", "\n".join(texts)))


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_setting_is_documented(program: str) -> None:
    read = {name.upper() for name in settings_class(program).model_fields}

    assert sorted(read - documented(program)) == []


@pytest.mark.parametrize("program", SERVICES)
def test_every_documented_setting_exists(program: str) -> None:
    text = (ROOT / "services" / program / "README.md").read_text()
    listed = set(re.findall(r"^\| `([A-Z][A-Z0-9_]+)`", text, re.MULTILINE))
    read = {name.upper() for name in settings_class(program).model_fields}

    assert sorted(listed - read) == []


@every_service
def test_models_and_migrations_agree(service: str, database_url: str) -> None:
    kind = settings_class(service)
    assert issubclass(kind, ServiceSettings)
    metadata = module(service, "models").Table.metadata

    assert migrate.differences(database_url, kind.migrations(), metadata) == []


@every_service
def test_migrations_are_numbered_without_gaps(service: str) -> None:
    names = sorted(file.name for file in (ROOT / "services" / service / "migrations").glob("*.py"))
    numbers = [int(name[:4]) for name in names if re.match(r"\d{4}_[a-z0-9_]+\.py$", name)]

    assert numbers == list(range(1, len(names) + 1))


@every_service
async def test_openapi_document_is_valid_and_complete(service: str, tmp_path: Path) -> None:
    kind = settings_class(service)
    assert issubclass(kind, ServiceSettings)
    # model_validate, because pydantic's mypy plugin knows only the base class's fields
    settings = kind.model_validate(
        {"data_dir": tmp_path, "jwt_secret": TEST_JWT_SECRET, "internal_secret": TEST_INTERNAL_SECRET}
    )
    async with running(module(service, "app").create_app, settings) as client:
        document = (await client.get("/openapi.json")).json()

    sound(document)
    assert document["info"]["title"] == service
    assert set(document["paths"]) == {
        one.path.replace(":path}", "}") for one in operations(service) if not one.path.startswith("/internal")
    }


@every_service
def test_every_result_can_be_serialised(service: str) -> None:
    """Serialisers are built for the first result, so a type without one would fail only then."""
    for operation in operations(service):
        assert serialiser(Signature.of(operation).answer)


@every_service
def test_docstrings_of_handlers_start_with_a_sentence_for_the_summary(service: str) -> None:
    without = [
        one.name
        for one in operations(service)
        if not re.match(r"[A-Z].+[.!]$", (one.handler.__doc__ or "").strip().partition("\n")[0])
    ]

    assert without == []


@every_service
def test_every_operation_names_its_scope_or_says_why_it_needs_none(service: str) -> None:
    """Operations without a scope are internal, only for people, or do not know the caller."""
    table = module(service, "routes")
    named = [*table.OPERATIONS, *getattr(table, "SOCKETS", ())]
    wrong = [
        f"{one.path} {one.handler.__name__}"
        for one in named
        if (one.scope is None)
        != (
            one.access in (internal, person, person_or_nobody)
            or (one.access is public and not _knows_caller(one))
        )
    ]

    assert wrong == []


@every_service
def test_every_admin_operation_requires_an_admin_scope(service: str) -> None:
    wrong = [
        one.name
        for one in operations(service)
        if one.access is admin and not (one.scope or "").startswith("admin:")
    ]

    assert wrong == []


def test_auth_grants_exactly_the_scopes_that_services_require() -> None:
    demanded: set[str] = {SCOPE, EVENTS}
    for service in SERVICES:
        table = module(service, "routes")
        demanded |= {one.scope for one in [*table.OPERATIONS, *getattr(table, "SOCKETS", ())] if one.scope}
    # No operation requires `admin:orders`: with it, an admin's `orders:read` includes the orders of others.
    widening = {f"admin:{scope.partition(':')[0]}" for scope in demanded}

    assert demanded <= set(SCOPES)
    assert set(SCOPES) - demanded - widening == BROAD_SCOPES


def _knows_caller(operation: Operation) -> bool:
    return Caller | None in get_type_hints(operation.handler).values()
