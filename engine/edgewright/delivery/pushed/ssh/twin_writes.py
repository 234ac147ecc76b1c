"""Notes what many passes find out, a few at a time in one transaction. Called by ``visiting`` and ``driver``.

Each note waits for the disk. Passes that want to note something meanwhile go into the next transaction together, which
costs as much as one of them alone, and sooner than a database that finds itself busy would come to them.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from edgewright.core.fleet.twins import Twin
from edgewright.ports import TwinStore

Work = Callable[[Twin], Twin | None]


@dataclass(eq=False, slots=True)
class _Note:
    device: str
    work: Work
    is_done: bool = False
    twin: Twin | None = None
    error: Exception | None = None


class TwinWrites:
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
        self._waiting: list[_Note] = []

    def twin(self, device: str) -> Twin | None:
        """Find a device."""
        return self._store.twin(device)

    def change(self, device: str, work: Work) -> Twin:
        """Read, change and write one device as a whole; ``work`` may run again.

        Raises:
            As ports.TwinStore.change.
        """
        note = _Note(device, work)
        with self._queue:
            self._waiting.append(note)
        with self._writing:
            if not note.is_done:
                with self._queue:
                    batch, self._waiting = self._waiting, []
                self._write(batch)
        if note.error is not None:
            raise note.error
        assert note.twin is not None, "no pass removes a device"
        return note.twin

    def _write(self, batch: list[_Note]) -> None:
        by_device = {note.device: note for note in batch}
        if len(batch) > 1 and len(by_device) == len(batch):

            def work(twin: Twin) -> Twin | None:
                note = by_device[twin.device]
                note.twin = note.work(twin)
                return note.twin

            try:
                self._store.change_all(list(by_device), self._system, work)
            except Exception:  # noqa: BLE001 - whose fault it is shows when each is noted alone
                self._write_each(batch)
        else:
            self._write_each(batch)
        for note in batch:
            note.is_done = True

    def _write_each(self, batch: list[_Note]) -> None:
        for note in batch:
            try:
                note.twin = self._store.change(note.device, self._system, note.work)
            except Exception as error:  # noqa: BLE001 - raised to whom it belongs
                note.error = error
