"""The state store: what edgewright knows of reality, in SQLite by default or PostgreSQL by URL.

``store`` is the door: ``SqlState(url)`` implements ports.StateReader and ports.StateWriter; ``lease`` lets one
process write. Reading SQLite needs neither SQLAlchemy nor alembic, so that a plan that finds nothing to do stays fast.
"""
