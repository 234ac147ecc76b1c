"""Thread pool of build steps, with retries and cancellation. Used by ``reconciler``.

A pass offers every build step that is ready, in the plan's order; a worker that becomes free takes the next one without
waiting for another plan, which may take seconds. A step that is ready stays valid until other specs are desired.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from edgewright.core.artifact import Artifact
from edgewright.core.planning.plan import BuildStep
from edgewright.core.snapshot import Snapshot
from edgewright.errors import BlobCorrupt, Cancelled, EdgewrightError, LeaseLost, Transient
from edgewright.reconcile.builds import BuildRunner
from edgewright.reconcile.listener import Listener

_ATTEMPTS = 4
StepEnded = Callable[[BuildStep, Snapshot, "Artifact | EdgewrightError | None"], None]
"""Called with a step's result: its artifact, an error, or None where another environment's run has made it."""


def _wait(cancel: threading.Event, seconds: float) -> None:
    cancel.wait(seconds)


@dataclass(frozen=True)
class _Work:
    desired: Snapshot
    step: BuildStep
    cancel: threading.Event = field(default_factory=threading.Event)


@dataclass
class BuildPool:
    """Runs the build steps of one run, ``jobs`` at a time."""

    build_runner: BuildRunner
    listener: Listener
    step_ended: StepEnded
    wake: Callable[[], None]
    """Called when a step has ended."""
    stopping: Callable[[], bool]
    """Tells that no further step may start."""
    jobs: int
    fatal: list[BaseException] = field(default_factory=list)
    """Errors that end the run."""
    _running: dict[str, _Work] = field(default_factory=dict)
    """By fingerprint."""
    _offered: dict[str, _Work] = field(default_factory=dict)
    """Steps waiting for a worker, in order."""
    _ended: set[str] = field(default_factory=set)
    """Fingerprints that ended since the plan being executed was made."""
    _closed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=self.jobs, thread_name_prefix="step")

    @property
    def busy(self) -> bool:
        """True while a step runs."""
        return bool(self._running)

    def offer(self, desired: Snapshot, steps: Sequence[BuildStep]) -> None:
        """Queue steps in this order, in place of those that were queued before."""
        with self._lock:
            ready = {step.fingerprint: _Work(desired, step) for step in steps if step.fingerprint is not None}
            outdated = not self._ended.isdisjoint(ready)
            taken = self._running.keys() | self._ended
            self._offered = {key: work for key, work in ready.items() if key not in taken}
            self._ended.clear()
            begun = []
            while (work := self._take()) is not None:
                begun.append(work)
        for work in begun:
            self._pool.submit(self._work, work)
        if outdated:
            self.wake()  # what ended meanwhile is done, or has to be offered again

    def cancel_all_but(self, wanted: set[str]) -> None:
        """Cancel the steps with other fingerprints than these; they can resume."""
        with self._lock:
            self._offered = {key: work for key, work in self._offered.items() if key in wanted}
            for fingerprint, work in self._running.items():
                if fingerprint not in wanted:
                    work.cancel.set()

    def close(self) -> None:
        """Cancel everything, and wait for the threads."""
        self._closed = True
        self.cancel_all_but(set())
        self._pool.shutdown(wait=True)

    def _take(self) -> _Work | None:
        """Start the next step, if there is one and a worker for it. Called with the lock held.

        What made a step's inputs has ended before it starts, as those who watch see it too.
        """
        if not self._offered or len(self._running) >= self.jobs or self.fatal or self._closed or self.stopping():
            return None
        running = self._running.keys()
        startable = (key for key, work in self._offered.items() if running.isdisjoint(work.step.inputs.values()))
        if (key := next(startable, None)) is None:
            return None
        self._running[key] = self._offered.pop(key)
        return self._running[key]

    def _work(self, work: _Work | None) -> None:
        """Run a step, and then queued ones, in a thread of the pool."""
        while work is not None:
            try:
                self.listener.started(work.step)
                self._build(work.desired, work.step, work.cancel)
            except BaseException as error:  # noqa: BLE001 - the run ends with it, in its own thread
                self.fatal.append(error)
            self.wake()  # before the step is taken out, so that no pass can miss both
            with self._lock:
                key = work.step.fingerprint or ""
                del self._running[key]
                self._ended.add(key)
                work = self._take()
            self.wake()  # for a pass in between, which found no room for another step, or for this one again

    def _build(self, desired: Snapshot, step: BuildStep, cancel: threading.Event) -> None:
        """Run one build step in a pool thread.

        Raises:
            LeaseLost: And other errors that end the run.
        """

        def again(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            if isinstance(error, EdgewrightError):
                self.listener.failed(step, error, state.upcoming_sleep)

        retrying = Retrying(
            retry=retry_if_exception_type(Transient),
            wait=wait_random_exponential(multiplier=1, max=30),
            stop=stop_after_attempt(_ATTEMPTS),
            sleep=partial(_wait, cancel),
            before_sleep=again,
            reraise=True,
        )
        try:
            made = retrying(self.build_runner.make, desired, step, self.listener.progressed, cancel)
            self.step_ended(step, desired, made)
            self.listener.done(step, made.seconds if made is not None else 0.0)
            if made is not None:
                self.listener.made(made)
        except BlobCorrupt as error:
            self.listener.failed(step, error, 0.0)
        except LeaseLost:
            raise
        except (Cancelled, EdgewrightError) as error:
            self.step_ended(step, desired, error)
