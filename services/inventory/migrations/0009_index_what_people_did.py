"""Index syncs and advice by the account that started or decided them, in the order of exports."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_index("ix_syncs_by_id", "syncs", ["by", "id"])
    op.create_index("ix_advice_by_id", "advice", ["by", "id"])
    op.drop_index("ix_advice_by", "advice")
