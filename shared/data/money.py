"""Money without floats: decimals in the API, whole minor units (cents) in the database.

Amounts that others bill in fractions of a cent are stored exactly, in a column of the type Precise. The two
kinds are never added together: our own prices are rounded to minor units first.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact, InvalidOperation
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainSerializer
from sqlalchemy import Numeric, String
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

MINOR_UNITS_MAX = 10**12  # up to here a JSON number has no rounding error
_DECIMALS_MAX = 3
PRECISE_PLACES = 12
PRECISE_DIGITS = 38
_EXACT = Context(prec=PRECISE_DIGITS, traps=[Inexact, InvalidOperation])

# ISO 4217: the currencies in use. Those without two decimals are listed separately.
_WITHOUT_DECIMALS = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split())
_THREE_DECIMALS = frozenset("BHD IQD JOD KWD LYD OMR TND".split())
_EXPONENTS = dict.fromkeys(_WITHOUT_DECIMALS, 0) | dict.fromkeys(_THREE_DECIMALS, -3)  # the others have -2
CURRENCIES = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP
    CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS
    INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN
    MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE
    SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW
    """.split()
).union(_WITHOUT_DECIMALS, _THREE_DECIMALS)

Amount = Annotated[
    Decimal,
    Field(ge=0, max_digits=16, decimal_places=_DECIMALS_MAX, json_schema_extra={"type": "number"}),
    PlainSerializer(float, return_type=float, when_used="json"),
]


def _known(currency: str) -> str:
    if currency not in CURRENCIES:
        raise ValueError("must be an ISO 4217 currency code in capitals, for example USD")
    return currency


Currency = Annotated[str, Field(min_length=3, max_length=3), AfterValidator(_known)]


class Precise(TypeDecorator[Decimal]):
    """An exact amount with up to 12 decimals, in any currency.

    SQLite has no exact decimals, so there the amount is text, which the database can neither sort nor sum. Do
    both in Python.
    """

    impl = String(PRECISE_DIGITS + 2)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        exact = Numeric(PRECISE_DIGITS, PRECISE_PLACES)
        return dialect.type_descriptor(self.impl_instance if dialect.name == "sqlite" else exact)

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if not isinstance(value, Decimal) or not value.is_finite():
            raise ValueError(f"{value!r} is not an exact amount")
        try:
            exact = value.quantize(Decimal(1).scaleb(-PRECISE_PLACES), context=_EXACT)
        except ArithmeticError as error:
            limits = f"{PRECISE_DIGITS - PRECISE_PLACES} digits and {PRECISE_PLACES} decimals"
            raise ValueError(f"{value} has more than {limits}") from error
        return f"{exact:f}" if dialect.name == "sqlite" else exact

    def process_result_value(self, value: Any, _dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


def rounded(amount: Decimal, currency: str) -> Decimal:
    """Round to the minor unit of the currency; halves go to the even unit, so that sums do not drift."""
    return amount.quantize(Decimal(1).scaleb(-decimals(currency)), rounding=ROUND_HALF_EVEN)


def to_minor(amount: Decimal, currency: str) -> int:
    """Convert to minor units; raise ValueError if the amount has too many decimals or is too large."""
    minor = amount.scaleb(decimals(currency))
    if minor != minor.to_integral_value():
        raise ValueError(f"{currency} has {decimals(currency)} decimals")
    if minor > MINOR_UNITS_MAX:
        raise ValueError(f"at most {from_minor(MINOR_UNITS_MAX, currency)} {currency}")
    return int(minor)


def from_minor(minor: int, currency: str) -> Decimal:
    # A hot path: called for each amount of a page.
    return Decimal(minor).scaleb(_EXPONENTS.get(currency, -2))


def decimals(currency: str) -> int:
    return -_EXPONENTS.get(currency, -2)
