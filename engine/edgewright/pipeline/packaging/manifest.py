"""The OCI manifest and the ModelPack config of a package. Pure; called by ``packaging.step``.

Formats: https://github.com/modelpack/model-spec and https://github.com/opencontainers/image-spec. Nothing here holds a
time, a user or a path of the machine: the same parts give the same manifest digest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgewright_wire import package as names
from edgewright_wire.canonical import canonical_json, digest_bytes

_MODE = 0o644
_REGULAR_FILE = ord("0")
_EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a package."""

    path: str
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Description:
    """Description of a package's model."""

    name: str
    task: str
    architecture: str
    """Empty when edgewright did not make the model."""
    parameters: int | None
    precision: str
    quantization: str
    """Empty: none."""
    atol: float
    input_name: str
    output_name: str
    image: bool
    title: str = ""
    revision: str = ""
    created_at: str = ""
    """RFC 3339; empty: left out."""


def make_config(description: Description, parts: Sequence[Part]) -> bytes:
    """Write the ModelPack config. Layers are stored raw, so their digests are the diffIds."""
    descriptor = {
        "name": description.name,
        "title": description.title,
        "revision": description.revision,
        "createdAt": description.created_at,
    }
    config = {
        "format": "onnx",
        "architecture": description.architecture,
        "paramSize": "" if description.parameters is None else size_text(description.parameters),
        "precision": description.precision,
        "quantization": description.quantization,
    }
    taken = "image" if description.image else "other"
    return canonical_json(
        {
            "descriptor": _given(descriptor),
            "config": {**_given(config), "capabilities": {"inputTypes": [taken], "outputTypes": ["other"]}},
            "modelfs": {"type": "layers", "diffIds": [digest_bytes(part.data) for part in parts]},
        }
    )


def make_manifest(description: Description, config: bytes, parts: Sequence[Part]) -> bytes:
    """Write the OCI manifest."""
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": names.MANIFEST_TYPE,
            "artifactType": names.ARTIFACT_TYPE,
            "config": _descriptor(names.CONFIG_TYPE, config),
            "layers": [_layer(part) for part in parts],
            "annotations": {
                names.ATOL: repr(description.atol),
                names.TASK: description.task,
                names.INPUT_NAME: description.input_name,
                names.OUTPUT_NAME: description.output_name,
            },
        }
    )


def size_text(parameters: int) -> str:
    """Write a number of parameters the way ModelPack does: ``5130``, ``52.6k``, ``1.3m``, ``8b``."""
    for unit, size in (("b", 10**9), ("m", 10**6), ("k", 10**3)):
        if parameters >= 10 * size or (size > 10**3 and parameters >= size):
            return f"{parameters / size:.3g}{unit}"
    return str(parameters)


def _layer(part: Part) -> dict[str, Any]:
    metadata = {
        "name": part.path,
        "mode": _MODE,
        "uid": 0,
        "gid": 0,
        "size": len(part.data),
        "mtime": _EPOCH,
        "typeflag": _REGULAR_FILE,
    }
    annotations = {names.FILEPATH: part.path, names.FILE_METADATA: canonical_json(metadata).decode()}
    return {**_descriptor(part.media_type, part.data), "annotations": annotations}


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_bytes(data), "size": len(data)}


def _given(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
