"""Create the tables of accounts, of the data read from them, and of syncs."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime, rows_where
from shared.events.migrations import create_event_tables_1
from shared.lists.search import Part
from shared.lists.search_migrations import create_search_index_1
from shared.work.migrations import create_job_tables_1, create_work_tables_1

revision = "0001"
down_revision = None

LIVE = rows_where("deleted IS NULL")
PRESENT = rows_where("gone IS NULL")


def upgrade() -> None:
    create_event_tables_1()
    create_work_tables_1()
    create_job_tables_1()
    _create_accounts()
    _create_workspaces()
    _create_what_belongs_to_workspaces()
    _create_syncs()
    create_search_index_1("workspaces", {"presence": Part.START, "search": Part.ALL})


def _create_accounts() -> None:
    op.create_table(
        "aws_accounts",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("account_number", sa.String(12)),
        sa.Column("role_arn", sa.String(2048)),
        sa.Column("external_id", sa.String(1224)),
        sa.Column("access_key_id", sa.String(128)),
        sa.Column("secret", sa.Text),
        sa.Column("endpoint_url", sa.String(300)),
        sa.Column("regions", sa.Text, nullable=False),
        sa.Column("is_default", sa.Boolean, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("status_detail", sa.Text, nullable=False),
        sa.Column("last_sync", UtcDateTime),
        sa.Column("deleted", UtcDateTime),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
    )
    op.create_index("ix_aws_accounts_live", "aws_accounts", ["id"], **LIVE)
    op.create_index("ix_aws_accounts_name", "aws_accounts", ["name"], unique=True, **LIVE)
    op.create_table(
        "directories",
        sa.Column("account", sa.String(36), primary_key=True),
        sa.Column("region", sa.String(30), primary_key=True),
        sa.Column("directory_id", sa.String(60), primary_key=True),
        sa.Column("name", sa.String(300)),
        sa.Column("alias", sa.String(300)),
        sa.Column("type", sa.String(60)),
        sa.Column("state", sa.String(60)),
        sa.Column("seen", UtcDateTime, nullable=False),
    )
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


def _create_workspaces() -> None:
    op.create_table(
        "workspaces",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("workspace_id", sa.String(60), nullable=False),
        sa.Column("account", sa.String(36), nullable=False),
        sa.Column("region", sa.String(30), nullable=False),
        sa.Column("directory_id", sa.String(60), nullable=False),
        sa.Column("user_name", sa.String(300), nullable=False),
        sa.Column("ip_address", sa.String(60)),
        sa.Column("state", sa.String(60), nullable=False),
        sa.Column("previous_state", sa.String(60)),
        sa.Column("state_changed", UtcDateTime, nullable=False),
        sa.Column("error", sa.String(500)),
        sa.Column("bundle_id", sa.String(60)),
        sa.Column("bundle_name", sa.String(300)),
        sa.Column("subnet_id", sa.String(60)),
        sa.Column("computer_name", sa.String(300)),
        sa.Column("running_mode", sa.String(60)),
        sa.Column("auto_stop_minutes", sa.Integer),
        sa.Column("root_gib", sa.Integer),
        sa.Column("user_gib", sa.Integer),
        sa.Column("compute_type", sa.String(60)),
        sa.Column("os", sa.String(60)),
        sa.Column("protocols", sa.Text, nullable=False),
        sa.Column("encrypted_root", sa.Boolean, nullable=False),
        sa.Column("encrypted_user", sa.Boolean, nullable=False),
        sa.Column("connection_state", sa.String(60)),
        sa.Column("last_connection", UtcDateTime),
        sa.Column("tags", sa.Text),
        sa.Column("first_seen", UtcDateTime, nullable=False),
        sa.Column("last_seen", UtcDateTime, nullable=False),
        sa.Column("gone", UtcDateTime),
        sa.Column("presence", sa.String(10), nullable=False),
        sa.Column("search", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
    )
    op.create_index("ix_workspaces_account_id", "workspaces", ["account", "id"])
    op.create_index("ix_workspaces_bundle_id_id", "workspaces", ["bundle_id", "id"])
    op.create_index("ix_workspaces_counts", "workspaces", ["presence", "state", "running_mode"])
    op.create_index("ix_workspaces_directory_id_id", "workspaces", ["directory_id", "id"])
    op.create_index("ix_workspaces_presence_id", "workspaces", ["presence", "id"])
    op.create_index("ix_workspaces_region_id", "workspaces", ["region", "id"])
    op.create_index("ix_workspaces_running_mode_id", "workspaces", ["running_mode", "id"])
    op.create_index("ix_workspaces_seen", "workspaces", ["account", "region", "last_seen"], **PRESENT)
    op.create_index("ix_workspaces_state_id", "workspaces", ["state", "id"])
    op.create_index("ix_workspaces_user_name_id", "workspaces", ["user_name", "id"])
    op.create_index("ix_workspaces_workspace_id", "workspaces", ["workspace_id"], unique=True)


def _create_what_belongs_to_workspaces() -> None:
    op.create_table(
        "workspace_tags",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("key", sa.String(128), primary_key=True),
        sa.Column("value", sa.String(256), nullable=False),
    )
    op.create_index("ix_workspace_tags_key_value", "workspace_tags", ["key", "value", "id"])
    op.create_table(
        "workspace_changes",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("workspace_id", sa.String(60), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("field", sa.String(60), nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
    )
    op.create_index("ix_workspace_changes_workspace_id_id", "workspace_changes", ["workspace_id", "id"])


def _create_syncs() -> None:
    op.create_table(
        "syncs",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("trigger", sa.String(20), nullable=False),
        sa.Column("by", sa.String(36)),
        sa.Column("state", sa.String(20)),
        sa.Column("seen", sa.Integer),
        sa.Column("changed", sa.Integer),
        sa.Column("gone", sa.Integer),
        sa.Column("api_calls", sa.Integer),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("finished", UtcDateTime),
    )
    op.create_table(
        "sync_parts",
        sa.Column("sync", sa.String(36), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("account", sa.String(36), nullable=False),
        sa.Column("region", sa.String(30), nullable=False),
        sa.Column("source", sa.String(20), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("cursor", sa.Text),
        sa.Column("seen", sa.Integer, nullable=False),
        sa.Column("changed", sa.Integer, nullable=False),
        sa.Column("gone", sa.Integer, nullable=False),
        sa.Column("calls", sa.Integer, nullable=False),
        sa.Column("throttled", sa.Integer, nullable=False),
        sa.Column("missing", sa.Text, nullable=False),
        sa.Column("error_code", sa.String(100)),
        sa.Column("error", sa.String(500)),
        sa.Column("started", UtcDateTime),
        sa.Column("finished", UtcDateTime),
    )
    op.create_table(
        "scans",
        sa.Column("account", sa.String(36), primary_key=True),
        sa.Column("region", sa.String(30), primary_key=True),
        sa.Column("source", sa.String(20), primary_key=True),
        sa.Column("completed", UtcDateTime, nullable=False),
    )
