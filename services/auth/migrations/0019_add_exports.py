"""Add exports of all data about a person."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime, rows_where

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "exports",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column(
            "account_id", sa.String(36), sa.ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("services", sa.String(2000), nullable=False),
        sa.Column("missing", sa.String(2000), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("finished", UtcDateTime),
        sa.Column("expires", UtcDateTime, nullable=False),
    )
    op.create_index("ix_exports_account_id_id", "exports", ["account_id", "id"])
    op.create_index("ix_exports_expires", "exports", ["expires"])
    op.create_index("ix_exports_unfinished", "exports", ["created"], **rows_where("finished IS NULL"))
    op.create_table(
        "export_pieces",
        sa.Column(
            "export_id", sa.String(36), sa.ForeignKey("exports.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("service", sa.String(50), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("section", sa.String(50), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("is_last", sa.Boolean, nullable=False),
        sa.Column("is_cut", sa.Boolean, nullable=False),
    )
