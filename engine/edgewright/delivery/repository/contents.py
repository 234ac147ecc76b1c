"""What goes into a repository: a package's parts, and targets as TUF names them. Called by ``delivery.repository``."""

import json
from collections.abc import Mapping
from pathlib import Path

from tuf.api.metadata import TargetFile

from edgewright.errors import DeliveryError
from edgewright.ports import PackageContent
from edgewright_wire.canonical import digest_bytes, hex_of
from edgewright_wire.messages import Assignment


def blobs_of(package: PackageContent) -> Mapping[str, Path]:
    """Find a package's config and layers, by digest.

    Raises:
        DeliveryError: The manifest is not the one its digest names, or no OCI image manifest, or it names blobs that
            were not given.
    """
    if digest_bytes(package.manifest) != package.digest:
        raise DeliveryError(f"package {package.digest} has another manifest", hint="package the model again")
    try:
        manifest = json.loads(package.manifest)
        digests = [str(part["digest"]) for part in (manifest["config"], *manifest["layers"])]
        for digest in digests:
            hex_of(digest)
    except (ValueError, KeyError, TypeError) as error:
        raise DeliveryError(
            f"package {package.digest} has no OCI image manifest: {error}", hint="package the model again"
        ) from error
    lacking = sorted(set(digests) - set(package.blobs))
    if lacking:
        raise DeliveryError(
            f"package {package.digest} names blobs that were not given: {', '.join(lacking)}",
            hint="package the model again",
        )
    return {digest: package.blobs[digest] for digest in digests}


def target_of(path: str, content: bytes, *, version: int | None = None) -> TargetFile:
    """Describe a target's bytes; an assignment's version goes beside them."""
    hashes = {"sha256": hex_of(digest_bytes(content))}
    return TargetFile(len(content), hashes, path, {} if version is None else {"custom": {"version": version}})


def target_name(target: TargetFile) -> str:
    """Tell where a target's bytes are, below targets/ (TUF's consistent snapshots)."""
    folder, _, name = target.path.rpartition("/")
    return f"{folder}/{target.hashes['sha256']}.{name}"


def check_newer(assignment: Assignment, before: TargetFile) -> None:
    """Refuse an assignment that differs from the published one, ``before``, without being newer.

    Raises:
        DeliveryError: It is not newer.
    """
    published = int((before.custom or {}).get("version", 0))
    if assignment.version <= published:
        raise DeliveryError(
            f"device {assignment.device}: version {assignment.version} is assigned, but version {published} is"
            " published already, and devices refuse to go back",
            hint="the state store is older than the repository: restore the newer one",
        )
