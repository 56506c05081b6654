"""What to do about WorkSpaces: switch the running mode, or delete those that nobody uses.

Rules are AWS's own, with real prices: AlwaysOn pays off above the hours at which AutoStop costs as much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

ALWAYS_ON, AUTO_STOP = "ALWAYS_ON", "AUTO_STOP"
CENT = Decimal("0.01")


class AdviceKind(StrEnum):
    TO_ALWAYS_ON = "to_always_on"
    TO_AUTO_STOP = "to_auto_stop"
    UNUSED = "unused"
    NEVER_USED = "never_used"


@dataclass(frozen=True, slots=True)
class Rates:
    """What a WorkSpace costs per month, and per hour that it runs with AutoStop."""

    always_on_month: Decimal
    auto_stop_month: Decimal
    auto_stop_hour: Decimal
    currency: str

    def auto_stop(self, hours: Decimal) -> Decimal:
        return self.auto_stop_month + self.auto_stop_hour * hours

    def of(self, running_mode: str | None, hours: Decimal) -> Decimal | None:
        """Return the cost of a month; None for a running mode without a price."""
        if running_mode == AUTO_STOP:
            return self.auto_stop(hours)
        return self.always_on_month if running_mode == ALWAYS_ON else None

    @property
    def break_even(self) -> Decimal:
        """The hours per month at which both modes cost the same."""
        return (self.always_on_month - self.auto_stop_month) / self.auto_stop_hour


@dataclass(frozen=True, slots=True)
class Advice:
    """One piece of advice: the saving per month as a range, or None if it is unknown, and its evidence."""

    kind: AdviceKind
    low: Decimal | None
    high: Decimal | None
    currency: str | None
    basis: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one WorkSpace. `hours` are those of complete past months, by month."""

    running_mode: str | None
    last_connection: datetime | None
    knows_connections: bool
    first_seen: datetime
    hours: Mapping[str, Decimal]
    rates: Rates | None


def advise(facts: Facts, at: datetime, unused_days: int) -> Advice | None:
    """Return what to do about a WorkSpace; at most one thing, and nothing without evidence."""
    limit = at - timedelta(days=unused_days)
    if facts.last_connection is not None and facts.last_connection < limit:
        return _idle(AdviceKind.UNUSED, facts, {"last_connection": facts.last_connection.date().isoformat()})
    if facts.knows_connections and facts.last_connection is None and facts.first_seen < limit:
        return _idle(AdviceKind.NEVER_USED, facts, {"first_seen": facts.first_seen.date().isoformat()})
    return None if facts.rates is None else _switch(facts, facts.rates)


def _idle(kind: AdviceKind, facts: Facts, basis: dict[str, Any]) -> Advice:
    """Advise to delete an unused WorkSpace, which saves its cost in a month without use."""
    cost = None if facts.rates is None else facts.rates.of(facts.running_mode, Decimal(0))
    basis["running_mode"] = facts.running_mode
    if cost is None or facts.rates is None:
        return Advice(kind, None, None, None, basis)
    return Advice(kind, cost, cost, facts.rates.currency, basis)


def _switch(facts: Facts, rates: Rates) -> Advice | None:
    """Advise to switch the running mode if that would have saved money in most of the past months."""
    differences = [rates.auto_stop(hours) - rates.always_on_month for hours in facts.hours.values()]
    if facts.running_mode == ALWAYS_ON:
        kind, savings = AdviceKind.TO_AUTO_STOP, [-one for one in differences]
    elif facts.running_mode == AUTO_STOP:
        kind, savings = AdviceKind.TO_ALWAYS_ON, differences
    else:
        return None
    if not savings:
        return None
    low = quartile(savings)
    if low < CENT:
        return None
    basis = {
        "hours": {month: str(hours) for month, hours in facts.hours.items()},
        "break_even_hours": str(rates.break_even.quantize(CENT)),
        "always_on_month": str(rates.always_on_month),
        "auto_stop_month": str(rates.auto_stop_month),
        "auto_stop_hour": str(rates.auto_stop_hour),
    }
    return Advice(kind, low.quantize(CENT), max(savings).quantize(CENT), rates.currency, basis)


def quartile(values: Sequence[Decimal]) -> Decimal:
    """Return the 25th percentile, between the two nearest values."""
    ordered = sorted(values)
    place = Decimal(len(ordered) - 1) / 4
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
