"""A small published repository in the layout devices read, with knobs for everything an attacker or an accident does.

Written with python-tuf's metadata API alone, independent of the engine's writer, so that reader and writer are held to
the layout and not to each other.
"""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)

from edgewright_wire.canonical import digest_bytes, hex_of
from edgewright_wire.layout import (
    ASSIGNMENTS_ROLE,
    BIN_PREFIX,
    METADATA,
    PACKAGES_ROLE,
    TARGETS,
    assignment_target,
    blob_path,
    package_target,
)
from edgewright_wire.messages import Assignment
from samples.agent_packages import PackageFiles

BITS = 2


class TufRepository:
    """Signs everything anew at each ``publish``."""

    def __init__(self, path: Path, life: timedelta = timedelta(days=30)) -> None:
        self.path = path
        self.life = life
        self.root_signer = CryptoSigner.generate_ed25519()
        self.offline = CryptoSigner.generate_ed25519()
        self.packages_signer = CryptoSigner.generate_ed25519()
        self.online = CryptoSigner.generate_ed25519()
        self.version = 0
        self._packages: dict[str, bytes] = {}
        self._assignments: dict[str, bytes] = {}
        root = Root(expires=datetime.now(UTC) + timedelta(days=365), consistent_snapshot=True)
        root.add_key(self.root_signer.public_key, Root.type)
        root.add_key(self.offline.public_key, Targets.type)
        for role in (Snapshot.type, Timestamp.type):
            root.add_key(self.online.public_key, role)
        signed = Metadata(root)
        signed.sign(self.root_signer)
        self.root = signed.to_bytes()
        self._write(f"{METADATA}/1.root.json", self.root)
        self._write(f"{METADATA}/root.json", self.root)

    def add_package(self, package: PackageFiles) -> None:
        """Publish a package's bytes; signed at the next ``publish``."""
        for digest, data in package.blobs.items():
            self._write(blob_path(digest), data)
        self._packages[package_target(package.digest)] = package.manifest

    def add_blob(self, data: bytes) -> str:
        digest = digest_bytes(data)
        self._write(blob_path(digest), data)
        return digest

    def assign(self, *assignments: Assignment) -> None:
        """Assign and publish."""
        for assignment in assignments:
            self.assign_bytes(assignment.device, assignment.to_bytes())
        self.publish()

    def assign_bytes(self, device: str, data: bytes) -> None:
        self._assignments[assignment_target(device)] = data

    def publish(self) -> None:
        """Sign and write a new consistent snapshot."""
        self.version += 1
        expires = datetime.now(UTC) + self.life
        metas: dict[str, MetaFile] = {}
        bins = SuccinctRoles([self.online.public_key.keyid], 1, BITS, BIN_PREFIX)
        for name in bins.get_roles():
            held = {path: data for path, data in self._assignments.items() if bins.get_role_for_target(path) == name}
            self._sign_targets(name, held, None, self.online, expires, metas)
        delegated = Delegations({self.online.public_key.keyid: self.online.public_key}, succinct_roles=bins)
        self._sign_targets(ASSIGNMENTS_ROLE, {}, delegated, self.online, expires, metas)
        self._sign_targets(PACKAGES_ROLE, self._packages, None, self.packages_signer, expires, metas)
        top = Delegations(
            {signer.public_key.keyid: signer.public_key for signer in (self.packages_signer, self.online)},
            roles={
                PACKAGES_ROLE: DelegatedRole(
                    PACKAGES_ROLE, [self.packages_signer.public_key.keyid], 1, True, ["packages/*"]
                ),
                ASSIGNMENTS_ROLE: DelegatedRole(
                    ASSIGNMENTS_ROLE, [self.online.public_key.keyid], 1, True, ["assignments/*"]
                ),
            },
        )
        self._sign_targets(Targets.type, {}, top, self.offline, expires, metas)
        snapshot = Metadata(Snapshot(version=self.version, expires=expires, meta=metas))
        snapshot.sign(self.online)
        self._write(f"{METADATA}/{self.version}.snapshot.json", snapshot.to_bytes())
        timestamp = Metadata(Timestamp(version=self.version, expires=expires, snapshot_meta=MetaFile(self.version)))
        timestamp.sign(self.online)
        self._write(f"{METADATA}/timestamp.json", timestamp.to_bytes())

    def copy(self, path: Path) -> Path:
        """Keep the repository as it is now, to show an older state later."""
        return Path(shutil.copytree(self.path, path))

    def replace_by(self, path: Path) -> None:
        """Show another state."""
        shutil.rmtree(self.path)
        shutil.copytree(path, self.path)

    def _sign_targets(
        self,
        name: str,
        contents: dict[str, bytes],
        delegations: Delegations | None,
        signer: CryptoSigner,
        expires: datetime,
        metas: dict[str, MetaFile],
    ) -> None:
        targets = Targets(version=self.version, expires=expires, delegations=delegations)
        for path, data in contents.items():
            targets.targets[path] = TargetFile.from_data(path, data, ["sha256"])
            folder, _, file = path.rpartition("/")
            self._write(f"{TARGETS}/{folder}/{hex_of(digest_bytes(data))}.{file}", data)
        signed = Metadata(targets)
        signed.sign(signer)
        self._write(f"{METADATA}/{self.version}.{name}.json", signed.to_bytes())
        metas[f"{name}.json"] = MetaFile(self.version)

    def _write(self, path: str, data: bytes) -> None:
        whole = self.path / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        whole.write_bytes(data)
