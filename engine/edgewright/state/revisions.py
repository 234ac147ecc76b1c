"""The revisions of the database that this version knows; compared by ``store`` before alembic is imported at all."""

REVISIONS = ("0001", "0002", "0003")
"""Oldest first; each is a file below ``migrations/versions``."""
HEAD = REVISIONS[-1]
