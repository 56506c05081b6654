"""The key `claims:` of a route: what it demands of the claims in a token."""

import re

from gateway.config.yaml_values import Fault, Value
from gateway.routing.claims import Condition, Plain

NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,200}")
VALUES_MAX = 100
# Every token is asked for these anyway, or a route has a key of its own for them.
ELSEWHERE = {
    **dict.fromkeys(("iss", "aud", "exp", "iat", "nbf"), "is checked in every token"),
    "role": "has a key of its own; say `roles:`",
    "scope": "has a key of its own; say `scopes:`",
}


def claims(value: Value) -> tuple[Condition, ...]:
    """How a routes file says it: `claims: {email_verified: true, tenant: [a, b]}`."""
    conditions = []
    for name, each in value.pairs():
        if name in ELSEWHERE:
            each.fault(ELSEWHERE[name])
        elif not NAME.fullmatch(name):
            each.fault(f"{name!r} is not the name of a claim")
        conditions.append(Condition(name, each.read(_values, ())))
    return tuple(conditions)


def _values(value: Value) -> tuple[Plain, ...]:
    if not value.is_list:
        return (value.plain(),)
    nothing: Plain = ""
    values = tuple(item.read(Value.plain, nothing) for item in value.items())
    if not 1 <= len(values) <= VALUES_MAX:
        raise Fault(f"must be one value or a list of 1 to {VALUES_MAX}, not of {len(values)}")
    return values
