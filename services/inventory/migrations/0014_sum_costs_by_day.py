"""Keep the costs of each account and day as a sum, for totals that need not read every cost."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "cost_days",
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("account", sa.String(36), primary_key=True),
        sa.Column("currency", sa.String(10), primary_key=True),
        sa.Column("amount_whole", sa.BigInteger, nullable=False),
        sa.Column("amount_part", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("estimated", sa.Integer, nullable=False),
    )
    op.execute(
        """
        INSERT INTO cost_days (day, account, currency, amount_whole, amount_part, rows, estimated)
        SELECT day, account, currency, SUM(amount_whole), SUM(amount_part), COUNT(*),
               SUM(CASE WHEN estimated THEN 1 ELSE 0 END)
        FROM costs GROUP BY day, account, currency
        """
    )
