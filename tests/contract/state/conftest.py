"""The stores that the suites run on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.state_stores import State, Subject, by_url, fake, postgresql, sqlite
from samples.state_values import NOW
from servers.postgresql import PostgresqlServer
from worlds.twin_stores import Store


@pytest.fixture(params=[sqlite, by_url, fake, pytest.param(postgresql, marks=pytest.mark.xdist_group("postgresql"))])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    """A store that is not there yet."""
    made: Subject = request.param(request, tmp_path)
    return made


@pytest.fixture
def state(subject: Subject) -> State:
    """A store whose lease is held."""
    state, take = subject.open()
    take("edgewright apply", NOW)
    return state


@pytest.fixture(params=["sqlite", "by-url", pytest.param("postgresql", marks=pytest.mark.xdist_group("postgresql"))])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Stores of twins, identities and reports."""
    where: str | Path = tmp_path / "state.db"
    if request.param == "by-url":
        where = f"sqlite+pysqlite:///{tmp_path}/state.db"
    if request.param == "postgresql":
        server: PostgresqlServer = request.getfixturevalue("postgresql")
        where = server.fresh()
    made = Store(where, [])
    yield made
    for state in made.opened:
        state.close()
