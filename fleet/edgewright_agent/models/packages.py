"""Parsing of a package's manifest: its files and their tolerance. Pure.

``observer`` reads manifests for ``decide``; ``slots`` stages by them; ``probing`` checks by them.
"""

import json
from dataclasses import dataclass

from edgewright_wire.messages import Blob, ModelAssignment
from edgewright_wire.package import DOC_TYPE, GOLDEN_FILE, MODEL_FILE, golden_atol, layers_by_path
from edgewright_wire.slots import MANIFEST_FILE, MARKER_FILE


@dataclass(frozen=True, slots=True)
class Package:
    """The part of a package that a device needs: its files without documents."""

    files: tuple[tuple[str, Blob], ...]
    """By file name, the layers a slot holds."""
    problem: str = ""
    """Why a device cannot take it; empty when it can."""


def read_package(manifest: bytes) -> Package:
    """Read a manifest; what is wrong with it is in ``problem``."""
    try:
        parsed = json.loads(manifest)
        layers = layers_by_path(parsed)
        files = tuple(
            (path, Blob(digest=layer["digest"], size=layer["size"]))
            for path, layer in sorted(layers.items())
            if layer.get("mediaType") != DOC_TYPE
        )
        golden_atol(parsed)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Package((), f"its manifest cannot be used: {type(error).__name__}: {error}")
    names = {path for path, _ in files}
    missing = [name for name in (MODEL_FILE, GOLDEN_FILE) if name not in names]
    if missing:
        return Package(files, f"it has no {' and no '.join(missing)}, so it can be neither run nor proved")
    if taken := names & {MANIFEST_FILE, MARKER_FILE}:
        return Package(files, f"a layer takes the name {taken.pop()}, which the device uses itself")
    return Package(files)


def problem_of(target: ModelAssignment, package: Package) -> str:
    """Return why a device cannot take an assignment; empty when it can."""
    if package.problem:
        return f"package {target.package.digest}: {package.problem}"
    if target.config is not None:
        name = target.config.path
        taken = {path for path, _ in package.files} | {MANIFEST_FILE, MARKER_FILE, ".", ".."}
        if name in taken or name.startswith("."):
            return f"configuration file {name!r}: this name cannot be used beside the package's files"
    return ""


def wanted_blobs(target: ModelAssignment, package: Package) -> tuple[Blob, ...]:
    """List what has to be fetched beside the manifest."""
    blobs = tuple(blob for _, blob in package.files)
    return (*blobs, target.config) if target.config is not None else blobs
