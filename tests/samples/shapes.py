"""Pictures of squares and discs on noise, with boxes: what a small detector learns in seconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from edgewright.core.facts import DatasetFacts
from samples.training_data import DatasetFiles

KINDS = ("square", "disc")
SIZE = 64
BOX = pa.struct(
    [
        ("category", pa.int32()),
        *((name, pa.float32()) for name in ("x", "y", "width", "height")),
        ("crowd", pa.bool_()),
    ]
)
Objects = list[dict[str, Any]]


def draw(random: np.random.Generator, most: int = 4) -> tuple[npt.NDArray[np.uint8], Objects]:
    """Draw one picture (3, 64, 64) with up to ``most`` shapes that do not touch."""
    picture = random.normal(90, 12, (SIZE, SIZE, 3))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    objects: Objects = []
    taken = np.zeros((SIZE, SIZE), dtype=bool)
    for _ in range(random.integers(0, most + 1)):
        side, kind = int(random.integers(9, 20)), int(random.integers(0, 2))
        x, y = (int(each) for each in random.integers(0, SIZE - side, 2))
        if taken[max(y - 2, 0) : y + side + 2, max(x - 2, 0) : x + side + 2].any():
            continue
        taken[y : y + side, x : x + side] = True
        inside = (rows >= y) & (rows < y + side) & (columns >= x) & (columns < x + side)
        if kind:
            middle = (side - 1) / 2
            inside &= (rows - y - middle) ** 2 + (columns - x - middle) ** 2 <= (side / 2) ** 2
        picture[inside] = np.array([220, 70, 60]) if kind else np.array([60, 90, 220])
        objects.append({"category": kind, "x": x, "y": y, "width": side, "height": side, "crowd": False})
    return np.clip(picture, 0, 255).astype(np.uint8).transpose(2, 0, 1), objects


def shapes(folder: Path, counts: Sequence[int] = (240, 40, 60), seed: int = 0) -> DatasetFiles:
    """Write pictures with boxes, sliced by ``lane``; ``counts`` of train, validation and test."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    files = {}
    for split, count in zip(("train", "validation", "test"), counts, strict=True):
        drawn = [draw(random) for _ in range(count)]
        table = {
            "image": pa.array([picture.tobytes() for picture, _ in drawn], pa.binary()),
            "objects": pa.array([objects for _, objects in drawn], pa.list_(BOX)),
            "lane": pa.array([("1", "2")[at % 2] for at in range(count)]),
        }
        files[f"{split}.parquet"] = folder / f"{split}.parquet"
        pq.write_table(pa.table(table), folder / f"{split}.parquet")
    facts = {
        "rows": dict(zip(("train", "validation", "test"), counts, strict=True)),
        "columns": {"image": {"type": "image"}, "objects": {"type": "boxes", "values": list(KINDS)}},
        "features": ["image"],
        "label": "objects",
        "slices": {"lane": ["1", "2"]},
        "inputShape": [3, SIZE, SIZE],
        "contentDigest": "sha256:" + "5" * 64,
    }
    return DatasetFiles(files, DatasetFacts.from_json(facts))
