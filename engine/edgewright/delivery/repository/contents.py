"""Contents of the repository: a package's blobs, and its files as TUF targets. Called by ``repository``."""

import json
from collections.abc import Mapping
from pathlib import Path

from tuf.api.metadata import TargetFile

from edgewright.errors import DeliveryError
from edgewright.ports import PackageContent
from edgewright_wire.canonical import digest_bytes, hex_of
from edgewright_wire.messages import Assignment


def package_blobs(package: PackageContent) -> Mapping[str, Path]:
    """Return the files of a package's config and layers, by digest.

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


def describe_target(path: str, content: bytes, *, version: int | None = None) -> TargetFile:
    """Describe a target's bytes; an assignment's version goes beside them."""
    hashes = {"sha256": hex_of(digest_bytes(content))}
    return TargetFile(len(content), hashes, path, {} if version is None else {"custom": {"version": version}})


def target_file(target: TargetFile) -> str:
    """Return the path of a target's file, below targets/ (TUF's consistent snapshots)."""
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
