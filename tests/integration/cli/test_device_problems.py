"""Problems of devices in ``status --devices`` and ``devices list``, also of devices that never reported."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edgewright.core.fleet import twins
from edgewright.delivery.identity.credentials import create_credentials
from edgewright.ports import Identity, IdentityStatus
from edgewright.state.twins import SqlIdentities, SqlTwins
from edgewright.wiring.workspace import Workspace
from harness.command_line import HEAD, ROWS, WHOLE, edgewright, repository

FLEET = {
    **WHOLE,
    "specs/fleet.yaml": HEAD + "kind: Fleet\nmetadata: {name: lanes}\nspec:\n  inventory: fleets/lanes.csv\n"
    "  delivery: {type: mender, mender: {module: directory}}\n",
    "data/tags.csv": ROWS,
}
MISMATCH = "pi-1 has another host key than the inventory says: somebody may be in between"


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace(repository(tmp_path / "shop", FLEET))
    create_credentials(made.keys)
    with made.state:
        yield made


def rows(workspace: Workspace, *command: str) -> dict[str, dict[str, Any]]:
    found = edgewright(workspace.root, *command, "-o", "json").expect(0).json()
    return {row["device"]: row for row in found}


def test_a_device_that_was_never_reached_says_why(workspace: Workspace) -> None:
    SqlTwins(workspace.state).change("lane-1", "mender", lambda t: twins.with_problem(t, "HostKeyMismatch", MISMATCH))

    assert rows(workspace, "status", "--devices")["lane-1"]["reason"] == f"HostKeyMismatch: {MISMATCH}"
    listed = rows(workspace, "devices", "list")
    assert (listed["lane-1"]["reason"], listed["lane-2"]["reason"]) == (f"HostKeyMismatch: {MISMATCH}", "")
    assert listed == rows(workspace, "status", "--devices")
    edgewright(workspace.root, "status", "--devices").expect(0, "HostKeyMismatch")


def test_a_device_that_was_sent_away_is_not_taken_for_one_that_is_switched_off(workspace: Workspace) -> None:
    keys, now = SqlIdentities(workspace.state), datetime.now(UTC)
    for device in ("lane-1", "lane-2"):
        keys.ask(Identity("mender", device, f"sha256:{device}", IdentityStatus.ACCEPTED, now))
        keys.decide("mender", f"sha256:{device}", IdentityStatus.ACCEPTED, now)

    edgewright(workspace.root, "devices", "retire", "lane-1").expect(0)

    found = rows(workspace, "status", "--devices")
    assert found["lane-1"]["reason"].startswith("Retired: ")
    assert found["lane-2"]["reason"] == ""
