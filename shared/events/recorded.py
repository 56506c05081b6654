"""The record of one action: who did what to which resource, from where, and the outcome."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from shared.events.event import Event


class Recorded(Event):
    """An action was performed or refused."""

    topic = "action.recorded"
    key = "actor"
    waits = False  # otherwise a service could delay what others record of an actor

    user_id: str | None
    actor: str  # user:<id>, client:<id>, service:<name> or anonymous
    action: str
    resource: str
    ip: str | None
    user_agent: str | None
    metadata: dict[str, Any] = Field(default_factory=dict)
    timestamp: datetime
    outcome: Literal["success", "refused"]
    status: int
    service: str
    request_id: str | None
    trace_id: str | None

    @classmethod
    def may_come_from(cls, source: str, data: dict[str, Any]) -> bool:
        """Whether this service may send the record; a service records only its own actions."""
        return data.get("service") == source
