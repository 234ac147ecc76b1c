"""What holds for every test."""

import logging
from collections.abc import Iterator

import hypothesis
import pytest
import structlog

from servers.postgresql import PostgresqlServer, postgresql_server

# How fast an example runs says more of the machine than of the code; benchmarks measure that.
hypothesis.settings.register_profile("edgewright", deadline=None)
hypothesis.settings.load_profile("edgewright")


@pytest.fixture(autouse=True)
def _logging_stays_as_it_was() -> Iterator[None]:
    """Take away what a program that was run inside the test process has set up: it writes to that test's stderr."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    structlog.reset_defaults()
    root.setLevel(level)
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A real server. Mark tests that use it ``xdist_group("postgresql")``, so that one worker alone starts it."""
    with postgresql_server() as server:
        yield server
