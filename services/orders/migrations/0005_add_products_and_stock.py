"""Add products, their stock and its moves, the lines of orders, and the table of background work."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime, rows_where
from shared.lists.search import Part
from shared.lists.search_migrations import create_search_index_1, spread_search_index_2
from shared.work.migrations import create_work_tables_1

revision = "0005"
down_revision = "0004"

SEARCHED = {"status": Part.START, "search": Part.ALL}


def upgrade() -> None:
    _create_products()
    _create_stock()
    _create_lines()
    create_work_tables_1()


def _create_products() -> None:
    op.create_table(
        "products",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("sku", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("price_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("tax_basis_points", sa.Integer, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("track_stock", sa.Boolean, nullable=False),
        sa.Column("backorder", sa.Boolean, nullable=False),
        sa.Column("low_at", sa.Integer),
        sa.Column("low", sa.Boolean, nullable=False),
        sa.Column("attributes", sa.Text, nullable=False),
        sa.Column("search", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
    )
    op.create_index("ix_products_sku", "products", ["sku"], unique=True)
    op.create_index("ix_products_status_id", "products", ["status", "id"])
    low = rows_where("low", sqlite="low = 1")
    op.create_index("ix_products_low", "products", ["status", "id"], **low)
    create_search_index_1("products", SEARCHED)
    spread_search_index_2("products", SEARCHED)


def _create_stock() -> None:
    op.create_table(
        "stock_levels",
        _product_id(),
        sa.Column("on_hand", sa.BigInteger, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
        sa.Column("low_at", sa.Integer),
        sa.Column("backorder", sa.Boolean, nullable=False),
        sa.CheckConstraint("on_hand >= 0 AND reserved >= 0", name="ck_stock_levels_positive"),
        sa.CheckConstraint("backorder OR reserved <= on_hand", name="ck_stock_levels_covered"),
    )
    op.create_table(
        "stock",
        _product_id(),
        sa.Column("location", sa.String(40), primary_key=True),
        sa.Column("on_hand", sa.BigInteger, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
        sa.CheckConstraint("on_hand >= 0 AND reserved >= 0", name="ck_stock_positive"),
    )
    op.create_table(
        "stock_moves",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("product_id", sa.String(36), nullable=False),
        sa.Column("location", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("quantity", sa.Integer, nullable=False),
        sa.Column("order_id", sa.String(36)),
        sa.Column("reason", sa.String(200)),
        sa.Column("by", sa.String(36), nullable=False),
        sa.Column("timestamp", UtcDateTime, nullable=False),
    )
    op.create_index("ix_stock_moves_product_id_id", "stock_moves", ["product_id", "id"])
    op.create_index("ix_stock_moves_by_id", "stock_moves", ["by", "id"])
    of_orders = rows_where("order_id IS NOT NULL")
    op.create_index("ix_stock_moves_order_id", "stock_moves", ["order_id"], **of_orders)


def _create_lines() -> None:
    # A constant default: neither database rewrites the rows of existing orders.
    op.add_column("orders", sa.Column("line_count", sa.Integer, nullable=False, server_default="0"))
    op.add_column("orders", sa.Column("reserved_until", UtcDateTime))
    reserved = rows_where("reserved_until IS NOT NULL")
    op.create_index("ix_orders_reserved_until", "orders", ["reserved_until"], **reserved)
    order = sa.ForeignKey("orders.id", ondelete="CASCADE")
    op.create_table(
        "order_lines",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("order_id", sa.String(36), order, nullable=False),
        sa.Column("line", sa.Integer, nullable=False),
        sa.Column("product_id", sa.String(36), nullable=False),
        sa.Column("sku", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("quantity", sa.Integer, nullable=False),
        sa.Column("unit_minor", sa.BigInteger, nullable=False),
        sa.Column("tax_basis_points", sa.Integer, nullable=False),
        sa.Column("tax_minor", sa.BigInteger, nullable=False),
        sa.Column("total_minor", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_order_lines_order_id_line", "order_lines", ["order_id", "line"], unique=True)
    op.create_index("ix_order_lines_product_id", "order_lines", ["product_id"])


def _product_id() -> sa.Column[str]:
    product = sa.ForeignKey("products.id", ondelete="CASCADE")
    return sa.Column("product_id", sa.String(36), product, primary_key=True)
