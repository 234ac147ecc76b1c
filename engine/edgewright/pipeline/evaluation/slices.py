"""Rows of each slice of a split. Called by ``evaluation.step``."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch


def slices(columns: pa.Table) -> Iterator[tuple[str, torch.Tensor]]:
    """List every value of every slice column as ``column=value``, with the positions of its rows (at least one)."""
    for name in columns.column_names:
        column = columns.column(name)
        for value in sorted(v for v in pc.unique(column).to_pylist() if v is not None):
            rows = np.flatnonzero(pc.equal(column, value).fill_null(False).to_numpy())
            yield f"{name}={value}", torch.from_numpy(rows)
