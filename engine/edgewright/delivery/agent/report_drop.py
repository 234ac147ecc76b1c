"""The report drop: a folder with one ``<device>.json`` for each device, replaced whole by the device's agent.

Reading is level-triggered: each pass looks at what is there. A report that has not changed since it was read is not
read again, within a process and, by a small index file, across processes. Called by ``driver``.
"""

import contextlib
import json
import os
import stat
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from edgewright import durable
from edgewright.core.fleet.presence import ReceivedReport
from edgewright.errors import DeliveryUnavailable, StorageFull
from edgewright.kept import read_ours
from edgewright_wire.layout import report_name
from edgewright_wire.messages import Report

MAX_BYTES = 1 << 20
"""A report has a few kilobytes; a larger file is no report."""
_SUFFIX = report_name("")
_INDEX_VERSION = 1
_SETTLED_NS = 2_000_000_000
"""A file this young may change once more without another modification time (FAT counts in two seconds)."""


class Seen(NamedTuple):
    """A file as it was read, and the report in it."""

    mtime_ns: int
    size: int
    inode: int
    sequence: int
    """0 for a file that held no report, which has been logged."""
    arrived_ns: int = 0
    """When it came, by the engine's clock; 0 in an index of an earlier version."""


class ReportDrop:
    """Reads one drop folder."""

    def __init__(self, folder: Path, index: Path | None, clock: Callable[[], datetime]) -> None:
        """Set up a reader of ``folder``; ``index`` is the index file, if any. Losing it costs one full reading."""
        self._folder = folder
        self._index = index
        self._clock = clock
        self._seen: dict[str, Seen] | None = None
        self._last: datetime | None = None
        """When the folder was looked at last."""

    def collect(self, known: Mapping[str, int]) -> list[Report]:
        """Return the reports with a higher sequence than is known of their device, by device.

        Raises:
            DeliveryUnavailable: The folder cannot be read.
        """
        before = self._load_index() if self._seen is None else self._seen
        now_ns = int(self._clock().timestamp() * 1e9)
        seen: dict[str, Seen] = {}
        reports: list[Report] = []
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    name = entry.name
                    if not name.endswith(_SUFFIX) or name.startswith("."):
                        continue
                    try:
                        seen[name] = self._look(entry, before.get(name), known, reports, now_ns)
                    except FileNotFoundError:
                        continue
                    except _NoReport as error:
                        seen[name] = self._skip(entry, before.get(name), str(error))
                    except OSError as error:
                        # Not remembered: it may be readable next time without having changed.
                        _warn(entry.path, error.strerror or str(error))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DeliveryUnavailable(
                f"cannot read the report drop {self._folder}: {error.strerror or error}",
                hint="check that the folder is mounted and readable; spec.delivery.reports names it",
            ) from error
        if seen != before:
            self._save_index(seen, now_ns)
        self._seen = seen
        self._last = datetime.fromtimestamp(now_ns / 1e9, UTC)
        return sorted(reports, key=lambda report: report.device)

    def _look(
        self,
        entry: "os.DirEntry[str]",
        before: Seen | None,
        known: Mapping[str, int],
        reports: list[Report],
        now_ns: int,
    ) -> Seen:
        status = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise _NoReport("it is a symbolic link" if entry.is_symlink() else "it is no regular file")
        device = entry.name[: -len(_SUFFIX)]
        settled = status.st_mtime_ns < now_ns - _SETTLED_NS
        same = before is not None and before[:3] == (status.st_mtime_ns, status.st_size, status.st_ino)
        if before is not None and same and settled and before.sequence <= known.get(device, 0):
            return before
        report, status = _read(entry.path, device)
        arrived_ns = self._arrival(status, before, now_ns)
        if report.sequence != known.get(device, 0):  # a lower one is of a device that lost its count, or its clock
            reports.append(ReceivedReport.stamp(report, datetime.fromtimestamp(arrived_ns / 1e9, UTC)))
        return Seen(status.st_mtime_ns, status.st_size, status.st_ino, report.sequence, arrived_ns)

    def _arrival(self, status: os.stat_result, before: Seen | None, now_ns: int) -> int:
        """Return when a file came: when it was written, as far as that lies between the last look and this one."""
        written = min(max(status.st_mtime_ns, 0), now_ns)
        if before is not None and before[:3] == (status.st_mtime_ns, status.st_size, status.st_ino):
            return before.arrived_ns or written
        return max(written, int(self._last.timestamp() * 1e9)) if self._last is not None else written

    def _skip(self, entry: "os.DirEntry[str]", before: Seen | None, reason: str) -> Seen:
        """Log the problem of a file once, until it changes."""
        status = entry.stat(follow_symlinks=False)
        seen = Seen(status.st_mtime_ns, status.st_size, status.st_ino, 0)
        if seen != before:
            _warn(entry.path, reason)
        return seen

    def _load_index(self) -> dict[str, Seen]:
        if self._index is None:
            return {}
        try:
            data = json.loads(read_ours(self._index))
            if data["version"] != _INDEX_VERSION or data["folder"] != str(self._folder.absolute()):
                return {}
            self._last = datetime.fromisoformat(data["at"]) if "at" in data else None
            return {name: Seen(*row) for name, row in data["files"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _save_index(self, seen: Mapping[str, Seen], now_ns: int) -> None:
        if self._index is None:
            return
        at = datetime.fromtimestamp(now_ns / 1e9, UTC).isoformat()
        folder = str(self._folder.absolute())
        data: dict[str, Any] = {"version": _INDEX_VERSION, "folder": folder, "at": at, "files": seen}
        # The index only saves time; a state folder that cannot be written is reported by what must write it.
        with contextlib.suppress(OSError, StorageFull):
            durable.make_folder(self._index.parent)
            durable.write_atomic(self._index, json.dumps(data, separators=(",", ":")).encode())


class _NoReport(Exception):
    """A file in the drop is not the report its name promises."""


def _read(path: str, device: str) -> tuple[Report, os.stat_result]:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise _NoReport("it is no regular file")
        if status.st_size > MAX_BYTES:
            raise _NoReport(f"it has {status.st_size} bytes; a report has at most {MAX_BYTES}")
        data = os.read(handle, MAX_BYTES)
    finally:
        os.close(handle)
    try:
        report = Report.from_bytes(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _NoReport(f"it is no report: {where + ': ' if where else ''}{first['msg']}") from error
    if report.device != device:
        raise _NoReport(f"it is the report of device {report.device}")
    return report, status


def _warn(path: str, reason: str) -> None:
    import structlog

    logger = structlog.get_logger(__name__)
    if not structlog.is_configured():
        logger = structlog.wrap_logger(structlog.PrintLogger(sys.stderr))
    logger.warning("report skipped", path=path, reason=reason)
