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


def choose_samples(labels: npt.NDArray[np.int64] | npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
    """Choose rows spread over what the labels hold; the same labels give the same rows.

    Classes (int64) take turns, each with its rows in order. Numbers (float32) give rows at even steps of their rank.

    Returns:
        Positions of at most ``count`` rows, ascending.
    """
    count = min(count, len(labels))
    if not np.issubdtype(labels.dtype, np.integer):
        ranked = np.argsort(labels, kind="stable")
        steps = np.linspace(0, len(labels) - 1, count).round().astype(np.int64)
        return np.sort(ranked[steps])
    # A row's turn is its position within its own class; rows of the same turn go class by class.
    turn = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        turn[rows] = np.arange(len(rows))
    order = np.lexsort((np.arange(len(labels)), labels, turn))
    return np.sort(order[:count])


def golden_samples(
    model: OnnxModel,
    features: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64] | npt.NDArray[np.float32],
    count: int,
) -> GoldenSamples:
    """Compute what the model gives for at most ``count`` rows.

    Raises:
        StepFailed: The model gives no finite number for one of them.
    """
    rows = features[choose_samples(labels, count)]
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
