"""Finds the files of a repository that nothing references any more. Called by ``repository`` for ``gc``."""

import json
import os
from collections.abc import Collection
from pathlib import Path

from edgewright.errors import DeliveryError
from edgewright_wire.canonical import hex_of
from edgewright_wire.layout import ASSIGNMENTS_ROLE, PACKAGES_ROLE, TARGETS, package_target
from edgewright_wire.messages import Assignment


def assigned_digests(folder: Path) -> tuple[set[str], set[str]]:
    """Return the digests of the packages and of the configurations that assignments name: the current ones, and those
    superseded so lately that a device may still be fetching them.

    Raises:
        DeliveryError: An assignment cannot be read, so its package is unknown.
        OSError: The repository cannot be read.
    """
    packages: set[str] = set()
    configs: set[str] = set()
    for path in (folder / TARGETS / ASSIGNMENTS_ROLE).glob("[0-9a-f]*.json"):
        try:
            assignment = Assignment.from_bytes(path.read_bytes())
        except ValueError as error:
            raise DeliveryError(
                f"{path} is no assignment", hint="remove it and apply again, which writes it anew"
            ) from error
        for model in assignment.models:
            packages.add(model.package.digest)
            if model.config is not None:
                configs.add(model.config.digest)
    return packages, configs


def unreferenced_files(folder: Path, packages: Collection[str], configs: Collection[str]) -> list[Path]:
    """Return the manifests and blobs that belong to none of the packages and configurations to keep.

    Raises:
        DeliveryError: A manifest to keep cannot be read.
        OSError: The repository cannot be read.
    """
    targets, blobs = folder / TARGETS / PACKAGES_ROLE, folder / "blobs/sha256"
    manifests = {f"{hex_of(digest)}.{Path(package_target(digest)).name}" for digest in packages}
    kept = {hex_of(digest) for digest in configs}
    for name in manifests:
        try:
            manifest = json.loads((targets / name).read_bytes())
            kept |= {hex_of(str(part["digest"])) for part in (manifest["config"], *manifest["layers"])}
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            raise DeliveryError(
                f"the manifest {targets / name} cannot be read: {error}", hint="publish the package again: apply"
            ) from error
    found = [targets / name for name in _names(targets) if name not in manifests]
    return found + [blobs / name for name in _names(blobs) if name not in kept]


def _names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith("."))
