"""A TUF repository with nothing of edgewright in it, as a directory a web server serves, for tests of the TUF client.

Change what ``signed`` gives of a role, then ``publish`` it: it is signed anew, and written under the name that a
repository gives it, with or without consistent snapshots.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

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

TOP = (Root.type, Targets.type, Snapshot.type, Timestamp.type)
SOON = timedelta(days=30)


class TufSimulator:
    """Starts with version 1 of the four roles, one key each."""

    def __init__(self, path: Path, *, consistent: bool = True) -> None:
        self.path = path
        self.hashed = False
        """Whether snapshot and timestamp name hashes and lengths, not versions alone."""
        self.expires = datetime.now(UTC) + SOON
        self.signers: dict[str, list[CryptoSigner]] = {role: [CryptoSigner.generate_ed25519()] for role in TOP}
        self.root = Root(expires=self.expires, consistent_snapshot=consistent)
        self.targets = Targets(expires=self.expires)
        self.snapshot = Snapshot(expires=self.expires)
        self.timestamp = Timestamp(expires=self.expires)
        self.delegated: dict[str, Targets] = {}
        self._published: set[str] = set()
        for role in TOP:
            self.root.add_key(self.signers[role][0].public_key, role)
        self.publish(Root.type, Targets.type, Snapshot.type, Timestamp.type)

    @property
    def first_root(self) -> bytes:
        return self.served("1.root.json")

    def served(self, name: str) -> bytes:
        return (self.path / "metadata" / name).read_bytes()

    def signed(self, role: str) -> Any:
        return self.delegated[role] if role in self.delegated else getattr(self, role)

    def publish(self, *roles: str, bump: bool = True) -> None:
        """Sign and write roles, in this order; what snapshot and timestamp say of them follows."""
        for role in roles:
            signed = self.signed(role)
            if bump and role in self._published:
                signed.version += 1
            self._published.add(role)
            metadata = Metadata(signed)
            for signer in self.signers[role]:
                metadata.sign(signer, append=True)
            data = metadata.to_bytes()
            versioned = role == Root.type or (self.root.consistent_snapshot and role != Timestamp.type)
            prefix = f"{signed.version}." if versioned else ""
            self._write(f"metadata/{prefix}{quote(role, safe='')}.json", data)
            described = (
                MetaFile.from_data(signed.version, data, ["sha256"]) if self.hashed else MetaFile(signed.version)
            )
            if role == Snapshot.type:
                self.timestamp.snapshot_meta = described
            elif role not in {Root.type, Timestamp.type}:
                self.snapshot.meta[f"{role}.json"] = described

    def publish_all(self) -> None:
        self.publish(*self.delegated, Targets.type, Snapshot.type, Timestamp.type)

    def rotate(self, role: str, count: int = 1) -> None:
        """Give a role other keys; takes effect with the next root."""
        for key in list(self.root.roles[role].keyids):
            self.root.revoke_key(key, role)
        self.signers[role] = [CryptoSigner.generate_ed25519() for _ in range(count)]
        for signer in self.signers[role]:
            self.root.add_key(signer.public_key, role)

    def delegate(self, parent: str, name: str, paths: Iterable[str] = ("*",), *, terminating: bool = False) -> Targets:
        """Let a role sign for paths; publish parent and role afterwards."""
        signer = self.signers.setdefault(name, [CryptoSigner.generate_ed25519()])[0]
        delegator = self.signed(parent)
        if delegator.delegations is None:
            delegator.delegations = Delegations({}, roles={})
        role = DelegatedRole(name, [], 1, terminating, list(paths))
        delegator.delegations.roles[name] = role
        delegator.add_key(signer.public_key, name)
        return self.delegated.setdefault(name, Targets(expires=self.expires))

    def delegate_bins(self, prefix: str, bits: int) -> SuccinctRoles:
        """Let hash bins sign for everything."""
        signer = CryptoSigner.generate_ed25519()
        bins = SuccinctRoles([], 1, bits, prefix)
        self.targets.delegations = Delegations({}, succinct_roles=bins)
        self.targets.add_key(signer.public_key)
        for name in bins.get_roles():
            self.signers[name] = [signer]
            self.delegated[name] = Targets(expires=self.expires)
        return bins

    def add(self, path: str, data: bytes, role: str = Targets.type) -> None:
        """Add a target; publish its role afterwards."""
        info = TargetFile.from_data(path, data, ["sha256"])
        self.signed(role).targets[path] = info
        folder, slash, name = path.rpartition("/")
        prefix = f"{info.hashes['sha256']}." if self.root.consistent_snapshot else ""
        self._write(f"targets/{folder}{slash}{prefix}{name}", data)

    def _write(self, path: str, data: bytes) -> None:
        whole = self.path / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        whole.write_bytes(data)
