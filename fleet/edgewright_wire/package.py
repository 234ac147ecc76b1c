"""The parts of a package: an OCI image manifest after the CNCF ModelPack specification.

Source: https://github.com/modelpack/model-spec. Own data goes into annotations, nowhere else.
"""

import math
from typing import Any

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
WEIGHT_TYPE = "application/vnd.cncf.model.weight.v1.raw"
WEIGHT_CONFIG_TYPE = "application/vnd.cncf.model.weight.config.v1.raw"
DOC_TYPE = "application/vnd.cncf.model.doc.v1.raw"
DATASET_TYPE = "application/vnd.cncf.model.dataset.v1.raw"
FILEPATH = "org.cncf.model.filepath"
FILE_METADATA = "org.cncf.model.file.metadata+json"

MODEL_FILE = "model.onnx"
GOLDEN_FILE = "golden.npz"
"""Arrays ``input`` (N, …) and ``expected`` (N, …), float32 or as the model takes and gives them."""
LABELS_FILE = "labels.json"
CARD_FILE = "README.md"

ATOL = "dev.edgewright.golden.atol"
TASK = "dev.edgewright.task"
INPUT_NAME = "dev.edgewright.input"
OUTPUT_NAME = "dev.edgewright.output"


def layers_by_path(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """List a manifest's layers by the file each becomes.

    Raises:
        ValueError: A layer names no file, or one outside the slot.
    """
    layers: dict[str, dict[str, Any]] = {}
    for layer in manifest.get("layers", []):
        path = layer.get("annotations", {}).get(FILEPATH, "")
        if not path or "/" in path or "\\" in path or path in {".", ".."}:
            raise ValueError(f"layer {layer.get('digest')} names no plain file: {path!r}")
        layers[path] = layer
    return layers


def golden_atol(manifest: dict[str, object]) -> float:
    """Read the allowed absolute error of golden samples.

    Raises:
        ValueError: The manifest gives none, or no finite number of at least 0.
    """
    annotations = manifest.get("annotations")
    text = annotations.get(ATOL) if isinstance(annotations, dict) else None
    if text is None:
        raise ValueError(f"no annotation {ATOL}")
    atol = float(text)
    if not math.isfinite(atol) or atol < 0:
        raise ValueError(f"annotation {ATOL} = {text!r} is no tolerance")
    return atol
