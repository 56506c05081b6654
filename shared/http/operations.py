"""A service's endpoints as it declares them: one line of routes.py and one annotated function each.

Parameters named in the path come from the path; `query` and `body` are pydantic models; every other
parameter is found by its type (Session, Caller, IfMatch, or what the service provides). The return
annotation is the shape of the answer; a Response is sent as it is. A body that may be left out is
annotated `Model | None`. A handler that takes a Session is a plain `def`: it runs in a
thread, in one transaction that commits after the answer is serialised and before it is sent.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, create_model
from sqlmodel import Session

from shared.errors import Problem
from shared.identity.tokens import Access, signed_in

# All faults of a body are collected before some are reported: a mebibyte of small wrong fields
# held up all other requests for a second.
BODY_BYTES_MAX = 64 * 1024
TAKES_IN = ("POST", "PUT", "PATCH")  # methods that need room on a disk
_IN_PATH = re.compile(r"{(\w+)}")


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of a routing table.

    `location` is the address of what was made, filled from the answer's fields; `idempotent` honours an
    Idempotency-Key; `errors` are the refusals the handler may raise. What it does is `recorded` under the
    name `action`, by default the handler's in capitals. A handler that reads the body of its
    Request itself says what it takes: a `form`, or a body of the `body_type`. One that `sends_bytes`
    answers with content, whole or in part; one whose Response is text of another kind than JSON names its
    `answer_types`. Responses of its own with `also` another status are told by their media type, if any.
    `prepare` is a coroutine that runs before the Session of the handler is opened, for calls to other
    services; the handler takes what it returns by type.
    """

    method: str
    path: str
    handler: Callable[..., Any]
    _: KW_ONLY
    access: Access = signed_in
    status: int = 200
    location: str | None = None
    errors: tuple[type[Problem], ...] = ()
    idempotent: bool = False
    body_bytes_max: int = BODY_BYTES_MAX
    form: type[BaseModel] | None = None
    body_type: str | None = None
    sends_bytes: bool = False
    answer_types: tuple[str, ...] = ()
    also: Mapping[int, str] = field(default_factory=dict, hash=False)
    action: str | None = None
    recorded: bool = True
    prepare: Callable[..., Awaitable[Any]] | None = None

    @property
    def name(self) -> str:
        return self.handler.__name__


@dataclass(frozen=True, slots=True)
class Signature:
    """What a handler asks for and what it answers, read once from its annotations."""

    path: type[BaseModel] | None
    query: type[BaseModel] | None
    body: type[BaseModel] | None
    body_required: bool
    session_name: str | None
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
            path=create_model("Path", **in_path) if in_path else None,
            query=query,
            body=body,
            body_required=body_required,
            session_name=next((name for name, kind in hints.items() if kind is Session), None),
            injected={name: kind for name, kind in hints.items() if kind is not Session},
            answer=answer,
            is_async=inspect.iscoroutinefunction(operation.handler),
        )


@dataclass(frozen=True, slots=True)
class Preparation:
    """The step before a handler: what it asks for, and the type of what it returns."""

    call: Callable[..., Awaitable[Any]]
    taken: tuple[str, ...]  # the parts of the request that it shares with the handler
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
    """The model of a body, and whether it must be sent."""
    models = [kind for kind in get_args(annotation) if kind is not type(None)]
    return (models[0], False) if models else (annotation, True)
