"""The `claims:` key of a route: what it requires of the claims in a token."""

import re

from gateway.config.yaml_values import Fault, Value
from gateway.routing.claims import Condition, Plain

NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,200}")
VALUES_MAX = 100
# These are checked in every token, or have a route key of their own.
ELSEWHERE = {
    **dict.fromkeys(("iss", "aud", "exp", "iat", "nbf"), "is checked in every token"),
    "role": "has a key of its own; use `roles:`",
    "scope": "has a key of its own; use `scopes:`",
}


def claims(value: Value) -> tuple[Condition, ...]:
    """Read a mapping such as `claims: {email_verified: true, tenant: [a, b]}`."""
    conditions = []
    for name, each in value.pairs():
        if name in ELSEWHERE:
            each.fault(ELSEWHERE[name])
        elif not NAME.fullmatch(name):
            each.fault(f"{name!r} is not a valid claim name")
        conditions.append(Condition(name, each.read(_values, ())))
    return tuple(conditions)


def _values(value: Value) -> tuple[Plain, ...]:
    if not value.is_list:
        return (value.plain(),)
    nothing: Plain = ""
    values = tuple(item.read(Value.plain, nothing) for item in value.items())
    if not 1 <= len(values) <= VALUES_MAX:
        raise Fault(f"must be one value or a list of 1 to {VALUES_MAX} values, not {len(values)}")
    return values
