"""A simulated repository and a client of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs.tuf_client import Client
from servers.repository_server import serving
from servers.tuf_simulator import TufSimulator


@pytest.fixture
def simulator(tmp_path: Path) -> TufSimulator:
    return TufSimulator(tmp_path / "repository")


@pytest.fixture
def client(tmp_path: Path, simulator: TufSimulator) -> Iterator[Client]:
    with serving(simulator.path) as (url, server):
        made = Client(tmp_path, url, server, simulator)
        assert made.init() == 0
        yield made
