"""Batches changes of twins by many sessions into one transaction. Called by ``session``, ``jobs`` and ``driver``.

Each change waits for the disk. Changes that arrive meanwhile go into the next transaction together, which costs as much
as one of them alone, and is faster than threads that contend for the database.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from edgewright.core.fleet.twins import Twin
from edgewright.ports import TwinStore

Work = Callable[[Twin], Twin | None]


@dataclass(eq=False, slots=True)
class _PendingWrite:
    device: str
    work: Work
    is_done: bool = False
    twin: Twin | None = None
    error: Exception | None = None


class BatchedTwinWrites:
    """The twins of one system, for many threads. Every call is durable when it returns, as in ports.TwinStore.

    Args:
        store: Keeps the twins.
        system: Its name.
    """

    def __init__(self, store: TwinStore, system: str) -> None:
        self._store = store
        self._system = system
        self._queue = threading.Lock()
        self._writing = threading.Lock()
        self._waiting: list[_PendingWrite] = []

    def twin(self, device: str) -> Twin | None:
        """Find a device's twin."""
        return self._store.twin(device)

    def change(self, device: str, work: Work) -> Twin:
        """Read, change and write one twin as a whole; ``work`` may run again.

        Raises:
            As ports.TwinStore.change.
        """
        write = _PendingWrite(device, work)
        with self._queue:
            self._waiting.append(write)
        with self._writing:
            if not write.is_done:
                with self._queue:
                    batch, self._waiting = self._waiting, []
                self._write(batch)
        if write.error is not None:
            raise write.error
        assert write.twin is not None, "no session removes a twin"
        return write.twin

    def _write(self, batch: list[_PendingWrite]) -> None:
        by_device = {write.device: write for write in batch}
        if len(batch) > 1 and len(by_device) == len(batch):

            def work(twin: Twin) -> Twin | None:
                write = by_device[twin.device]
                write.twin = write.work(twin)
                return write.twin

            try:
                self._store.change_all(list(by_device), self._system, work)
            except Exception:  # noqa: BLE001 - writing each alone shows which of them fails
                self._write_each(batch)
        else:
            self._write_each(batch)
        for write in batch:
            write.is_done = True

    def _write_each(self, batch: list[_PendingWrite]) -> None:
        for write in batch:
            try:
                write.twin = self._store.change(write.device, self._system, write.work)
            except Exception as error:  # noqa: BLE001 - raised in the thread that asked for the change
                write.error = error
