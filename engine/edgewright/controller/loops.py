"""Loops beside the controller's work: each a thread that lives, rests until there is news, and survives its faults.

Base of ``errands`` and ``previewing``.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from edgewright.controller.health import Vitals
from edgewright.errors import EdgewrightError
from edgewright.reconcile.backoff import Backoff

_ALIVE_WITHIN = timedelta(minutes=30)
"""A preview of a large repository over a slow line is bounded by less."""
_SLICE_SECONDS = 5.0


class Loop(ABC):
    """One thread; a subclass says in ``work`` what it does once, and when to do so again without being woken."""

    def __init__(self, name: str, vitals: Vitals, clock: Callable[[], datetime]) -> None:
        self.name = name
        self.clock = clock
        self.log = structlog.get_logger(f"edgewright.{name}")
        self.backoff = Backoff(clock)
        self._vitals = vitals
        self._stop = threading.Event()
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def work(self) -> datetime:
        """Do it once; says when to come again. What it runs through ``guard`` cannot end the loop."""

    def start(self) -> None:
        """Begin."""
        self._vitals.heartbeats.expect(self.name, _ALIVE_WITHIN)
        self._thread.start()

    def wake(self) -> None:
        """Say that there is news."""
        self._news.set()

    def stop(self) -> None:
        """End after what is under way."""
        self._stop.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join()
        self._vitals.heartbeats.forget(self.name)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._news.clear()
            until = self.guard(self.name, self.work) or self.clock()
            while not self._stop.is_set() and (left := (until - self.clock()).total_seconds()) > 0:
                self._vitals.heartbeats.beat(self.name)
                if self._news.wait(min(left, _SLICE_SECONDS)):
                    break

    def guard(self, what: str, act: Callable[[], datetime | None]) -> datetime | None:
        """Run something that stands in nobody's way when it fails; until it may be tried again it is left out.

        Returns:
            When to come again, if that matters.
        """
        if (waiting := self.backoff.until(what)) is not None:
            return waiting
        try:
            again = act()
        except EdgewrightError as error:
            self.log.warning("failed", what=what, error=error.message, hint=error.hint or None)
            return self.backoff.failed(what, error)
        except Exception:
            self.log.exception("unexpected error", what=what)
            return self.backoff.failed(what)
        self.backoff.succeeded(what)
        return again
