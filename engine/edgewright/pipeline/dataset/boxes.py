"""Columns of objects as arrays. Called by ``files``; what a column of type ``boxes`` holds is in decision 0031."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

FIELDS = ("category", "x", "y", "width", "height", "crowd")
"""Numbers of one object, in the order of ``object_table``."""
NONE = -1.0
"""Category of a place that holds no object."""


def object_table(column: pa.Array) -> npt.NDArray[np.float32]:
    """Write a column of lists of objects as (N, most objects of a row, 6).

    Places after a row's last object have the category -1. A row that is null has one place that is all NaN.
    """
    rows: list[Any] = column.to_pylist()
    table = np.zeros((len(rows), max((len(row) for row in rows if row), default=1), len(FIELDS)), dtype=np.float32)
    table[:, :, 0] = NONE
    for place, row in zip(table, rows, strict=True):
        if row is None:
            place[0] = np.nan
        elif row:
            place[: len(row)] = [[float(each[name] or 0) for name in FIELDS] for each in row]
    return table


def join_tables(tables: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Put tables of rows after another, as wide as the widest."""
    most = max((table.shape[1] for table in tables), default=1)
    wide = []
    for table in tables:
        empty = np.zeros((len(table), most - table.shape[1], len(FIELDS)), dtype=np.float32)
        empty[:, :, 0] = NONE
        wide.append(np.concatenate([table, empty], axis=1))
    return np.concatenate(wide) if wide else np.zeros((0, 1, len(FIELDS)), dtype=np.float32)
