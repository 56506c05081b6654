"""Create the table of leased work, which ensures that one replica at a time performs a duty."""

from shared.work.migrations import create_work_tables_1

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    create_work_tables_1()
