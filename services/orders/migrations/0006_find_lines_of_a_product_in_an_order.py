"""Index order lines by product and order together."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index("ix_order_lines_product_id_order_id", "order_lines", ["product_id", "order_id"])
    op.drop_index("ix_order_lines_product_id", "order_lines")  # the new index begins with the same column
