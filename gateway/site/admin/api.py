"""The gateway's state for admins, on the public port: `/gateway/*`. It reads, and changes nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway import WHY_NOT_COMPILED, errors
from gateway.config.description import shown
from gateway.errors import Refusal, too_large
from gateway.forwarding.explain import explain
from gateway.routing import table as routing
from gateway.runtime.gateway import Gateway
from gateway.runtime.siblings import Siblings
from gateway.site.admin import schemas
from gateway.site.admin.access import Access
from gateway.site.admin.records import Records
from gateway.telemetry.metrics import ERRORS_KEPT_MAX
from shared import __version__
from shared.errors import FieldFault, Problem, TooLarge, UnsupportedMediaType
from shared.http.inputs import is_json, read_body, valid
from shared.process.backups import FOLDER, backups_in, size_of
from shared.process.observe import ROUTE

LINES_MAX = 2_000  # of targets and limits, over all workers
BACKUPS_MAX = 200

Page = Callable[[Request], Awaitable[Any]]


class AdminApi:
    """Answers from memory, and lists backups from their folder.

    Only finding out who the caller is may have to wait for a service.
    """

    def __init__(self, gateway: Gateway, siblings: Siblings, records: Records) -> None:
        self._gateway = gateway
        self._siblings = siblings
        self._records = records
        self._access = Access(gateway)
        self._explaining = asyncio.Lock()

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            Route("/gateway/status", self._for_admins("/gateway/status", self.status)),
            Route("/gateway/routes", self._for_admins("/gateway/routes", self.show_routes)),
            Route("/gateway/targets", self._for_admins("/gateway/targets", self.targets)),
            Route("/gateway/limits", self._for_admins("/gateway/limits", self.limits)),
            Route("/gateway/errors", self._for_admins("/gateway/errors", self.errors)),
            Route("/gateway/backups", self._for_admins("/gateway/backups", self.backups)),
            Route("/gateway/explain", self._for_admins("/gateway/explain", self.explain), methods=["POST"]),
        ]

    def _for_admins(self, path: str, page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            request.scope[ROUTE] = path
            caller = await self._access.require_admin(request)
            self._records.note(caller, request, self._access.address_of(request))
            return JSONResponse(await page(request), headers={"Cache-Control": "no-store"})

        return guarded

    async def status(self, _request: Request) -> Any:
        gateway, states = self._gateway, await self._siblings.states()
        store = gateway.limit_store
        return _plain(
            schemas.Status(
                version=__version__,
                environment=gateway.settings.environment,
                compiled=not WHY_NOT_COMPILED,
                routes=len(gateway.table.routes),
                routes_version=gateway.table.digest[:12],
                workers=[schemas.WorkerStatus.model_validate(state) for state in states],
                revocations=gateway.verifier.revocations.state,
                limits="by each process" if store is None else store.state,
            )
        )

    async def show_routes(self, _request: Request) -> Any:
        table = self._gateway.table
        routes = table.routes[: schemas.ROUTES_MAX]
        return _plain(
            schemas.RoutesShown(
                version=table.digest[:12],
                total=len(table.routes),
                routes=[_route(route) for route in routes],
                aliases=[schemas.AliasShown(**_alias(alias)) for alias in table.aliases],
            )
        )

    async def targets(self, _request: Request) -> Any:
        states = await self._siblings.states()
        lines = ({"worker": state["worker"], **target} for state in states for target in state["targets"])
        return _lines(schemas.TargetShown, lines, LINES_MAX)

    async def limits(self, _request: Request) -> Any:
        lines = [
            {"worker": state["worker"], "route": name, "counted": state["limits"]["counted"], **limits}
            for state in await self._siblings.states()
            for name, limits in state["limits"]["routes"].items()
        ]
        return _lines(schemas.RouteLimits, lines, LINES_MAX)

    async def errors(self, _request: Request) -> Any:
        states = await self._siblings.states()
        found = [{**error, "worker": state["worker"]} for state in states for error in state["errors"][::-1]]
        found.sort(key=lambda error: str(error["time"]), reverse=True)
        return _lines(schemas.ErrorShown, found, ERRORS_KEPT_MAX)

    async def backups(self, _request: Request) -> Any:
        folder = self._gateway.settings.backup_dir or FOLDER
        found = await asyncio.to_thread(_backups_in, folder)
        return _plain(schemas.BackupsShown(known=bool(found) or folder.is_dir(), backups=found))

    async def explain(self, request: Request) -> Any:
        body = await _body(request)
        headers = [f"Host: {body.host}", *body.headers]
        address = self._access.address_of(request)
        # In a thread, and one at a time: it tries every route, and forwarding must not wait for that.
        async with self._explaining:
            lines = await asyncio.to_thread(
                explain, self._gateway.table, body.method, body.target, headers, address, body.role
            )
        *steps, last = lines
        return _plain(
            schemas.Explanation(
                outcome=last.outcome,
                result=last.words,
                steps=[schemas.Step(name=line.name, text=line.words) for line in steps],
            )
        )


def _backups_in(folder: Path) -> list[schemas.BackupShown]:
    sized = ((one, size_of(one)) for one in backups_in(folder)[:BACKUPS_MAX])
    return [
        schemas.BackupShown(name=one.name, taken=one.taken, size=size)
        for one, size in sized
        if size is not None
    ]


async def _body(request: Request) -> schemas.ExplainRequest:
    if not is_json(request.headers.get("content-type")):
        fault = FieldFault(field="Content-Type", code="wrong", message="must be application/json")
        raise _refusal(UnsupportedMediaType(errors=[fault]))
    try:
        content = await read_body(request, schemas.BODY_BYTES_MAX)
        body: schemas.ExplainRequest = valid(schemas.ExplainRequest.model_validate_json, content)
    except TooLarge as error:
        raise too_large(schemas.BODY_BYTES_MAX) from error
    except Problem as error:
        raise _refusal(error) from error
    return body


def _refusal(problem: Problem) -> Refusal:
    refusal = Refusal.of(problem, errors.MALFORMED)
    refusal.faults = problem.errors
    return refusal


def _route(route: routing.Route) -> schemas.RouteShown:
    policy = route.policy
    return schemas.RouteShown(
        name=route.name,
        path=route.path.decode(),
        exact=route.exact,
        hosts=[*route.hosts],
        methods=shown(policy.methods),
        auth=policy.auth,
        roles=shown(policy.roles),
        scopes=shown(policy.scopes),
        api_keys=policy.api_keys,
        targets=[target.origin.url for target in route.targets],
        rate_limits=[schemas.RateLimitShown.model_validate(limit) for limit in policy.rate_limits],
        concurrency=policy.concurrency and policy.concurrency.max,
        body_max=policy.body_max,
    )


def _alias(alias: routing.Alias) -> dict[str, Any]:
    return {"path": alias.path.decode(), "to": alias.to.decode(), "envelope": bool(alias.envelope)}


def _plain(model: BaseModel) -> Any:
    return model.model_dump(mode="json")


def _lines(kind: type[BaseModel], lines: Iterable[dict[str, Any]], number_max: int) -> Any:
    found = [kind.model_validate(line) for line, _ in zip(lines, range(number_max), strict=False)]
    return [_plain(line) for line in found]
