"""Background loops beside reconciliation: each a thread that waits for news and survives its errors.

Base of ``outbound`` and ``preview_loop``.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from edgewright.controller.health import ProcessHealth
from edgewright.errors import EdgewrightError
from edgewright.reconcile.backoff import Backoff, Deadline

_ALIVE_WITHIN = timedelta(minutes=30)
"""A preview of a large repository over a slow line is bounded by less."""
_SLICE_SECONDS = 5.0


class Loop(ABC):
    """One thread; a subclass implements ``work``, one iteration that returns the time of the next."""

    def __init__(self, name: str, health: ProcessHealth, clock: Callable[[], datetime]) -> None:
        self.name = name
        self.clock = clock
        self.log = structlog.get_logger(f"edgewright.{name}")
        self.backoff = Backoff(clock)
        self._health = health
        self._stop = threading.Event()
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def work(self) -> datetime:
        """Run one iteration and return the time of the next; use ``guard`` for what may fail."""

    def start(self) -> None:
        """Start the thread."""
        self._health.heartbeats.expect(self.name, _ALIVE_WITHIN)
        self._thread.start()

    def wake(self) -> None:
        """Run the next iteration at once."""
        self._news.set()

    def stop(self) -> None:
        """Stop after the current iteration, and wait for it."""
        self._stop.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join()
        self._health.heartbeats.forget(self.name)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._news.clear()
            until = self.guard(self.name, self.work) or self.clock()
            deadline = Deadline(until, self.clock)
            while not self._stop.is_set() and (left := deadline.left()) > 0:
                self._health.heartbeats.beat(self.name)
                if self._news.wait(min(left, _SLICE_SECONDS)):
                    break

    def guard(self, what: str, act: Callable[[], datetime | None]) -> datetime | None:
        """Run ``act`` unless it is backing off; log its error and back off.

        Args:
            what: Names the task in the log and for its backoff.
            act: The task; returns the time of its next run, if it has one.

        Returns:
            The time of its next run, if it has one.
        """
        if (retry_at := self.backoff.until(what)) is not None:
            return retry_at
        try:
            again = act()
        except EdgewrightError as error:
            self.log.warning("task failed", task=what, error=error.message, hint=error.hint or None)
            return self.backoff.failed(what, error)
        except Exception:
            self.log.exception("unexpected error", task=what)
            return self.backoff.failed(what)
        self.backoff.succeeded(what)
        return again
