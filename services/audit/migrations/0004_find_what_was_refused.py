"""Index refused records, and holds in the order they were placed."""

from alembic import op

from shared.data.database import rows_where

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    refused = rows_where("outcome = 'refused'")
    op.create_index("ix_records_refused_id", "records", ["id"], **refused)
    op.create_index("ix_records_refused_user_id_id", "records", ["user_id", "id"], **refused)
    op.create_index("ix_holds_created", "holds", ["created"])
