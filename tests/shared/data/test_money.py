"""Amounts stay exact when stored in either database and read back."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example as including
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError, ValidationInfo, field_validator
from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, insert, select
from sqlalchemy.exc import StatementError

from shared.data.database import Database
from shared.data.money import (
    CURRENCIES,
    MINOR_UNITS_MAX,
    Amount,
    Currency,
    Precise,
    from_minor,
    rounded,
    to_minor,
)
from shared.http.schemas import Input
from tests.shared.work.test_documentation import example

METADATA = MetaData()
COSTS = Table("costs", METADATA, Column("id", Integer, primary_key=True), Column("usd", Precise))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    METADATA.create_all(opened.engine)
    yield opened
    opened.close()


@given(st.integers(0, MINOR_UNITS_MAX), st.sampled_from(sorted(CURRENCIES)))
@including(minor=MINOR_UNITS_MAX, currency="JPY")
def test_every_number_of_minor_units_is_converted_exactly(minor: int, currency: str) -> None:
    amount = from_minor(minor, currency)
    written = TypeAdapter(Amount).dump_json(amount)

    assert to_minor(amount, currency) == minor
    assert to_minor(TypeAdapter(Amount).validate_json(written), currency) == minor


@pytest.mark.parametrize(
    ("amount", "currency", "words"),
    [
        ("0.001", "USD", "USD has 2 decimals"),
        ("0.1", "JPY", "JPY has 0 decimals"),
        ("0.0001", "KWD", "KWD has 3 decimals"),
        ("10000000000.01", "USD", "at most 10000000000.00 USD"),
    ],
)
def test_amount_that_is_not_in_whole_minor_units_is_refused(amount: str, currency: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        to_minor(Decimal(amount), currency)


@pytest.mark.parametrize("currency", ["usd", "US", "USDT", "XXX", "", "€"])
def test_unknown_currency_is_refused(currency: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Currency).validate_python(currency)


def test_precise_amounts_are_read_back_unchanged(database: Database) -> None:
    amounts = "0 12.0101516483 0.000000000001 -3.5 99999999999999999999999999.999999999999 1E+3".split()
    with database.transaction() as session:
        rows = [{"id": number, "usd": Decimal(amount)} for number, amount in enumerate(amounts)]
        session.connection().execute(insert(COSTS), [*rows, {"id": 99, "usd": None}])
    with database.transaction(write=False) as session:
        found = session.connection().execute(select(COSTS.c.usd).order_by(COSTS.c.id)).scalars().all()

    assert found == [*map(Decimal, amounts), None]
    assert {type(one) for one in found[:-1]} == {Decimal}
    assert sum((one for one in found if one is not None), Decimal(0)) != sum(map(float, amounts))


@pytest.mark.parametrize(
    "amount", [Decimal("0.0000000000001"), Decimal("1E+26"), Decimal("NaN"), Decimal("Infinity"), 0.1, 1, "1"]
)
def test_inexact_amount_is_refused(database: Database, amount: Any) -> None:
    with (
        pytest.raises(StatementError, match=r"is not an exact amount|has more than"),
        database.transaction() as session,
    ):
        session.connection().execute(insert(COSTS).values(id=1, usd=amount))


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("0.125", "USD", "0.12"),
        ("0.135", "USD", "0.14"),
        ("2.5", "JPY", "2"),
        ("-0.125", "USD", "-0.12"),
        ("1.0005", "KWD", "1.000"),
    ],
)
def test_half_a_unit_is_rounded_to_the_even_unit(amount: str, currency: str, expected: str) -> None:
    assert rounded(Decimal(amount), currency) == Decimal(expected)
    assert str(rounded(Decimal(amount), currency)) == expected


def test_example_of_money_is_exact() -> None:
    values = (BigInteger, Column, Integer, String, Table, Precise, Input, Decimal, ValidationInfo)
    names: dict[str, Any] = {value.__name__: value for value in values}
    names |= {"Amount": Amount, "Currency": Currency, "field_validator": field_validator}
    names |= {"to_minor": to_minor, "from_minor": from_minor, "rounded": rounded, "metadata": MetaData()}
    exec(example("money.md"), names)

    assert (names["row"]["minor"], names["shown"]) == (99999, Decimal("999.99"))
    assert names["price"] == Decimal("12.01")
