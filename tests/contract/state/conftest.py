"""The stores that the suites run on."""

from pathlib import Path

import pytest

from harness.state_stores import State, Subject, by_url, fake, postgresql, sqlite
from samples.state_values import NOW


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
