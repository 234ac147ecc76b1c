"""Why devices cannot be worked with, as far as that is known here and no report says it. Called by ``status`` and
``devices list``.
"""

from collections.abc import Mapping

from edgewright.core.fleet.enrollment import IdentityStatus
from edgewright.state.store import SqlState
from edgewright.state.twins import SqlIdentities, SqlTwins

_RETIRED = "Retired: its key is believed no more; see docs/how-to/enroll-devices.md for letting it in again"


def find_troubles(state: SqlState) -> Mapping[str, str]:
    """Find them, by device: what stands in the way to devices without our agent, and devices that were sent away."""
    found = {twin.device: f"{twin.reason}: {twin.message}" for twin in SqlTwins(state).twins() if twin.reason}
    standings: dict[str, set[IdentityStatus]] = {}
    for identity in SqlIdentities(state).identities():
        standings.setdefault(identity.device, set()).add(identity.standing)
    retired = [
        d for d, its in standings.items() if IdentityStatus.RETIRED in its and IdentityStatus.ACCEPTED not in its
    ]
    return found | dict.fromkeys(retired, _RETIRED)
