"""Stores of twins, identities and reports, and what their tests say of them."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edgewright.ports import Identity, IdentityStatus
from edgewright.state.store import SqlState
from edgewright.state.twins import SqlIdentities, SqlInbox, SqlTwins

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PATIENCE = 60


@dataclass
class Store:
    """Opens handles on one store, as processes of their own would."""

    where: str | Path
    opened: list[SqlState]

    def state(self, environment: str = "") -> SqlState:
        state = SqlState(self.where, environment)
        self.opened.append(state)
        return state

    def twins(self, environment: str = "") -> SqlTwins:
        return SqlTwins(self.state(environment))

    def identities(self, environment: str = "") -> SqlIdentities:
        return SqlIdentities(self.state(environment))

    def inbox(self, environment: str = "") -> SqlInbox:
        return SqlInbox(self.state(environment))


def race(*works: Callable[[], object]) -> None:
    """Run them at once, each in a thread of its own; what one raises is raised."""
    ready = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        ready.wait(PATIENCE)
        work()

    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(run, work) for work in works]:
            done.result(PATIENCE)


def asking(device: str, key: str, minutes: int = 0, **labels: str) -> Identity:
    return Identity(
        "agent", device, f"sha256:{key}", IdentityStatus.PENDING, NOW + timedelta(minutes=minutes), labels=labels
    )
