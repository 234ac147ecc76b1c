"""Delivery to ``edgewright-agent``: a signed repository of static files one way, a drop of reports the other.

Implements ``ports.DeliveryReader`` and ``ports.DeliveryWriter``. Reading is plain JSON; what signs (tuf, cryptography)
is imported by the first call that writes. Made by ``wiring``.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.core.config_drift import RepositoryInspection
from edgewright.core.fleet.routes import Capability
from edgewright.delivery.agent.report_drop import ReportDrop
from edgewright.delivery.repository.expiry import is_due
from edgewright.delivery.repository.inspection import RepositoryInspector
from edgewright.delivery.repository.reader import RepositoryReader
from edgewright.errors import DeliveryError, EdgewrightError
from edgewright.ports import PackageContent, ReportInbox
from edgewright_wire.messages import Assignment, Report

if TYPE_CHECKING:
    from edgewright.delivery.repository.repository import CollectionResult, PublishedRepository


def utc_now() -> datetime:
    """Return the time, aware, in UTC."""
    return datetime.now(UTC)


class AgentDelivery:
    """Publishes for agents and collects their reports."""

    def __init__(
        self,
        repository: Path,
        reports: Path,
        keys: Path,
        clock: Callable[[], datetime] = utc_now,
        *,
        bins: int = 16,
        cache: Path | None = None,
        inbox: ReportInbox | None = None,
    ) -> None:
        """Set up the driver; nothing is read or written yet.

        Args:
            repository: Folder that is served to agents; created by ``create``, or by the first publish or assign.
            reports: Folder agents drop reports into.
            keys: Folder of the signing keys.
            clock: Gives aware UTC times.
            bins: Over how many signed files assignments are spread; a power of two. May change at any time.
            cache: Folder for an index that saves reading unchanged reports in the next process.
            inbox: Reports that came in by HTTP.
        """
        self._folder = repository
        self._keys = keys
        self._clock = clock
        self._bins = bins
        self._reader = RepositoryReader(repository)
        self._inspector = RepositoryInspector(repository, keys, self._verify)
        self._inbox = inbox
        self._drop = ReportDrop(reports, cache / "reports-index.json" if cache else None, clock)

    # ── DeliveryReader ────────────────────────────────────────────────────────────────────────────────────────

    def published(self) -> frozenset[str]:
        """Return the digests of the packages whose files are all there.

        Raises:
            DeliveryUnavailable: The repository cannot be read.
            DeliveryError: What is there is no repository.
        """
        return self._reader.published()

    def looked_at(self) -> tuple[list[str], dict[str, int]]:
        """List the files that ``published`` read, and the sizes of those it looked for; only where all were there.

        Raises:
            DeliveryUnavailable, DeliveryError: As in published.
        """
        return self._reader.looked_at()

    def assigned(self) -> Mapping[str, int]:
        """Return the versions of the assignments devices can fetch, by device.

        Raises:
            DeliveryUnavailable, DeliveryError: As in published.
        """
        return self._reader.assigned()

    def damaged(self) -> Mapping[str, str]:
        """Return the published packages that are not whole any more, with their defects, by digest.

        Raises:
            DeliveryUnavailable, DeliveryError: As in published.
        """
        return self._reader.damaged()

    def inspect(self, configs: Mapping[str, int], budget: int | None) -> RepositoryInspection:
        """Compare every published file with the signed metadata, and the metadata with this repository's keys.

        Raises:
            DeliveryUnavailable: The repository cannot be read.
        """
        return self._inspector.inspect(configs, budget)

    def observe(self, known: Mapping[str, int]) -> Sequence[Report]:
        """Return the reports newer than the known sequences of their devices. A malformed one is skipped and logged.

        Raises:
            DeliveryUnavailable: The report drop cannot be read.
        """
        found = {report.device: report for report in self._drop.collect(known)}
        for report in self._inbox.newer(known) if self._inbox is not None else ():
            before = found.get(report.device)
            if before is None or (report.sequence, report.sent_at) > (before.sequence, before.sent_at):
                found[report.device] = report
        return [found[device] for device in sorted(found)]

    def in_inbox(self, known: Mapping[str, int]) -> Sequence[str]:
        """List the devices with newer reports in the inbox, without reading these."""
        return self._inbox.pending(known) if self._inbox is not None else ()

    def capabilities(self, devices: Collection[str]) -> Mapping[str, Capability]:
        """Return what agents prove and do: they verify; one that has begun stops only for another assignment."""
        return dict.fromkeys(devices, Capability(cancels=False))

    def expires(self) -> datetime | None:
        """Return the earliest expiry of the signatures that devices check; None where there is no repository yet.

        Raises:
            DeliveryUnavailable, DeliveryError: As in published.
        """
        return min(self._reader.expiries().values(), default=None)

    # ── DeliveryWriter ────────────────────────────────────────────────────────────────────────────────────────

    def create(self) -> None:
        """Create the repository, empty, if it is not there. All keys must be here.

        Raises:
            DeliveryError, DeliveryUnavailable, StorageFull: As in publish.
        """
        self._writer().create()

    def publish(self, packages: Sequence[PackageContent]) -> Mapping[str, EdgewrightError]:
        """Publish packages, signed once; return the errors of those that are not published, by digest.

        Raises:
            DeliveryError: The signing key is missing or wrong, or the repository is not ours.
            DeliveryUnavailable, StorageFull: The repository cannot be written.
        """
        return self._writer().publish(packages)

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        """Publish assignments and the configurations they name, signed once.

        Raises:
            DeliveryError, DeliveryUnavailable, StorageFull: As in publish.
        """
        self._writer().assign(assignments, configs)

    def cancel(self, devices: Collection[str]) -> None:
        """Remove the assignments of agents that have not fetched them; one that has goes on.

        Raises:
            DeliveryError, DeliveryUnavailable, StorageFull: As in publish.
        """
        self.retire(sorted(devices))

    @contextmanager
    def attend(self, wake: Callable[[], None]) -> Iterator[None]:
        """Yield at once: agents poll by themselves."""
        yield

    def retire(self, devices: Sequence[str]) -> None:
        """Remove the assignments of devices.

        Raises:
            DeliveryError, DeliveryUnavailable, StorageFull: As in publish.
        """
        self._writer().retire(devices)

    def refresh(self) -> tuple[str, ...]:
        """Renew the signatures that are past half of their lifetime; return the renewed roles.

        Cheap when nothing is due. Those whose keys are not here are left; ``expires`` shows them.

        Raises:
            DeliveryError, DeliveryUnavailable, StorageFull: As in publish.
        """
        now = self._clock()
        if not any(is_due(role, expires, now) for role, expires in self._reader.expiries().items()):
            return ()
        return self._writer().refresh()

    def collect(
        self, keep: Collection[str], configs: Collection[str] = (), *, dry_run: bool = False
    ) -> "CollectionResult":
        """Remove packages that are neither assigned nor in ``keep`` (digests), and every unreferenced blob.

        Configurations in ``configs`` (digests) stay: devices of other update systems are assigned them.

        Raises:
            DeliveryError, DeliveryUnavailable, StorageFull: As in publish.
        """
        return self._writer().collect(keep, configs, dry_run=dry_run)

    def _verify(self) -> str | None:
        """Return the problem with the signatures; None if there is none, or where no keys are here to check them."""
        from edgewright.delivery.repository.keys import load_keys
        from edgewright.delivery.repository.metadata import MetadataChain

        try:
            keys = load_keys(self._keys)
        except DeliveryError:
            return None
        try:
            chain = MetadataChain(self._folder, keys)
            chain.check()
        except DeliveryError as error:
            return error.message
        return None

    def _writer(self) -> "PublishedRepository":
        from edgewright.delivery.repository.keys import load_keys
        from edgewright.delivery.repository.repository import PublishedRepository

        return PublishedRepository(self._folder, load_keys(self._keys), self._clock, self._bins)
