"""Runs that stand: what the controller does all day, with fakes for every port."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.core.planning.plan import Note
from edgewright.core.snapshot import Snapshot
from edgewright.core.status.conditions import Condition, check, headline
from edgewright.errors import DeliveryUnavailable, EdgewrightError, LeaseLost, StepFailed
from edgewright.reconcile import build_pool as working
from edgewright.reconcile import reconciler as reconciling
from edgewright.reconcile.reconciler import Reconciler
from edgewright.reconcile.run import RunOptions, RunResult
from harness.memory_run import FILES, HEAD, Log, World, model, rollout

SECONDS = 20.0
TWO = {**FILES, **model("counter", epochs=9, thresholds=False), **rollout("counter")}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of these tests are short; what is waited for comes at once."""
    monkeypatch.setattr(reconciling, "_TICK_SECONDS", 0.02)
    monkeypatch.setattr(reconciling, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(working, "_wait", lambda cancel, seconds: None)


class Watcher(Log):
    """Lets a test wait for what a continuous run comes to."""

    def __init__(self) -> None:
        super().__init__()
        self.conditions: Mapping[Address, Sequence[Condition]] = {}
        self.revision = ""
        self.settled = False
        self.errors: list[str] = []
        self.passes = 0
        self._changed = threading.Condition()

    def finished(self, desired: Snapshot, conditions: Mapping[Address, Sequence[Condition]], *, settled: bool) -> None:
        with self._changed:
            self.conditions, self.revision, self.settled = conditions, desired.revision, settled
            self.passes += 1
            self._changed.notify_all()

    def pass_failed(self, error: EdgewrightError, until: datetime) -> None:
        with self._changed:
            self.errors.append(error.message)
            self._changed.notify_all()

    def notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, what: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(what, timeout=SECONDS), (self.lines, self.errors, self.conditions)

    def is_ready(self, revision: str) -> bool:
        """Whether everything is Ready at a revision."""
        found = [headline(conditions) for conditions in self.conditions.values()]
        return self.revision == revision and bool(found) and all(c is not None and c.type == "Ready" for c in found)


@contextmanager
def continuous(world: World) -> Iterator[tuple[Reconciler, Watcher, list[RunResult | BaseException]]]:
    """A continuous run in a thread of its own; stopped at the end."""
    watcher = Watcher()
    world.log = watcher
    reconciler = world.reconciler()
    ended: list[RunResult | BaseException] = []

    def work() -> None:
        try:
            ended.append(reconciler.run(RunOptions(continuous=True)))
        except LeaseLost as error:
            ended.append(error)
        watcher.notify()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield reconciler, watcher, ended
    finally:
        reconciler.stop()
        thread.join(SECONDS)
        reconciler.lease.release()
        assert not thread.is_alive()


def test_every_commit_is_made_real_and_an_idle_run_writes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    with continuous(world) as (reconciler, watcher, _):
        first = world.source.revision()
        watcher.wait_for(lambda: watcher.is_ready(first))
        before = world.running()
        world.source.commit({**FILES, **model("reader", epochs=5)})
        reconciler.wake()
        second = world.source.revision()
        watcher.wait_for(lambda: watcher.is_ready(second) and watcher.settled)
        assert world.running() != before
        version, passes = world.state.version(), watcher.passes
        reconciler.wake()
        watcher.wait_for(lambda: watcher.passes > passes)
        assert world.state.version() == version
    assert all(check(conditions) == () for conditions in watcher.conditions.values())
    assert "RevisionTaken" in world.reasons("repository/repository")


def test_a_revert_brings_the_old_package_back_without_training(tmp_path: Path) -> None:
    world = World(tmp_path)
    with continuous(world) as (reconciler, watcher, _):
        watcher.wait_for(lambda: watcher.is_ready(world.source.revision()))
        first = world.running()
        world.source.commit({**FILES, **model("reader", epochs=5)})
        reconciler.wake()
        watcher.wait_for(lambda: watcher.is_ready(world.source.revision()))
        world.work()
        world.source.commit(FILES)
        reconciler.wake()
        watcher.wait_for(lambda: watcher.is_ready(world.source.revision()))
        assert world.running() == first
        assert world.work() == []


def test_one_resources_failure_blocks_nobody_and_a_new_commit_tries_again(tmp_path: Path) -> None:
    world = World(tmp_path, TWO)
    world.builder.failures[Action.TRAIN, "reader"] = StepFailed("the loss is no number in epoch 2")
    with continuous(world) as (reconciler, watcher, _):

        def stalled() -> bool:
            found = headline(watcher.conditions.get(Address("model", "reader"), ()))
            return watcher.settled and found is not None and found.type == "Stalled"

        watcher.wait_for(stalled)
        assert world.state.champions().keys() == {"counter"}
        assert world.reasons("model/reader").count("StepFailed") >= 1
        world.builder.failures.clear()
        world.source.commit({**TWO, **model("reader", epochs=6)})
        reconciler.wake()
        watcher.wait_for(lambda: watcher.is_ready(world.source.revision()))
        assert world.state.champions().keys() == {"counter", "reader"}


def test_a_share_that_comes_back_is_used_again_without_anyones_help(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.devices.down = DeliveryUnavailable("the share does not answer")
    with continuous(world) as (reconciler, watcher, _):
        reconciler.backoff.first = timedelta(milliseconds=20)
        watcher.wait_for(lambda: len(watcher.errors) >= 2)
        assert set(watcher.errors) == {"the share does not answer"}
        world.devices.down = None
        watcher.wait_for(lambda: watcher.is_ready(world.source.revision()))


def test_suspended_reconciliation_looks_and_says_so_but_changes_nothing(tmp_path: Path) -> None:
    files = {
        **FILES,
        "edgewright.yaml": f"{HEAD}kind: Repository\nmetadata: {{name: shop}}\n"
        "spec: {reconciliation: {suspend: true}}\n",
    }
    world = World(tmp_path, files)
    with continuous(world) as (reconciler, watcher, _):
        watcher.wait_for(lambda: bool(watcher.conditions))
        found = headline(watcher.conditions[Address("dataset", "tags")])
        assert found is not None
        assert (found.type, found.reason) == ("Reconciling", "Suspended")
        assert world.work() == []
        world.source.commit({"edgewright.yaml": None})
        reconciler.wake()
        watcher.wait_for(lambda: watcher.is_ready(world.source.revision()))


def test_losing_the_lease_ends_the_run_and_nothing_more_is_written(tmp_path: Path) -> None:
    world = World(tmp_path)
    with continuous(world) as (reconciler, watcher, ended):
        watcher.wait_for(lambda: watcher.is_ready(world.source.revision()))
        world.state.memory.fence += 1
        version = world.state.version()
        world.source.commit({**FILES, **model("reader", epochs=5)})
        reconciler.wake()
        watcher.wait_for(lambda: bool(ended))
    assert isinstance(ended[0], LeaseLost)
    assert world.state.version() == version


def test_what_stands_in_the_way_is_written_once_also_when_a_look_finds_one_of_two_things(tmp_path: Path) -> None:
    world = World(tmp_path)
    desired = world.source.snapshot()
    reconciler = world.reconciler()
    address = Address("model", "reader")
    one, other = (
        Note(address, "warning", "ConfigDrifted", message) for message in ("a file is gone", "a package is not whole")
    )
    empty = replace(world.plan(), steps=(), notes=())
    for notes in ((one, other), (one,), (one, other), (other,), (one, other)):
        reconciler.journal.settle(desired, replace(empty, notes=notes))
    assert world.reasons(str(address)) == ["ConfigDrifted", "ConfigDrifted"]
    reconciler.journal.settle(desired, empty)
    reconciler.journal.settle(desired, replace(empty, notes=(one,)))
    assert world.reasons(str(address)) == ["ConfigDrifted", "ConfigDrifted", "ConfigDrifted"], (
        "what happens again is news"
    )
