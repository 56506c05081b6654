"""The merged OpenAPI document and the page that shows it."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.site.openapi_components import METHODS
from tests.gateway.backends import Backend, Conversation, Handler
from tests.gateway.conftest import Start, StartBackend
from tests.gateway.support import RunningGateway

Document = dict[str, Any]


def document(paths: Document, **components: Any) -> Document:
    return {
        "openapi": "3.1.0",
        "info": {"title": "any", "version": "1"},
        "paths": paths,
        "components": components,
    }


def answering(name: str, schema: str | None = None, **more: Any) -> Document:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}} if schema else {}
    return {"operationId": name, "responses": {"200": {"description": "Done", "content": content}}, **more}


def serving(document: Document) -> Handler:
    async def serve(conversation: Conversation) -> None:
        while await conversation.request() is not None:
            await conversation.answer_json(document)

    return serve


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for key, item in value.items():
            if key != "default":
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def resolve(merged: Document, reference: str) -> Any:
    found: Any = merged
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


async def merged_document(gateway: RunningGateway) -> Document:
    from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR  # takes a second

    answer = await gateway.request("GET", "/openapi.json")
    assert answer.status == 200
    merged: Document = answer.json()
    assert OPENAPI_31_VALIDATOR.is_valid(merged), next(OPENAPI_31_VALIDATOR.iter_errors(merged))
    for reference in references(merged):
        resolve(merged, reference)
    return merged


def routes(*lines: str, more: str = "") -> str:
    return "routes:\n" + "".join(f"  - {{{line}}}\n" for line in lines) + more


async def test_services_are_merged_under_their_names(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    cats = await start_backend(serving(document({"/cats": {"get": answering("list_cats")}})))
    dogs = await start_backend(serving(document({"/dogs": {"get": answering("list_dogs")}})))
    merged = await merged_document(
        await start_gateway(
            routes(f'path: /cats, backend: "{cats.url}"', f'path: /dogs, backend: "{dogs.url}", name: hounds')
        )
    )

    assert merged["info"]["title"] == "Gatehouse"
    assert [tag["name"] for tag in merged["tags"]] == ["cats", "hounds", "Gateway"]
    assert merged["paths"]["/cats"]["get"]["tags"] == ["cats"]
    assert merged["paths"]["/dogs"]["get"]["tags"] == ["hounds"]
    assert merged["paths"]["/health"]["get"]["tags"] == ["Gateway"]
    assert merged["x-unavailable"] == []


async def test_equal_names_stay_and_clashing_ones_get_a_prefix(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    def of(name: str, size: Any) -> Document:
        return document(
            {f"/{name}": {"get": answering("show", "Pet"), "post": answering(f"add_{name}", "Owner")}},
            schemas={
                "Pet": {"type": "object", "properties": {"size": {"$ref": "#/components/schemas/Size"}}},
                "Size": {"type": "integer", "default": size},
                "Owner": {"type": "string", "default": {"$ref": "#/components/schemas/Size"}},
                "Unused": {"const": name},
            },
        )

    cats = await start_backend(serving(of("cats", 1)))
    dogs = await start_backend(serving(of("dogs", True)))
    merged = await merged_document(
        await start_gateway(
            routes(f'path: /cats, backend: "{cats.url}"', f'path: /dogs, backend: "{dogs.url}"')
        )
    )
    schemas = merged["components"]["schemas"]

    assert {"Owner", "cats.Pet", "dogs.Pet", "cats.Size", "dogs.Size"} <= schemas.keys()
    assert not {"Pet", "Size", "Unused"} & schemas.keys()
    # Two `Pet`s of equal text differ if their `Size`s do; a value that looks like a reference is data.
    assert schemas["dogs.Pet"]["properties"]["size"]["$ref"] == "#/components/schemas/dogs.Size"
    assert schemas["dogs.Size"]["default"] is True
    assert schemas["Owner"]["default"] == {"$ref": "#/components/schemas/Size"}
    assert merged["paths"]["/cats"]["get"]["operationId"] == "cats.show"
    assert merged["paths"]["/cats"]["post"]["operationId"] == "add_cats"
    assert merged["paths"]["/dogs"]["get"]["operationId"] == "dogs.show"


async def test_service_keeps_problems_and_schemes_that_differ(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    foreign = document(
        {
            "/cats": {
                "get": answering("list_cats", "Problem", security=[{"bearer": []}]),
                "post": answering("add_cat", "Cat"),
            }
        },
        schemas={
            "Problem": {"type": "string"},
            "Cat": {
                "oneOf": [{"$ref": "#/components/schemas/Problem"}],
                "discriminator": {"propertyName": "kind", "mapping": {"a": "Problem"}},
            },
        },
        securitySchemes={"bearer": {"type": "apiKey", "in": "header", "name": "X-Key"}},
    )
    backend = await start_backend(serving(foreign))
    merged = await merged_document(await start_gateway(routes(f'path: /cats, backend: "{backend.url}"')))
    listing, adding = merged["paths"]["/cats"]["get"], merged["paths"]["/cats"]["post"]

    assert merged["components"]["securitySchemes"].keys() == {"cats.bearer", "Gateway.bearer"}
    assert listing["security"] == [{"cats.bearer": []}]
    assert adding["security"] == [{"Gateway.bearer": []}], "the route requires a token"
    problem = adding["responses"]["401"]["content"]["application/problem+json"]["schema"]
    assert problem == {"$ref": "#/components/schemas/Gateway.Problem"}
    mapping = merged["components"]["schemas"]["Cat"]["discriminator"]["mapping"]
    assert mapping == {"a": "#/components/schemas/cats.Problem"}


async def test_only_forwarded_operations_are_shown(start_gateway: Start, start_backend: StartBackend) -> None:
    paths = {
        path: {method: answering(f"{method}{path}") for method in ("get", "put", "delete")}
        for path in ("/cats", "/cats/{name}", "/cats/special", "/internal/cats", "/mice", "/api/x", "/health")
    }
    cats = await start_backend(serving(document(paths)))
    other = await start_backend(serving(document({"/cats": {"get": answering("never")}})))
    merged = await merged_document(
        await start_gateway(
            routes(
                f'path: /cats, backend: "{cats.url}", methods: [GET, DELETE]',
                f'path: /cats/special, backend: "{other.url}"',
                more="aliases:\n  - {path: /api, to: /}\n",
            )
        )
    )
    shown = {
        path: item.keys() & METHODS
        for path, item in merged["paths"].items()
        if "Gateway" not in next(iter(item.values()))["tags"]
    }

    assert shown == {"/cats": {"get", "delete"}, "/cats/{name}": {"get", "delete"}}
    assert merged["paths"]["/health"]["get"]["operationId"] == "show_health"


async def test_gateway_adds_its_refusals_to_an_operation(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    body: Document = {"content": {"application/json": {"schema": {}}}}
    refusal = {"503": {"description": "`overloaded`: Busy."}, "404": {"description": "No cat."}}
    paths = {
        f"/{name}": {"get": answering(f"get_{name}"), "post": answering(f"add_{name}", requestBody=body)}
        for name in ("free", "kept", "ruled", "scoped", "claimed")
    }
    paths["/kept"]["get"]["responses"] |= refusal
    backend = await start_backend(serving(document(paths)))
    merged = await merged_document(
        await start_gateway(
            routes(
                f'path: /free, backend: "{backend.url}", auth: none',
                f'path: /kept, backend: "{backend.url}"',
                f'path: /ruled, backend: "{backend.url}", roles: [admin]',
                f'path: /scoped, backend: "{backend.url}", scopes: [read]',
                f'path: /claimed, backend: "{backend.url}", claims: {{tenant: a}}',
            )
        )
    )

    def statuses(path: str, method: str) -> set[str]:
        return set(merged["paths"][path][method]["responses"]) - {"200"}

    always = {"400", "429", "502", "503", "504"}
    assert statuses("/free", "get") == always
    assert statuses("/free", "post") == always | {"408", "413"}
    assert statuses("/kept", "get") == always | {"401", "404"}
    for path, code in (("/ruled", "forbidden"), ("/scoped", "insufficient_scope"), ("/claimed", "forbidden")):
        assert statuses(path, "get") == always | {"401", "403"}
        described = merged["paths"][path]["get"]["responses"]["403"]["description"]
        assert described.startswith(f"`{code}`: ")
    assert merged["paths"]["/free"]["get"]["security"] == []
    assert merged["paths"]["/kept"]["get"]["security"] == [{"bearer": []}]
    busy = merged["paths"]["/kept"]["get"]["responses"]["503"]
    assert busy["description"].startswith("`overloaded`: Busy. `unavailable`: Tokens cannot")
    assert busy["content"].keys() == {"application/problem+json"}


async def test_aliases_of_the_root_are_servers(gateway: RunningGateway, start_gateway: Start) -> None:
    lines = 'path: /cats, backend: "http://127.0.0.1:1"'
    aliases = "aliases:\n  - {path: /api/v1, to: /, envelope: v1}\n  - {path: /kittens, to: /cats}\n"
    merged = await merged_document(await start_gateway(routes(lines, more=aliases)))

    assert [server["url"] for server in merged["servers"]] == ["/", "/api/v1"]
    assert "{success, message, data, meta, errors}" in merged["servers"][1]["description"]
    assert [server["url"] for server in (await merged_document(gateway))["servers"]] == ["/"]


async def test_service_that_is_down_is_listed_until_it_responds(
    start_gateway: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.site.docs.KEPT_SECONDS", 0.0)
    monkeypatch.setattr("gateway.site.docs.KEPT_INCOMPLETE_SECONDS", 0.0)
    backend = Backend(serving(document({"/cats": {"get": answering("list_cats")}})))
    async with backend:
        url = backend.url
    gateway = await start_gateway(routes(f'path: /cats, backend: "{url}"'))

    missing = await merged_document(gateway)
    assert missing["x-unavailable"] == ["cats"]
    assert missing["info"]["description"].endswith("they do not respond: cats.")
    assert "/cats" not in missing["paths"]

    again = await asyncio.start_server(backend._serve, "127.0.0.1", backend.port)
    present = await merged_document(gateway)
    assert present["x-unavailable"] == []
    assert "/cats" in present["paths"]

    again.close()
    await again.wait_closed()
    assert await merged_document(gateway) == present, "the last document is kept while the service is down"


@pytest.mark.parametrize(
    "answer",
    [
        {"swagger": "2.0", "paths": {}},
        {"openapi": "3.0.3", "paths": {}},
        {"openapi": "3.1.0", "paths": ["/cats"]},
        {"openapi": "3.1.0", "paths": {"/cats": {"get": "x"}}},
        {"openapi": "3.1.0", "paths": {}, "components": {"schemas": 1}},
        ["/cats"],
        None,
    ],
)
async def test_invalid_document_is_omitted(
    start_gateway: Start, start_backend: StartBackend, answer: Any
) -> None:
    backend = await start_backend(serving(answer))
    merged = await merged_document(await start_gateway(routes(f'path: /cats, backend: "{backend.url}"')))

    assert merged["x-unavailable"] == ["cats"]


async def test_concurrent_requests_fetch_each_document_once(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    backend = await start_backend(serving(document({})))
    gateway = await start_gateway(
        routes(f'path: /cats, backend: "{backend.url}"', f'path: /dogs, backend: "{backend.url}"')
    )
    answers = await asyncio.gather(*(gateway.request("GET", "/openapi.json") for _ in range(20)))

    assert {answer.status for answer in answers} == {200}
    assert len(backend.received) == 1


async def test_document_supports_head_aliases_and_revalidation(
    start_gateway: Start, start_backend: StartBackend
) -> None:
    backend = await start_backend(serving(document({})))
    aliases = "aliases:\n  - {path: /api/v1, to: /, envelope: v1}\n"
    gateway = await start_gateway(routes(f'path: /cats, backend: "{backend.url}"', more=aliases))
    plain = await gateway.request("GET", "/openapi.json")
    etag = plain.value("etag")
    assert etag is not None

    assert (await gateway.request("GET", "/api/v1/openapi.json")).body == plain.body
    for path in ("/openapi.json", "/docs"):
        head = await gateway.request("HEAD", path)
        assert (head.status, head.value("cache-control")) == (200, "no-cache")
        refused = await gateway.request("POST", path)
        assert (refused.status, refused.code) == (405, "method_not_allowed")
        assert set((refused.value("allow") or "").split(", ")) == {"GET", "HEAD"}
    known = await gateway.request("GET", "/openapi.json", {"If-None-Match": f'"x", W/{etag}'})
    assert (known.status, known.body, known.value("etag")) == (304, b"", etag)


async def test_page_loads_nothing_from_other_origins(gateway: RunningGateway) -> None:
    page = await gateway.request("GET", "/docs")
    assert page.value("content-type") == "text/html; charset=utf-8"
    policy = page.value("content-security-policy") or ""
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = page.body.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|\bstyle=|\bon\w+=|<style", text), "the policy forbids it"
    files = re.findall(r'(?:src|href)="(docs/[^"]+)"', text)
    assert {name.rpartition(".")[2] for name in files} == {"js", "css", "svg"}

    for name in files:
        file = await gateway.request("GET", f"/{name}")
        assert file.status == 200, name
        assert file.value("cache-control") == "public, max-age=31536000, immutable"
        assert file.value("x-content-type-options") == "nosniff"
        # A module imports its neighbours; files of another version are served but not cached.
        for neighbour in re.findall(r'from "\./([^"]+)"', file.body.decode()):
            assert (await gateway.request("GET", f"/docs/other/{neighbour}")).value(
                "cache-control"
            ) == "no-store"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", file.body.decode())
    for name in ("docs.html", "nothing.js", "..%2Fdocs.py"):
        assert (await gateway.request("GET", f"/docs/any/{name}")).status in (400, 404)


class TestRewrittenRoutes:
    """The document contains the paths that callers use, and they lead to the right operations."""

    async def test_stripped_route_shows_the_paths_of_callers(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        shared = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]
        shop = await start_backend(
            serving(
                document(
                    {
                        "/": {"get": answering("show_shop")},
                        "/cats/{id}": {"get": answering("show_cat"), "parameters": shared},
                    }
                )
            )
        )
        gateway = await start_gateway(routes(f'path: /shop, backend: "{shop.url}", strip: true, auth: none'))
        paths = (await merged_document(gateway))["paths"]
        assert set(paths) >= {"/shop", "/shop/cats/{id}"}
        assert "/cats/{id}" not in paths
        assert [each["name"] for each in paths["/shop/cats/{id}"]["get"]["parameters"]] == ["id"]
        await gateway.request("GET", "/shop/cats/7")
        assert shop.received[-1].target == "/cats/7"

    async def test_rewritten_route_shows_its_own_parameters(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        lines = {"get": answering("list_lines")}
        service = await start_backend(
            serving(
                document({"/v2/orders/{order_id}/lines": lines, "/v2/{other}/lines": lines, "/v1/x": lines})
            )
        )
        gateway = await start_gateway(
            routes(f'path: "/of/{{id}}/{{tenant}}", backend: "{service.url}", rewrite: "/v2/orders/{{id}}"')
        )
        paths = (await merged_document(gateway))["paths"]
        (path,) = [path for path in paths if path.startswith("/of")]
        assert path == "/of/{order_id}/{tenant}/lines"
        assert [each["name"] for each in paths[path]["get"]["parameters"]] == ["tenant"]
        assert paths[path]["get"]["security"]
        assert "429" in paths[path]["get"]["responses"]

    async def test_parameter_with_a_name_that_is_taken_is_renamed(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        service = await start_backend(serving(document({"/cats/{id}": {"get": answering("show_cat")}})))
        gateway = await start_gateway(
            routes(f'path: "/of/{{id}}", backend: "{service.url}", rewrite: /, auth: none')
        )
        paths = (await merged_document(gateway))["paths"]
        assert [each["name"] for each in paths["/of/{id_}/cats/{id}"]["get"]["parameters"]] == ["id_"]

    async def test_second_path_of_an_operation_gets_its_own_id(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        cats = await start_backend(serving(document({"/cats": {"get": answering("list_cats")}})))
        gateway = await start_gateway(
            routes(
                f'path: /cats, backend: "{cats.url}"',
                f'path: /pets, name: pets, backend: "{cats.url}", rewrite: /cats',
            )
        )
        paths = (await merged_document(gateway))["paths"]
        assert paths["/cats"]["get"]["operationId"] == "list_cats"
        assert paths["/pets"]["get"]["operationId"] == "list_cats.pets"

    async def test_operation_shadowed_by_another_route_is_omitted(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        service = document({"/cats": {"get": answering("list_cats"), "post": answering("add_cat")}})
        one, other = await start_backend(serving(service)), await start_backend()
        gateway = await start_gateway(
            routes(
                f'path: /x, backend: "{one.url}", strip: true, methods: [GET]',
                f'path: /x/cats, name: other, backend: "{other.url}", methods: [POST]',
            )
        )
        paths = (await merged_document(gateway))["paths"]
        assert "/x/cats" not in paths, "the more specific route has no GET"

    async def test_own_page_overridden_by_a_route_is_omitted(
        self, start_gateway: Start, start_backend: StartBackend
    ) -> None:
        site = await start_backend(serving(document({"/": {"get": answering("show_site")}})))
        gateway = await start_gateway(routes(f'path: /, backend: "{site.url}", rewrite: /site, auth: none'))
        assert "/" not in (await merged_document(gateway))["paths"]
