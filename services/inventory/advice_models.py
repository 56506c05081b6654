"""The tables of prices, advice, and changes at AWS."""

from datetime import datetime

from sqlalchemy import Index, Text
from sqlmodel import BigInteger, Field

from services.inventory.tables import ID, Table
from shared.data.database import UtcDateTime


class Price(Table, table=True):
    """A price of AWS's list: per month, or per hour that a WorkSpace runs."""

    __tablename__ = "prices"
    __table_args__ = (Index("ix_prices_region", "region"),)

    id: str = Field(primary_key=True, max_length=ID)
    region: str = Field(max_length=30)
    compute_type: str = Field(max_length=60)
    system: str = Field(max_length=20)
    licence: str = Field(max_length=60)
    root_gib: int
    user_gib: int
    running_mode: str = Field(max_length=60)
    unit: str = Field(max_length=10)
    currency: str = Field(max_length=10)
    price: str = Field(max_length=40)  # a decimal
    seen: datetime = Field(sa_type=UtcDateTime)


class AdviceRow(Table, table=True):
    """Advice on a WorkSpace, one row of each kind; savings are per month, in millionths."""

    __tablename__ = "advice"
    __table_args__ = (
        Index("ix_advice_workspace_id_kind", "workspace_id", "kind", unique=True),
        Index("ix_advice_workspace_id_id", "workspace_id", "id"),
        Index("ix_advice_state_id", "state", "id"),
        Index("ix_advice_by_id", "by", "id"),
        Index("ix_advice_savings", "state", "kind", "currency", "saving_low", "saving_high"),
    )

    id: str = Field(primary_key=True, max_length=ID)
    workspace_id: str = Field(max_length=60)
    account: str = Field(max_length=ID)
    kind: str = Field(max_length=20)
    state: str = Field(max_length=20)
    saving_low: int | None = Field(default=None, sa_type=BigInteger)
    saving_high: int | None = Field(default=None, sa_type=BigInteger)
    currency: str | None = Field(default=None, max_length=10)
    basis: str = Field(sa_type=Text)  # a JSON object
    reason: str | None = Field(default=None, max_length=500)
    until: str | None = Field(default=None, max_length=10)
    by: str | None = Field(default=None, max_length=ID)
    found: datetime = Field(sa_type=UtcDateTime)
    updated: datetime = Field(sa_type=UtcDateTime)
    version: int = 1


class Load(Table, table=True):
    """How busy a WorkSpace was in the last 30 days: 95th percentiles of its hours, in percent."""

    __tablename__ = "workspace_loads"
    __table_args__ = (Index("ix_workspace_loads_seen", "account", "region", "seen"),)

    workspace_id: str = Field(primary_key=True, max_length=60)
    account: str = Field(max_length=ID)
    region: str = Field(max_length=30)
    first_day: str = Field(max_length=10)
    hours: int  # with both figures
    cpu: float
    memory: float
    seen: datetime = Field(sa_type=UtcDateTime)


class AwsChange(Table, table=True):
    """A change to a WorkSpace at AWS, or a dry run of one."""

    __tablename__ = "aws_changes"
    __table_args__ = (
        Index("ix_aws_changes_state_id", "state", "id"),
        Index("ix_aws_changes_workspace_id_id", "workspace_id", "id"),
        Index("ix_aws_changes_asked_by_id", "asked_by", "id"),
        Index("ix_aws_changes_approved_by_id", "approved_by", "id"),
    )

    id: str = Field(primary_key=True, max_length=ID)
    workspace_id: str = Field(max_length=60)
    account: str = Field(max_length=ID)
    region: str = Field(max_length=30)
    wanted: str = Field(max_length=200)  # a JSON object of columns and values
    before: str = Field(max_length=200)
    state: str = Field(max_length=10)
    asked_by: str | None = Field(default=None, max_length=ID)
    approved_by: str | None = Field(default=None, max_length=ID)
    result: str | None = Field(default=None, max_length=500)
    created: datetime = Field(sa_type=UtcDateTime)
    updated: datetime = Field(sa_type=UtcDateTime)
    version: int = 1
