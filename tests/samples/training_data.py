"""Small datasets in the form the build-dataset step writes, and tasks that train on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.core.facts import DatasetFacts
from edgewright.pipeline.runner.tasks import StagedTask, StepContext

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class DatasetFiles:
    files: dict[str, Path]
    facts: DatasetFacts


def image_dataset(
    folder: Path, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], values: Sequence[str]
) -> DatasetFiles:
    """Images (N, C, H, W) and their classes; 80 % train, 10 % validation, 10 % test, in order."""
    table = {
        "image": pa.array([p.tobytes() for p in pixels], pa.binary()),
        "label": pa.array([values[i] for i in labels]).dictionary_encode(),
    }
    columns = {"image": {"type": "image"}, "label": {"type": "category", "values": list(values)}}
    return _write(folder, table, columns, ["image"], list(pixels.shape[1:]))


def table_dataset(
    folder: Path,
    features: Mapping[str, Sequence[float | None]],
    label: Sequence[float | str],
    values: Sequence[str] = (),
) -> DatasetFiles:
    """Numeric features and a label: classes when ``values`` are given, otherwise numbers."""
    table = {name: pa.array(column, pa.float64()) for name, column in features.items()}
    table["label"] = pa.array(label, pa.string()).dictionary_encode() if values else pa.array(label, pa.float64())
    columns: dict[str, Any] = {name: {"type": "number"} for name in features}
    columns["label"] = {"type": "category", "values": list(values)} if values else {"type": "number"}
    return _write(folder, table, columns, list(features), [len(features)])


def _write(
    folder: Path, table: Mapping[str, pa.Array], columns: Mapping[str, Any], features: list[str], shape: list[int]
) -> DatasetFiles:
    folder.mkdir(parents=True, exist_ok=True)
    whole = pa.table(dict(table))
    rows = whole.num_rows
    bounds = [0, rows * 8 // 10, rows * 9 // 10, rows]
    files = {}
    for split, start, end in zip(SPLITS, bounds, bounds[1:], strict=False):
        files[f"{split}.parquet"] = folder / f"{split}.parquet"
        pq.write_table(whole.slice(start, end - start), folder / f"{split}.parquet")
    (folder / "schema.json").write_text("{}")
    files["schema.json"] = folder / "schema.json"
    counts = {split: end - start for split, start, end in zip(SPLITS, bounds, bounds[1:], strict=False)}
    facts = {
        "rows": counts,
        "columns": dict(columns),
        "features": features,
        "label": "label",
        "slices": {},
        "inputShape": shape,
        "contentDigest": "sha256:" + "0" * 64,
    }
    return DatasetFiles(files, DatasetFacts.from_json(facts))


def stripes(folder: Path, rows: int = 120, size: int = 8, seed: int = 0) -> DatasetFiles:
    """Images of horizontal and vertical stripes with noise: two classes that a small network tells apart quickly."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows)
    pattern = (np.arange(size) // 2 % 2 * 160).astype(np.float64)
    images = np.where(labels[:, None, None] == 0, pattern[None, :, None], pattern[None, None, :])
    noisy = np.clip(images + rng.normal(30, 25, images.shape), 0, 255).astype(np.uint8)
    return image_dataset(folder, noisy[:, None], labels, ["horizontal", "vertical"])


def train_task(
    workdir: Path, dataset: DatasetFiles, spec: Mapping[str, Any], checkout: Path | None = None, **more: Any
) -> StagedTask:
    """A train task; ``spec`` completes a Model's spec."""
    return StagedTask(
        action=Action.TRAIN,
        address=Address("model", "stripes"),
        fingerprint=more.pop("fingerprint", "f" * 64),
        spec={"dataset": "stripes", **spec},
        checkout=checkout or workdir.parent,
        inputs={"dataset": dataset.files, **more.pop("inputs", {})},
        facts={"dataset": dataset.facts},
        workdir=workdir,
        **more,
    )


class ProgressLog:
    """Collects what a step reports."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, str, dict[str, float]]] = []

    def __call__(self, done: int, total: int, unit: str, figures: Mapping[str, float] | None = None) -> None:
        self.calls.append((done, total, unit, dict(figures or {})))


def start(task: StagedTask, progress: ProgressLog | None = None) -> StepContext:
    """Make a step's context and folders, as the worker does."""
    context = StepContext(task, progress or ProgressLog())
    context.out.mkdir(parents=True, exist_ok=True)
    context.checkpoint.mkdir(parents=True, exist_ok=True)
    return context
