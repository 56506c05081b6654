"""Orders with their lines and steps, products and their stock, and the rules that concern one row."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Index, Text
from sqlalchemy.orm import registry
from sqlmodel import BigInteger, Field, LargeBinary, SQLModel

from services.orders.errors import IllegalStep, OrderHasLines, OrderLocked
from shared.clock import now
from shared.data.database import UtcDateTime, rows_where
from shared.data.tables import NOT_VALIDATED, table_of
from shared.events import EventTables
from shared.http.idempotency import IdempotencyStore
from shared.ids import new_id
from shared.lists.search import Part, SearchIndex, searchable
from shared.reports.files import report_parts
from shared.work.jobs import JobTables

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
MAIN = "main"


class ProductStatus(StrEnum):
    DRAFT = "draft"
    ACTIVE = "active"
    ARCHIVED = "archived"


class InvoiceKind(StrEnum):
    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"


class MoveKind(StrEnum):
    RECEIVE = "receive"
    ADJUST = "adjust"
    RESERVE = "reserve"
    RELEASE = "release"
    SHIP = "ship"
    RETURN = "return"


# How the quantity of a move changes the pieces on hand and the pieces reserved.
EFFECTS: dict[MoveKind, tuple[int, int]] = {
    MoveKind.RECEIVE: (1, 0),
    MoveKind.ADJUST: (1, 0),
    MoveKind.RESERVE: (0, 1),
    MoveKind.RELEASE: (0, -1),
    MoveKind.SHIP: (-1, -1),
    MoveKind.RETURN: (1, 0),
}


class Table(SQLModel, registry=registry()):
    """The base of this service's tables, with its own metadata."""

    model_config = NOT_VALIDATED


class Order(Table, table=True):
    __tablename__ = "orders"
    __table_args__ = (
        Index("ix_orders_user_id_id", "user_id", "id"),
        Index("ix_orders_status_id", "status", "id"),
        Index("ix_orders_user_id_status_id", "user_id", "status", "id"),
        Index("ix_orders_reserved_until", "reserved_until", **rows_where("reserved_until IS NOT NULL")),
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
    line_count: int = 0
    reserved_until: datetime | None = Field(default=None, sa_type=UtcDateTime)  # while pending

    def take_step(self, to: OrderStatus, *, by: str) -> "OrderStep":
        """Move along the life cycle, or refuse and name the allowed steps."""
        allowed = NEXT_STEPS[OrderStatus(self.status)]
        if to not in allowed:
            detail = f"An order that is {self.status} cannot become {to}."
            raise IllegalStep(detail, status_now=self.status, allowed=list(allowed))
        step = OrderStep(order_id=self.id, from_status=self.status, status=to, by=by)
        self.status = to
        self.reserved_until = None
        return step

    def require_pending(self) -> None:
        if self.status != OrderStatus.PENDING:
            raise OrderLocked(
                f"The order is {self.status}; its content and price can no longer change.",
                status_now=self.status,
            )

    def require_flat(self) -> None:
        if self.line_count:
            raise OrderHasLines

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


class OrderLine(Table, table=True):
    """One product in an order, with the name and the price that it had when it was ordered."""

    __tablename__ = "order_lines"
    __table_args__ = (
        Index("ix_order_lines_order_id_line", "order_id", "line", unique=True),
        Index("ix_order_lines_product_id_order_id", "product_id", "order_id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    order_id: str = Field(foreign_key="orders.id", ondelete="CASCADE", max_length=ID_CHARACTERS)
    line: int
    product_id: str = Field(max_length=ID_CHARACTERS)
    sku: str = Field(max_length=64)
    name: str = Field(max_length=200)
    quantity: int
    unit_minor: int = Field(sa_type=BigInteger)
    tax_basis_points: int
    tax_minor: int = Field(sa_type=BigInteger)
    total_minor: int = Field(sa_type=BigInteger)


class Product(Table, table=True):
    __tablename__ = "products"
    __table_args__ = (
        Index("ix_products_sku", "sku", unique=True),
        Index("ix_products_status_id", "status", "id"),
        Index("ix_products_low", "status", "id", **rows_where("low", sqlite="low = 1")),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    sku: str = Field(max_length=64)
    name: str = Field(max_length=200)
    description: str = Field(default="", sa_type=Text)
    price_minor: int = Field(sa_type=BigInteger)
    currency: str = Field(max_length=3)
    tax_basis_points: int = 0  # hundredths of a percent
    status: str = Field(default=ProductStatus.DRAFT, max_length=20)
    track_stock: bool = True
    backorder: bool = False
    low_at: int | None = None
    low: bool = False
    attributes: str = Field(default="{}", sa_type=Text)  # a JSON object of texts
    search: str = Field(default="", sa_type=Text)
    version: int = 1
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)

    def touch(self) -> None:
        self.version += 1
        self.updated = now()
        self.search = searched_text(self.sku, self.name)


class Level(Table, table=True):
    """The stock of one product over all locations.

    Every move changes this row first, by one conditional statement, and so locks the product's stock until it
    commits. `low_at` and `backorder` are copies, so that the statement needs no other row.
    """

    __tablename__ = "stock_levels"
    __table_args__ = (
        CheckConstraint("on_hand >= 0 AND reserved >= 0", name="ck_stock_levels_positive"),
        CheckConstraint("backorder OR reserved <= on_hand", name="ck_stock_levels_covered"),
    )

    product_id: str = Field(
        primary_key=True, foreign_key="products.id", ondelete="CASCADE", max_length=ID_CHARACTERS
    )
    on_hand: int = Field(default=0, sa_type=BigInteger)
    reserved: int = Field(default=0, sa_type=BigInteger)
    low_at: int | None = None
    backorder: bool = False


class Stock(Table, table=True):
    """The stock of one product at one location."""

    __tablename__ = "stock"
    __table_args__ = (CheckConstraint("on_hand >= 0 AND reserved >= 0", name="ck_stock_positive"),)

    product_id: str = Field(
        primary_key=True, foreign_key="products.id", ondelete="CASCADE", max_length=ID_CHARACTERS
    )
    location: str = Field(primary_key=True, max_length=40)
    on_hand: int = Field(default=0, sa_type=BigInteger)
    reserved: int = Field(default=0, sa_type=BigInteger)


class Move(Table, table=True):
    """One change of stock; rows are only ever added. The sum of the moves is the stock."""

    __tablename__ = "stock_moves"
    __table_args__ = (
        Index("ix_stock_moves_product_id_id", "product_id", "id"),
        Index("ix_stock_moves_by_id", "by", "id"),
        Index("ix_stock_moves_order_id", "order_id", **rows_where("order_id IS NOT NULL")),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    product_id: str = Field(max_length=ID_CHARACTERS)
    location: str = Field(max_length=40)
    kind: str = Field(max_length=10)
    quantity: int
    order_id: str | None = Field(default=None, max_length=ID_CHARACTERS)  # of an order that may be deleted
    reason: str | None = Field(default=None, max_length=200)
    by: str = Field(max_length=ID_CHARACTERS)
    timestamp: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Invoice(Table, table=True):
    """An invoice or a credit note, with all that it states. It outlives its account, and keeps its order."""

    __tablename__ = "invoices"
    __table_args__ = (
        Index("ix_invoices_order_id_kind", "order_id", "kind", unique=True),
        Index("ix_invoices_number", "number", unique=True),
        Index("ix_invoices_kind_id", "kind", "id"),
        Index("ix_invoices_user_id_id", "user_id", "id"),
        Index("ix_invoices_user_id_kind_id", "user_id", "kind", "id"),
        Index("ix_invoices_not_rendered", "id", **rows_where("pdf_sha256 IS NULL")),
    )

    id: str = Field(primary_key=True, max_length=ID_CHARACTERS)
    order_id: str = Field(foreign_key="orders.id", max_length=ID_CHARACTERS)
    user_id: str = Field(max_length=ID_CHARACTERS)
    kind: str = Field(max_length=20)
    number: str = Field(max_length=20)
    total_minor: int = Field(sa_type=BigInteger)
    currency: str = Field(max_length=3)
    snapshot: str = Field(sa_type=Text)  # JSON of invoices.snapshots.Snapshot
    template_version: int
    pdf_sha256: str | None = Field(default=None, max_length=64)  # None until it is rendered
    issued: datetime = Field(sa_type=UtcDateTime)
    by: str = Field(max_length=ID_CHARACTERS)


class InvoicePdf(Table, table=True):
    __tablename__ = "invoice_pdfs"

    invoice_id: str = Field(primary_key=True, foreign_key="invoices.id", max_length=ID_CHARACTERS)
    pdf: bytes = Field(sa_type=LargeBinary)


class InvoiceCounter(Table, table=True):
    """The last number of a kind. Whoever takes one holds the row until the commit, so no number is lost."""

    __tablename__ = "invoice_counters"

    kind: str = Field(primary_key=True, max_length=20)
    year: int
    last: int


def searched_text(sku: str, name: str) -> str:
    """Return the text that a search looks at: SKU and name on a line each, so that no match spans both."""
    return searchable(f"{sku}\n{name}")


ORDERS = table_of(Order)
STEPS = table_of(OrderStep)
LINES = table_of(OrderLine)
PRODUCTS = table_of(Product)
LEVELS = table_of(Level)
STOCK = table_of(Stock)
MOVES = table_of(Move)
INVOICES = table_of(Invoice)
PDFS = table_of(InvoicePdf)
COUNTERS = table_of(InvoiceCounter)
REPORT_PARTS = report_parts(Table.metadata)
SEARCH = SearchIndex(PRODUCTS, {"status": Part.START, "search": Part.ALL})
IDEMPOTENCY = IdempotencyStore(Table.metadata)
EVENTS = EventTables(Table.metadata)
WORK = JobTables(Table.metadata)
JOBS = WORK.jobs
