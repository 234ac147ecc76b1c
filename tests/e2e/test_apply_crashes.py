"""``kill -9`` anywhere in ``apply``: the next run comes to the same end, and nothing trains or deploys twice."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from e2e.crash_points import Series
from e2e.crash_work import DEVICES, SWITCHED_OFF, facts, make_world, note
from e2e.fleet import PATIENCE, Fleet, Running, wait_for
from edgewright.blobs.file_store import FileBlobStore
from edgewright.core.artifact import Action
from edgewright.core.facts import TrainingFacts
from edgewright.core.rollout.state import DeviceState, Phase
from edgewright.state.store import SqlState
from harness.profiles import THOROUGH
from paths import ROOT

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
SEED = 7
ALL_POINTS = THOROUGH
"""Crash at every point, and not only at those that crash_server chooses."""
EPOCH = re.compile(r"^train model/[a-z-]+: epoch (\d+)/(\d+)", re.MULTILINE)
KILLED = -signal.SIGKILL


# ── every point, with a builder and devices that only count ───────────────────────────────────────────────────────


@pytest.mark.parametrize("series", Series)
def test_a_run_killed_at_any_point_is_finished_by_the_next(tmp_path: Path, series: Series) -> None:
    reference, *crashes = _crash_everywhere(tmp_path, series)
    _check_reference(reference)
    assert len(crashes) > (40 if ALL_POINTS or series is Series.FILES else 20), "there are that many points at least"
    assert sum(crash["runs"][0]["code"] == KILLED for crash in crashes) > 0.95 * len(crashes)
    problems = [problem for crash in crashes for problem in _problems(crash, reference)]
    assert not problems, "\n".join(problems)


def _crash_everywhere(folder: Path, series: Series) -> list[dict[str, Any]]:
    template = make_world(folder / "world")
    scenarios = folder / "scenarios"
    scenarios.mkdir()
    request = {"template": str(template), "folder": str(scenarios), "series": series, "seed": SEED, "all": ALL_POINTS}
    with _python("crash_server.py", folder) as server:
        stdout, _ = server.communicate(json.dumps(request) + "\n", timeout=PATIENCE)
    assert server.returncode == 0, (folder / "crash_server.log").read_text()
    return [json.loads(line) for line in stdout.splitlines()]


def _check_reference(reference: dict[str, Any]) -> None:
    """What the crashes are compared with is what a user wants."""
    found = reference["facts"]
    assert reference["runs"][0]["converged"]
    assert found["rollout"]["phase"] == Phase.SUCCEEDED
    assert {device["state"] for device in found["rollout"]["devices"].values()} == {DeviceState.VERIFIED}
    (package,) = found["published"]
    assert found["champions"]["reader"]["package"] == package
    assert set(found["assigned"]) == set(DEVICES)
    for device, (published, version, text) in found["assigned"].items():
        assert published
        assert version == 1
        assert found["fetched"][device] == text, "a device that has never looked finds what was decided"
    assert [line.partition(" ")[0] for line in found["taken"]] == list(DEVICES), "each device switched once"
    assert [found["intents"], found["plan"], found["working"], found["failures"]] == [[], [], [], {}]
    assert all(count == 1 for count in reference["work"].values())


def _problems(crash: dict[str, Any], reference: dict[str, Any]) -> Iterator[str]:
    where = f"killed at point {crash['point']}"
    if crash["code"] != 0 or not crash["runs"][-1]["converged"]:
        yield f"{where}: the last run did not converge: {crash.get('runs', [{}])[-1].get('why')}\n{crash['log']}"
        return
    for name, expected in reference["facts"].items():
        if crash["facts"][name] != expected:
            yield f"{where}: {name} is {crash['facts'][name]}\ninstead of {expected}"
    kills = [run["series"] for run in crash["runs"] if run["code"] == KILLED]
    extra = {what: count - 1 for what, count in crash["work"].items() if count > 1}
    missing = reference["work"].keys() - crash["work"].keys()
    trained = sum(count for what, count in extra.items() if what.startswith("train "))
    if missing or trained > kills.count(Series.FILES) or sum(extra.values()) > len(kills):
        yield f"{where}: {len(kills)} kills, but beyond the reference it did {extra}; it lacks {missing}"


# ── particular crashes ────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_device_said_before_the_crash_is_acted_on_after_it(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world")
    late = DEVICES[-1]
    note(world / SWITCHED_OFF, late)
    assert _once(world, tmp_path) == 0
    assert facts(world)["rollout"]["devices"][late]["state"] == DeviceState.DEFERRED
    (world / SWITCHED_OFF).unlink()
    before = "save_rollout_with_assignments 0 succeeded"
    assert _once(world, tmp_path, before) == KILLED, "its report is stored, what follows from it is not"
    assert facts(world)["rollout"]["devices"][late]["state"] == DeviceState.DEFERRED
    assert _once(world, tmp_path) == 0
    found = facts(world)
    assert found["rollout"]["devices"][late]["state"] == DeviceState.VERIFIED
    assert {version for _, version, _ in found["assigned"].values()} == {1}


def test_a_second_apply_is_refused_with_the_holder_and_changes_nothing(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world")
    with Fleet(world, tmp_path) as fleet, _holding(world, tmp_path) as holder:
        before = _contents(world)
        second = fleet.edgewright("apply", "--yes").expect(1)
        assert f"process {holder.pid} on" in second.stderr
        assert "Traceback" not in second.stderr
        assert _contents(world) == before
        holder.kill()
        assert _once(world, tmp_path) == 0, "a killed holder is in nobody's way, not even for a second"
    assert facts(world)["rollout"]["phase"] == Phase.SUCCEEDED


@contextmanager
def _holding(world: Path, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """An apply of ours that holds the lease; it waits as long as its stdin is open."""
    program = """if True:
        import sys
        from pathlib import Path
        from edgewright.wiring.workspace import Workspace
        with Workspace(Path(sys.argv[1])).lease("edgewright apply"):
            print("held", flush=True)
            sys.stdin.read()
    """
    with _python("-c", folder, program, str(world)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


def _contents(world: Path) -> dict[str, bytes]:
    """Every file of state and delivery; those of SQLite by what they hold, for readers make and remove some."""
    state = world / ".edgewright"
    files = {
        str(path): path.read_bytes() for path in state.rglob("*") if path.is_file() and "state.db" not in path.name
    }
    with SqlState(state / "state.db") as store:
        return {path: data for path, data in files.items() if "/cache/" not in path} | {"": store.version().encode()}


# ── real training and real devices ────────────────────────────────────────────────────────────────────────────────


def test_real_training_and_devices_survive_three_kills(tmp_path: Path) -> None:
    epochs = 8
    with Fleet.of_example("retail", tmp_path, edits=_small(epochs=epochs)) as fleet:
        # In the middle of training.
        first = fleet.in_background("apply", "--yes")
        _wait_epoch(first, 2)
        _kill_alone(first)
        done = _epochs(first.text())
        # After training, before its artifact is recorded.
        assert _once(fleet.root, tmp_path, "record_artifact train", world="real", log="second") == KILLED
        done += _epochs((tmp_path / "second.log").read_text())
        with SqlState(fleet.root / ".edgewright/state.db") as state:
            assert Action.TRAIN not in {artifact.action for artifact in state.artifacts().values()}
            assert [intent.action for intent in state.open_intents()] == [Action.TRAIN]
        # During the rollout.
        fleet.start_agents()
        third = fleet.in_background("apply", "--yes")
        _wait_text(third, "DeviceVerified")
        _kill_alone(third)
        last = fleet.edgewright("apply", "--yes", "--timeout", "120s").expect(0)
        done += _epochs(third.text()) + _epochs(last.stderr)

        assert len(done) == len(set(done)), "an epoch whose checkpoint was written is not trained again"
        assert set(range(1, epochs + 1)) - set(done) <= {max(_epochs(first.text())) + 1}, "one may end unheard"
        fleet.wait_verified("price-tag-reader")
        with SqlState(fleet.root / ".edgewright/state.db") as state:
            (trained,) = [a for a in state.artifacts().values() if a.action is Action.TRAIN]
            history = FileBlobStore(fleet.root / ".edgewright/blobs").read(trained.files["history.json"].digest)
            assert [row["epoch"] for row in _rows(json.loads(history))] == list(range(1, epochs + 1))
            assert {d: e.assignment.version for d, e in state.assignments().items()} == dict.fromkeys(fleet.devices, 1)
            assert not state.open_intents()
        assert len(fleet.happened("DeviceVerified")) == len(fleet.devices), "each device was verified once"
        assert not list((fleet.root / ".edgewright/work").glob("*"))
        assert not fleet.plan()["steps"]


def test_a_run_that_is_stopped_softly_goes_on_where_it_was(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    done: list[int] = []
    with Fleet.of_example("retail", tmp_path, edits=_small(epochs=2000, rollout=False)) as fleet:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            running = fleet.in_background("apply", "--yes")
            _wait_epoch(running, max(done, default=0) + 1)
            with suppress(subprocess.TimeoutExpired):
                running.process.wait(chance.uniform(0.0, 1.0))
            running.process.send_signal(number)
            assert running.wait() == 130, running.text()
            assert "Traceback" not in running.text()
            done += _epochs(running.text())
        assert done == sorted(set(done)), "no epoch is trained twice"
        unheard = max(done) - len(done)
        assert unheard <= 2, "a stop may hide the line of an epoch that was kept, and no more"
        assert len(fleet.happened("StepCancelled")) == 3
        with SqlState(fleet.root / ".edgewright/state.db") as state:
            assert not state.open_intents(), "a soft stop leaves nothing to clear up"
            assert {artifact.action for artifact in state.artifacts().values()} == {Action.BUILD_DATASET}


def test_a_newer_commit_ends_training_that_nobody_needs_any_more(tmp_path: Path) -> None:
    with Fleet.of_example("retail", tmp_path, edits=_small(epochs=2000, rollout=False)) as fleet:
        running = fleet.in_background("apply", "--yes")
        _wait_epoch(running, 2)
        fleet.edit("specs/model.yaml", "epochs: 2000", "epochs: 3")
        newer = fleet.commit("Train for less long")
        assert running.wait() == 0, running.text()
        epochs = EPOCH.findall(running.text())
        assert [epoch for epoch, total in epochs if total == "3"] == ["1", "2", "3"]
        assert len(fleet.happened("StepCancelled")) == 1
        with SqlState(fleet.root / ".edgewright/state.db") as state:
            (trained,) = [a for a in state.artifacts().values() if a.action is Action.TRAIN]
            assert trained.facts_as(TrainingFacts).epochs == 3
            assert state.last_revision() == newer
            assert not state.open_intents()
        assert not fleet.plan()["steps"]


def _small(*, epochs: int, rollout: bool = True) -> Any:
    """Edit the retail example: so many epochs, gates that little training passes, four devices."""

    def edits(root: Path) -> None:
        model = root / "specs/model.yaml"
        text = re.sub(r"epochs: \d+", f"epochs: {epochs}", model.read_text())
        text = re.sub(r"\n    earlyStopping: .*", "", text)
        model.write_text(re.sub(r"min: 0\.\d+", "min: 0.2", text))
        inventory = root / "fleets/stores.csv"
        inventory.write_text("".join(inventory.read_text().splitlines(keepends=True)[:5]))
        if not rollout:
            (root / "specs/rollout.yaml").unlink()
            shutil.rmtree(root / "fleets")

    return edits


def _wait_text(running: Running, text: str) -> None:
    wait_for(repr(text), lambda: text in running.text() or not running.alive, why=running.text)
    assert text in running.text(), running.text()


def _wait_epoch(running: Running, epoch: int) -> None:
    wait_for(
        f"epoch {epoch}",
        lambda: any(n >= epoch for n in _epochs(running.text())) or not running.alive,
        why=running.text,
    )
    assert running.alive, running.text()


def _kill_alone(running: Running) -> None:
    """End the process and leave what it started to itself."""
    running.process.kill()
    assert running.wait() == KILLED, running.text()


def _epochs(text: str) -> list[int]:
    return [int(epoch) for epoch, _ in EPOCH.findall(text)]


def _rows(history: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = history["epochs"] if isinstance(history, dict) else history
    return rows


def _once(folder: Path, home: Path, *on: str, world: str = "simulated", log: str = "once") -> int:
    """Run once in a process of its own; returns its exit code."""
    with _python("crash_once.py", home, str(folder), world, *on, log=log) as process:
        return process.wait(PATIENCE)


@contextmanager
def _python(program: str, home: Path, *arguments: str, log: str = "crash_server") -> Iterator["subprocess.Popen[str]"]:
    """Run a program from beside this file, or a text; what it says on stderr goes to a log. Its session ends too."""
    command = [sys.executable, program if program == "-c" else str(HERE / program), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"}
    with (home / f"{log}.log").open("ab") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
