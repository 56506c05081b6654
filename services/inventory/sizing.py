"""Sizes of WorkSpaces, and which smaller one would have carried the same load."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# vCPUs and GiB of memory, as AWS describes the bundles, smallest first.
SIZES = {
    "VALUE": (1, 2),
    "STANDARD": (2, 4),
    "PERFORMANCE": (2, 8),
    "POWER": (4, 16),
    "POWERPRO": (8, 32),
}
FULL_PERCENT = 80.0  # at most, on the smaller size
HOURS_MIN = 40  # with less, the busiest hours may be missing


@dataclass(frozen=True, slots=True)
class Load:
    """The 95th percentiles of the hours of the last 30 days, in percent of what the WorkSpace has."""

    hours: int
    cpu: float
    memory: float

    def on(self, size: str, smaller: str) -> "Load":
        """Return what the same work would need on another size."""
        (cpus, memory), (new_cpus, new_memory) = SIZES[size], SIZES[smaller]
        return Load(self.hours, self.cpu * cpus / new_cpus, self.memory * memory / new_memory)

    @property
    def fits(self) -> bool:
        return max(self.cpu, self.memory) <= FULL_PERCENT

    def told(self) -> dict[str, Any]:
        return {"cpu_percent": round(self.cpu, 1), "memory_percent": round(self.memory, 1)}


def smaller_sizes(size: str | None) -> list[str]:
    """List the smaller sizes, smallest first; none for a size that is not known."""
    names = [*SIZES]
    return names[: names.index(size)] if size in SIZES else []


def fitting(size: str | None, load: Load | None) -> list[str]:
    """List the smaller sizes that would have carried the load, smallest first."""
    if size is None or load is None or load.hours < HOURS_MIN:
        return []
    return [one for one in smaller_sizes(size) if load.on(size, one).fits]


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that this percentage of the values does not exceed; 0 without values."""
    ordered = sorted(values)
    place = math.ceil(len(ordered) * percent / 100) - 1
    return round(ordered[max(0, place)], 2) if ordered else 0.0
