"""The claims that a route requires in a token."""

from dataclasses import dataclass

from gateway.errors import FORBIDDEN, Refusal
from shared.caller import Caller

Plain = str | int | bool


@dataclass(frozen=True, slots=True)
class Condition:
    """A claim that must have one of these values; of a claim that is a list, at least one item must."""

    name: str
    values: tuple[Plain, ...]

    def holds(self, caller: Caller) -> bool:
        found = caller.claim(self.name)
        return any(
            type(each) is type(value) and each == value  # `1` is not `true`
            for each in (found if isinstance(found, list) else (found,))
            for value in self.values
        )

    def __str__(self) -> str:
        return f"{self.name} is {' or '.join(_words(value) for value in self.values)}"


def require_claims(conditions: tuple[Condition, ...], caller: Caller) -> None:
    for condition in conditions:
        if not condition.holds(caller):
            raise Refusal(FORBIDDEN, f"This needs a token in which {condition}.")


def _words(value: Plain) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
