"""Let reviews be about things whose ids are longer than those of products."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # SQLite cannot change a column, so tables are copied with their checks.
    for table in ("reviews", "ratings"):
        with op.batch_alter_table(table) as changing:
            changing.alter_column(
                "resource_id",
                type_=sa.String(100),
                existing_type=sa.String(36),
                existing_nullable=False,
            )
