"""Amounts of AWS, exact: a decimal is two integers, whole units and a fraction in 10^-12.

SQLite would sum decimals as floats; integers it sums exactly, as PostgreSQL does.
"""

from decimal import Context, Decimal, InvalidOperation, localcontext
from typing import Annotated

from pydantic import PlainSerializer

PLACES = 12
_ONE = 10**PLACES
WHOLE_MAX = 10**12
_CONTEXT = Context(prec=60)


def written(value: Decimal) -> str:
    """Without zeros at the end, and never with an exponent."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


# On the wire it is text, so that no client makes a float of it without wanting to.
Exact = Annotated[Decimal, PlainSerializer(written, return_type=str, when_used="json")]


def split(text: str) -> tuple[int, int]:
    """The two integers of a decimal; ValueError when it is none, too large, or finer than they can hold."""
    with localcontext(_CONTEXT):
        try:
            scaled = Decimal(text) * _ONE
            is_whole = scaled == scaled.to_integral_value()
        except InvalidOperation:
            raise ValueError(f"{text[:40]!r} is no amount") from None
        if not scaled.is_finite() or abs(scaled) >= WHOLE_MAX * _ONE:
            raise ValueError(f"{text[:40]!r} is too large an amount")
        if not is_whole:
            scaled = scaled.to_integral_value()  # AWS writes ten places; more are rounded to the twelfth
        whole, part = divmod(int(scaled), _ONE)
        return whole, part


def joined(whole: int, part: int) -> Decimal:
    """The decimal of two integers, also of their sums."""
    with localcontext(_CONTEXT):
        return Decimal(int(whole)) + Decimal(int(part)).scaleb(-PLACES)
