"""A delivery in memory: the production Protocols, and the device's side to look at."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from edgewright.core.config_drift import RepositoryFault, RepositoryInspection
from edgewright.core.fleet.routes import Capability
from edgewright.errors import BlobCorrupt, DeliveryError, EdgewrightError
from edgewright.ports import PackageContent
from edgewright_wire.canonical import digest_bytes
from edgewright_wire.messages import Assignment, Report


class InMemoryDelivery:
    """Implements ports.DeliveryReader and ports.DeliveryWriter.

    ``fail_with`` is raised by every call of the writer while it is set; ``calls`` counts what had an effect.
    """

    def __init__(self) -> None:
        self.packages: dict[str, bytes] = {}
        self.assignments: dict[str, Assignment] = {}
        self.blobs: dict[str, bytes] = {}
        self.reports: dict[str, Report] = {}
        self.flaws: dict[str, RepositoryFault] = {}
        """What a test has damaged, by path; publishing or assigning it again mends it."""
        self.fail_with: Exception | None = None
        self.calls: list[str] = []
        self.capable: dict[str, Capability] = {}
        """What devices can do and show, where it is not what agents do."""

    # ── the engine's side ─────────────────────────────────────────────────────────────────────────────────────

    def published(self) -> frozenset[str]:
        return frozenset(self.packages) - self.damaged().keys()

    def damaged(self) -> Mapping[str, str]:
        missing = [flaw for flaw in self.flaws.values() if flaw.kind == "package" and flaw.found is None]
        return {flaw.name: f"{flaw.path} missing or of another size" for flaw in missing}

    def inspect(self, configs: Mapping[str, int], budget: int | None) -> RepositoryInspection:
        if any(flaw.kind == "metadata" for flaw in self.flaws.values()):
            return RepositoryInspection(flaws=tuple(self.flaws.values()))
        assigned = {d: (a.version, digest_bytes(a.to_bytes())) for d, a in self.assignments.items()}
        return RepositoryInspection(assigned, tuple(self.flaws.values()))

    def damage(self, flaw: RepositoryFault) -> None:
        self.flaws[flaw.path] = flaw

    def _mend(self, kind: str, *names: str) -> None:
        mended = [path for path, flaw in self.flaws.items() if flaw.kind == kind and flaw.name in names]
        for path in mended:
            del self.flaws[path]
            self.calls.append(f"mend {kind}")

    def assigned(self) -> Mapping[str, int]:
        return {device: assignment.version for device, assignment in self.assignments.items()}

    def observe(self, known: Mapping[str, int]) -> Sequence[Report]:
        return [r for d, r in sorted(self.reports.items()) if r.sequence > known.get(d, 0)]

    def in_inbox(self, known: Mapping[str, int]) -> Sequence[str]:
        return ()

    def publish(self, packages: Sequence[PackageContent]) -> Mapping[str, EdgewrightError]:
        self._may_fail()
        refused: dict[str, EdgewrightError] = {}
        for package in packages:
            try:
                self._publish(package)
            except (BlobCorrupt, DeliveryError) as error:
                refused[package.digest] = error
        return refused

    def _publish(self, package: PackageContent) -> None:
        if digest_bytes(package.manifest) != package.digest:
            raise DeliveryError(f"package {package.digest} has another manifest")
        manifest = json.loads(package.manifest)
        blobs = {}
        for part in (manifest["config"], *manifest["layers"]):
            digest = part["digest"]
            if digest not in package.blobs:
                raise DeliveryError(f"package {package.digest} names blobs that were not given: {digest}")
            blobs[digest] = package.blobs[digest].read_bytes()
            if digest_bytes(blobs[digest]) != digest:
                raise BlobCorrupt(digest)
        if package.digest not in self.packages:
            self.calls.append(f"publish {package.digest}")
        self.blobs |= blobs
        self.packages[package.digest] = package.manifest
        self._mend("package", package.digest)

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        self._may_fail()
        for assignment in assignments:
            for model in assignment.models:
                if model.package.digest not in self.packages:
                    raise DeliveryError(f"assigned packages are not published: {model.package.digest}")
                if model.config is not None and model.config.digest not in {*configs, *self.blobs}:
                    raise DeliveryError(f"assigned configurations were not given: {model.config.digest}")
            before = self.assignments.get(assignment.device)
            if before is not None and before != assignment and assignment.version <= before.version:
                raise DeliveryError(f"device {assignment.device}: version {before.version} is published already")
        changed = {a.device: a for a in assignments if self.assignments.get(a.device) != a}
        if changed:
            self.calls.append(f"assign {len(changed)}")
        self.blobs |= configs
        self.assignments |= changed
        self._mend("assignment", *(assignment.device for assignment in assignments))
        self._mend("configuration", *configs)

    def capabilities(self, devices: Collection[str]) -> Mapping[str, Capability]:
        return {device: self.capable.get(device, Capability(cancels=False)) for device in devices}

    def cancel(self, devices: Collection[str]) -> None:
        self.calls.append(f"cancel {', '.join(sorted(devices))}")
        self.retire(sorted(devices))

    @contextmanager
    def attend(self, wake: Callable[[], None]) -> Iterator[None]:
        yield

    def refresh(self) -> Sequence[str]:
        self._may_fail()
        return ()

    def retire(self, devices: Sequence[str]) -> None:
        self._may_fail()
        for device in devices:
            self.assignments.pop(device, None)

    # ── the devices' side ─────────────────────────────────────────────────────────────────────────────────────

    def assignment(self, device: str) -> Assignment | None:
        return self.assignments.get(device)

    def manifest(self, package: str) -> bytes | None:
        return self.packages.get(package)

    def blob(self, digest: str) -> bytes:
        return self.blobs[digest]

    def report(self, report: Report) -> None:
        self.reports[report.device] = report

    def _may_fail(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with
