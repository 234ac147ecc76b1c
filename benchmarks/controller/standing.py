"""What a pass costs inside the controller: one environment's loop, wired as ``edgewright serve`` wires it.

``python -m benchmarks.controller.standing FOLDER TIMES`` stands in an applied repository (``workload``), wakes the loop
with and without a change, and writes the times as JSON. Only building is replaced, since the data is made up. The last
change starts building, so the folder is not as it was afterwards. Called by ``run``.
"""

import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.instant import instant_builder
from benchmarks.workload import edit
from edgewright.core.address import Address
from edgewright.core.planning.plan import Step
from edgewright.core.snapshot import Snapshot
from edgewright.core.status.conditions import Condition
from edgewright.ports import Upstream
from edgewright.reconcile.accepted import AcceptedSource
from edgewright.reconcile.listener import NullListener
from edgewright.reconcile.reconciler import Reconciler
from edgewright.reconcile.run import RunOptions
from edgewright.wiring.environments import LiveEnvironment, anchor_of
from edgewright.wiring.workspace import Workspace

_PATIENCE = 300.0
"""Seconds after which a pass that does not end is given up."""


@dataclass(frozen=True, slots=True)
class Rest:
    """The end of a pass."""

    at: float
    """Of ``time.perf_counter``."""
    revision: str


@dataclass
class Ear(NullListener):
    """Hears when passes end and steps start."""

    rests: "queue.Queue[Rest]" = field(default_factory=queue.Queue)
    starts: "queue.Queue[float]" = field(default_factory=queue.Queue)

    def finished(self, desired: Snapshot, conditions: Mapping[Address, Sequence[Condition]], *, settled: bool) -> None:
        """A pass has ended."""
        self.rests.put(Rest(time.perf_counter(), desired.revision))

    def started(self, step: Step) -> None:
        """A step has begun."""
        self.starts.put(time.perf_counter())


@dataclass
class Standing:
    """A running loop."""

    upstream: Upstream
    followed: AcceptedSource
    reconciler: Reconciler
    ear: Ear

    def unchanged(self) -> float:
        """Seconds of a pass that was woken for nothing."""
        return self._wake(lambda rest: True)

    def looked(self) -> float:
        """Seconds of a pass that also looks for drift."""
        self.reconciler.observer.memory.scanned_at = None
        return self._wake(lambda rest: True)

    def changed(self) -> float:
        """Seconds from being told of a new revision until the pass over it has ended."""
        self.upstream.fetch(())
        revision = self.upstream.resolve(None)
        return self._wake(lambda rest: rest.revision == revision)

    def started(self) -> float:
        """Seconds from being told of a new revision until what has to be built is being built."""
        self.upstream.fetch(())
        self._empty()
        begun = time.perf_counter()
        self._ring()
        return self.ear.starts.get(timeout=_PATIENCE) - begun

    def _wake(self, is_it: Callable[[Rest], bool]) -> float:
        self._empty()
        begun = time.perf_counter()
        self._ring()
        while True:
            rest = self.ear.rests.get(timeout=_PATIENCE)
            if is_it(rest):
                return rest.at - begun

    def _ring(self) -> None:
        self.followed.fetched()
        self.reconciler.wake()

    def _empty(self) -> None:
        while not self.ear.rests.empty():
            self.ear.rests.get()


@contextmanager
def standing(repository: Path) -> Iterator[tuple[Standing, float]]:
    """Run the loop; gives it when its first pass has ended, and the seconds that took."""
    workspace = Workspace(repository)
    upstream, ear = workspace.upstream, Ear()
    environment = LiveEnvironment(workspace, upstream, anchor_of(workspace))
    with environment.lease(threading.Event()) as lease:
        assert lease is not None
        begun = time.perf_counter()
        followed = environment.followed()
        followed.look()
        reconciler = environment.reconciler(followed.snapshot(), lease, ear, followed)
        reconciler.build_runner = replace(reconciler.build_runner, builder=instant_builder())
        thread = threading.Thread(target=reconciler.run, args=(RunOptions(continuous=True),))
        thread.start()
        try:
            first = ear.rests.get(timeout=_PATIENCE)
            yield Standing(upstream, followed, reconciler, ear), first.at - begun
        finally:
            reconciler.stop()
            thread.join()
            upstream.close()


def measure(repository: Path, times: int) -> dict[str, list[float]]:
    """Time every kind of pass."""
    with standing(repository) as (loop, first):
        loop.unchanged()
        unchanged = [loop.unchanged() for _ in range(times)]
        looked = [loop.looked() for _ in range(times)]
        changed = []
        for number in range(times):
            edit(repository, "thresholds", number)
            changed.append(loop.changed())
        edit(repository, "models", 0)
        return {
            "first": [first],
            "unchanged": unchanged,
            "looked": looked,
            "changed": changed,
            "started": [loop.started()],
        }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]))))
