"""Runs operations: checks the request, calls the handler, and serialises the result."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import or_
from types import GenericAlias, UnionType
from typing import Any, get_args
from urllib.parse import parse_qsl, urlencode

from pydantic import TypeAdapter
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from shared.caller import Caller
from shared.data.database import Database
from shared.errors import FieldFault, Problem, Unauthenticated, UnsupportedMediaType
from shared.http.idempotency import IdempotencyKey, IdempotencyStore, Reply
from shared.http.inputs import header, is_json, list_fields, read_body, read_query, valid
from shared.http.operations import TAKES_IN, Operation, Preparation, Signature
from shared.http.preconditions import IfMatch, ListTags, etag, is_known
from shared.http.schemas import Page, Versioned, WithHeaders, extras_header
from shared.http.trail import Recorder, Trail
from shared.identity.scopes import limited
from shared.identity.tokens import TokenVerifier, bearer_token, internal, public
from shared.peers.client import InternalTokens
from shared.process.disk import Disk
from shared.process.observe import CALLER, SERVICE

REFUSALS = frozenset((401, 403, 404))  # recorded; 404 may also mean that the resource belongs to someone else
SAFE = ("GET", "HEAD")
NOT_MODIFIED = 304
_MAYBE_CALLER = Caller | None


@dataclass(frozen=True, slots=True)
class Chassis:
    """What the endpoints of one service share."""

    verifier: TokenVerifier
    internal_tokens: InternalTokens
    database: Database
    idempotency: IdempotencyStore | None
    provided: Mapping[type, Any]
    recorder: Recorder | None = None
    disk: Disk | None = None  # of the database, if that is a file


class Endpoint:
    """Serves one operation; everything that can be decided once is decided here."""

    def __init__(self, operation: Operation, chassis: Chassis) -> None:
        self.operation = operation
        self.signature = Signature.of(operation)
        self._preparation = Preparation.of(operation)
        self._chassis = chassis
        self._handler = operation.handler
        self._query_lists = list_fields(self.signature.query)
        self._writes = operation.method not in SAFE
        self._list_tags = ListTags(chassis.internal_tokens.key_for("tags of lists"))
        self._check()

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Serialises the result. Built for the first one, since most operations are rarely called."""
        return serialiser(self.signature.answer)

    async def __call__(self, request: Request) -> Reply | Response:
        """Handle one request, or raise a Problem; both may be recorded."""
        recorder = self._chassis.recorder
        trail = recorder.trail(self.operation, request) if recorder and self.operation.recorded else None
        if trail is None:
            return await self._answer(request, None)
        try:
            reply = await self._answer(request, trail)
        except Problem as problem:
            if problem.status in REFUSALS:
                await trail.keep(refused_with=problem.status)
            raise
        shown = not (isinstance(reply, Reply) and reply.status == NOT_MODIFIED)
        if not trail.is_written and (self._writes or (shown and trail.is_of_admin)):
            await trail.keep()
        return reply

    async def _answer(self, request: Request, trail: Trail | None) -> Reply | Response:
        caller = await self._identify(request, trail)
        if self._chassis.disk is not None and self.operation.method in TAKES_IN:
            self._chassis.disk.require_writable()
        arguments = self._arguments(request, caller, trail)
        body = await self._read_body(request, arguments)
        if self._preparation is not None:
            await self._prepare(self._preparation, request, caller, arguments)
        _ = self.adapter  # built before the work, rather than within its transaction
        if self.signature.is_async:
            return self._reply(await self._handler(**arguments), request, trail)
        key = self._idempotency_key(request, caller, body)
        together, database = self.operation.together, self._chassis.database
        if key is None and together is not None and together(arguments.get("body")):
            return await database.run_together(self._share, request, arguments, trail)
        run, write = self._run, self._writes and self.signature.session_name is not None
        return await database.in_thread(run, request, arguments, key, trail, write=write)

    def _run(
        self, request: Request, arguments: dict[str, Any], key: IdempotencyKey | None, trail: Trail | None
    ) -> Reply | Response:
        if self.signature.session_name is None:
            return self._reply(self._handler(**arguments), request, trail)
        if self.signature.takes_reader:
            with self._chassis.database.reading() as reader:
                given = {**arguments, self.signature.session_name: reader}
                return self._reply(self._handler(**given), request, trail)
        with self._chassis.database.transaction(write=self._writes) as session:
            store = self._chassis.idempotency if key else None
            kept = store.claim(session, key) if key and store else None
            if kept is not None:
                if trail is not None:
                    trail.is_written = True  # recorded with the change already
                return kept
            reply = self._work(session, request, arguments, trail)
            if key and store:
                assert isinstance(reply, Reply)  # see _check
                store.keep(session, key, reply)
            return reply

    def _share(
        self, session: Session, request: Request, arguments: dict[str, Any], trail: Trail | None
    ) -> Reply | Response:
        """Do the work in a transaction of several requests; again in one of its own if another one fails."""
        if trail is not None:
            trail.start_again()
        return self._work(session, request, arguments, trail)

    def _work(
        self, session: Session, request: Request, arguments: dict[str, Any], trail: Trail | None
    ) -> Reply | Response:
        name = self.signature.session_name
        assert name is not None
        reply = self._reply(self._handler(**arguments, **{name: session}), request, trail, session)
        if trail is not None and self._writes and not trail.is_written:
            trail.write(session)
        return reply

    async def _identify(self, request: Request, trail: Trail | None) -> Caller | None:
        access, wanted = self.operation.access, self.signature.injected.values()
        if access is public and _MAYBE_CALLER not in wanted:
            return None
        token = bearer_token(header(request, b"authorization"))
        if access is internal:
            if token is None:
                raise Unauthenticated
            service = request.scope[SERVICE] = self._chassis.internal_tokens.verify(token)
            if trail is not None:
                trail.caller = service
            return None
        verifier = self._chassis.verifier
        caller = None if token is None else verifier.remembered(token) or await verifier.verify(token)
        if caller is not None:
            request.scope[CALLER] = caller.id
        if trail is not None:
            trail.caller = caller
        if caller is not None and caller.is_limited:
            caller = limited(caller, self.operation.scope)
            if trail is not None:
                trail.caller = caller
        access(caller)
        if self.operation.step_up is not None:
            self.operation.step_up.require(caller)
        return caller

    def _arguments(self, request: Request, caller: Caller | None, trail: Trail | None) -> dict[str, Any]:
        signature = self.signature
        arguments: dict[str, Any] = {}
        if signature.path is not None:
            arguments.update(dict(valid(signature.path.model_validate, request.path_params)))
        if signature.query is not None:
            pairs = read_query(request.scope["query_string"], self._query_lists)
            arguments["query"] = valid(signature.query.model_validate, pairs)
        for name, kind in signature.injected.items():
            if self._preparation is None or kind != self._preparation.result:
                arguments[name] = trail if kind is Trail else self._inject(kind, request, caller)
        return arguments

    async def _prepare(
        self, step: Preparation, request: Request, caller: Caller | None, arguments: dict[str, Any]
    ) -> None:
        """Run the preparation, and add its result to the handler's arguments."""
        given = {name: arguments[name] for name in step.taken}
        given |= {name: self._inject(kind, request, caller) for name, kind in step.injected.items()}
        result = await step.call(**given)
        arguments.update(
            {name: result for name, kind in self.signature.injected.items() if kind == step.result}
        )

    def _inject(self, kind: Any, request: Request, caller: Caller | None) -> Any:
        if kind is Caller or kind == _MAYBE_CALLER:
            return caller
        if kind is IfMatch:
            return IfMatch.parse(header(request, b"if-match"))
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
        if body and not is_json(header(request, b"content-type")):
            message = "must be application/json"
            raise UnsupportedMediaType(
                errors=[FieldFault(field="Content-Type", code="wrong", message=message)]
            )
        arguments["body"] = valid(model.model_validate_json, body)
        return body

    def _idempotency_key(self, request: Request, caller: Caller | None, body: bytes) -> IdempotencyKey | None:
        value = header(request, b"idempotency-key") if self.operation.idempotent else None
        if value is None or caller is None:
            return None
        target = f"{request.scope['path']}?{request.scope['query_string'].decode('latin-1')}\n".encode()
        return IdempotencyKey.parse(
            value, caller_id=caller.id, operation=self.operation.name, request=target + body
        )

    def _reply(
        self, result: Any, request: Request, trail: Trail | None, session: Session | None = None
    ) -> Reply | Response:
        if trail is not None:
            trail.answered(result)
        if isinstance(result, Response):
            return result
        if session is not None:
            session.flush()  # so that the response shows what will be stored
        headers = []
        if isinstance(result, Versioned):
            headers.append(("etag", etag(result.version)))
        if isinstance(result, WithHeaders):
            headers += result.headers
        if self.operation.location is not None:
            headers.append(("location", self.operation.location.format_map(vars(result))))
        if self.operation.public_seconds:
            headers += _cache_headers(self.operation.public_seconds, is_public=CALLER not in request.scope)
        if isinstance(result, Page):
            return self._page(result, request, headers)
        if self.signature.answer is type(None):
            return Reply(self.operation.status, (), b"")
        return Reply(self.operation.status, tuple(headers), self.adapter.dump_json(result))

    def _page(self, page: Page[Any], request: Request, headers: list[tuple[str, str]]) -> Reply:
        scope, body = request.scope, self.adapter.dump_json(page.items)
        headers += _page_headers(page, scope["query_string"])
        if not self._writes:
            target = f"{scope['path']}?{scope['query_string'].decode('latin-1')}"
            tag = self._list_tags.tag(body, headers, target, scope.get(CALLER))
            headers.append(("etag", tag))
            if is_known(tag, header(request, b"if-none-match")):
                return Reply(NOT_MODIFIED, tuple(headers), b"")
        return Reply(self.operation.status, tuple(headers), body)

    def _check(self) -> None:
        """Fail at startup, not during a request, if a handler cannot work."""
        signature, name = self.signature, self.operation.name
        if signature.is_async and signature.session_name:
            raise TypeError(
                f"{name}: an async handler would block the loop with its Session; make it a plain def"
            )
        if signature.takes_reader and self._writes:
            raise TypeError(f"{name}: a handler that writes needs a Session, not a Reader")
        if self.operation.idempotent and not (signature.session_name and self._chassis.idempotency):
            raise TypeError(f"{name}: Idempotency-Key needs a handler with a Session and an IdempotencyStore")
        if self.operation.together and not (signature.session_name and self._writes):
            raise TypeError(f"{name}: only a handler that writes with a Session can share a transaction")
        if self.operation.idempotent and signature.answer is Response:
            raise TypeError(f"{name}: a Response cannot be stored under an Idempotency-Key")
        if Trail in signature.injected.values() and not (self._chassis.recorder and self.operation.recorded):
            raise TypeError(f"{name}: it takes a Trail but is not recorded")
        known = {Caller, Caller | None, IfMatch, Request, *self._chassis.provided}
        injected = dict(signature.injected)
        if self._preparation is not None:
            injected = self._checked_preparation(self._preparation, known)
        for parameter, kind in injected.items():
            if kind not in known and kind is not Trail:
                raise TypeError(f"{name}: nothing provides {parameter}: {kind}")

    def _checked_preparation(self, step: Preparation, known: set[Any]) -> dict[str, Any]:
        """Return the handler's injected parameters other than the result of its preparation."""
        name, injected = self.operation.name, self.signature.injected
        if not inspect.iscoroutinefunction(step.call):
            raise TypeError(f"{name}: its preparation must be a coroutine")
        for parameter, kind in step.injected.items():
            if kind not in known:
                raise TypeError(f"{name}: nothing provides {parameter}: {kind} for its preparation")
        others = {parameter: kind for parameter, kind in injected.items() if kind != step.result}
        if len(others) == len(injected):
            raise TypeError(f"{name}: it does not take the result of its preparation: {step.result}")
        return others


def serialiser(answer: Any) -> TypeAdapter[Any]:
    """Return what turns the result of a handler, annotated with this type, into JSON."""
    return TypeAdapter(_shape(answer))


def _shape(answer: Any) -> Any:
    """Return the type to serialise: for a page its items; a Response is already serialised."""
    if answer is Response:
        return Any
    if isinstance(answer, UnionType):
        return reduce(or_, (kind for kind in get_args(answer) if kind is not Response))
    if inspect.isclass(answer) and issubclass(answer, Page):
        (item,) = answer.__pydantic_generic_metadata__["args"]
        return GenericAlias(list, (item,))
    return answer


def _page_headers(page: Page[Any], query_string: bytes) -> Iterator[tuple[str, str]]:
    if page.next is not None:
        yield "link", _next_link(query_string, page.next)
    if page.extras:
        yield "page-extras", extras_header(page.extras)


def _cache_headers(seconds: int, *, is_public: bool) -> Iterator[tuple[str, str]]:
    # The gateway turns session cookies into tokens, so caches must tell callers apart by both.
    yield "vary", "Authorization, Cookie"
    if is_public:
        yield "cache-control", f"public, max-age={seconds}"


def _next_link(query_string: bytes, cursor: str) -> str:
    # A query-only reference is correct however the client spelled the path.
    pairs = [pair for pair in parse_qsl(query_string.decode("latin-1")) if pair[0] != "cursor"]
    return f'<?{urlencode([*pairs, ("cursor", cursor)])}>; rel="next"'
