"""Money without floats: decimal at the edge, whole minor units (cents) inside."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field, PlainSerializer

MINOR_UNITS_MAX = 10**12  # up to here every amount is written by a JSON number without a rounding error
_DECIMALS_MAX = 3

# ISO 4217: the currencies in use. Those with other than two decimals are listed by number of decimals.
_WITHOUT_DECIMALS = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split())
_THREE_DECIMALS = frozenset("BHD IQD JOD KWD LYD OMR TND".split())
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
    Field(ge=0, max_digits=15, decimal_places=_DECIMALS_MAX, json_schema_extra={"type": "number"}),
    PlainSerializer(float, return_type=float, when_used="json"),
]


def to_minor(amount: Decimal, currency: str) -> int:
    """Whole minor units; ValueError when the currency has no coin that small or the amount is too large."""
    minor = amount.scaleb(decimals(currency))
    if minor != minor.to_integral_value():
        raise ValueError(f"{currency} has {decimals(currency)} decimals")
    if minor > MINOR_UNITS_MAX:
        raise ValueError(f"at most {from_minor(MINOR_UNITS_MAX, currency)} {currency}")
    return int(minor)


def from_minor(minor: int, currency: str) -> Decimal:
    return Decimal(minor).scaleb(-decimals(currency))


def decimals(currency: str) -> int:
    if currency in _WITHOUT_DECIMALS:
        return 0
    return 3 if currency in _THREE_DECIMALS else 2
