"""What to do about WorkSpaces: switch the running mode, take a smaller size, or delete unused ones.

Rules are AWS's own, with real prices: AlwaysOn pays off above the hours at which AutoStop costs as much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from services.inventory.sizing import Load, fitting

ALWAYS_ON, AUTO_STOP = "ALWAYS_ON", "AUTO_STOP"
CENT = Decimal("0.01")


class AdviceKind(StrEnum):
    TO_ALWAYS_ON = "to_always_on"
    TO_AUTO_STOP = "to_auto_stop"
    UNUSED = "unused"
    NEVER_USED = "never_used"
    OVERSIZED = "oversized"
    ORPHAN = "orphan"


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
    missing_user: Mapping[str, str] | None = None  # evidence that its user is no longer in any directory
    size: str | None = None
    load: Load | None = None
    smaller: Mapping[str, Rates] = field(default_factory=dict)  # rates of smaller sizes


def advise(facts: Facts, at: datetime, unused_days: int) -> Advice | None:
    """Return what to do about a WorkSpace; at most one thing, and nothing without evidence."""
    if facts.missing_user is not None:
        return _idle(AdviceKind.ORPHAN, facts, dict(facts.missing_user))
    limit = at - timedelta(days=unused_days)
    if facts.last_connection is not None and facts.last_connection < limit:
        return _idle(AdviceKind.UNUSED, facts, {"last_connection": facts.last_connection.date().isoformat()})
    if facts.knows_connections and facts.last_connection is None and facts.first_seen < limit:
        return _idle(AdviceKind.NEVER_USED, facts, {"first_seen": facts.first_seen.date().isoformat()})
    if facts.rates is None:
        return None
    mode = advise_mode(facts.running_mode, facts.hours, facts.rates)
    found = [one for one in (mode, _shrink(facts, facts.rates)) if one is not None]
    return max(found, key=lambda one: one.low or Decimal(0), default=None)


def _idle(kind: AdviceKind, facts: Facts, basis: dict[str, Any]) -> Advice:
    """Advise deleting an unused WorkSpace, which saves its cost in a month without use."""
    cost = None if facts.rates is None else facts.rates.of(facts.running_mode, Decimal(0))
    basis["running_mode"] = facts.running_mode
    if cost is None or facts.rates is None:
        return Advice(kind, None, None, None, basis)
    return Advice(kind, cost, cost, facts.rates.currency, basis)


def advise_mode(running_mode: str | None, hours: Mapping[str, Decimal], rates: Rates | None) -> Advice | None:
    """Advise switching the running mode if that would have saved money in most of the past months."""
    if rates is None:
        return None
    differences = [rates.auto_stop(one) - rates.always_on_month for one in hours.values()]
    if running_mode == ALWAYS_ON:
        kind, savings = AdviceKind.TO_AUTO_STOP, [-one for one in differences]
    elif running_mode == AUTO_STOP:
        kind, savings = AdviceKind.TO_ALWAYS_ON, differences
    else:
        return None
    if not savings:
        return None
    low = quartile(savings)
    if low < CENT:
        return None
    basis = {
        "hours": {month: str(one) for month, one in hours.items()},
        "break_even_hours": str(rates.break_even.quantize(CENT)),
        "always_on_month": str(rates.always_on_month),
        "auto_stop_month": str(rates.auto_stop_month),
        "auto_stop_hour": str(rates.auto_stop_hour),
    }
    return Advice(kind, low.quantize(CENT), max(savings).quantize(CENT), rates.currency, basis)


def _shrink(facts: Facts, rates: Rates) -> Advice | None:
    """Advise the smallest size that would have carried the load, if it costs less."""
    load, size = facts.load, facts.size
    target = next((one for one in fitting(size, load) if one in facts.smaller), None)
    if load is None or size is None or target is None:
        return None
    hours = [*facts.hours.values()] or ([Decimal(0)] if facts.running_mode == ALWAYS_ON else [])
    costs = [
        (rates.of(facts.running_mode, one), facts.smaller[target].of(facts.running_mode, one))
        for one in hours
    ]
    savings = [before - after for before, after in costs if before is not None and after is not None]
    low = quartile(savings) if savings else Decimal(0)
    if low < CENT:
        return None
    basis = {
        "size": size,
        "smaller_size": target,
        "hours_measured": load.hours,
        "load": load.told(),
        "load_on_smaller_size": load.on(size, target).told(),
        "hours": {month: str(one) for month, one in facts.hours.items()},
    }
    kind = AdviceKind.OVERSIZED
    return Advice(kind, low.quantize(CENT), max(savings).quantize(CENT), rates.currency, basis)


def quartile(values: Sequence[Decimal]) -> Decimal:
    """Return the 25th percentile, between the two nearest values."""
    ordered = sorted(values)
    place = Decimal(len(ordered) - 1) / 4
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
