"""Packages, assignments and reports for tests of deliveries."""

from datetime import UTC, datetime
from pathlib import Path

from edgewright.ports import PackageContent
from edgewright_wire.canonical import canonical_json, digest_bytes
from edgewright_wire.messages import Assignment, Blob, ConfigFile, ModelAssignment, Report


def a_package(folder: Path, content: bytes = b"weights") -> PackageContent:
    """A package of a config and one layer, whose bytes are files in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    blobs, parts = {}, []
    for data in (b"{}", content):
        digest = digest_bytes(data)
        path = folder / digest.removeprefix("sha256:")
        path.write_bytes(data)
        blobs[digest] = path
        parts.append({"digest": digest, "size": len(data)})
    manifest = canonical_json({"schemaVersion": 2, "config": parts[0], "layers": parts[1:]})
    return PackageContent(manifest, digest_bytes(manifest), blobs)


def an_assignment(
    device: str, package: PackageContent | None, version: int = 1, config: bytes | None = None
) -> Assignment:
    """An assignment of one model, or of none."""
    if package is None:
        return Assignment(device=device, version=version)
    model = ModelAssignment(
        model="reader",
        package=Blob(digest=package.digest, size=len(package.manifest)),
        config=None if config is None else ConfigFile(digest=digest_bytes(config), size=len(config), path="lane.toml"),
        release=f"release-{package.digest[7:15]}",
    )
    return Assignment(device=device, version=version, models=(model,))


def a_report(device: str, sequence: int) -> Report:
    """A report of a device that runs nothing."""
    return Report(device=device, sequence=sequence, sent_at=datetime(2026, 1, 1, tzinfo=UTC), agent_version="0.1.0")
