"""Lifetimes of signatures, and when they are due for renewal.

Root, targets, packages, assignments and bins: one year. Snapshot and timestamp: 30 days, so that a site which is served
from carried disks, or whose controller is off for its holidays, still takes assignments. A signature past half of its
lifetime is due. Called by ``delivery.agent.driver``, ``metadata`` and ``repository``.
"""

from datetime import datetime, timedelta

YEAR = timedelta(days=365)
MONTH = timedelta(days=30)


def lifetime(role: str) -> timedelta:
    """Return the lifetime of a role's signature."""
    return MONTH if role in {"snapshot", "timestamp"} else YEAR


def is_due(role: str, expires: datetime, now: datetime) -> bool:
    """Return True if a signature is past half of its lifetime."""
    return expires - now < lifetime(role) / 2
