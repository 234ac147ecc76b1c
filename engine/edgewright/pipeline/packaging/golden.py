"""Golden samples: test rows and what the packaged model computes for them. Called by ``packaging.step``.

A device runs them through its own runtime before and after it switches, and compares.
"""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import StepFailed
from edgewright.pipeline.export.onnx_runtime import OnnxModel, count_unusable


@dataclass(frozen=True, slots=True)
class GoldenSamples:
    """Golden samples of a package."""

    inputs: npt.NDArray[Any]
    """(N, …) as the model takes them."""
    expected: npt.NDArray[Any]
    """(N, …) as it computes them, one sample at a time."""

    def __len__(self) -> int:
        return len(self.expected)

    def to_bytes(self) -> bytes:
        """Write ``golden.npz``; the same bytes for the same arrays."""
        return npz_bytes({"input": self.inputs, "expected": self.expected})


_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


def golden_samples(model: OnnxModel, features: npt.NDArray[np.float32], chosen: npt.NDArray[np.int64]) -> GoldenSamples:
    """Compute what the model gives for the chosen rows.

    Raises:
        StepFailed: The model gives no finite number for one of them.
    """
    rows = features[chosen]
    # One at a time, as devices do: the order of additions differs from that of a batch.
    expected = model.run(rows, rows=1)
    if unusable := count_unusable(expected):
        raise StepFailed(
            f"the model gives no finite number for {unusable} of {len(rows)} golden samples, so no device can be "
            "compared with it",
            hint="look for values in the test split that the model was not trained on",
        )
    return GoldenSamples(model.prepare(rows), expected)


def npz_bytes(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Write arrays as numpy.savez does, uncompressed, without the time of writing."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=_ZIP_EPOCH)
            entry.create_system = _UNIX
            entry.external_attr = 0o644 << 16
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            archive.writestr(entry, content.getvalue())
    return written.getvalue()
