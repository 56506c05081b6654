"""The interface through which endpoints record who did what; `shared.events` implements it."""

from typing import Any, Protocol

from sqlmodel import Session
from starlette.requests import HTTPConnection

from shared.caller import Caller
from shared.http.operations import Operation


class Trail(Protocol):
    """The record of one request. Handlers may request it to add details."""

    caller: Caller | str | None  # an account, or the name of another service
    resource: str | None
    user_id: str | None
    is_written: bool

    @property
    def is_of_admin(self) -> bool: ...

    def add(self, **details: Any) -> None:
        """Add details to the record."""

    def start_again(self) -> None:
        """Forget all but the caller, before the handler's first or next attempt."""

    def answered(self, result: Any) -> None:
        """Use the handler's result as the resource, unless the handler has set another."""

    def write(self, session: Session) -> None:
        """Record the success in this transaction, so that both commit together."""

    async def keep(self, refused_with: int | None = None) -> None:
        """Record a request that changed nothing or was refused, in a transaction of its own."""


class Recorder(Protocol):
    """Gives every request its trail."""

    def trail(self, operation: Operation, request: HTTPConnection) -> Trail: ...
