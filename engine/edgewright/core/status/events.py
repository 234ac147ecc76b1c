"""Events: what happened, for ``history`` and for whoever is notified."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for ``history``."""

    at: datetime
    reason: str
    """One word: Applied, StepDone, StepFailed, GateFailed, WavePassed, DeviceVerified, RolledBack, …"""
    address: str
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)
    revision: str = ""
