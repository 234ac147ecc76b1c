"""Calls that may block for long, made so that a stop is heard meanwhile. Used by everything that waits for a network.

A socket's time-outs bound how long a read waits, not how long a name is looked up; and a stop should take no longer
than a second. So the call runs in a thread of its own while the caller looks up; whoever is told to stop leaves it.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol, TypeVar

from edgewright_agent.errors import TransportError

T = TypeVar("T")
LOOK_UP_SECONDS = 0.25


class Caller(Protocol):
    """Calls a function, in whatever way."""

    def __call__(self, work: Callable[[], T]) -> T:
        """Return what it returns, raise what it raises."""
        ...


def directly(work: Callable[[], T]) -> T:
    """Call a function here and now."""
    return work()


class _Task:
    """One call and what came of it."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self.done = threading.Event()
        self.result: object = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for
            self.error = error
        self.done.set()


class Background:
    """One thread that calls what blocks, one call at a time. The thread starts with the first call.

    Args:
        stopped: Whether to give up waiting.
    """

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped
        self._tasks: SimpleQueue[_Task] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def __call__(self, work: Callable[[], T]) -> T:
        """As in Caller.

        Raises:
            TransportError: The agent was stopped meanwhile; the call may still go on.
        """
        if self._thread is None:
            # A daemon: a thread that a dead name server holds must not hold up the end of the process.
            self._thread = threading.Thread(target=self._serve, name="edgewright-network", daemon=True)
            self._thread.start()
        results: list[T] = []
        task = _Task(lambda: results.append(work()))
        self._tasks.put(task)
        while not task.done.wait(LOOK_UP_SECONDS):
            if self._stopped():
                raise TransportError("Stopped", "the agent was stopped while waiting for the network; it tries again")
        if task.error is not None:
            raise task.error
        return results[0]

    def _serve(self) -> None:
        while True:
            self._tasks.get().run()
