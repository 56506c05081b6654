"""Add an index that finds which services have sent their last piece of an export."""

from alembic import op

from shared.data.database import rows_where

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.create_index(
        "ix_export_pieces_last",
        "export_pieces",
        ["export_id", "service"],
        **rows_where("is_last", sqlite="is_last = 1"),
    )
