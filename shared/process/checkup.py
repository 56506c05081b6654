"""What `gatehouse doctor` finds.

A program adds checks of its own in its module `checkup`, as a function `checks(settings)`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

State = Literal["good", "warning", "fault"]
ASK_SECONDS = 3.0  # how long a check waits for another server


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: what was checked, what was found, and the remedy unless it is good."""

    check: str
    state: State
    says: str
    remedy: str = ""


Check = Callable[[], Iterable[Finding]]


def good(check: str, says: str) -> Finding:
    return Finding(check, "good", says)


def warning(check: str, says: str, remedy: str) -> Finding:
    return Finding(check, "warning", says, remedy)


def fault(check: str, says: str, remedy: str) -> Finding:
    return Finding(check, "fault", says, remedy)


def carried_out(name: str, check: Check) -> Iterator[Finding]:
    """Carry out a check; an error in it is a finding as well, so that the other checks are still made."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 - whatever a broken machine causes
        words = f"could not be checked ({type(error).__name__}: {error})".replace("\n", " ")
        yield fault(name, words, "See the message; if it does not help, report it as a bug.")
