"""Packages for agent tests: linear models as plain numpy arrays (for fakes.agent_runtimes), or as real ONNX."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright_wire.canonical import canonical_json, digest_bytes
from edgewright_wire.messages import Assignment, Blob, ConfigFile, ModelAssignment
from edgewright_wire.package import (
    ARTIFACT_TYPE,
    ATOL,
    CARD_FILE,
    CONFIG_TYPE,
    DATASET_TYPE,
    DOC_TYPE,
    FILEPATH,
    GOLDEN_FILE,
    LABELS_FILE,
    MANIFEST_TYPE,
    MODEL_FILE,
    WEIGHT_CONFIG_TYPE,
    WEIGHT_TYPE,
)

FEATURES, OUTPUTS, SAMPLES = 4, 3, 5
MODEL = "reader"


@dataclass(frozen=True)
class PackageFiles:
    """A package's bytes."""

    manifest: bytes
    blobs: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        return digest_bytes(self.manifest)

    @property
    def blob(self) -> Blob:
        return Blob(digest=self.digest, size=len(self.manifest))


def weights(version: int) -> NDArray[np.float32]:
    """(FEATURES, OUTPUTS), different for each version."""
    return np.random.default_rng(version).normal(size=(FEATURES, OUTPUTS)).astype(np.float32)


def as_array_file(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def as_onnx(array: NDArray[np.float32]) -> bytes:
    """The same linear model as ONNX."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", array.shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", array.shape[1]])],
        [numpy_helper.from_array(array, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def a_package(
    version: int = 1,
    *,
    onnx: bool = False,
    model: bytes | None = None,
    expected: NDArray[np.float32] | None = None,
    atol: str | None = "0.001",
    without: tuple[str, ...] = (),
    padding: int = 0,
) -> PackageFiles:
    """A package whose golden samples pass on a sound device, unless told otherwise."""
    array = weights(version)
    inputs = np.random.default_rng(100 + version).normal(size=(SAMPLES, FEATURES)).astype(np.float32)
    golden = io.BytesIO()
    np.savez(golden, input=inputs, expected=inputs @ array if expected is None else expected)
    if model is None:
        model = as_onnx(array) if onnx else as_array_file(array)
    files = {
        MODEL_FILE: (WEIGHT_TYPE, model + b"\0" * padding),
        GOLDEN_FILE: (DATASET_TYPE, golden.getvalue()),
        LABELS_FILE: (WEIGHT_CONFIG_TYPE, json.dumps([f"v{version}-{index}" for index in range(OUTPUTS)]).encode()),
        CARD_FILE: (DOC_TYPE, f"# version {version}".encode()),
    }
    config = canonical_json({"descriptor": {"name": MODEL, "version": str(version)}})
    layers = [
        {"mediaType": kind, "digest": digest_bytes(data), "size": len(data), "annotations": {FILEPATH: name}}
        for name, (kind, data) in files.items()
        if name not in without
    ]
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": digest_bytes(config), "size": len(config)},
            "layers": layers,
            "annotations": {} if atol is None else {ATOL: atol},
        }
    )
    return PackageFiles(
        manifest, {digest_bytes(data): data for data in (config, *(data for _, data in files.values()))}
    )


def target(
    package: PackageFiles, *, config: bytes | None = None, release: str | None = None, model: str = MODEL
) -> ModelAssignment:
    """Assign a package, perhaps with a configuration."""
    rendered = None if config is None else ConfigFile(digest=digest_bytes(config), size=len(config), path="lane.toml")
    named = release or f"{package.digest[7:19]}-{digest_bytes(config or b'')[7:11]}"
    return ModelAssignment(model=model, package=package.blob, config=rendered, release=named)


def assignment(device: str, version: int, *targets: ModelAssignment) -> Assignment:
    return Assignment(device=device, version=version, models=targets)
