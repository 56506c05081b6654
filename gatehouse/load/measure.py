"""Durations and errors of each step, in a fixed amount of memory."""

import math
from collections import Counter
from dataclasses import dataclass, field

_PRECISION = 1.02  # neighbouring buckets are 2 % apart
_SMALLEST = 1e-5


class Histogram:
    """Counts durations in buckets that grow by 2 %, so that percentiles are exact to 2 %."""

    def __init__(self) -> None:
        self.count = 0
        self.longest = 0.0
        self.buckets: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        self.count += 1
        self.longest = max(self.longest, seconds)
        self.buckets[max(0, math.ceil(math.log(max(seconds, _SMALLEST) / _SMALLEST, _PRECISION)))] += 1

    def percentile(self, percent: float) -> float:
        """Return the duration that this share of all did not exceed."""
        wanted, seen = math.ceil(self.count * percent / 100), 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= wanted:
                return min(self.longest, _SMALLEST * _PRECISION**bucket)
        return 0.0

    def merge(self, other: "Histogram") -> None:
        self.count += other.count
        self.longest = max(self.longest, other.longest)
        self.buckets.update(other.buckets)


@dataclass(slots=True)
class Step:
    """What was measured of one step."""

    times: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        return self.errors.total()

    def told(self) -> dict[str, float]:
        shown = {f"p{percent}": self.times.percentile(percent) * 1000 for percent in (50, 95, 99)}
        rounded = {name: round(value, 2) for name, value in shown.items()}
        count = {"requests": self.times.count, "errors": self.failed}
        return {**count, **rounded, "max": round(self.times.longest * 1000, 2)}


class Measured:
    """All steps of one run."""

    def __init__(self, names: list[str]) -> None:
        self.steps = {name: Step() for name in names}

    def add(self, name: str, seconds: float, error: str = "") -> None:
        self.steps[name].times.add(seconds)
        if error:
            self.steps[name].errors[error] += 1

    @property
    def total(self) -> Step:
        total = Step()
        for step in self.steps.values():
            total.times.merge(step.times)
            total.errors.update(step.errors)
        return total


@dataclass(frozen=True, slots=True)
class Budget:
    """A bound: milliseconds of a percentile of one step or of all, or a share of errors in percent."""

    step: str
    what: str
    most: float

    def breach(self, measured: Measured) -> str:
        """Return a sentence if the bound was exceeded."""
        step = measured.steps[self.step] if self.step else measured.total
        told = step.told()
        requests = told["requests"]
        value = 100 * told["errors"] / requests if self.what == "errors" and requests else told[self.what]
        unit = "%" if self.what == "errors" else " ms"
        name = f"{self.step}.{self.what}" if self.step else self.what
        return f"{name} is {value:g}{unit}, more than {self.most:g}{unit}" if value > self.most else ""


def budget_of(text: str, steps: list[str]) -> Budget:
    """Parse p99=250, order.p95=100 or errors=0.5."""
    name, _, most = text.partition("=")
    step, _, what = name.rpartition(".")
    try:
        bound = float(most)
    except ValueError:
        bound = -1.0
    if what not in ("p50", "p95", "p99", "max", "errors") or (step and step not in steps) or not bound >= 0:
        raise ValueError(f"{text!r} is not a budget such as p99=250, order.p95=100 or errors=0.5")
    return Budget(step, what, bound)
