"""Two machines under one name: detected by the starts of their agents, and no verdict while both report."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgewright.core.address import Address
from edgewright.core.fleet.duplicates import DuplicateMemory
from edgewright.core.rollout.state import Phase
from edgewright.errors import SpecError
from edgewright.reconcile import reconciler as reconciling
from edgewright_wire.messages import Phase as DevicePhase
from edgewright_wire.messages import Report
from harness.memory_run import FILES, HEAD, Devices, World, model

READER = Address("rollout", "reader")
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


class Clones(Devices):
    """Devices, one of which are two machines; the second refuses whatever it is assigned."""

    cloned = False

    def observe(self, known: Mapping[str, int]) -> Sequence[Report]:
        if self.cloned:
            self._said.pop("lane-2", None)
        found = [report.model_copy(update={"start": f"{report.device}-a"}) for report in super().observe(known)]
        if self.cloned and (self._sequence // 3) % 2:
            return [_of_the_clone(report) if report.device == "lane-2" else report for report in found]
        return found


def _of_the_clone(report: Report) -> Report:
    said = {"phase": DevicePhase.FAILED, "reason": "ProbeMismatch"}
    models = tuple(each.model_copy(update=said) for each in report.models)
    return report.model_copy(update={"start": "lane-2-b", "models": models})


def test_clones_reject_no_release_and_stop_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "_POLL_SECONDS", 0.02)
    files = {**FILES, "fleets/lanes.csv": "id,store\nlane-1,a\nlane-2,b\nlane-3,c\n"}
    world = World(tmp_path, files)
    world.devices = devices = Clones(world.clock)
    devices.online.add("lane-3")
    world.run()
    found = world.state.rollout(READER)
    assert found is not None
    assert found.phase is Phase.SUCCEEDED
    devices.cloned = True
    world.run(until=world.clock() + timedelta(seconds=1), continuous=True)
    found = world.state.rollout(READER)
    assert found is not None
    assert found.held["lane-2"].reason == "Duplicate"
    world.source.commit(model("reader", epochs=4))
    world.run()
    found = world.state.rollout(READER)
    assert found is not None
    assert (found.phase, found.rejected) == (Phase.SUCCEEDED, ())
    assert {d: p.state.value for d, p in found.devices.items() if d != "lane-2"} == dict.fromkeys(
        ("lane-1", "lane-3"), "verified"
    )
    assert "Duplicate" in world.reasons(str(READER))


def test_restarts_are_no_clones() -> None:
    memory = DuplicateMemory()
    assert [memory.hear("d", start, NOW) for start in (None, "a", "a", "b", "c", "d", "e", "f")] == [None] * 8
    assert memory.hear("d", "e", NOW) == NOW
    assert memory.hear("d", "e", NOW + timedelta(minutes=5)) == NOW


SSH = (
    f"{HEAD}kind: Fleet\nmetadata: {{name: lanes}}\nspec: {{inventory: fleets/lanes.csv, "
    "delivery: {type: ssh, ssh: {user: edge}}}\n"
)


@pytest.mark.parametrize(
    ("rows", "same"),
    [
        ("lane-1,10.0.0.7\nlane-2,10.0.0.7", True),
        ("lane-1,LANE-2\nlane-2,", True),
        ("lane-1,10.0.0.7\nlane-2,10.0.0.8", False),
    ],
)
def test_two_rows_that_are_one_machine_are_a_spec_error(tmp_path: Path, rows: str, same: bool) -> None:
    world = World(tmp_path, {**FILES, "specs/fleet.yaml": SSH, "fleets/lanes.csv": f"id,ssh.host\n{rows}\n"})
    if not same:
        assert world.plan().steps
        return
    with pytest.raises(SpecError, match="devices lane-1 and lane-2 are one machine: both are reached over SSH at"):
        world.plan()
