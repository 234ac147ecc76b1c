"""The published repository: static, signed files that any web server, share or carried disk can hold.

``PublishedRepository`` creates it and changes it: packages, assignments, renewed signatures. Each change is visible at
once or not at all, and every call is idempotent. One process at a time changes a repository on one machine (a file
lock); across machines the state store's lease does that.

Called by ``delivery.agent.driver``; importing it costs tuf and cryptography, so nothing that only reads imports it.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tuf.api.metadata import Root, Targets

from edgewright import durable
from edgewright.delivery.repository import metadata
from edgewright.delivery.repository.contents import check_newer, describe_target, package_blobs, target_file
from edgewright.delivery.repository.expiry import is_due
from edgewright.delivery.repository.keys import KeyRing
from edgewright.delivery.repository.metadata import MetadataChain, MetadataChange
from edgewright.delivery.repository.rollback_guard import check_version, record_version
from edgewright.delivery.repository.unreferenced import assigned_digests, unreferenced_files
from edgewright.errors import BlobCorrupt, DeliveryError, DeliveryUnavailable, EdgewrightError, StorageFull
from edgewright.ports import PackageContent
from edgewright_wire.canonical import digest_bytes
from edgewright_wire.layout import (
    ASSIGNMENTS_ROLE,
    METADATA,
    PACKAGES_ROLE,
    TARGETS,
    assignment_target,
    blob_path,
    package_target,
)
from edgewright_wire.messages import Assignment

GRACE = timedelta(hours=1)
"""Time that a superseded assignment can still be fetched, and an abandoned temporary file stays."""
_NO_LOCKS = frozenset({errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class CollectionResult:
    """Packages and files that a garbage collection removed, or would remove."""

    packages: tuple[str, ...]
    files: int
    bytes: int


class PublishedRepository:
    """A repository on a file system, and the keys it is changed with."""

    def __init__(self, folder: Path, keys: KeyRing, clock: Callable[[], datetime], bins: int = 16) -> None:
        self._folder = folder
        self._keys = keys
        self._clock = clock
        self._bins = bins

    def create(self) -> None:
        """Create the repository, empty; one that is there stays as it is.

        Raises:
            DeliveryError: A key is missing, or what is there is not ours.
            DeliveryUnavailable, StorageFull: It cannot be written.
        """
        with self._locked() as chain:
            if chain is None:
                self._create()

    def publish(self, packages: Sequence[PackageContent]) -> dict[str, EdgewrightError]:
        """Store the packages' blobs, and name their manifests in the packages role: signed once, for all of them.

        Returns:
            The errors of packages that were not published, by digest. BlobCorrupt: a blob's bytes do not match its
            digest. DeliveryError: it is incomplete. StorageFull: there is no space for it.

        Raises:
            DeliveryError: A key is missing or wrong.
            DeliveryUnavailable, StorageFull: The repository cannot be written.
        """
        refused: dict[str, EdgewrightError] = {}
        manifests: dict[str, bytes] = {}
        with self._locked() as found:
            chain = found or self._create()
            for package in packages:
                try:
                    self._store_blobs(package_blobs(package))
                except (BlobCorrupt, DeliveryError, StorageFull) as error:
                    refused[package.digest] = error
                else:
                    manifests[package_target(package.digest)] = package.manifest
            self._write_targets(manifests)
            named = chain.targets(PACKAGES_ROLE).signed
            wanted = {path: describe_target(path, manifest) for path, manifest in manifests.items()}
            if any(named.targets.get(path) != target for path, target in wanted.items()):
                change = self._change(chain)
                named.targets.update(wanted)
                change.put(PACKAGES_ROLE, named)
                self._commit(change)
        return refused

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        """Name the assignments in their bins, and store the configurations they name.

        Raises:
            DeliveryError: A key is missing or wrong, a package or configuration is not there, or an assignment is
                older than, or differs from, the published one of its version.
            DeliveryUnavailable, StorageFull: The repository cannot be written.
        """
        with self._locked() as found:
            chain = self._rebinned(found or self._create())
            self._check_references(chain, assignments, configs)
            contents: dict[str, bytes] = {}
            touched: dict[str, Targets] = {}
            superseded: list[str] = []
            bins = chain.bins
            for assignment in assignments:
                path = assignment_target(assignment.device)
                role = bins.get_role_for_target(path)
                content = assignment.to_bytes()
                target = describe_target(path, content, version=assignment.version)
                bin_targets = chain.targets(role).signed.targets
                before = bin_targets.get(path)
                contents[path] = content
                if before != target:
                    if before is not None:
                        check_newer(assignment, before)
                        superseded.append(target_file(before))
                    bin_targets[path] = target
                    touched[role] = chain.targets(role).signed
            self._write_blobs(configs)
            self._write_targets(contents)
            self._replace_bins(chain, touched, superseded)

    def retire(self, devices: Sequence[str]) -> None:
        """Remove the devices' assignments from their bins.

        Raises:
            DeliveryError: A key is missing or wrong.
            DeliveryUnavailable, StorageFull: The repository cannot be written.
        """
        with self._locked() as chain:
            if chain is None:
                return
            touched: dict[str, Targets] = {}
            superseded: list[str] = []
            for path in map(assignment_target, devices):
                role = chain.bins.get_role_for_target(path)
                before = chain.targets(role).signed.targets.pop(path, None)
                if before is not None:
                    touched[role] = chain.targets(role).signed
                    superseded.append(target_file(before))
            self._replace_bins(chain, touched, superseded)

    def refresh(self) -> tuple[str, ...]:
        """Renew the signatures that are past half of their life, as far as their keys are here.

        Returns:
            The roles renewed.

        Raises:
            DeliveryError: The online key is missing or wrong.
            DeliveryUnavailable, StorageFull: The repository cannot be written.
        """
        with self._locked() as chain:
            if chain is None:
                return ()
            now = self._clock()

            def needs_renewal(role: str, expires: datetime) -> bool:
                return is_due(role, expires, now) and self._keys.has(metadata.signing_key_of(role))

            change = self._change(chain)
            renewed = []
            root = chain.root.signed
            if needs_renewal(Root.type, root.expires):
                root.version += 1
                change.put_root(root)
                renewed.append(Root.type)
            for role in (Targets.type, PACKAGES_ROLE, ASSIGNMENTS_ROLE, *chain.bins.get_roles()):
                targets = chain.targets(role).signed
                if needs_renewal(role, targets.expires):
                    change.put(role, targets)
                    renewed.append(role)
            top = (("snapshot", chain.snapshot.signed.expires), ("timestamp", chain.timestamp.signed.expires))
            renewed.extend(role for role, expires in top if needs_renewal(role, expires))
            if renewed:
                self._commit(change)
            return tuple(renewed)

    def collect(
        self, keep: Collection[str], configs: Collection[str] = (), *, dry_run: bool = False
    ) -> CollectionResult:
        """Remove packages that are neither assigned nor to be kept, and every unreferenced blob.

        Without the packages key, packages stay; blobs of no package are removed all the same.

        Args:
            keep: Digests of packages to keep though no agent is assigned them.
            configs: Digests of configurations to keep though no agent is assigned them.
            dry_run: Remove nothing; only return what would be removed.

        Raises:
            DeliveryError: The online key is missing or wrong, or an assignment or manifest cannot be read.
            DeliveryUnavailable, StorageFull: The repository cannot be written.
        """
        with self._locked() as chain:
            if chain is None:
                return CollectionResult((), 0, 0)
            used, named = assigned_digests(self._folder)
            packages = chain.targets(PACKAGES_ROLE).signed
            published = {f"sha256:{Path(path).stem}" for path in packages.targets}
            gone = sorted(published - used - set(keep)) if self._keys.has(PACKAGES_ROLE) else []
            files = unreferenced_files(self._folder, published - set(gone), named | set(configs))
            size = sum(path.stat().st_size for path in files)
            if not dry_run:
                if gone:
                    change = self._change(chain)
                    for digest in gone:
                        del packages.targets[package_target(digest)]
                    change.put(PACKAGES_ROLE, packages)
                    self._commit(change)
                for path in files:
                    durable.remove(path)
            return CollectionResult(tuple(gone), len(files), size)

    # ── parts of a change ─────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def _locked(self) -> Iterator[MetadataChain | None]:
        """Lock the repository; yields its verified metadata, or None where there is no repository yet."""
        try:
            durable.make_folder(self._folder)
            with (self._folder / ".lock").open("wb") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                except OSError as error:
                    # Some shares cannot lock. The lease of the state store keeps other controllers away as well.
                    if error.errno not in _NO_LOCKS:
                        raise
                exists = (self._folder / METADATA / "timestamp.json").exists()
                chain = MetadataChain(self._folder, self._keys) if exists else None
                version = chain.timestamp.signed.version if chain else 0
                check_version(self._keys.folder, self._folder, version)
                yield chain
        except OSError as error:
            raise DeliveryUnavailable(
                f"cannot write the repository: {error.filename or self._folder}: {error.strerror or error}",
                hint="check that the folder is mounted and writable; spec.delivery.repository names it",
            ) from error

    def _change(self, chain: MetadataChain | None) -> MetadataChange:
        return MetadataChange(self._folder, self._keys, self._clock(), chain)

    def _commit(self, change: MetadataChange) -> None:
        record_version(self._keys.folder, self._folder, change.commit())

    def _create(self) -> MetadataChain:
        bins = metadata.new_bins(self._keys, self._bins)
        assert bins.succinct_roles is not None
        change = self._change(None)
        change.put_root(metadata.new_root(self._keys))
        change.put(Targets.type, Targets(delegations=metadata.new_delegations(self._keys)))
        change.put(PACKAGES_ROLE, Targets())
        change.put(ASSIGNMENTS_ROLE, Targets(delegations=bins))
        for role in bins.succinct_roles.get_roles():
            change.put(role, Targets())
        for name in (METADATA, f"{TARGETS}/{PACKAGES_ROLE}", f"{TARGETS}/{ASSIGNMENTS_ROLE}", "blobs/sha256"):
            durable.make_folder(self._folder / name)
        self._commit(change)
        return MetadataChain(self._folder, self._keys)

    def _rebinned(self, chain: MetadataChain) -> MetadataChain:
        """Spread the assignments over the configured number of bins."""
        old = chain.bins
        if old.number_of_bins == self._bins:
            return chain
        wanted = metadata.new_bins(self._keys, self._bins)
        bins = wanted.succinct_roles
        assert bins is not None
        spread = {role: Targets() for role in bins.get_roles()}
        for role in old.get_roles():
            for path, target in chain.targets(role).signed.targets.items():
                spread[bins.get_role_for_target(path)].targets[path] = target
        change = self._change(chain)
        change.put(ASSIGNMENTS_ROLE, Targets(delegations=wanted))
        for role, targets in spread.items():
            change.put(role, targets)
        self._commit(change)
        return MetadataChain(self._folder, self._keys)

    def _check_references(
        self, chain: MetadataChain, assignments: Sequence[Assignment], configs: Mapping[str, bytes]
    ) -> None:
        for digest, content in configs.items():
            if digest_bytes(content) != digest:
                raise DeliveryError(f"configuration {digest} has other bytes", hint="render it again")
        published = chain.targets(PACKAGES_ROLE).signed.targets
        packages = {model.package.digest for each in assignments for model in each.models}
        unpublished = sorted(digest for digest in packages if package_target(digest) not in published)
        if unpublished:
            raise DeliveryError(
                f"assigned packages are not published: {', '.join(unpublished)}", hint="publish them first"
            )
        named = {model.config.digest for each in assignments for model in each.models if model.config is not None}
        lacking = sorted(d for d in named - set(configs) if not (self._folder / blob_path(d)).exists())
        if lacking:
            raise DeliveryError(
                f"assigned configurations were not given: {', '.join(lacking)}", hint="render them again"
            )

    def _replace_bins(self, chain: MetadataChain, touched: Mapping[str, Targets], superseded: Collection[str]) -> None:
        """Sign the changed bins, and remove superseded files whose grace period is over."""
        if not touched:
            return
        change = self._change(chain)
        for role, targets in touched.items():
            change.put(role, targets)
        self._commit(change)
        now = self._clock().timestamp()
        folder = self._folder / TARGETS / ASSIGNMENTS_ROLE
        for name in superseded:
            # Its grace period starts now.
            with contextlib.suppress(FileNotFoundError):
                os.utime(folder.parent / name, (now, now))
        self._prune(chain, touched)

    def _prune(self, chain: MetadataChain, touched: Mapping[str, Targets]) -> None:
        before = (self._clock() - GRACE).timestamp()
        bins = chain.bins
        wanted = {target_file(target) for bin_ in touched.values() for target in bin_.targets.values()}
        folder = self._folder / TARGETS / ASSIGNMENTS_ROLE
        with os.scandir(folder) as entries:
            for entry in entries:
                path = f"{ASSIGNMENTS_ROLE}/{entry.name.partition('.')[2]}"
                known = f"{ASSIGNMENTS_ROLE}/{entry.name}" in wanted or bins.get_role_for_target(path) not in touched
                if not known and not entry.name.startswith(".") and entry.stat().st_mtime < before:
                    durable.remove(Path(entry.path))
        versions = [(name.removesuffix(".json"), meta.version) for name, meta in chain.snapshot.signed.meta.items()]
        versions.append(("snapshot", chain.snapshot.signed.version))
        with os.scandir(self._folder / METADATA) as entries:
            names = [entry.name for entry in entries]
        for name in metadata.superseded(names, versions):
            durable.remove(self._folder / METADATA / name)
        for each in (folder, self._folder / METADATA, self._folder / "blobs/sha256"):
            durable.remove_leftovers(each, before=before)

    def _store_blobs(self, blobs: Mapping[str, Path]) -> None:
        """Copy or link blobs that are missing, or have other bytes."""
        stored = []
        for digest, source in blobs.items():
            target = self._folder / blob_path(digest)
            durable.make_folder(target.parent)
            if not (target.exists() and durable.digest_file(target) == digest):
                durable.copy_atomic(source, target, digest)
                stored.append(target)
        for folder in {target.parent for target in stored}:
            durable.sync_folder(folder)

    def _write_blobs(self, blobs: Mapping[str, bytes]) -> None:
        self._write_missing({self._folder / blob_path(digest): data for digest, data in blobs.items()})

    def _write_targets(self, contents: Mapping[str, bytes]) -> None:
        files = {}
        for path, data in contents.items():
            files[self._folder / TARGETS / target_file(describe_target(path, data))] = data
        self._write_missing(files)

    def _write_missing(self, files: Mapping[Path, bytes]) -> None:
        """Write files whose names hold their digests; keep those that are there whole."""
        unchanged: set[Path] = set()
        for folder in {path.parent for path in files}:
            durable.make_folder(folder)
            with os.scandir(folder) as entries:
                names = {entry.name for entry in entries}
            there = (path for path in files if path.parent == folder and path.name in names)
            unchanged |= {path for path in there if path.read_bytes() == files[path]}
        durable.write_all_atomic({path: data for path, data in files.items() if path not in unchanged})
