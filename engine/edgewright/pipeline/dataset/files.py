"""Reads the files of a built dataset into arrays. Used by the steps that train, export, evaluate and package.

Which files and facts there are is in docs/reference/artifacts.md; ``writer`` writes them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from edgewright.core.facts import Column, DatasetFacts
from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.boxes import join_tables, object_table

SPLITS = ("train", "validation", "test")
SCHEMA = "schema.json"
_BATCH_ROWS = 1024
_BATCH_VALUES = 4 << 20
"""Features read at once: a batch is to be small beside the split."""


@dataclass(frozen=True, slots=True)
class Split:
    """One split of a dataset, in memory."""

    features: npt.NDArray[np.float32]
    """Images: (N, C, H, W) in [0, 1]. Tables: (N, F), the columns of facts ``features`` in order; a category is
    as many columns of 0 and 1 as it has values, a boolean is 0 or 1."""
    labels: npt.NDArray[np.int64] | npt.NDArray[np.float32]
    """(N,). A category: int64 positions in its ``values``. A number: float32. Objects: (N, most, 6) as ``boxes`` has
    them."""
    columns: pa.Table
    """(N rows) The slice columns as strings; null where a row has no value."""

    def __len__(self) -> int:
        return len(self.labels)


def file_name(split: str) -> str:
    """Name the file of a split."""
    return f"{split}.parquet"


def load_split(files: Mapping[str, Path], facts: DatasetFacts, split: str, *, limit: int | None = None) -> Split:
    """Read one split, or its first ``limit`` rows.

    Args:
        files: The dataset artifact's files, by name.
        facts: The dataset artifact's facts.
        split: ``train``, ``validation`` or ``test``.
        limit: The most rows to read.

    Raises:
        StepFailed: The dataset has no such file.
    """
    path = files.get(file_name(split))
    if path is None:
        raise StepFailed(f"the dataset has no {file_name(split)}", hint="rebuild the dataset")
    label, slices = facts.label, list(facts.slices)
    wanted = list(dict.fromkeys([*facts.features, label, *slices]))
    with pq.ParquetFile(path) as file:
        rows = file.metadata.num_rows if limit is None else min(limit, file.metadata.num_rows)
        features = np.zeros((rows, *facts.input_shape), dtype=np.float32)
        labels: list[npt.NDArray[np.int64] | npt.NDArray[np.float32]] = []
        kept: list[pa.Table] = []
        done = 0
        for batch in file.iter_batches(batch_size=_rows_at_once(facts), columns=wanted):
            part = batch.slice(0, rows - done)
            end = done + part.num_rows
            _fill(features[done:end], part, facts)
            labels.append(_labels(part.column(label), facts.columns[label]))
            kept.append(pa.table({name: as_strings(part.column(name)) for name in slices}))
            done = end
            if done == rows:
                break
    empty = pa.table({name: pa.array([], pa.string()) for name in slices})
    return Split(
        features=features,
        labels=_joined(labels, facts.columns[label]),
        columns=pa.concat_tables([empty, *kept]).combine_chunks(),
    )


def as_strings(column: pa.Array) -> pa.Array:
    """Turn a column of any type but images into strings, null where it is null; booleans are true and false."""
    return column.cast(pa.string())


def _rows_at_once(facts: DatasetFacts) -> int:
    return max(1, min(_BATCH_ROWS, _BATCH_VALUES // max(1, math.prod(facts.input_shape))))


def _fill(target: npt.NDArray[np.float32], batch: pa.RecordBatch, facts: DatasetFacts) -> None:
    """Write a batch's features to their place (rows, …), which holds zeros."""
    names = facts.features
    if facts.columns[names[0]].type == "image":
        for row, value in zip(target, batch.column(names[0]), strict=True):
            pixels = np.frombuffer(value.as_buffer(), dtype=np.uint8).reshape(facts.input_shape)
            np.divide(pixels, np.float32(255), out=row, dtype=np.float32)
        return
    at = 0
    for name in names:
        at += _fill_columns(target[:, at:], batch.column(name), facts.columns[name])


def _fill_columns(target: npt.NDArray[np.float32], column: pa.Array, described: Column) -> int:
    """Write a column's features from the target's first one on; return how many they are."""
    if described.type != "category":
        target[:, 0] = _numbers(column)
        return 1
    values = described.values or ()
    target[np.arange(len(target)), _positions(column, values)] = 1.0
    return len(values)


def _joined(
    parts: Sequence[npt.NDArray[np.int64] | npt.NDArray[np.float32]], described: Column
) -> npt.NDArray[np.int64] | npt.NDArray[np.float32]:
    if described.type == "boxes":
        return join_tables([part.astype(np.float32, copy=False) for part in parts])
    empty = np.empty(0, dtype=np.int64 if described.values else np.float32)
    joined: npt.NDArray[np.int64] | npt.NDArray[np.float32] = np.concatenate([empty, *parts])
    return joined


def _labels(column: pa.Array, described: Column) -> npt.NDArray[np.int64] | npt.NDArray[np.float32]:
    if described.type == "boxes":
        return object_table(column)
    return _positions(column, described.values) if described.values is not None else _numbers(column)


def _positions(column: pa.Array, values: Sequence[str]) -> npt.NDArray[np.int64]:
    # By value: the order of a Parquet file's own dictionary is not promised to survive.
    found = pc.index_in(as_strings(column), value_set=pa.array(list(values), pa.string()))
    positions: npt.NDArray[np.int64] = found.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return positions


def _numbers(column: pa.Array) -> npt.NDArray[np.float32]:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    numbers: npt.NDArray[np.float32] = column.to_numpy(zero_copy_only=False).astype(np.float32)
    return numbers
