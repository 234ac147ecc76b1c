"""What is seen of a device without asking edgewright: its disk, all the time, and an application that runs on it."""

import csv
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from examples.demo.devices import MODEL, Device, Running

from edgewright_agent.handle import ModelHandle
from edgewright_wire.slots import ACTIVE, MARKER_FILE, MODELS


@dataclass(frozen=True)
class Change:
    """Something became active."""

    at: float
    """Seconds, monotonic."""
    running: Running


class Witness(threading.Thread):
    """Looks at devices' disks all the time, and keeps what became active there, one after the other."""

    def __init__(self, devices: Mapping[str, Device]) -> None:
        super().__init__(name="witness", daemon=True)
        self._devices = devices
        self._ended = threading.Event()
        self._seen: dict[str, tuple[int, int]] = {}
        self._changes: dict[str, list[Change]] = {device: [] for device in devices}

    def run(self) -> None:
        while not self._ended.wait(0.05):
            for name, device in self._devices.items():
                try:
                    status = (device.root / MODELS / MODEL / ACTIVE / MARKER_FILE).stat()
                except OSError:
                    continue
                stamp = status.st_ino, status.st_mtime_ns
                if self._seen.get(name) != stamp and (running := device.runs()) is not None:
                    self._seen[name] = stamp
                    self._changes[name].append(Change(time.monotonic(), running))

    def since(self, at: float) -> dict[str, list[Change]]:
        """What became active since then; only of devices where anything did."""
        found = {name: [each for each in changes if each.at >= at] for name, changes in self._changes.items()}
        return {name: changes for name, changes in found.items() if changes}

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()


class Application:
    """A program on a device, as its maker writes it: it asks the model that is active, and never restarts.

    Args:
        device: Where it runs.
        table: A file with measurements, and what they mean.
    """

    def __init__(self, device: Device, table: Path) -> None:
        self._handle = ModelHandle(device.root, MODEL)
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
        self._expected = [row["label"] for row in rows]
        values = [[float(row[name]) for name in ("weight", "gap", "sold")] for row in rows]
        self._inputs = np.asarray(values, dtype=np.float32)

    def right(self) -> float:
        """The share of right answers, now."""
        model = self._handle.current
        found = model.run(self._inputs).argmax(axis=1)
        return float(np.mean([model.labels[at] == label for at, label in zip(found, self._expected, strict=True)]))

    def release(self) -> str:
        """What answers now."""
        self._handle.refresh()
        return self._handle.current.release
