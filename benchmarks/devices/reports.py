"""Reports: how many the controller takes in a second, each answered after it is durable, and whether any is lost.

Called by ``devices``; the client is ``http_load``, in a process of its own.
"""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks import peer
from benchmarks.devices.served import cpu_seconds

CONNECTIONS = 64


_KEPT = """SELECT device, max(sequence) FROM
  (SELECT device, sequence FROM inbox UNION ALL SELECT device, sequence FROM reports) GROUP BY device"""
"""The newest report of each device: in the inbox, or taken from there by a pass."""


@dataclass(frozen=True, slots=True)
class Reports:
    """What was measured."""

    devices: int
    accepted: int
    refused: int
    """Sent away with 503: none of these counts."""
    lost: int
    """Acknowledged and not in the store, neither they nor a later one of their device."""
    seconds: float
    p50: float
    """Seconds until the answer."""
    p99: float
    microseconds: float
    """Of the controller's processor, for each."""

    @property
    def per_second(self) -> float:
        """Accepted in a second."""
        return self.accepted / self.seconds


def measure(url: str, pid: int, state: Path, seconds: float) -> Reports:
    """Send reports for so many seconds, and look for them in the store.

    Args:
        url: Where agents ask the controller.
        pid: The controller's process.
        state: Its SQLite file.
        seconds: How long.
    """
    before = cpu_seconds(pid)
    command = [sys.executable, "-m", "benchmarks.http_load", "reports", f"{url}/reports", str(CONNECTIONS)]
    done = subprocess.run([*command, str(seconds)], capture_output=True, text=True, check=True, cwd=Path(peer.ROOT))
    spent = cpu_seconds(pid) - before
    said = json.loads(done.stdout)
    accepted = said["statuses"].get("200", 0)
    with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as store:
        kept = dict(store.execute(_KEPT).fetchall())
    lost = sum(kept.get(device, 0) < sequence for device, sequence in said["acknowledged"].items())
    if others := said["statuses"].keys() - {"200", "503"}:
        raise RuntimeError(f"{url} answered {sorted(others)}")
    refused = said["statuses"].get("503", 0)
    return Reports(
        len(said["acknowledged"]),
        accepted,
        refused,
        lost,
        said["seconds"],
        said["p50"],
        said["p99"],
        1e6 * spent / max(1, accepted),
    )
