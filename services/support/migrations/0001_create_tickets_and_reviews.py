"""Create tickets and reviews, stored Idempotency-Key responses, and the tables for events and leased work."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime, rows_where
from shared.events.migrations import create_event_tables_1, index_parked_events_2
from shared.lists.search import Part
from shared.lists.search_migrations import create_search_index_1, spread_search_index_2
from shared.work.migrations import create_work_tables_1

revision = "0001"
down_revision = None

SEARCHED = {"user_id": Part.END, "status": Part.START, "search": Part.ALL}


def upgrade() -> None:
    _create_tickets()
    _create_parts_of_tickets()
    _create_reviews()
    op.create_table(
        "idempotency_keys",
        sa.Column("scope", sa.String(200), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("headers", sa.Text),
        sa.Column("body", sa.LargeBinary),
    )
    op.create_index("ix_idempotency_keys_created", "idempotency_keys", ["created"])
    create_event_tables_1()
    index_parked_events_2()
    create_work_tables_1()


def _create_tickets() -> None:
    op.create_table(
        "tickets",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("number", sa.String(20), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("priority", sa.String(10), nullable=False),
        sa.Column("category", sa.String(50)),
        sa.Column("assigned_to", sa.String(36)),
        sa.Column("first_reply_due", UtcDateTime, nullable=False),
        sa.Column("resolve_due", UtcDateTime, nullable=False),
        sa.Column("first_replied", UtcDateTime),
        sa.Column("waiting_since", UtcDateTime),
        sa.Column("resolved", UtcDateTime),
        sa.Column("closed", UtcDateTime),
        sa.Column("reopened_count", sa.Integer, nullable=False),
        sa.Column("satisfaction", sa.Integer),
        sa.Column("reply_count", sa.Integer, nullable=False),
        sa.Column("note_count", sa.Integer, nullable=False),
        sa.Column("watch_at", UtcDateTime),
        sa.Column("first_reply_told", sa.Boolean, nullable=False),
        sa.Column("resolve_told", sa.Boolean, nullable=False),
        sa.Column("is_overdue", sa.Boolean, nullable=False),
        sa.Column("search", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
        sa.UniqueConstraint("number"),
    )
    op.create_index("ix_tickets_user_id_id", "tickets", ["user_id", "id"])
    op.create_index("ix_tickets_user_id_status_id", "tickets", ["user_id", "status", "id"])
    op.create_index("ix_tickets_status_priority_id", "tickets", ["status", "priority", "id"])
    for name in ("status", "priority", "category", "assigned_to"):
        op.create_index(f"ix_tickets_{name}_id", "tickets", [name, "id"])
    unassigned = rows_where("assigned_to IS NULL")
    op.create_index("ix_tickets_unassigned", "tickets", ["status", "id"], **unassigned)
    overdue = rows_where("is_overdue", sqlite="is_overdue = 1")
    op.create_index("ix_tickets_overdue", "tickets", ["id"], **overdue)
    op.create_index("ix_tickets_watch_at", "tickets", ["watch_at"], **rows_where("watch_at IS NOT NULL"))
    create_search_index_1("tickets", SEARCHED)
    spread_search_index_2("tickets", SEARCHED)


def _of_ticket() -> "sa.Column[str]":
    return sa.Column(
        "ticket_id", sa.String(36), sa.ForeignKey("tickets.id", ondelete="CASCADE"), nullable=False
    )


def _create_parts_of_tickets() -> None:
    op.create_table(
        "replies",
        sa.Column("id", sa.String(36), primary_key=True),
        _of_ticket(),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("is_staff", sa.Boolean, nullable=False),
        sa.Column("is_internal", sa.Boolean, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
    )
    op.create_index("ix_replies_ticket_id_id", "replies", ["ticket_id", "id"])
    op.create_index("ix_replies_ticket_id_is_internal_id", "replies", ["ticket_id", "is_internal", "id"])
    op.create_index("ix_replies_user_id_id", "replies", ["user_id", "id"])
    op.create_table(
        "attachments",
        sa.Column("id", sa.String(36), primary_key=True),
        _of_ticket(),
        sa.Column("reply_id", sa.String(36), sa.ForeignKey("replies.id", ondelete="CASCADE")),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("file_id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("mime_type", sa.String(255), nullable=False),
    )
    for name in ("ticket_id", "reply_id", "user_id"):
        op.create_index(f"ix_attachments_{name}", "attachments", [name])
    op.create_table(
        "ticket_steps",
        sa.Column("id", sa.String(36), primary_key=True),
        _of_ticket(),
        sa.Column("from_status", sa.String(20)),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("by", sa.String(36), nullable=False),
        sa.Column("reason", sa.String(500)),
        sa.Column("timestamp", UtcDateTime, nullable=False),
    )
    op.create_index("ix_ticket_steps_ticket_id_id", "ticket_steps", ["ticket_id", "id"])
    op.create_table(
        "ticket_numbers",
        sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("last", sa.Integer, nullable=False),
    )
    op.create_table(
        "daily_counts",
        sa.Column("user_id", sa.String(36), primary_key=True),
        sa.Column("kind", sa.String(10), primary_key=True),
        sa.Column("since", UtcDateTime, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
    )
    op.create_index("ix_daily_counts_since", "daily_counts", ["since"])
    op.create_table(
        "staff",
        sa.Column("user_id", sa.String(36), primary_key=True),
        sa.Column("added_by", sa.String(36), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
    )


def _of_review() -> "sa.Column[str]":
    review = sa.ForeignKey("reviews.id", ondelete="CASCADE")
    return sa.Column("review_id", sa.String(36), review, primary_key=True)


def _create_reviews() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("resource_type", sa.String(20), nullable=False),
        sa.Column("resource_id", sa.String(36), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("rating", sa.Integer, nullable=False),
        sa.Column("title", sa.String(255), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("reason", sa.String(500)),
        sa.Column("moderated_by", sa.String(36)),
        sa.Column("moderated", UtcDateTime),
        sa.Column("helpful_count", sa.Integer, nullable=False),
        sa.Column("report_count", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
        sa.UniqueConstraint("resource_type", "resource_id", "user_id"),
    )
    op.create_index("ix_reviews_resource", "reviews", ["resource_type", "resource_id", "status", "id"])
    op.create_index("ix_reviews_user_id_id", "reviews", ["user_id", "id"])
    op.create_index("ix_reviews_status_id", "reviews", ["status", "id"])
    op.create_index("ix_reviews_moderated_by", "reviews", ["moderated_by"])
    op.create_table(
        "review_votes",
        _of_review(),
        sa.Column("user_id", sa.String(36), primary_key=True),
        sa.Column("created", UtcDateTime, nullable=False),
    )
    op.create_index("ix_review_votes_user_id", "review_votes", ["user_id"])
    op.create_table(
        "review_reports",
        _of_review(),
        sa.Column("user_id", sa.String(36), primary_key=True),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("is_settled", sa.Boolean, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
    )
    op.create_index("ix_review_reports_user_id", "review_reports", ["user_id"])
    op.create_index("ix_review_reports_review_id_created", "review_reports", ["review_id", "created"])
    op.create_table(
        "ratings",
        sa.Column("resource_type", sa.String(20), primary_key=True),
        sa.Column("resource_id", sa.String(36), primary_key=True),
        *(sa.Column(f"n{stars}", sa.Integer, nullable=False) for stars in range(1, 6)),
        sa.CheckConstraint(
            "n1 >= 0 AND n2 >= 0 AND n3 >= 0 AND n4 >= 0 AND n5 >= 0", name="ck_ratings_positive"
        ),
    )
