"""Add the tables of prices and advice."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "prices",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("region", sa.String(30), nullable=False),
        sa.Column("compute_type", sa.String(60), nullable=False),
        sa.Column("system", sa.String(20), nullable=False),
        sa.Column("licence", sa.String(60), nullable=False),
        sa.Column("root_gib", sa.Integer, nullable=False),
        sa.Column("user_gib", sa.Integer, nullable=False),
        sa.Column("running_mode", sa.String(60), nullable=False),
        sa.Column("unit", sa.String(10), nullable=False),
        sa.Column("currency", sa.String(10), nullable=False),
        sa.Column("price", sa.String(40), nullable=False),
        sa.Column("seen", UtcDateTime, nullable=False),
    )
    op.create_index("ix_prices_region", "prices", ["region"])
    op.create_table(
        "advice",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("workspace_id", sa.String(60), nullable=False),
        sa.Column("account", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("saving_low", sa.BigInteger),
        sa.Column("saving_high", sa.BigInteger),
        sa.Column("currency", sa.String(10)),
        sa.Column("basis", sa.Text, nullable=False),
        sa.Column("reason", sa.String(500)),
        sa.Column("until", sa.String(10)),
        sa.Column("by", sa.String(36)),
        sa.Column("found", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.create_index("ix_advice_workspace_id_kind", "advice", ["workspace_id", "kind"], unique=True)
    op.create_index("ix_advice_workspace_id_id", "advice", ["workspace_id", "id"])
    op.create_index("ix_advice_state_id", "advice", ["state", "id"])
    op.create_index("ix_advice_by", "advice", ["by"])
