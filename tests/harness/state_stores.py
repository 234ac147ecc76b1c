"""Every state store, each in a fresh place: for tests of what all of them must do (tests/contract/state)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import select, update

from edgewright.ports import Lease, StateReader, StateWriter
from edgewright.state.encoding import certain_text
from edgewright.state.lease import acquire
from edgewright.state.schema import control
from edgewright.state.store import SqlState
from fakes.state import InMemoryState
from fakes.state_tables import Memory
from samples.state_values import NOW
from servers.postgresql import PostgresqlServer

TTL = timedelta(minutes=1)


class State(StateReader, StateWriter, Protocol):
    """Both sides."""


Take = Callable[[str, datetime], Lease]


@dataclass
class Subject:
    """Opens handles on one store; each comes with the function that takes the lease for it."""

    open: Callable[..., tuple[State, Take]]
    """Takes the environment, '' by default."""


def _sql(url: str | Path) -> Subject:
    def opened(environment: str = "") -> tuple[State, Take]:
        state = SqlState(url, environment)
        return state, lambda holder, now: acquire(state, holder, TTL, lambda: now)

    return Subject(opened)


def sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    return _sql(tmp_path / ".edgewright" / "state.db")


def by_url(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    return _sql(f"sqlite+pysqlite:///{tmp_path}/state.db")


def fake(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    memory = Memory()

    def opened(environment: str = "") -> tuple[State, Take]:
        state = InMemoryState(memory.other(environment), leased=False)
        return state, lambda holder, now: state.acquire(holder, TTL, lambda: now)

    return Subject(opened)


def postgresql(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    url = server.fresh()
    times = [NOW]

    def opened(environment: str = "") -> tuple[State, Take]:
        state = SqlState(url, environment)
        request.addfinalizer(state.close)

        def take(holder: str, now: datetime) -> Lease:
            """Let the time pass by which the test's clock goes on: the server's own clock is what counts."""
            _grow_older(state, now - times[-1])
            times.append(now)
            return acquire(state, holder, TTL, lambda: NOW)

        return state, take

    return Subject(opened)


def _grow_older(state: SqlState, age: timedelta) -> None:
    if not age:
        return
    with state.transaction() as connection:
        for environment, until in connection.execute(select(control.c.environment, control.c.expires_at)).all():
            if until:
                earlier = certain_text(datetime.fromisoformat(until) - age)
                mine = update(control).where(control.c.environment == environment)
                connection.execute(mine.values(expires_at=earlier))
