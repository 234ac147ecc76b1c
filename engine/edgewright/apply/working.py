"""Build steps at work in threads: started, tried again, cancelled. Used by ``reconciler``."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from edgewright.apply.building import Workshop
from edgewright.apply.listening import Listener
from edgewright.core.artifact import Artifact
from edgewright.core.plan import BuildStep
from edgewright.core.snapshot import Snapshot
from edgewright.errors import BlobCorrupt, Cancelled, EdgewrightError, LeaseLost, Transient

_ATTEMPTS = 4
Settled = Callable[[BuildStep, Snapshot, "Artifact | EdgewrightError | None"], None]
"""Told how a step ended: its artifact, or why there is none; None: another environment's run has made it."""


def _wait(cancel: threading.Event, seconds: float) -> None:
    cancel.wait(seconds)


@dataclass
class _Running:
    step: BuildStep
    cancel: threading.Event
    future: "Future[None]"


@dataclass
class Workers:
    """The build steps of one run, at most so many at once."""

    workshop: Workshop
    listener: Listener
    settled: Settled
    wake: Callable[[], None]
    """Called when a step has ended."""
    jobs: int
    fatal: list[BaseException] = field(default_factory=list)
    """What must end the run."""
    _running: dict[str, _Running] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=self.jobs, thread_name_prefix="step")

    @property
    def busy(self) -> bool:
        """Whether a step is at work."""
        return bool(self._running)

    def start(self, desired: Snapshot, step: BuildStep) -> bool:
        """Begin a step; False when it is under way, every worker is busy, or it is not ready."""
        key = step.fingerprint
        if key is None or key in self._running or len(self._running) >= self.jobs:
            return False
        cancel = threading.Event()
        self.listener.started(step)
        future = self._pool.submit(self._build, desired, step, cancel)
        self._running[key] = _Running(step, cancel, future)
        future.add_done_callback(partial(self._finished, key))
        return True

    def cancel_all_but(self, wanted: set[str]) -> None:
        """Stop the steps whose fingerprints nobody wants any more; they can resume."""
        for fingerprint, running in list(self._running.items()):
            if fingerprint not in wanted:
                running.cancel.set()

    def close(self) -> None:
        """Stop everything and wait for it."""
        self.cancel_all_but(set())
        self._pool.shutdown(wait=True)

    def _finished(self, key: str, future: "Future[None]") -> None:
        if (error := future.exception()) is not None:
            self.fatal.append(error)
        self.wake()  # before the step leaves the books, so that no pass can miss both
        self._running.pop(key, None)
        self.wake()  # for a pass in between, which found no room for another step, or for this one again

    def _build(self, desired: Snapshot, step: BuildStep, cancel: threading.Event) -> None:
        """Run one build step in a pool thread.

        Raises:
            LeaseLost: And whatever else must end the run; ``_finished`` takes it from the future.
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
            made = retrying(self.workshop.make, desired, step, self.listener.progressed, cancel)
            self.settled(step, desired, made)
            self.listener.done(step, made.seconds if made is not None else 0.0)
        except BlobCorrupt as error:
            self.listener.failed(step, error, 0.0)
        except LeaseLost:
            raise
        except (Cancelled, EdgewrightError) as error:
            self.settled(step, desired, error)
