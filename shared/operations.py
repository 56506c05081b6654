"""Typed endpoints: a plain annotated function and one line in a service's routes.py.

Parameters named in the path come from the path; `query` and `body` are pydantic models; every other
parameter is found by its type (Session, Caller, IfMatch, or what the service provides). The return
annotation is the shape of the answer; a Response is sent as it is. A body that may be left out is
annotated `Model | None`. A handler that takes a Session is a plain `def`: it runs in a
thread, in one transaction that commits after the answer is serialised and before it is sent.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl, urlencode

from pydantic import BaseModel, TypeAdapter, ValidationError, create_model
from sqlmodel import Session
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from shared.client import InternalTokens
from shared.concurrency import IdempotencyKey, IdempotencyStore, IfMatch, Reply, etag
from shared.database import Database
from shared.errors import (
    BadRequest,
    FieldFault,
    Invalid,
    MethodNotAllowed,
    Problem,
    TooLarge,
    Unauthenticated,
    UnsupportedMediaType,
)
from shared.identity import Access, Caller, TokenVerifier, bearer_token, internal, public, signed_in
from shared.observe import CALLER, ROUTE
from shared.schemas import Page, Versioned

MIB = 1024 * 1024
JSON = "application/json"
PARAMETERS_MAX = 100
FAULTS_MAX = 100  # told at once; a body of a million wrong fields is not answered with a million faults
FIELD_CHARACTERS_MAX = 200
_SAFE = ("GET", "HEAD")
_IN_PATH = re.compile(r"{(\w+)}")


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of a routing table."""

    method: str
    path: str
    handler: Callable[..., Any]
    access: Access = signed_in
    status: int = 200
    location: str | None = None
    errors: tuple[type[Problem], ...] = ()
    idempotent: bool = False
    body_bytes_max: int = MIB

    @property
    def name(self) -> str:
        return self.handler.__name__


def operation(
    method: str,
    path: str,
    handler: Callable[..., Any],
    *,
    access: Access = signed_in,
    status: int = 200,
    location: str | None = None,
    errors: tuple[type[Problem], ...] = (),
    idempotent: bool = False,
    body_bytes_max: int = MIB,
) -> Operation:
    """Declare an endpoint.

    `location` is the address of what was made, filled from the answer's fields; `idempotent` honours an
    Idempotency-Key; `errors` are the refusals the handler may raise.
    """
    return Operation(method, path, handler, access, status, location, errors, idempotent, body_bytes_max)


@dataclass(slots=True)
class Signature:
    """What a handler asks for and what it answers, read once from its annotations."""

    path: type[BaseModel] | None
    query: type[BaseModel] | None
    body: type[BaseModel] | None
    body_required: bool
    injected: dict[str, Any]
    answer: Any
    is_async: bool
    session_name: str | None = field(init=False)

    def __post_init__(self) -> None:
        names = [name for name, kind in self.injected.items() if kind is Session]
        self.session_name = names[0] if names else None

    @classmethod
    def of(cls, operation: Operation) -> "Signature":
        hints = get_type_hints(operation.handler, include_extras=True)
        answer = hints.pop("return")
        in_path = _IN_PATH.findall(operation.path)
        fields: dict[str, Any] = {name: (hints.pop(name), ...) for name in in_path}
        path = create_model("Path", **fields) if fields else None
        query, (body, body_required) = hints.pop("query", None), _body_model(hints.pop("body", None))
        is_async = inspect.iscoroutinefunction(operation.handler)
        return cls(path, query, body, body_required, hints, answer, is_async)


@dataclass(frozen=True, slots=True)
class Chassis:
    """What the endpoints of one service share."""

    verifier: TokenVerifier
    internal_tokens: InternalTokens
    database: Database | None
    idempotency: IdempotencyStore | None
    provided: Mapping[type, Any]


class Endpoint:
    """One operation, made ready: everything that can be decided once is decided here."""

    def __init__(self, operation: Operation, chassis: Chassis) -> None:
        self.operation = operation
        self.signature = Signature.of(operation)
        self._chassis = chassis
        self._handler = operation.handler
        self._list_item = _item_of_page(self.signature.answer)
        answer = list[self._list_item] if self._list_item else self.signature.answer  # type: ignore[name-defined]
        self.adapter: TypeAdapter[Any] = TypeAdapter(Any if answer is Response else answer)
        self._query_lists = _list_fields(self.signature.query)
        self._check()

    async def __call__(self, request: Request) -> Reply | Response:
        """Answer one request, or raise a Problem."""
        caller = await self._identify(request)
        arguments = self._arguments(request, caller)
        body = await self._read_body(request, arguments)
        key = self._idempotency_key(request, caller, body)
        if self.signature.is_async:
            return self._reply(await self._handler(**arguments), request)
        database = self._chassis.database
        if database is None:
            return self._reply(self._handler(**arguments), request)
        return await database.in_thread(self._run, database, request, arguments, key)

    def _run(
        self, database: Database, request: Request, arguments: dict[str, Any], key: IdempotencyKey | None
    ) -> Reply | Response:
        name = self.signature.session_name
        if name is None:
            return self._reply(self._handler(**arguments), request)
        with database.transaction(write=self.operation.method not in _SAFE) as session:
            store = self._chassis.idempotency
            if key is None or store is None:
                return self._reply(self._handler(**arguments, **{name: session}), request, session)
            kept = store.claim(session, key)
            if kept is not None:
                return kept
            reply = self._reply(self._handler(**arguments, **{name: session}), request, session)
            assert isinstance(reply, Reply)  # see _check
            store.keep(session, key, reply)
            return reply

    async def _identify(self, request: Request) -> Caller | None:
        access, wanted = self.operation.access, self.signature.injected.values()
        if access is public and Caller | None not in wanted:
            return None
        token = bearer_token(request.headers.get("authorization"))
        if access is internal:
            if token is None:
                raise Unauthenticated
            self._chassis.internal_tokens.verify(token)
            return None
        verifier = self._chassis.verifier
        caller = None if token is None else verifier.remembered(token) or await verifier.verify(token)
        if caller is not None:
            request.scope[CALLER] = caller.id
        access(caller)
        return caller

    def _arguments(self, request: Request, caller: Caller | None) -> dict[str, Any]:
        signature = self.signature
        arguments: dict[str, Any] = {}
        if signature.path is not None:
            arguments.update(dict(_valid(signature.path.model_validate, request.path_params)))
        if signature.query is not None:
            pairs = _query(request.scope["query_string"], self._query_lists)
            arguments["query"] = _valid(signature.query.model_validate, pairs)
        for name, kind in signature.injected.items():
            if kind is not Session:
                arguments[name] = self._inject(kind, request, caller)
        return arguments

    def _inject(self, kind: Any, request: Request, caller: Caller | None) -> Any:
        if kind is Caller or kind == Caller | None:
            return caller
        if kind is IfMatch:
            return IfMatch.parse(request.headers.get("if-match"))
        if kind is Request:
            return request
        return self._chassis.provided[kind]

    async def _read_body(self, request: Request, arguments: dict[str, Any]) -> bytes:
        model = self.signature.body
        if model is None:
            return b""
        body = await read_body(request, self.operation.body_bytes_max)
        if not body and not self.signature.body_required:
            arguments["body"] = None
            return body
        if body and not _is_json(request.headers.get("content-type")):
            raise UnsupportedMediaType
        arguments["body"] = _valid(model.model_validate_json, body)
        return body

    def _idempotency_key(self, request: Request, caller: Caller | None, body: bytes) -> IdempotencyKey | None:
        header = request.headers.get("idempotency-key") if self.operation.idempotent else None
        if header is None or caller is None:
            return None
        target = f"{request.scope['path']}?{request.scope['query_string'].decode('latin-1')}\n".encode()
        return IdempotencyKey.parse(
            header, caller_id=caller.id, operation=self.operation.name, request=target + body
        )

    def _reply(self, result: Any, request: Request, session: Session | None = None) -> Reply | Response:
        if isinstance(result, Response):
            return result
        if session is not None:
            session.flush()  # so that the answer shows what the database will hold
        headers = []
        if isinstance(result, Versioned):
            headers.append(("etag", etag(result.version)))
        if self.operation.location is not None:
            headers.append(("location", self.operation.location.format_map(_Fields(result))))
        if isinstance(result, Page):
            if result.next is not None:
                headers.append(("link", _next_link(request.scope["query_string"], result.next)))
            result = result.items
        if self.signature.answer is type(None):
            return Reply(self.operation.status, (), b"")
        return Reply(self.operation.status, tuple(headers), self.adapter.dump_json(result))

    def _check(self) -> None:
        """Stop the start, not a request, when a handler cannot work."""
        signature, name = self.signature, self.operation.name
        if signature.is_async and signature.session_name:
            raise TypeError(
                f"{name}: an async handler would block the loop with its Session; make it a plain def"
            )
        if self.operation.idempotent and not (signature.session_name and self._chassis.idempotency):
            raise TypeError(
                f"{name}: Idempotency-Key needs a handler with a Session and a store to keep answers in"
            )
        if self.operation.idempotent and signature.answer is Response:
            raise TypeError(f"{name}: a Response cannot be kept under an Idempotency-Key")
        known = {Session, Caller, Caller | None, IfMatch, Request, *self._chassis.provided}
        for parameter, kind in signature.injected.items():
            if kind not in known:
                raise TypeError(f"{name}: nothing provides {parameter}: {kind}")


class Resource:
    """All operations on one path, as an ASGI application: picks by method and writes the answer."""

    def __init__(self, path: str, endpoints: list[Endpoint]) -> None:
        self.path = path
        self._by_method = {endpoint.operation.method: endpoint for endpoint in endpoints}
        if "GET" in self._by_method:
            self._by_method["HEAD"] = self._by_method["GET"]
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
        headers = [(b"content-length", str(len(reply.body)).encode()), (b"cache-control", b"no-store")]
        if reply.body:
            headers.append((b"content-type", JSON.encode()))
        headers += [(name.encode(), value.encode("latin-1")) for name, value in reply.headers]
        if reply.status == 204:  # has no body, and so no length
            del headers[0]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, refused as soon as it is known to be larger than the limit."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise TooLarge(limit_bytes=limit, errors=[_body_fault("too_large", f"at most {limit} bytes")])
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise TooLarge(limit_bytes=limit, errors=[_body_fault("too_large", f"at most {limit} bytes")])
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise BadRequest("The connection was closed before the whole body had arrived.") from error
    return b"".join(chunks)


def _valid(validate: Callable[[Any], Any], value: Any) -> Any:
    try:
        return validate(value)
    except ValidationError as error:
        raise _refusal(error) from error


def _refusal(error: ValidationError) -> Problem:
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    if faults[0]["type"] == "json_invalid":
        message = faults[0]["msg"].removeprefix("Invalid JSON: ")
        return BadRequest("The body is not JSON.", errors=[_body_fault("json_invalid", message)])
    return Invalid(
        errors=[
            FieldFault(
                field=".".join(map(str, fault["loc"]))[:FIELD_CHARACTERS_MAX] or "body",
                code=fault["type"],
                message=fault["msg"].removeprefix("Value error, "),
            )
            for fault in faults[:FAULTS_MAX]
        ]
    )


def _body_fault(code: str, message: str) -> FieldFault:
    return FieldFault(field="body", code=code, message=message)


def _query(raw: bytes, lists: frozenset[str]) -> dict[str, Any]:
    """The query string as a mapping; a parameter given twice is refused unless its field is a list."""
    if raw.count(b"&") >= PARAMETERS_MAX:
        raise BadRequest(f"The query has more than {PARAMETERS_MAX} parameters.")
    pairs: dict[str, Any] = {}
    for name, value in parse_qsl(raw.decode("latin-1"), keep_blank_values=True):
        if name in lists:
            pairs.setdefault(name, []).append(value)
        elif name in pairs:
            raise Invalid(
                errors=[FieldFault(field=name, code="repeated", message="Give this parameter once.")]
            )
        else:
            pairs[name] = value
    return pairs


def _list_fields(model: type[BaseModel] | None) -> frozenset[str]:
    fields = model.model_fields.items() if model else ()
    return frozenset(
        name for name, info in fields if get_origin(info.annotation) in (list, tuple, frozenset, set)
    )


def _body_model(annotation: Any) -> tuple[Any, bool]:
    """The model of a body, and whether it must be sent."""
    models = [kind for kind in get_args(annotation) if kind is not type(None)]
    return (models[0], False) if models else (annotation, True)


def _item_of_page(answer: Any) -> Any:
    if inspect.isclass(answer) and issubclass(answer, Page):
        return answer.__pydantic_generic_metadata__["args"][0]
    return get_args(answer)[0] if get_origin(answer) is Page else None


def _next_link(query_string: bytes, cursor: str) -> str:
    # A reference of the query alone is right under every spelling of the path.
    pairs = [pair for pair in parse_qsl(query_string.decode("latin-1")) if pair[0] != "cursor"]
    return f'<?{urlencode([*pairs, ("cursor", cursor)])}>; rel="next"'


def _is_json(content_type: str | None) -> bool:
    media_type = (content_type or "").partition(";")[0].strip().lower()
    return media_type == JSON or (media_type.startswith("application/") and media_type.endswith("+json"))


class _Fields(dict[str, Any]):
    """The fields of an answer, for `location`."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._answer = answer

    def __missing__(self, name: str) -> Any:
        return getattr(self._answer, name)
