"""Waking the agent's loop. Rung by signal handlers and by the thread that watches a repository."""

from queue import Empty, SimpleQueue


class Wakeups:
    """Rung once or often, it wakes once whoever waits, or waits next."""

    def __init__(self) -> None:
        # A SimpleQueue, for it may be filled by a signal handler that interrupts whoever waits for it.
        self._rung: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Wake whoever waits."""
        self._rung.put(None)

    def wait(self, seconds: float) -> None:
        """Wait until it rings, but no longer than that."""
        try:
            self._rung.get(timeout=max(0.0, seconds))
            while True:
                self._rung.get_nowait()
        except Empty:
            pass
