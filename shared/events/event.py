"""Events that services send to each other, and their envelope."""

from datetime import datetime
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from pydantic_core import to_json

from shared.clock import now
from shared.ids import new_id
from shared.process.observe import current_request_id
from shared.tracing import spans

EVENT_BYTES_MAX = 16 * 1024
KEY_CHARACTERS_MAX = 300
TRACE_BYTES = 70  # of the field `trace`
_STORABLE = r"^[^\x00]*$"  # PostgreSQL text cannot contain NUL


class Event(BaseModel):
    """Something that happened. Subclasses have a topic, fields, and a docstring that says when it happens.

    A topic is a kind of thing and what happened to it: `account.changed`. `key` is the field that identifies
    the thing; events with the same key arrive in the order they were emitted. Fields added later need a
    default; a change that older consumers would misread needs a higher `version`. With `blocks`, a dead
    letter holds back later events of its key until it is replayed or dropped. Without `waits`, a parked event
    holds back no other, and waits for none. With a `source`, only that service may send the event.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    topic: ClassVar[str]
    key: ClassVar[str]
    version: ClassVar[int] = 1
    blocks: ClassVar[bool] = False
    waits: ClassVar[bool] = True
    source: ClassVar[str | None] = None

    _envelope: "Envelope | None" = PrivateAttr(default=None)

    @classmethod
    def may_come_from(cls, source: str, _data: dict[str, Any]) -> bool:
        return cls.source in (None, source)

    @property
    def envelope(self) -> "Envelope":
        """Return the envelope; only received events have one."""
        assert self._envelope is not None
        return self._envelope


class Envelope(BaseModel):
    """An event in transit; it is delivered, stored and counted without knowing its topic."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(min_length=1, max_length=36, pattern=_STORABLE)
    topic: str = Field(min_length=1, max_length=100)
    version: int
    key: str = Field(max_length=KEY_CHARACTERS_MAX, pattern=_STORABLE)
    source: str = Field(max_length=50)
    time: datetime
    request_id: str | None = Field(default=None, max_length=128)
    trace: str | None = Field(default=None, max_length=128)  # of the span that published it, if sampled
    data: dict[str, Any]

    def opened(self, kind: type[Event]) -> Event:
        """Return the event inside; raise ValidationError if its fields do not match its topic."""
        event = kind.model_validate(self.data)
        event._envelope = self  # noqa: SLF001 - the two classes belong together
        return event


class Sealed:
    """An event ready to be stored: id, key, and the JSON envelope, encoded once for all subscribers."""

    __slots__ = ("body", "id", "key")

    def __init__(self, source: str, event: Event) -> None:
        kind = type(event)
        self.id = new_id()
        self.key = f"{kind.topic.partition('.')[0]} {getattr(event, kind.key)}"
        body = to_json(
            {
                "id": self.id,
                "topic": kind.topic,
                "version": kind.version,
                "key": self.key,
                "source": source,
                "time": now(),
                "request_id": current_request_id.get(),
                "data": event,
            }
        )
        # Receivers have the same limits and would refuse the whole batch.
        if len(body) > EVENT_BYTES_MAX or len(self.key) > KEY_CHARACTERS_MAX:
            raise ValueError(
                f"{kind.topic}: {len(body)} bytes and a key of {len(self.key)} characters; "
                f"at most {EVENT_BYTES_MAX} and {KEY_CHARACTERS_MAX}"
            )
        self.body = body.decode()
        if (span := spans.sampled()) is not None:
            self._publish_in(span, kind.topic, EVENT_BYTES_MAX - len(body))

    def _publish_in(self, span: spans.Span, topic: str, bytes_left: int) -> None:
        """Publish within a sampled trace: what receives the event links to this span."""
        published = span.child(f"publish {topic}", "producer")
        published.put({"messaging.operation.type": "send", "messaging.message.id": self.id})
        published.end()
        if bytes_left >= TRACE_BYTES:
            self.body = f'{self.body[:-1]},"trace":"{published.header}"}}'
