"""How long signatures count, and when they are renewed.

Root, targets, packages, assignments and bins: one year. Snapshot and timestamp: 30 days, so that a site which is served
from carried disks, or whose controller is off for its holidays, still takes assignments. What is past half of its life
is due. Called by ``delivery.agent``, ``metadata`` and ``repository``.
"""

from datetime import datetime, timedelta

YEAR = timedelta(days=365)
MONTH = timedelta(days=30)


def life(role: str) -> timedelta:
    """How long a role's signature counts."""
    return MONTH if role in {"snapshot", "timestamp"} else YEAR


def due(role: str, expires: datetime, now: datetime) -> bool:
    """Whether a signature is past half of its life."""
    return expires - now < life(role) / 2
