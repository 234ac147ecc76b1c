"""Ports of the agent in memory: the production Protocols without a disk, and with failures on demand."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edgewright_agent.agent import Agent, Ports
from edgewright_agent.durable import Disk
from edgewright_agent.errors import NotFound, TransportError
from edgewright_agent.probing.in_process import InProcessProber
from edgewright_agent.probing.prober import Prober
from edgewright_agent.repository.transport import DirectoryDrop, DirectoryRepository, ReportDrop, RepositoryReader
from edgewright_agent.settings import Settings
from edgewright_wire.layout import report_name
from edgewright_wire.messages import Report
from fakes.agent_runtimes import LinearRuntime


class MemoryRepository:
    """A RepositoryReader over a dictionary."""

    def __init__(self, files: dict[str, bytes], chunk: int = 7) -> None:
        self.files = files
        self.chunk = chunk

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        if path not in self.files:
            raise NotFound("NotFound", f"{path}: not in the repository")
        data = self.files[path]
        for start in range(offset, len(data), self.chunk):
            yield data[start : start + self.chunk]


class MemoryDrop:
    """A ReportDrop over a dictionary."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def send(self, device: str, report: bytes) -> None:
        self.files[report_name(device)] = report


class FlakyRepository:
    """Breaks off reading of chosen paths after some bytes, as long as it is told to."""

    def __init__(self, inner: RepositoryReader) -> None:
        self._inner = inner
        self.break_after: int | None = None
        self.down = False
        self.offsets: list[tuple[str, int]] = []
        self.bytes_read = 0
        """Below blobs/ alone."""

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        if self.down:
            raise TransportError("RepositoryUnreachable", "the share is not mounted")
        if not path.startswith("blobs/"):
            yield from self._inner.read(path, offset)
            return
        self.offsets.append((path, offset))
        given = 0
        for whole in self._inner.read(path, offset):
            chunk = whole if self.break_after is None else whole[: self.break_after - given]
            given += len(chunk)
            self.bytes_read += len(chunk)
            yield chunk
            if self.break_after is not None and given >= self.break_after:
                raise TransportError("RepositoryUnreachable", "the share went away")


class HandClock:
    """Time that moves only when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self._start = datetime.now(UTC)

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.seconds - 1000.0)


class Device:
    """A whole agent in this process, stepped by hand."""

    def __init__(
        self,
        directory: Path,
        repository: Path,
        root: bytes,
        *,
        prober: Prober | None = None,
        disk: Disk | None = None,
        reports: ReportDrop | None = None,
        reader: RepositoryReader | None = None,
        clock: HandClock | None = None,
        device: str = "dev-1",
    ) -> None:
        self.directory = directory
        self.reports = directory.parent / "reports"
        self.clock = clock or HandClock()
        self.disk = disk or Disk(sync=lambda _: None)
        self.repository = FlakyRepository(reader or DirectoryRepository(repository))
        directory.mkdir(parents=True, exist_ok=True)
        self.settings = Settings(
            directory=directory, device=device, repository=repository.as_uri(), reports=self.reports.as_uri()
        )
        ports = Ports(
            repository=self.repository,
            reports=reports or DirectoryDrop(self.reports, self.disk),
            prober=prober or InProcessProber(LinearRuntime()),
            disk=self.disk,
            now=self.clock.now,
            clock=self.clock.monotonic,
            jitter=lambda: 1.0,
        )
        self.agent = Agent(self.settings, root, ports)
        self.agent.clean_up()

    def work(self, steps: int = 200) -> float:
        """Step until nothing is due; returns for how long."""
        for _ in range(steps):
            if (sleep := self.agent.step()) is not None:
                return sleep.seconds
        raise AssertionError(f"still busy after {steps} steps")

    def sleep(self, seconds: float) -> None:
        self.clock.seconds += seconds

    def poll(self) -> Report:
        """Let the next poll come, do what is due, and return what was reported."""
        self.sleep(3.0)
        self.work()
        return self.reported()

    def poll_to(self, drop: MemoryDrop) -> Report:
        """As poll, where reports go into memory."""
        self.sleep(3.0)
        self.work()
        return Report.from_bytes(drop.files[report_name(self.settings.device)])

    def reported(self) -> Report:
        return Report.from_bytes((self.reports / report_name(self.settings.device)).read_bytes())
