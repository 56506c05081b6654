"""Compiles a question into one SQLAlchemy statement and runs it within limits."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Label, Select, func, select, text
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from services.inventory.advices import OPEN
from services.inventory.ask.fields import SHOWN, FieldOf, Kind, field_of
from services.inventory.ask.query import SUMMED, WITHOUT_VALUE, Filter, Measure, Question
from services.inventory.dated import month_before, month_of, next_month
from services.inventory.models import ADVICE, COSTS, WORKSPACES
from shared.clock import now
from shared.data.database import TookTooLong

SECONDS_MAX = 5
CENT = Decimal("0.01")
# By column: the units in which the database sums an amount.
UNITS = {"sum_cost": 10**10, "sum_saving_low": 10**6, "sum_saving_high": 10**6}
PARTS = 100
STEPS_BETWEEN_LOOKS = 10_000


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    unit: str


@dataclass(frozen=True, slots=True)
class Found:
    """The rows up to the question's limit, and the total number of rows."""

    columns: list[Column]
    rows: list[list[Any]]
    total: int  # rows, or groups


def run(session: Session, question: Question, zone: tzinfo = UTC) -> Found:
    """Run the question, with days of this zone; raises TookTooLong after five seconds."""
    at = now().astimezone(zone)
    statement, columns = compiled(question, at)
    bound = {name: month for name, month in months(at).items() if f"hours_{name}" in question.named}
    statement = statement.params(bound)
    execute = session.connection().execute
    try:
        with _in_time(session):
            found = execute(statement.limit(question.limit))
            rows = [
                [_plain(value, name) for value, name in zip(row, found.keys(), strict=True)] for row in found
            ]
            total = len(rows)
            if total == question.limit:
                total = execute(select(func.count()).select_from(statement.subquery())).scalar_one()
    except OperationalError as error:
        if "interrupted" in str(error.orig) or getattr(error.orig, "sqlstate", "") == "57014":
            raise TookTooLong("This question takes too long; narrow it down.") from error
        raise
    return Found(columns, rows, total)


def compiled(question: Question, at: datetime) -> tuple[Select[Any], list[Column]]:
    """Return the statement and a description of its columns."""
    if question.entity in SUMMED:
        return compiled_sums(question, at)
    conditions = [_condition(one, at) for one in question.filters]
    if not question.measures:
        names = dict.fromkeys([*SHOWN, *(one.field for one in question.filters if one.field != "presence")])
        fields = {name: field_of(name) for name in names}
        listing = select(*(one.column.label(name) for name, one in fields.items()))
        ordered = listing.select_from(WORKSPACES).where(*conditions).order_by(WORKSPACES.c.id.desc())
        return ordered, [Column(name, "") for name in fields]
    groups = {name: field_of(name) for name in question.group_by}
    measures = {_name(one): _measure(one) for one in question.measures}
    columns = [one.column.label(name) for name, one in groups.items()]
    columns += [expression.label(name) for name, expression in measures.items()]
    statement = select(*columns).select_from(WORKSPACES).where(*conditions)
    # By column number, so that the subquery of a tag is not evaluated a second time.
    if groups:
        statement = statement.group_by(*(text(str(number)) for number in range(1, len(groups) + 1)))
    if question.having is not None:
        statement = statement.having(_compared(func.count(), question.having.op, question.having.value))
    first = next(iter(measures.values()))
    if question.order is not None:
        statement = statement.order_by(first.asc() if question.order == "least" else first.desc())
    statement = statement.order_by(*(text(str(number)) for number in range(1, len(groups) + 1)))
    units = [Column(_name(one), field_of(one.field).unit if one.field else "") for one in question.measures]
    return statement, [*(Column(name, "") for name in groups), *units]


def _condition(one: Filter, at: datetime) -> ColumnElement[bool]:
    field = field_of(one.field)
    column = field.column
    if field.kind is Kind.MONTH:
        return _in_month(str(one.value), at)
    if one.op in WITHOUT_VALUE:
        return column.is_(None) if one.op == "is_null" else column.is_not(None)
    if one.op == "in":
        return column.in_(one.values or [])
    if field.kind is Kind.AGE:
        return _of_age(field, one.op, _moment(one.value, at))
    return _of_value(field, one)


def compiled_sums(question: Question, at: datetime) -> tuple[Select[Any], list[Column]]:
    """Return a statement that sums amounts, grouped by currency as well, since these cannot be added."""
    groups = {name: field_of(name).column.label(name) for name in question.group_by}
    table = COSTS if question.entity == "costs" else ADVICE
    columns = [*groups.values(), table.c.currency, *_amounts(question)]
    joined = table.outerjoin(WORKSPACES, WORKSPACES.c.workspace_id == table.c.workspace_id)
    conditions = [_condition(one, at) for one in question.filters]
    if table is ADVICE:  # savings that are unknown have no currency either
        conditions += [ADVICE.c.state == OPEN, ADVICE.c.currency.is_not(None)]
    statement = select(*columns).select_from(joined).where(*conditions)
    numbers = [text(str(number)) for number in range(1, len(groups) + 2)]
    statement = statement.group_by(*numbers)
    if question.order is not None:
        first = _amounts(question)[0].element
        statement = statement.order_by(first.asc() if question.order == "least" else first.desc())
    names = [*groups, "currency"]
    amounts = [Column(_name(one), "") for one in question.measures]
    return statement.order_by(*numbers), [*(Column(name, "") for name in names), *amounts]


def _amounts(question: Question) -> list[Label[Any]]:
    """Return the sums, in units that keep all decimal places as integers."""
    if question.entity == "advice":
        return [func.sum(field_of(str(one.field)).column).label(_name(one)) for one in question.measures]
    # AWS gives ten decimal places; as integers these are added without rounding errors.
    cost = func.sum(COSTS.c.amount_whole) * UNITS["sum_cost"] + func.sum(COSTS.c.amount_part) / PARTS
    return [cost.label("sum_cost")]


def _in_month(period: str, at: datetime) -> ColumnElement[bool]:
    """Match the costs of a month, or of this year, in UTC as AWS bills."""
    day, year = COSTS.c.day, at.astimezone(UTC).year
    if period == "this_year":
        return (day >= f"{year}-01-01") & (day < f"{year + 1}-01-01")
    month = months(at).get(period, period)
    return (day >= f"{month}-01") & (day < f"{next_month(month)}-01")


def months(at: datetime) -> dict[str, str]:
    """Return this month and the last one, in UTC."""
    this_month = month_of(at.astimezone(UTC).date())
    return {"this_month": this_month, "last_month": month_before(this_month)}


def _of_value(field: FieldOf, one: Filter) -> ColumnElement[bool]:
    column = field.column
    if field.kind is Kind.FLAG:
        return column if one.value else ~column
    if one.op == "contains":
        return func.lower(column).contains(str(one.value).lower(), autoescape=True)
    if one.op == "ne":  # null counts as different
        return column.is_distinct_from(one.value)
    return _compared(column, one.op, one.value)


def _moment(value: object, at: datetime) -> datetime:
    """Return the time `value` days ago, or the start of this day, week, month or year in the zone of `at`."""
    if isinstance(value, int):
        return at.astimezone(UTC) - timedelta(days=value)
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    began = {
        "today": day,
        "this_week": day - timedelta(days=day.weekday()),
        "this_month": day.replace(day=1),
        "this_year": day.replace(month=1, day=1),
    }
    return began[str(value)]


def _of_age(field: FieldOf, op: str, moment: datetime) -> ColumnElement[bool]:
    """Compare an age: a greater age is an earlier timestamp."""
    opposite = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
    return _compared(field.column, opposite[op], moment)


def _compared(column: ColumnElement[Any], op: str, value: Any) -> ColumnElement[bool]:
    comparison: ColumnElement[bool] = getattr(column, f"__{op}__")(value)
    return comparison


def _name(one: Measure) -> str:
    return one.fn if one.field is None else f"{one.fn}_{one.field}"


def _measure(one: Measure) -> ColumnElement[Any]:
    if one.field is None:
        return func.count()
    if one.fn == "distinct":
        return func.count(field_of(one.field).column.distinct())
    measure: ColumnElement[Any] = getattr(func, one.fn)(field_of(one.field).column)
    return measure


def _plain(value: Any, name: str) -> Any:
    """Convert to a JSON value; averages and amounts get two decimal places on both databases."""
    if name in UNITS:
        return float((Decimal(value) / UNITS[name]).quantize(CENT))
    if isinstance(value, Decimal | float):
        return round(float(value), 2)
    return value


@contextmanager
def _in_time(session: Session) -> Iterator[None]:
    """Cancel a statement that takes too long."""
    connection = session.connection()
    if connection.dialect.name != "sqlite":
        connection.execute(text(f"SET LOCAL statement_timeout = {SECONDS_MAX * 1000}"))
        yield
        return
    driver: Any = connection.connection.driver_connection
    until = time.monotonic() + SECONDS_MAX
    driver.set_progress_handler(lambda: time.monotonic() > until, STEPS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)
