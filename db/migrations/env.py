"""Run Alembic on the connection of db.schema, inside its transaction."""

from alembic import context
from sqlalchemy.engine import Connection

from core.settings import Settings
from db.engine import open_database
from models import Base


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    run(handed_over)
else:  # the alembic command, for writing the next migration
    with open_database(Settings.load().database_url).engine.begin() as own:
        run(own)
