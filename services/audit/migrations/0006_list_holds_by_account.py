"""Drop the index by which holds were listed: it was never compared with the table, and could lack a hold."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.drop_index("ix_holds_created", "holds")
