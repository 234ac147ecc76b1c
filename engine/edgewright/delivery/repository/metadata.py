"""A repository's TUF metadata: read with every signature verified, and changed atomically.

The chain is root → timestamp → snapshot → targets → {packages, assignments → bins}. Nothing is signed again before its
old signature has been verified, so edits by somebody who can write to the share are never signed.

A change becomes visible at one instant, when ``timestamp.json`` is renamed: the versioned files it leads to are
durable by then. A crash leaves versioned files that no snapshot names; the next change overwrites them.

Called by ``repository``. The layout is ``edgewright_wire.layout``; the format is TUF 1.0 with hash bins after
TAP 15 (https://github.com/theupdateframework/taps/blob/master/tap15.md).
"""

import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError

from edgewright import durable
from edgewright.delivery.repository import keys as key_roles
from edgewright.delivery.repository.expiry import lifetime
from edgewright.delivery.repository.keys import KeyRing
from edgewright.errors import DeliveryError
from edgewright_wire.layout import ASSIGNMENTS_ROLE, BIN_PREFIX, METADATA, PACKAGES_ROLE

KEPT_VERSIONS = 10
"""Superseded versions of a metadata file that stay, for clients in the middle of an update."""

S = TypeVar("S", Root, Timestamp, Snapshot, Targets)
_VERSIONED = re.compile(r"([1-9][0-9]*)\.(.+)\.json")


def signing_key_of(role: str) -> str:
    """Return the name of the key that signs a role."""
    return role if role in {key_roles.ROOT, key_roles.TARGETS, key_roles.PACKAGES} else key_roles.ONLINE


class MetadataChain:
    """The current metadata of a repository; each part is verified when it is first read."""

    def __init__(self, repository: Path, keys: KeyRing) -> None:
        """Verify root, timestamp and snapshot.

        Raises:
            DeliveryError: A signature, digest or version does not hold, or a file is missing.
            OSError: The repository cannot be read.
        """
        self._folder = repository / METADATA
        self._keys = keys
        self.root = self._newest_root()
        self.timestamp = self._top(Timestamp, "timestamp.json")
        self.snapshot = self._top(
            Snapshot,
            f"{self.timestamp.signed.snapshot_meta.version}.snapshot.json",
            self.timestamp.signed.snapshot_meta,
        )
        self._targets: dict[str, Metadata[Targets]] = {}

    def targets(self, role: str) -> Metadata[Targets]:
        """Return a role that names targets: ``targets``, ``packages``, ``assignments`` or a bin.

        Raises:
            DeliveryError, OSError: As on creation.
        """
        if role not in self._targets:
            meta = self.snapshot.signed.meta.get(f"{role}.json")
            if meta is None:
                raise DeliveryError(f"{self._folder} has no role {role}", hint="restore the repository from a copy")
            path = self._folder / f"{meta.version}.{role}.json"
            data = _read(path)
            metadata = _parse(path, data, Targets)
            delegator: Root | Targets = self.root.signed
            if role in {PACKAGES_ROLE, ASSIGNMENTS_ROLE}:
                delegator = self.targets(Targets.type).signed
            elif role != Targets.type:
                delegator = self.targets(ASSIGNMENTS_ROLE).signed
            _check(path, data, metadata, delegator, meta)
            if role == Targets.type:
                for name in (PACKAGES_ROLE, ASSIGNMENTS_ROLE):
                    _check_keys(path, metadata.signed, name, self._keys)
            self._targets[role] = metadata
        return self._targets[role]

    def check(self) -> None:
        """Verify everything the snapshot names: signatures of the delegating roles, digests of the bins.

        The snapshot is signed and holds the bins' digests, so a bin with such a digest is as it was signed.

        Raises:
            DeliveryError, OSError: As on creation.
        """
        for role in (Targets.type, PACKAGES_ROLE, ASSIGNMENTS_ROLE):
            self.targets(role)
        for role in self.bins.get_roles():
            meta = self.snapshot.signed.meta.get(f"{role}.json")
            if meta is None:
                raise DeliveryError(f"{self._folder} has no role {role}", hint="restore the repository from a copy")
            path = self._folder / f"{meta.version}.{role}.json"
            try:
                meta.verify_length_and_hashes(_read(path))
            except RepositoryError as error:
                raise _changed(path, error) from error

    @property
    def bins(self) -> SuccinctRoles:
        """The bins that assignments are spread over.

        Raises:
            DeliveryError, OSError: As on creation.
        """
        delegations = self.targets(ASSIGNMENTS_ROLE).signed.delegations
        if delegations is None or delegations.succinct_roles is None:
            raise DeliveryError(f"{self._folder}: assignments are not in bins", hint="restore the repository")
        return delegations.succinct_roles

    def _newest_root(self) -> Metadata[Root]:
        version = 1
        while (self._folder / f"{version + 1}.root.json").exists():
            version += 1
        path = self._folder / f"{version}.root.json"
        data = _read(path)
        root = _parse(path, data, Root)
        for role in (Root.type, Targets.type, Snapshot.type, Timestamp.type):
            _check_keys(path, root.signed, role, self._keys)
        _check(path, data, root, root.signed, MetaFile(version))
        return root

    def _top(self, type_: type[S], name: str, meta: MetaFile | None = None) -> Metadata[S]:
        path = self._folder / name
        data = _read(path)
        metadata = _parse(path, data, type_)
        _check(path, data, metadata, self.root.signed, meta)
        return metadata


class MetadataChange:
    """The next state of a repository, collected role by role and published atomically."""

    def __init__(self, repository: Path, keys: KeyRing, now: datetime, chain: MetadataChain | None) -> None:
        self._folder = repository / METADATA
        self._keys = keys
        self._now = now
        self._snapshot = chain.snapshot.signed if chain else Snapshot(version=1)
        self._timestamp = chain.timestamp.signed if chain else Timestamp(version=1)
        self._first = chain is None
        self._files: dict[Path, bytes] = {}
        self._signers = {key_roles.ONLINE: keys.signer(key_roles.ONLINE)}

    def put(self, role: str, targets: Targets) -> None:
        """Sign a role's new content as its next version.

        Raises:
            DeliveryError: Its key is missing or wrong.
        """
        before = None if self._first else self._snapshot.meta.get(f"{role}.json")
        targets.version = 1 if before is None else before.version + 1
        data = self._sign(role, targets)
        self._files[self._folder / f"{targets.version}.{role}.json"] = data
        self._snapshot.meta[f"{role}.json"] = MetaFile.from_data(targets.version, data, ["sha256"])

    def put_root(self, root: Root) -> None:
        """Sign a root of the version it carries.

        Raises:
            DeliveryError: The root key is missing or wrong.
        """
        self._files[self._folder / f"{root.version}.root.json"] = self._sign(Root.type, root)

    def commit(self) -> int:
        """Write everything, the timestamp last; it is durable and visible when this returns.

        Returns:
            The timestamp's version.

        Raises:
            StorageFull, OSError: The repository is as it was before.
        """
        if not self._first:
            self._snapshot.version += 1
            self._timestamp.version += 1
        data = self._sign(Snapshot.type, self._snapshot)
        self._timestamp.snapshot_meta = MetaFile.from_data(self._snapshot.version, data, ["sha256"])
        self._files[self._folder / f"{self._snapshot.version}.snapshot.json"] = data
        durable.write_all_atomic(self._files)
        roots = [data for path, data in self._files.items() if path.name.endswith(".root.json")]
        for data in roots:
            durable.write_atomic(self._folder / "root.json", data)
        durable.write_atomic(self._folder / "timestamp.json", self._sign(Timestamp.type, self._timestamp))
        return self._timestamp.version

    def _sign(self, role: str, signed: S) -> bytes:
        signed.expires = self._now + lifetime(role)
        key = signing_key_of(role)
        if key not in self._signers:
            self._signers[key] = self._keys.signer(key)
        metadata = Metadata(signed)
        metadata.sign(self._signers[key])
        return metadata.to_bytes()


def new_root(keys: KeyRing) -> Root:
    """Build the first root of a repository."""
    root = Root(version=1, consistent_snapshot=True)
    for role in (Root.type, Targets.type, Snapshot.type, Timestamp.type):
        root.add_key(keys.public[signing_key_of(role)], role)
    return root


def new_delegations(keys: KeyRing) -> Delegations:
    """Build the delegations of packages and assignments to their keys."""
    packages, online = keys.public[key_roles.PACKAGES], keys.public[key_roles.ONLINE]
    return Delegations(
        {key.keyid: key for key in (packages, online)},
        roles={
            PACKAGES_ROLE: DelegatedRole(PACKAGES_ROLE, [packages.keyid], 1, True, [f"{PACKAGES_ROLE}/*"]),
            ASSIGNMENTS_ROLE: DelegatedRole(ASSIGNMENTS_ROLE, [online.keyid], 1, True, [f"{ASSIGNMENTS_ROLE}/*"]),
        },
    )


def new_bins(keys: KeyRing, count: int) -> Delegations:
    """Build the delegations that spread assignments over ``count`` bins.

    Raises:
        DeliveryError: The count is no power of two from 2 on.
    """
    if count < 2 or count & (count - 1):
        lower = 1 << max(1, count.bit_length() - 1)
        raise DeliveryError(
            f"spec.delivery.bins is {count}; it must be a power of two, 2 or more", hint=f"use {lower} or {2 * lower}"
        )
    online = keys.public[key_roles.ONLINE]
    bins = SuccinctRoles([online.keyid], 1, count.bit_length() - 1, BIN_PREFIX)
    return Delegations({online.keyid: online}, succinct_roles=bins)


def superseded(names: Iterable[str], current: Iterable[tuple[str, int]]) -> list[str]:
    """List the file names of a metadata folder that no client can be using any more. Roots always stay."""
    versions = dict(current)
    old = []
    for name in names:
        match = _VERSIONED.fullmatch(name)
        if match and match[2] in versions and int(match[1]) < versions[match[2]] - KEPT_VERSIONS:
            old.append(name)
    return old


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DeliveryError(
            f"the repository lacks {path}", hint="restore the repository from a copy, a mirror or a backup"
        ) from None


def _parse(path: Path, data: bytes, type_: type[S]) -> Metadata[S]:
    try:
        metadata: Metadata[S] = Metadata.from_bytes(data)
    except DeserializationError as error:
        raise DeliveryError(f"{path} is no TUF metadata", hint="restore the repository from a copy") from error
    if not isinstance(metadata.signed, type_):
        raise DeliveryError(f"{path} holds {metadata.signed.type}, not {type_.type}", hint="restore the repository")
    return metadata


def _check_keys(path: Path, delegator: Root | Targets, role: str, keys: KeyRing) -> None:
    expected = keys.public[signing_key_of(role)]
    trusted = [delegator.get_key(keyid) for keyid in delegator.get_delegated_role(role).keyids]
    if trusted != [expected]:
        raise DeliveryError(
            f"{path} trusts another {signing_key_of(role)} key than {keys.folder / signing_key_of(role)}.pub",
            hint=f"this repository belongs to other keys: set {key_roles.ENVIRONMENT} to their folder,"
            " or name another folder as spec.delivery.repository",
        )


def _check(path: Path, data: bytes, metadata: Metadata[S], delegator: Root | Targets, meta: MetaFile | None) -> None:
    role = path.name.removesuffix(".json").rpartition(".")[2]
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        if meta is not None:
            meta.verify_length_and_hashes(data)
    except (RepositoryError, ValueError) as error:
        raise _changed(path, error) from error
    if meta is not None and metadata.signed.version != meta.version:
        raise DeliveryError(
            f"{path} says it is version {metadata.signed.version}, not {meta.version}",
            hint="restore it from a copy",
        )


def _changed(path: Path, error: Exception) -> DeliveryError:
    return DeliveryError(
        f"{path} is not what this repository's keys have signed: {error}",
        hint="somebody or something changed it: find out who can write there, then restore it from a copy",
    )
