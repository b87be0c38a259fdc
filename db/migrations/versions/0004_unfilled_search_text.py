"""An index of the reviews without search_text, so that a start finds them at once."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    is_unfilled = sa.text("search_text = ''")
    op.create_index(
        "ix_reviews_unfilled",
        "reviews",
        ["id"],
        sqlite_where=is_unfilled,
        postgresql_where=is_unfilled,
    )
