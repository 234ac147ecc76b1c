"""Calls that may block for long, made so that a stop is heard meanwhile. Used by everything that waits for a network.

A socket's time-outs bound how long a read waits, not how long a name is looked up; and a stop should take no longer
than a second. So the call runs in a thread of its own while the caller looks up; whoever is told to stop leaves it.
"""

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol, TypeVar

T = TypeVar("T")
LOOK_UP_SECONDS = 0.25


class Caller(Protocol):
    """Calls a function, in whatever way."""

    def __call__(self, work: Callable[[], T], within: float) -> T:
        """Return what it returns, raise what it raises; ``within`` is how many seconds it may take altogether.

        Raises:
            Abandoned: It is not waited for any more.
        """
        ...


class Abandoned(Exception):
    """A call goes on, and nobody waits for it any more; what it uses must not be touched."""


def directly(work: Callable[[], T], within: float) -> T:
    """Call a function here and now, however long it takes."""
    del within
    return work()


class _Task:
    """One call and what came of it."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self.done = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for
            self.error = error
        self.done.set()


class Background:
    """One thread that calls what blocks, one call at a time; another one where a call takes too long.

    Args:
        stopped: Whether to give up waiting.
    """

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped
        self._tasks: SimpleQueue[_Task | None] | None = None

    def __call__(self, work: Callable[[], T], within: float) -> T:
        """As in Caller."""
        results: list[T] = []
        task = _Task(lambda: results.append(work()))
        self._queue().put(task)
        until = time.monotonic() + within
        while not task.done.wait(LOOK_UP_SECONDS):
            if self._stopped():
                raise Abandoned("the agent was stopped while it waited for the network; it tries again")
            if time.monotonic() > until:
                self._replace()
                raise Abandoned(f"it took more than {within:g} s altogether")
        if task.error is not None:
            raise task.error
        return results[0]

    def _replace(self) -> None:
        """End the thread after its present call."""
        if self._tasks is not None:
            self._tasks.put(None)
            self._tasks = None

    def _queue(self) -> "SimpleQueue[_Task | None]":
        if self._tasks is None:
            self._tasks = SimpleQueue()
            # A daemon: a thread that a dead name server holds must not hold up the end of the process.
            threading.Thread(target=_serve, args=(self._tasks,), name="edgewright-network", daemon=True).start()
        return self._tasks


def _serve(tasks: "SimpleQueue[_Task | None]") -> None:
    while (task := tasks.get()) is not None:
        task.run()
