"""Payloads for the installer: folders, as another update system unpacks them on a device."""

import json
from pathlib import Path

from edgewright_wire.layout import PAYLOAD_ASSIGNMENT, PAYLOAD_MANIFEST
from edgewright_wire.messages import ModelAssignment
from edgewright_wire.package import DOC_TYPE, layers_by_path
from samples.agent_packages import PackageFiles


def write_payload(folder: Path, package: PackageFiles, wanted: ModelAssignment, *, config: bytes | None = None) -> Path:
    """Write a sound payload; returns its folder."""
    folder.mkdir(parents=True)
    (folder / PAYLOAD_ASSIGNMENT).write_bytes(wanted.to_bytes())
    (folder / PAYLOAD_MANIFEST).write_bytes(package.manifest)
    for name, layer in layers_by_path(json.loads(package.manifest)).items():
        if layer["mediaType"] != DOC_TYPE:
            (folder / name).write_bytes(package.blobs[layer["digest"]])
    if wanted.config is not None and config is not None:
        (folder / wanted.config.path).write_bytes(config)
    return folder
