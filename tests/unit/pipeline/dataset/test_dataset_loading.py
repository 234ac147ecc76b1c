"""A split is read in parts: beside what it comes to, memory holds little."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from edgewright.core.facts import DatasetFacts
from edgewright.pipeline.dataset.files import Split, load_split

SHAPE = (3, 160, 160)


def facts(columns: dict[str, Any], features: list[str], shape: tuple[int, ...]) -> DatasetFacts:
    return DatasetFacts.from_json(
        {
            "columns": {**columns, "label": {"type": "number"}},
            "features": features,
            "label": "label",
            "slices": {},
            "inputShape": list(shape),
            "rows": {},
            "contentDigest": "sha256:0",
        }
    )


def loaded(folder: Path, known: DatasetFacts) -> tuple[Split, float]:
    """Load a split; return it and the most memory that was held, as a share of its features."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        split = load_split({"train.parquet": folder / "train.parquet"}, known, "train")
        peak = tracemalloc.get_traced_memory()[1] + (pool.max_memory() or 0)
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)
    return split, peak / split.features.nbytes


def test_pictures_are_read_in_parts(tmp_path: Path) -> None:
    rows, part = 400, 20
    pixels = np.random.default_rng(0).integers(0, 256, (rows, *SHAPE), dtype=np.uint8)
    schema = pa.schema([("image", pa.binary()), ("label", pa.float64())])
    with pq.ParquetWriter(tmp_path / "train.parquet", schema, compression="none") as writer:
        for at in range(0, rows, part):
            images = pa.array([each.tobytes() for each in pixels[at : at + part]], pa.binary())
            writer.write_batch(pa.RecordBatch.from_arrays([images, pa.array([1.0] * part)], schema=schema))

    split, share = loaded(tmp_path, facts({"image": {"type": "image"}}, ["image"], SHAPE))

    assert share < 1.3
    assert np.array_equal(split.features, pixels.astype(np.float32) / np.float32(255))


def test_categories_are_written_to_their_place(tmp_path: Path) -> None:
    values = [f"ean-{number}" for number in range(3000)]
    table = pa.table({"size": [0.5, 1.5, 2.5], "ean": ["ean-7", "ean-0", "ean-2999"], "label": [1.0, 2.0, 3.0]})
    pq.write_table(table, tmp_path / "train.parquet")
    known = facts({"size": {"type": "number"}, "ean": {"type": "category", "values": values}}, ["size", "ean"], (3001,))

    split, share = loaded(tmp_path, known)

    assert share < 60  # 36 kB of features; a matrix of all categories is a thousand times as much
    assert [np.flatnonzero(row).tolist() for row in split.features] == [[0, 8], [0, 1], [0, 3000]]
    assert split.features[:, 0].tolist() == [0.5, 1.5, 2.5]
