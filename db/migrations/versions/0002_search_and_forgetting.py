"""What searching and forgetting need: folded text of the reviews, and indexes."""

import sqlalchemy as sa
from alembic import op

from db.migrations.frozen import search_text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REVIEWS_AT_ONCE = 1000

reviews = sa.table(
    "reviews",
    sa.column("id", sa.BigInteger),
    sa.column("product_name", sa.Text),
    sa.column("user_name", sa.Text),
    sa.column("product_review", sa.Text),
)


def upgrade() -> None:
    column = sa.Column("search_text", sa.Text, nullable=False, server_default="")
    op.add_column("reviews", column)
    fill_search_text()
    op.create_index(op.f("ix_reviews_contact_number"), "reviews", ["contact_number"])
    unerased = sa.text("erased_at IS NULL")
    op.create_index(
        "ix_messages_unerased",
        "messages",
        ["received_at"],
        sqlite_where=unerased,
        postgresql_where=unerased,
    )


def fill_search_text() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":  # where a thousand statements are as many trips
        change = sa.text(
            "UPDATE reviews SET search_text = filled.text"
            " FROM unnest(CAST(:ids AS bigint[]), CAST(:texts AS text[])) AS filled (id, text)"
            " WHERE reviews.id = filled.id"
        )
    else:
        change = sa.text("UPDATE reviews SET search_text = :text WHERE id = :id")
    last = None
    while True:
        query = sa.select(reviews).order_by(reviews.c.id).limit(REVIEWS_AT_ONCE)
        rows = connection.execute(query if last is None else query.where(reviews.c.id > last)).all()
        if not rows:
            return
        texts = [search_text(row.product_name, row.user_name, row.product_review) for row in rows]
        ids = [row.id for row in rows]
        if connection.dialect.name == "postgresql":
            connection.execute(change, {"ids": ids, "texts": texts})
        else:
            pairs = zip(ids, texts, strict=True)
            connection.execute(change, [{"id": id_, "text": text} for id_, text in pairs])
        last = ids[-1]
