"""Create the team directory: members, what each audience sees of them, and their skills."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime
from shared.lists.search import Part
from shared.lists.search_migrations import create_search_index_1, spread_search_index_2

revision = "0008"
down_revision = "0007"

SEARCHED = {"audience": Part.START, "search": Part.ALL}


def upgrade() -> None:
    op.create_table(
        "team_members",
        sa.Column(
            "user_id", sa.String(36), sa.ForeignKey("profiles.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("department", sa.String(100)),
        sa.Column("position", sa.String(100)),
        sa.Column("bio", sa.String(1000)),
        sa.Column("skills", sa.JSON, nullable=False),
        sa.Column("links", sa.JSON, nullable=False),
        sa.Column("visibility", sa.String(10), nullable=False),
        sa.Column("field_visibility", sa.JSON, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
    )
    op.create_table(
        "team_cards",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column(
            "user_id",
            sa.String(36),
            sa.ForeignKey("team_members.user_id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("audience", sa.String(10), nullable=False),
        sa.Column("department", sa.String(200)),
        sa.Column("department_name", sa.String(100)),
        sa.Column("search", sa.Text, nullable=False),
        sa.Column("card", sa.JSON, nullable=False),
    )
    op.create_index("ix_team_cards_user_id_audience", "team_cards", ["user_id", "audience"], unique=True)
    op.create_index("ix_team_cards_audience_id", "team_cards", ["audience", "id"])
    op.create_index(
        "ix_team_cards_audience_department_id", "team_cards", ["audience", "department", "id"]
    )  # fmt: skip
    create_search_index_1("team_cards", SEARCHED)
    spread_search_index_2("team_cards", SEARCHED)
    op.create_table(
        "team_card_skills",
        sa.Column("audience", sa.String(10), primary_key=True),
        sa.Column("skill", sa.String(200), primary_key=True),
        sa.Column("id", sa.String(36), sa.ForeignKey("team_cards.id", ondelete="CASCADE"), primary_key=True),
    )
    op.create_index("ix_team_card_skills_id", "team_card_skills", ["id"])
