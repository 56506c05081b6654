"""Compares how long two kinds of requests take, so that noise neither hides a difference nor invents one."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import comb

Act = Callable[[], Awaitable[object]]

ERROR_MAX = 0.0005  # how often the true median is outside of the interval, on one side


@dataclass(frozen=True, slots=True)
class Gap:
    """How much longer one kind takes, as a share of the other: the true median is between these bounds."""

    low: float
    high: float

    def is_beyond(self, bound: float) -> bool:
        """Whether the difference is certainly greater than the bound. Noise only widens the interval."""
        return self.low > bound or self.high < -bound


async def compared(one: Act, other: Act, pairs: int) -> tuple[Gap, Gap]:
    """Run both in turn; return the gap of the CPU time of this process, and that of the elapsed time.

    Load from other processes falls on both alike, and hardly changes the CPU time.
    """
    cpu: list[tuple[float, float]] = []
    elapsed: list[tuple[float, float]] = []
    for number in range(pairs):
        taken = {}
        for act in (one, other) if number % 2 else (other, one):
            began = time.process_time(), time.perf_counter()
            await act()
            taken[act] = time.process_time() - began[0], time.perf_counter() - began[1]
        cpu.append((taken[one][0], taken[other][0]))
        elapsed.append((taken[one][1], taken[other][1]))
    return gap_of(cpu), gap_of(elapsed)


def gap_of(pairs: Sequence[tuple[float, float]]) -> Gap:
    """Return an interval of the median of relative differences, without assumptions about the noise.

    The number of differences below the true median is that of heads in as many throws of a coin.
    """
    differences = sorted(one / other - 1 for one, other in pairs)
    cut, chance = 0, 0.5 ** len(differences)
    while (chance := chance + comb(len(differences), cut + 1) * 0.5 ** len(differences)) <= ERROR_MAX:
        cut += 1
    return Gap(differences[cut], differences[-1 - cut])
