"""The fields that questions may name: their columns, synonyms and units."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, func, select

from services.inventory.models import ADVICE, COSTS, TAGS, USAGE_MONTHS, WORKSPACES

TAG = "tag:"
TAG_KEY_MAX = 128


class Kind(StrEnum):
    TEXT = "text"
    NUMBER = "whole number"
    AGE = "whole number of days"
    FLAG = "truth value"
    AMOUNT = "amount of money"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class FieldOf:
    """One field; the column of an age holds the timestamp that it is counted from."""

    kind: Kind
    column: ColumnElement[Any]
    words: str  # its name in the sentence that repeats the question
    synonyms: tuple[str, ...] = ()
    unit: str = ""
    entity: str = ""  # the only entity that has it; empty for any


_C = WORKSPACES.c
_HOURS_SYNONYMS = ("hours", "usage", "usage hours", "used hours", "hours used")


def _hours(month: str) -> ColumnElement[Any]:
    """Select the hours of a WorkSpace in a month, which is bound when the statement runs."""
    mine = USAGE_MONTHS.c.workspace_id == _C.workspace_id, USAGE_MONTHS.c.month == bindparam(month)
    return select(USAGE_MONTHS.c.hours / 1_000_000.0).where(*mine).scalar_subquery()


FIELDS: Mapping[str, FieldOf] = {
    "workspace_id": FieldOf(Kind.TEXT, _C.workspace_id, "id", ("id", "ids")),
    "user_name": FieldOf(
        Kind.TEXT, _C.user_name, "user", ("user", "users", "user name", "person", "people", "owner")
    ),
    "state": FieldOf(Kind.TEXT, _C.state, "state", ("state", "states", "status")),
    "running_mode": FieldOf(
        Kind.TEXT, _C.running_mode, "running mode", ("running mode", "running modes", "mode", "modes")
    ),
    "region": FieldOf(Kind.TEXT, _C.region, "region", ("region", "regions")),
    "account": FieldOf(Kind.TEXT, _C.account, "account", ("account", "accounts", "aws account")),
    "directory_id": FieldOf(Kind.TEXT, _C.directory_id, "directory", ("directory", "directories")),
    "bundle_name": FieldOf(Kind.TEXT, _C.bundle_name, "bundle", ("bundle", "bundles")),
    "compute_type": FieldOf(
        Kind.TEXT, _C.compute_type, "compute type", ("compute type", "compute types", "size", "sizes")
    ),
    "os": FieldOf(Kind.TEXT, _C.os, "operating system", ("os", "operating system", "operating systems")),
    "connection_state": FieldOf(
        Kind.TEXT, _C.connection_state, "connection state", ("connection state", "connection states")
    ),
    "computer_name": FieldOf(Kind.TEXT, _C.computer_name, "computer", ("computer", "computer name")),
    "presence": FieldOf(Kind.TEXT, _C.presence, "presence"),
    "is_encrypted": FieldOf(
        Kind.FLAG, and_(_C.encrypted_root, _C.encrypted_user), "both volumes encrypted", ("encryption",)
    ),
    "root_gib": FieldOf(
        Kind.NUMBER,
        _C.root_gib,
        "root volume",
        ("root volume", "root volumes", "root disk", "root disks", "root volume size"),
        "GiB",
    ),
    "user_gib": FieldOf(
        Kind.NUMBER,
        _C.user_gib,
        "user volume",
        ("user volume", "user volumes", "user disk", "user disks", "user volume size"),
        "GiB",
    ),
    "auto_stop_minutes": FieldOf(
        Kind.NUMBER, _C.auto_stop_minutes, "time to stop", ("auto stop time", "autostop timeout"), "minutes"
    ),
    "days_unused": FieldOf(
        Kind.AGE, func.coalesce(_C.last_connection, _C.first_seen), "time without a connection", (), "days"
    ),
    "last_connection": FieldOf(Kind.AGE, _C.last_connection, "last connection", (), "days"),
    "days_known": FieldOf(Kind.AGE, _C.first_seen, "time since it was first seen", (), "days"),
    "hours_last_month": FieldOf(
        Kind.NUMBER,
        _hours("last_month"),
        "hours last month",
        tuple(f"{one} last month" for one in _HOURS_SYNONYMS),
        "hours",
    ),
    "hours_this_month": FieldOf(
        Kind.NUMBER,
        _hours("this_month"),
        "hours this month",
        tuple(f"{one} this month" for one in _HOURS_SYNONYMS),
        "hours",
    ),
    "cost": FieldOf(Kind.AMOUNT, COSTS.c.amount_whole, "costs", entity="costs"),
    "cost_month": FieldOf(Kind.MONTH, func.substr(COSTS.c.day, 1, 7), "month", entity="costs"),
    "usage_type": FieldOf(
        Kind.TEXT, COSTS.c.usage_type, "usage type", ("usage type", "usage types"), entity="costs"
    ),
    "saving_low": FieldOf(Kind.AMOUNT, ADVICE.c.saving_low, "least saving", entity="advice"),
    "saving_high": FieldOf(Kind.AMOUNT, ADVICE.c.saving_high, "greatest saving", entity="advice"),
    "advice_kind": FieldOf(
        Kind.TEXT, ADVICE.c.kind, "kind of advice", ("kind of advice", "advice", "advices"), entity="advice"
    ),
    "days_in_state": FieldOf(Kind.AGE, _C.state_changed, "time in its state", (), "days"),
}

# The columns of every list.
SHOWN = ("workspace_id", "user_name", "state", "running_mode", "region", "bundle_name", "last_connection")


def field_of(name: str) -> FieldOf:
    """Return a field by name, `tag:KEY` included; raises ValueError if there is none."""
    if name in FIELDS:
        return FIELDS[name]
    key = name.removeprefix(TAG)
    if not name.startswith(TAG) or not 0 < len(key) <= TAG_KEY_MAX or "\0" in key:
        raise ValueError(f"there is no field {name[:40]}; choose from {', '.join(FIELDS)} and {TAG}KEY")
    mine = (TAGS.c.id == WORKSPACES.c.id) & (TAGS.c.key == key)
    value = select(TAGS.c.value).where(mine).scalar_subquery()
    return FieldOf(Kind.TEXT, value, f"tag {key}")
