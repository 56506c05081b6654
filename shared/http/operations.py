"""Operations of a service: each is one line of routes.py and one annotated function.

Parameters named in the path come from the path; `{name:path}` matches the rest of it, with slashes. `query`
and `body` are pydantic models; every other parameter is injected by type (Session, Caller, IfMatch, or what
the service provides). The return annotation is the schema of the response; a Response is sent as it is. An
optional body is annotated `Model | None`. A handler that takes a Session is a plain `def`: it runs in a
thread, in one transaction that commits after the response is serialised and before it is sent. With a Reader
instead it runs in a thread, but outside of transactions: for lists and other reads by one statement of
`Rows`.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, create_model
from sqlmodel import Session

from shared.data.reading import Reader
from shared.errors import Problem
from shared.http.schemas import BUILT_LATER
from shared.identity.scopes import require_scope_name
from shared.identity.step_up import StepUp
from shared.identity.tokens import Access, signed_in

# pydantic collects all faults of a body before any is reported: a mebibyte of small wrong fields blocked all
# other requests for a second.
BODY_BYTES_MAX = 64 * 1024
TAKES_IN = ("POST", "PUT", "PATCH")  # methods that need disk space
_IN_PATH = re.compile(r"{(\w+)(?::path)?}")


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of a routing table.

    `scope` is what a limited token must hold, such as `orders:read`; without one the operation is closed to
    limited tokens. `step_up` says how recent or strong the sign-in of the caller has to be. `location` is the
    template of the Location header, filled from the response's fields. `idempotent` supports Idempotency-Key.
    `errors` are the refusals the handler may raise. `recorded` operations are recorded under the name
    `action`, by default the handler's name in capitals. A handler that reads the body from its Request
    declares it: as a `form`, or with its `body_type` and, if it has one, its `body_model`. `sends_bytes`
    means that the response is content, possibly a range of it. `answer_types` are the media types of
    Responses that are text other than JSON. `also` documents further statuses of Responses, with their media
    type or "". `prepare` is a coroutine that runs before the handler's Session is opened, for calls to other
    services; the handler takes its result by type. `public_seconds` says how long caches may keep a response
    to a caller without a token. `together` says of a body whether its request may share a transaction with
    others (see `shared.data.together` for what the handler then must not do).
    """

    method: str
    path: str
    handler: Callable[..., Any]
    _: KW_ONLY
    access: Access = signed_in
    scope: str | None = None
    step_up: StepUp | None = None
    status: int = 200
    location: str | None = None
    errors: tuple[type[Problem], ...] = ()
    idempotent: bool = False
    body_bytes_max: int = BODY_BYTES_MAX
    form: type[BaseModel] | None = None
    body_type: str | None = None
    body_model: type[BaseModel] | None = None
    sends_bytes: bool = False
    answer_types: tuple[str, ...] = ()
    also: Mapping[int, str] = field(default_factory=dict, hash=False)
    action: str | None = None
    recorded: bool = True
    prepare: Callable[..., Awaitable[Any]] | None = None
    public_seconds: int = 0
    together: Callable[[Any], bool] | None = None

    def __post_init__(self) -> None:
        require_scope_name(self.scope, f"{self.method} {self.path}")

    @property
    def name(self) -> str:
        return self.handler.__name__


@dataclass(frozen=True, slots=True)
class Signature:
    """A handler's parameters and response, read once from its annotations."""

    path: type[BaseModel] | None
    query: type[BaseModel] | None
    body: type[BaseModel] | None
    body_required: bool
    session_name: str | None  # of a Session or a Reader
    takes_reader: bool
    injected: dict[str, Any]
    answer: Any
    is_async: bool

    @classmethod
    def of(cls, operation: Operation) -> "Signature":
        hints = get_type_hints(operation.handler, include_extras=True)
        answer, query = hints.pop("return"), hints.pop("query", None)
        in_path: dict[str, Any] = {name: (hints.pop(name), ...) for name in _IN_PATH.findall(operation.path)}
        body, body_required = _body_model(hints.pop("body", None))
        return cls(
            path=create_model("Path", __config__=BUILT_LATER, **in_path) if in_path else None,
            query=query,
            body=body,
            body_required=body_required,
            session_name=next((name for name, kind in hints.items() if kind in (Session, Reader)), None),
            takes_reader=Reader in hints.values(),
            injected={name: kind for name, kind in hints.items() if kind not in (Session, Reader)},
            answer=answer,
            is_async=inspect.iscoroutinefunction(operation.handler),
        )


@dataclass(frozen=True, slots=True)
class Preparation:
    """The step before a handler: its parameters, and the type of its result."""

    call: Callable[..., Awaitable[Any]]
    taken: tuple[str, ...]  # the parts of the request shared with the handler
    injected: dict[str, Any]
    result: Any

    @classmethod
    def of(cls, operation: Operation) -> "Preparation | None":
        if operation.prepare is None:
            return None
        hints = get_type_hints(operation.prepare, include_extras=True)
        result = hints.pop("return")
        shared = ("query", "body", *_IN_PATH.findall(operation.path))
        taken = tuple(name for name in hints if name in shared)
        return cls(operation.prepare, taken, {n: k for n, k in hints.items() if n not in shared}, result)


def _body_model(annotation: Any) -> tuple[Any, bool]:
    """Return the model of a body, and whether the body is required."""
    models = [kind for kind in get_args(annotation) if kind is not type(None)]
    return (models[0], False) if models else (annotation, True)
