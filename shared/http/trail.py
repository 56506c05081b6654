"""What an endpoint expects of whatever records who did what; `shared.events` implements it."""

from typing import Any, Protocol

from sqlmodel import Session
from starlette.requests import HTTPConnection

from shared.caller import Caller
from shared.http.operations import Operation


class Trail(Protocol):
    """What one request leaves behind. A handler that asks for it can say more than its response does."""

    caller: Caller | str | None  # an account, or the name of another service
    resource: str | None
    user_id: str | None
    is_written: bool

    @property
    def is_of_admin(self) -> bool: ...

    def add(self, **details: Any) -> None:
        """Put details into the record."""

    def answered(self, result: Any) -> None:
        """Take what the handler returned as the resource, unless the handler named another one."""

    def write(self, session: Session) -> None:
        """Record the success in this transaction, so that both commit together."""

    async def keep(self, refused_with: int | None = None) -> None:
        """Record a request that changed nothing or was refused, in a transaction of its own."""


class Recorder(Protocol):
    """Gives every request its trail."""

    def trail(self, operation: Operation, request: HTTPConnection) -> Trail: ...
