"""Set up what holds for every test: profiles of hypothesis, marks, logging, the servers of a session."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import structlog

from harness import profiles
from paths import TESTS
from servers.postgresql import PostgresqlServer, postgresql_server

profiles.register()

_MARKS = {"clients": "client", "harness.network": "network"}
"""Modules of tests, and how what imports them is marked."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what their module imports, also through fakes, servers, devices and rigs; and whole processes."""
    marks: dict[str, set[str]] = {}
    for item in items:
        module = getattr(item, "module", None)
        if isinstance(module, ModuleType):
            if module.__name__ not in marks:
                marks[module.__name__] = {_MARKS[name] for name in _reached(module) & _MARKS.keys()}
            for mark in marks[module.__name__]:
                item.add_marker(mark)
        if item.path.is_relative_to(TESTS / "e2e"):
            item.add_marker("e2e")


def _reached(module: ModuleType) -> set[str]:
    """Return the names of the test modules that a module imports, directly or through others."""
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        new = {each.__name__: each for each in _imported(waiting.pop())}
        waiting += [each for name, each in new.items() if name not in reached]
        reached |= new.keys()
    return reached


def _imported(module: ModuleType) -> set[ModuleType]:
    """Return the modules of tests that a module imports, or imports something from."""
    values = list(vars(module).values())
    names = {value.__name__ for value in values if isinstance(value, ModuleType)}
    names |= {str(getattr(value, "__module__", "")) for value in values}
    found = {sys.modules[name] for name in names if name in sys.modules and name != module.__name__}
    return {each for each in found if Path(getattr(each, "__file__", None) or "/").is_relative_to(TESTS)}


@pytest.fixture(autouse=True)
def _logging_stays_as_it_was() -> Iterator[None]:
    """Remove what a program that was run inside the test process has set up: it writes to that test's stderr."""
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
    """Start a real server. Mark tests that use it ``xdist_group("postgresql")``, so that one worker alone starts it."""
    with postgresql_server() as server:
        yield server
