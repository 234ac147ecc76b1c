"""Upgrades of a database to this version's schema with alembic; imported only when a stored revision is not HEAD."""

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

MIGRATIONS = Path(__file__).parent / "migrations"


def config(connection: Connection | None = None) -> Config:
    """Configure alembic by program: there is no alembic.ini in an installed package."""
    settings = Config()
    settings.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    settings.attributes["connection"] = connection
    return settings


def upgrade(connection: Connection) -> None:
    """Run what is missing, inside the transaction that the connection is in."""
    command.upgrade(config(connection), "head")


def upgrade_sqlite(database: sqlite3.Connection) -> None:
    """Run what is missing on an open SQLite database, such as a copy in memory."""
    engine = create_engine("sqlite://", creator=lambda: database, poolclass=StaticPool)
    with engine.begin() as connection:
        upgrade(connection)
