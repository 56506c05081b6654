"""The types of notifications, the channels by which they reach people, and what is on by default."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Channel(StrEnum):
    """A way by which a notification reaches a person."""

    IN_APP = "in_app"


class NoticeType(StrEnum):
    """What a notification is about."""

    ORDER_PLACED = "order.placed"
    ORDER_CHANGED = "order.changed"
    SYNC_FAILED = "sync.failed"
    MESSAGE = "message"


class Severity(StrEnum):
    """How urgent a notification is."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Kind:
    """When notifications of a type are made, the channels that are on by default, and those that stay on."""

    description: str
    on: frozenset[Channel] = frozenset(Channel)
    fixed: frozenset[Channel] = frozenset()


KINDS: Mapping[NoticeType, Kind] = {
    NoticeType.ORDER_PLACED: Kind("You placed an order."),
    NoticeType.ORDER_CHANGED: Kind("An order of yours took its next step."),
    NoticeType.SYNC_FAILED: Kind("A sync of the AWS accounts failed; only admins receive this."),
    NoticeType.MESSAGE: Kind("An admin wrote to you.", fixed=frozenset((Channel.IN_APP,))),
}
