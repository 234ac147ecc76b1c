"""What a state store in memory keeps: tables by subject, shared ones and an environment's own."""

import threading
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime

from edgewright.core.address import Address
from edgewright.core.artifact import Artifact
from edgewright.core.planning.observed import Champion
from edgewright.core.rollout.state import Controls, RolloutState
from edgewright.core.status.conditions import Condition
from edgewright.ports import DeviceAssignment, Event, Intent
from edgewright_wire.messages import Report


@dataclass
class SharedTables:
    """What environments share."""

    artifacts: dict[str, Artifact] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def copied(self) -> "SharedTables":
        """Copy every table; the values are frozen."""
        return SharedTables(dict(self.artifacts), dict(self.failures))


@dataclass
class Tables:
    """What one environment stores."""

    champions: dict[str, Champion] = field(default_factory=dict)
    rollouts: dict[Address, RolloutState] = field(default_factory=dict)
    controls: dict[Address, Controls] = field(default_factory=dict)
    assignments: dict[str, DeviceAssignment] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)
    enrolled: dict[str, dict[str, str]] = field(default_factory=dict)
    managed: dict[Address, bool] = field(default_factory=dict)
    intents: dict[str, tuple[Intent, str | None]] = field(default_factory=dict)
    plans: dict[str, datetime] = field(default_factory=dict)
    events: list[tuple[int, Event]] = field(default_factory=list)
    last_event: int = 0
    revision: str | None = None
    accepted: str | None = None
    conditions: dict[Address, Sequence[Condition]] = field(default_factory=dict)
    notified: dict[str, int] = field(default_factory=dict)
    signals: dict[str, int] = field(default_factory=dict)

    def copied(self) -> "Tables":
        """Copy every table; the values are frozen."""
        return Tables(**{name: copy(getattr(self, name)) for name in self.__dataclass_fields__})


@dataclass
class Store:
    """What environments share, and how often it changed."""

    tables: SharedTables = field(default_factory=SharedTables)
    version: int = 0
    environments: dict[str, "Memory"] = field(default_factory=dict)
    writing: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)
    """One transaction at a time, as in a database."""


@dataclass
class Memory:
    """One environment of a store, and its lease."""

    store: Store = field(default_factory=Store)
    tables: Tables = field(default_factory=Tables)
    version: int = 0
    fence: int = 0
    holder: str = ""
    expires_at: datetime | None = None

    def other(self, environment: str) -> "Memory":
        """Another environment of the same store."""
        return self.store.environments.setdefault(environment, Memory(self.store))
