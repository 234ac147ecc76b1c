"""kill -9 of a process that writes: what it had finished is there, what it had not is not, and others go on."""

import random
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from edgewright.state.lease import acquire
from edgewright.state.store import SqlState
from harness.children import child, heard
from samples.state_values import ROLLOUT

IN_A_TRANSACTION = """
import sys
from datetime import timedelta
from edgewright.state.lease import acquire
from edgewright.state.schema import control, enrolled
from edgewright.state.store import SqlState
from sqlalchemy import insert, update
state = SqlState(sys.argv[1])
acquire(state, "edgewright apply", timedelta(hours=1))
state.set_last_revision("finished")
with state.transaction() as connection:
    connection.exec_driver_sql("PRAGMA cache_size = 1")  # so that pages reach the disk before the commit
    connection.execute(update(control).values(last_revision="unfinished"))
    connection.execute(insert(enrolled), [{"device": f"d{i}", "labels": "x" * 500} for i in range(2000)])
    print("written, not committed", flush=True)
    sys.stdin.readline()
"""

FOR_EVER = """
import sys
from dataclasses import replace
from datetime import timedelta
from edgewright.core.rollout.state import RolloutState, DeviceProgress, DeviceState
from edgewright.ports import Event
from edgewright.state.lease import acquire
from edgewright.state.store import SqlState
from samples.state_values import NOW, ROLLOUT, an_assignment
state = SqlState(sys.argv[1])
acquire(state, "edgewright apply", timedelta(hours=1))
version = max([a.assignment.version for a in state.assignments().values()], default=0)
while True:
    version += 1
    devices = {f"lane-{i}": DeviceProgress(after=version) for i in range(20)}
    state.save_rollout_with_assignments(
        ROLLOUT,
        RolloutState(key=str(version), devices=devices),
        [an_assignment(device, version) for device in devices],
        [Event(NOW, "Saved", str(ROLLOUT), str(version))],
    )
    print(version, flush=True)
"""


def test_a_writer_killed_inside_a_transaction_leaves_what_was_before(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    with child(IN_A_TRANSACTION, file) as process:
        assert heard(process) == "written, not committed"
        with SqlState(file) as reader:
            assert reader.last_revision() == "finished"
        process.kill()
        process.wait()
    with SqlState(file) as state:
        assert state.last_revision() == "finished"
        assert state.enrolled() == {}
        acquire(state, "the next", timedelta(minutes=1))
        state.set_last_revision("next")
        assert state.last_revision() == "next"
    assert _whole(file)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_writer_killed_at_any_time_leaves_whole_decisions(tmp_path: Path, seed: int) -> None:
    file = tmp_path / "state.db"
    chance = random.Random(seed)
    for _ in range(3):
        with child(FOR_EVER, file) as process:
            said = 0
            for _ in range(chance.randint(1, 30)):
                said = int(heard(process))
            process.kill()
            process.wait()
        with SqlState(file) as state:
            rollout = state.rollout(ROLLOUT)
            assert rollout is not None
            version = int(rollout.key)
            assert version >= said, "what was said to be stored is stored"
            assert {p.after for p in rollout.devices.values()} == {version}
            assert {a.assignment.version for a in state.assignments().values()} == {version}
            assert state.events(limit=1)[0].message == str(version)
        assert _whole(file)


def _whole(file: Path) -> bool:
    connection = sqlite3.connect(file)
    try:
        found = connection.execute("PRAGMA integrity_check").fetchall()
    finally:
        connection.close()
    return found == [("ok",)]
