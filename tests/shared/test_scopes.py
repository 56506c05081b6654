"""Scopes: a limited token may do no more than its scopes allow; other tokens may do what the role allows."""

from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.websockets import WebSocket

from shared.caller import Caller
from shared.data.database import Database
from shared.http.operations import Operation
from shared.http.schemas import Output
from shared.http.sockets import Socket
from shared.identity.tokens import admin, person, public
from shared.peers.client import HttpClient
from shared.process.settings import ServiceSettings
from shared.service import create_service
from shared.testing import bearer, running, token
from shared.work.operations import job_operations
from tests.shared.work.app import Settings as WorkSettings
from tests.shared.work.test_documentation import example


class Who(Output):
    is_admin: bool | None


class Settings(ServiceSettings):
    service: ClassVar[str] = "things"


def read_things(caller: Caller) -> Who:
    """Read."""
    return Who(is_admin=caller.is_admin)


def write_things(caller: Caller) -> Who:
    """Write."""
    return Who(is_admin=caller.is_admin)


def drop_things(caller: Caller) -> Who:
    """Drop."""
    return Who(is_admin=caller.is_admin)


def look_around(caller: Caller | None) -> Who:
    """Look around.

    With or without a token.
    """
    return Who(is_admin=caller and caller.is_admin)


def change_password(caller: Caller) -> Who:
    """Change something that no client may change."""
    return Who(is_admin=caller.is_admin)


def change_name(caller: Caller) -> Who:
    """Change something that only a person may change."""
    return Who(is_admin=caller.is_admin)


def say_hello() -> Who:
    """Say hello."""
    return Who(is_admin=None)


async def follow_things(websocket: WebSocket) -> None:
    """Follow."""


OPERATIONS = [
    Operation("GET", "/things", read_things, scope="things:read"),
    Operation("POST", "/things", write_things, scope="things:write"),
    Operation("DELETE", "/things", drop_things, access=admin, scope="admin:things"),
    Operation("GET", "/around", look_around, access=public, scope="things:read"),
    Operation("PUT", "/password", change_password),
    Operation("PUT", "/name", change_name, access=person),
    Operation("GET", "/hello", say_hello, access=public),
]


def create_app(settings: ServiceSettings) -> Starlette:
    return create_service(settings, OPERATIONS, client=HttpClient(), database=Database(settings.database_url))


@pytest.fixture
async def things(make_settings: Callable[..., Any]) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app, make_settings(WorkSettings)) as client:
        yield client


async def ask(
    client: httpx.AsyncClient, call: str, scope: str | None, role: str = "user", **claims: Any
) -> httpx.Response:
    method, path = call.split()
    return await client.request(method, path, headers=bearer(token(role=role, scope=scope, **claims)))


@pytest.mark.parametrize(
    ("call", "scope", "missing"),
    [
        ("GET /things", "things:write", "things:read"),
        ("GET /things", "", "things:read"),
        ("GET /things", "things:readers other:read Things:read", "things:read"),
        ("GET /things", "write", "things:read"),
        ("POST /things", "things:read", "things:write"),
        ("POST /things", "read", "things:write"),
        ("GET /around", "things:write", "things:read"),
    ],
)
async def test_refusal_of_a_limited_token_names_the_missing_scope(
    things: httpx.AsyncClient, call: str, scope: str, missing: str
) -> None:
    refused = await ask(things, call, scope, client_id="c")

    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert refused.json()["scope"] == missing
    assert refused.json()["detail"] == f"The token lacks the scope {missing}."
    assert refused.headers["www-authenticate"] == f'Bearer error="insufficient_scope", scope="{missing}"'
    assert refused.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("call", "scope"),
    [
        ("GET /things", "things:read"),
        ("GET /things", "x:y things:read z"),
        ("GET /things", "read"),
        ("GET /around", "things:read"),
        ("POST /things", "things:write"),
        ("POST /things", "read write"),
        ("POST /things", "openid full_access"),
        ("GET /hello", ""),
    ],
)
async def test_limited_token_with_the_scope_is_served(
    things: httpx.AsyncClient, call: str, scope: str
) -> None:
    assert (await ask(things, call, scope, client_id="c")).status_code == 200


@pytest.mark.parametrize(
    "call",
    ["GET /things", "POST /things", "DELETE /things", "GET /around", "PUT /password", "PUT /name"],
)
async def test_token_without_scopes_may_do_all_that_the_role_allows(
    things: httpx.AsyncClient, call: str
) -> None:
    served = await ask(things, call, None, role="admin")

    assert (served.status_code, served.json()) == (200, {"is_admin": True})


async def test_token_of_a_person_issued_before_scopes_were_enforced_is_not_limited(
    things: httpx.AsyncClient,
) -> None:
    assert (await ask(things, "DELETE /things", "read write", role="admin")).status_code == 200
    assert (await ask(things, "DELETE /things", "read write", role="admin", client_id="c")).status_code == 403


@pytest.mark.parametrize("scope", [["things:read"], 7, True, {"things:read": 1}, "things:read\x00"])
async def test_scope_that_is_not_text_allows_nothing(things: httpx.AsyncClient, scope: Any) -> None:
    assert (await ask(things, "GET /things", scope)).status_code == 403


@pytest.mark.parametrize("call", ["PUT /password", "PUT /name"])
@pytest.mark.parametrize("scope", ["read write things:read", "full_access", None])
async def test_operation_without_a_scope_is_closed_to_programs(
    things: httpx.AsyncClient, call: str, scope: str | None
) -> None:
    refused = await ask(things, call, scope, client_id="c")

    assert (refused.status_code, refused.json()["code"]) == (403, "not_interactive")
    assert (await things.request(*call.split())).status_code == 401


async def test_client_token_without_scopes_may_do_nothing(things: httpx.AsyncClient) -> None:
    refused = await ask(things, "GET /things", None, client_id="c")

    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")


async def test_anonymous_request_needs_no_scope_where_a_token_is_optional(
    things: httpx.AsyncClient,
) -> None:
    assert (await things.get("/around")).json() == {"is_admin": None}
    assert (await things.get("/things")).status_code == 401


@pytest.mark.parametrize(
    ("call", "scope", "is_admin"),
    [
        ("GET /things", "things:read", False),
        ("GET /things", "read write", False),
        ("GET /things", "things:read admin:others", False),
        ("GET /things", "things:read admin:things", True),
        ("DELETE /things", "admin:things", True),
        ("GET /things", "full_access", True),
        ("DELETE /things", "full_access", True),
    ],
)
async def test_limited_token_of_an_admin_has_admin_rights_only_with_the_admin_scope(
    things: httpx.AsyncClient, call: str, scope: str, is_admin: bool
) -> None:
    assert (await ask(things, call, scope, role="admin", client_id="c")).json() == {"is_admin": is_admin}


async def test_admin_scope_does_not_make_a_user_an_admin(things: httpx.AsyncClient) -> None:
    refused = await ask(things, "DELETE /things", "admin:things", client_id="c")

    assert (refused.status_code, refused.json()["detail"]) == (403, "This needs the role admin.")
    assert (await ask(things, "GET /things", "things:read admin:things")).json() == {"is_admin": False}


async def test_openapi_document_names_the_scopes(things: httpx.AsyncClient) -> None:
    paths = (await things.get("/openapi.json")).json()["paths"]

    assert paths["/things"]["get"]["security"] == [{"bearer": ["things:read"]}]
    assert paths["/things"]["delete"]["security"] == [{"bearer": ["admin:things"]}]
    assert paths["/password"]["put"]["security"] == [{"bearer": []}]
    assert paths["/around"]["get"]["security"] == []
    assert "needs `things:read`" in paths["/around"]["get"]["description"]
    assert "`insufficient_scope`" in paths["/things"]["post"]["responses"]["403"]["description"]
    for path in ("/password", "/name"):
        assert "`not_interactive`" in paths[path]["put"]["responses"]["403"]["description"]
    assert "403" not in paths["/hello"]["get"]["responses"]


@pytest.mark.parametrize(
    "scope", ["orders", "orders:", ":read", "orders:read ", "Orders:read", "7:read", "a:b:c", 'a:b"', ""]
)
def test_scope_of_an_operation_is_a_resource_and_an_action(scope: str) -> None:
    with pytest.raises(TypeError, match="is not a scope, which is a resource"):
        Operation("GET", "/things", read_things, scope=scope)
    with pytest.raises(TypeError, match="is not a scope, which is a resource"):
        Socket("/things/ws", follow_things, "things.v1", scope=scope)


@given(
    st.frozensets(
        st.sampled_from("read write a:read a:write b:read admin:a admin read:a full_access".split())
    )
)
def test_limited_caller_may_do_only_what_its_scopes_name_or_cover(scopes: frozenset[str]) -> None:
    caller = Caller("1", "user", None, None, None, scopes, 0.0, is_limited=True)

    assert caller.may("a:read") == bool(scopes & {"a:read", "read", "full_access"})
    assert caller.may("a:write") == bool(scopes & {"a:write", "write", "full_access"})
    assert caller.may("admin:a") == bool(scopes & {"admin:a", "full_access"})
    assert caller.may("admin:read") == ("full_access" in scopes)


def test_example_of_scopes_declares_operations() -> None:
    handlers = ("list_invoices", "issue_invoice", "drop_invoices", "sign_invoices", "list_prices")
    names: dict[str, Any] = dict.fromkeys(handlers, read_things)
    names |= {"Operation": Operation, "Caller": Caller, "admin": admin, "person": person, "public": public}
    names["job_operations"] = job_operations
    exec(example("scopes.md"), names)
    scopes = {one.scope for one in names["OPERATIONS"]}

    assert scopes == {"invoices:read", "invoices:write", "admin:invoices", None}
    assert names["may_issue"](Caller("1", "user", None, None, None, frozenset(), 0.0))
