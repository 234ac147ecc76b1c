"""Waking the agent's loop. Called by signal handlers and by the thread that watches a repository."""

from queue import Empty, SimpleQueue


class Wakeups:
    """Woken once or often, it wakes once whoever waits, or waits next."""

    def __init__(self) -> None:
        # A SimpleQueue, for it may be filled by a signal handler that interrupts whoever waits for it.
        self._woken: SimpleQueue[None] = SimpleQueue()

    def wake(self) -> None:
        """Wake whoever waits."""
        self._woken.put(None)

    def wait(self, seconds: float) -> None:
        """Wait until somebody wakes, but no longer than that."""
        try:
            self._woken.get(timeout=max(0.0, seconds))
            while True:
                self._woken.get_nowait()
        except Empty:
            pass
