"""Add invoices and credit notes, their PDFs, and the counters of their numbers."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime, rows_where

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "invoices",
        sa.Column("id", sa.String(36), primary_key=True),
        # Refuses deletions by replicas of an older version, which do not ask for invoices.
        sa.Column("order_id", sa.String(36), sa.ForeignKey("orders.id"), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("number", sa.String(20), nullable=False),
        sa.Column("total_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("snapshot", sa.Text, nullable=False),
        sa.Column("template_version", sa.Integer, nullable=False),
        sa.Column("pdf_sha256", sa.String(64)),
        sa.Column("issued", UtcDateTime, nullable=False),
        sa.Column("by", sa.String(36), nullable=False),
    )
    op.create_index("ix_invoices_order_id_kind", "invoices", ["order_id", "kind"], unique=True)
    op.create_index("ix_invoices_number", "invoices", ["number"], unique=True)
    op.create_index("ix_invoices_kind_id", "invoices", ["kind", "id"])
    op.create_index("ix_invoices_user_id_id", "invoices", ["user_id", "id"])
    op.create_index("ix_invoices_user_id_kind_id", "invoices", ["user_id", "kind", "id"])
    op.create_index("ix_invoices_not_rendered", "invoices", ["id"], **rows_where("pdf_sha256 IS NULL"))
    invoice = sa.ForeignKey("invoices.id")
    op.create_table(
        "invoice_pdfs",
        sa.Column("invoice_id", sa.String(36), invoice, primary_key=True),
        sa.Column("pdf", sa.LargeBinary, nullable=False),
    )
    counters = op.create_table(
        "invoice_counters",
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("year", sa.Integer, nullable=False),
        sa.Column("last", sa.Integer, nullable=False),
    )
    op.bulk_insert(counters, [{"kind": kind, "year": 0, "last": 0} for kind in ("invoice", "credit_note")])
