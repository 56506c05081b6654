"""Exact amounts: a decimal is stored as two integers, whole units and a fraction in 10^-12.

SQLite would sum decimals as floats, but sums integers exactly.
"""

from decimal import Context, Decimal, InvalidOperation, localcontext
from typing import Annotated

from pydantic import PlainSerializer

PLACES = 12
_ONE = 10**PLACES
WHOLE_MAX = 10**12
_CONTEXT = Context(prec=60)


def written(value: Decimal) -> str:
    """Format a decimal without trailing zeros or an exponent."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def shortened(value: Decimal) -> Decimal:
    """Return the decimal without trailing zeros, which neither CSV nor XLSX should show."""
    return Decimal(written(value))


# A string in JSON, so that clients do not parse it as a float.
Exact = Annotated[Decimal, PlainSerializer(written, return_type=str, when_used="json")]


def split(text: str) -> tuple[int, int]:
    """Split a decimal into two integers; raises ValueError if it is malformed or too large."""
    with localcontext(_CONTEXT):
        try:
            scaled = Decimal(text) * _ONE
            is_whole = scaled == scaled.to_integral_value()
        except InvalidOperation:
            raise ValueError(f"{text[:40]!r} is not an amount") from None
        if not scaled.is_finite() or abs(scaled) >= WHOLE_MAX * _ONE:
            raise ValueError(f"{text[:40]!r} is too large an amount")
        if not is_whole:
            scaled = scaled.to_integral_value()  # AWS gives ten places; more than twelve are rounded
        whole, part = divmod(int(scaled), _ONE)
        return whole, part


def joined(whole: int, part: int) -> Decimal:
    """Join two integers, or sums of them, into a decimal."""
    with localcontext(_CONTEXT):
        return Decimal(int(whole)) + Decimal(int(part)).scaleb(-PLACES)
