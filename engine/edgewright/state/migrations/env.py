"""Run by alembic; the connection and its transaction come from ``edgewright.state.upgrading``."""

from alembic import context

from edgewright.state.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
