"""Paths of a service: finds the resource of a request, and its endpoint by the method."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import Receive, Scope, Send

from shared.errors import MethodNotAllowed
from shared.http.endpoints import NOT_MODIFIED, Endpoint
from shared.http.inputs import JSON
from shared.process.observe import ROUTE


class Resource:
    """All operations on one path, as an ASGI application that dispatches by method."""

    def __init__(self, path: str, endpoints: list[Endpoint]) -> None:
        self.path = path
        self._by_method = {endpoint.operation.method: endpoint for endpoint in endpoints}
        if "GET" in self._by_method:
            self._by_method.setdefault("HEAD", self._by_method["GET"])
        self._allow = ", ".join(sorted(self._by_method))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ROUTE] = self.path
        endpoint = self._by_method.get(scope["method"])
        if endpoint is None:
            raise MethodNotAllowed(headers={"Allow": self._allow})
        reply = await endpoint(Request(scope, receive))
        if isinstance(reply, Response):
            await reply(scope, receive, send)
            return
        headers = [(b"content-length", str(len(reply.body)).encode())]
        if not any(name == "cache-control" for name, _ in reply.headers):
            headers.append((b"cache-control", b"no-store"))
        if reply.body:
            headers.append((b"content-type", JSON.encode()))
        headers += [(name.encode(), value.encode("latin-1")) for name, value in reply.headers]
        if reply.status in (204, NOT_MODIFIED):  # no body, so no length
            del headers[0]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})


class FixedPaths:
    """Finds paths without parameters by one look-up; the router would try all routes in turn."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._by_path = {
            route.path: route.endpoint
            for route in router.routes
            if isinstance(route, Route)
            and isinstance(route.endpoint, Resource)
            and not route.param_convertors
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        resource = self._by_path.get(scope["path"]) if scope["type"] == "http" else None
        if resource is None:
            await self._router(scope, receive, send)
            return
        scope["path_params"] = {}
        await resource(scope, receive, send)


def resources(endpoints: Sequence[Endpoint]) -> list[BaseRoute]:
    """Return one route per path, fixed segments before parameters: /users/me is never matched as an id."""
    by_path: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        by_path.setdefault(endpoint.operation.path, []).append(endpoint)
    ordered = sorted(by_path.items(), key=lambda item: [part.startswith("{") for part in item[0].split("/")])
    return [Route(path, Resource(path, group)) for path, group in ordered]
