"""Index the savings of advice, which the dashboard sums."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    columns = ["state", "kind", "currency", "saving_low", "saving_high"]
    op.create_index("ix_advice_savings", "advice", columns)
