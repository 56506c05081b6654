"""Orders and their steps, with the rules that concern one order."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Index
from sqlalchemy.orm import registry
from sqlmodel import BigInteger, Field, SQLModel

from services.orders.errors import IllegalStep, OrderLocked
from shared.clock import now
from shared.data.database import UtcDateTime
from shared.data.tables import table_of
from shared.events import EventTables
from shared.http.idempotency import IdempotencyStore
from shared.ids import new_id

ID_CHARACTERS = 36


class OrderStatus(StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    RETURNED = "returned"


NEXT_STEPS: dict[OrderStatus, tuple[OrderStatus, ...]] = {
    OrderStatus.PENDING: (OrderStatus.CONFIRMED, OrderStatus.CANCELLED),
    OrderStatus.CONFIRMED: (OrderStatus.SHIPPED, OrderStatus.CANCELLED),
    OrderStatus.SHIPPED: (OrderStatus.DELIVERED,),
    OrderStatus.DELIVERED: (OrderStatus.RETURNED,),
    OrderStatus.CANCELLED: (),
    OrderStatus.RETURNED: (),
}
DELETABLE = (OrderStatus.PENDING, OrderStatus.CANCELLED)


class Table(SQLModel, registry=registry()):
    """The base of this service's tables, with its own metadata."""


class Order(Table, table=True):
    __tablename__ = "orders"
    __table_args__ = (
        Index("ix_orders_user_id_id", "user_id", "id"),
        Index("ix_orders_status_id", "status", "id"),
        Index("ix_orders_user_id_status_id", "user_id", "status", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    user_id: str = Field(max_length=ID_CHARACTERS)
    product_name: str = Field(max_length=200)
    quantity: int
    total_minor: int = Field(sa_type=BigInteger)
    currency: str = Field(max_length=3)
    status: str = Field(default=OrderStatus.PENDING, max_length=20)
    version: int = 1
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)

    def take_step(self, to: OrderStatus, *, by: str) -> "OrderStep":
        """Move along the life cycle, or refuse and name the allowed steps."""
        allowed = NEXT_STEPS[OrderStatus(self.status)]
        if to not in allowed:
            detail = f"An order that is {self.status} cannot become {to}."
            raise IllegalStep(detail, status_now=self.status, allowed=list(allowed))
        step = OrderStep(order_id=self.id, from_status=self.status, status=to, by=by)
        self.status = to
        return step

    def require_pending(self) -> None:
        if self.status != OrderStatus.PENDING:
            raise OrderLocked(
                f"The order is {self.status}; its content and price can no longer change.",
                status_now=self.status,
            )

    def require_deletable(self) -> None:
        if self.status not in DELETABLE:
            allowed = [str(step) for step in NEXT_STEPS[OrderStatus(self.status)]]
            raise OrderLocked(
                f"The order is {self.status}; only a pending or cancelled order can be deleted.",
                status_now=self.status,
                allowed=allowed,
            )

    def touch(self) -> None:
        self.version += 1
        self.updated = now()


class OrderStep(Table, table=True):
    """One row of an order's history; never changed."""

    __tablename__ = "order_steps"

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    order_id: str = Field(foreign_key="orders.id", ondelete="CASCADE", index=True, max_length=ID_CHARACTERS)
    from_status: str | None = Field(default=None, max_length=20)
    status: str = Field(max_length=20)
    by: str = Field(max_length=ID_CHARACTERS)
    timestamp: datetime = Field(default_factory=now, sa_type=UtcDateTime)


ORDERS = table_of(Order)
STEPS = table_of(OrderStep)
IDEMPOTENCY = IdempotencyStore(Table.metadata)
EVENTS = EventTables(Table.metadata)
