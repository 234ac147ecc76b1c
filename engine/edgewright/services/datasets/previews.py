"""Chooses rows of a built dataset to look at. Called by ``dataset preview``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from edgewright.core.facts import DatasetFacts
from edgewright.core.status.dataset_previews import DatasetPreview, PreviewPicture
from edgewright.core.status.results import DatasetResults
from edgewright.errors import EdgewrightError
from edgewright.services.status import EvidenceEnvironment, show

_NEGATIVE_SHARE = 6
"""One of so many pictures shows no object, where there are such."""
SPLITS = ("train", "validation", "test")


def preview_dataset(
    environment: EvidenceEnvironment, address: str, *, split: str | None = None, count: int = 24, seed: int = 0
) -> DatasetPreview:
    """Choose pictures of a dataset by a seed, some of them without objects.

    Args:
        environment: The environment.
        address: The dataset's.
        split: The one to choose from; None: all.
        count: Pictures.
        seed: Another one chooses others.

    Raises:
        EdgewrightError: It is no dataset of pictures, or was never built, or its files are gone.
    """
    found = show(environment, address)
    if not isinstance(found, DatasetResults) or len(found.facts.input_shape) != 3:
        raise EdgewrightError(f"{address} holds no pictures", hint="datasets with a column of type image do")
    splits = [each for each in SPLITS if split in (None, each)]
    if not splits:
        raise EdgewrightError(f"there is no split {split!r}", hint="train, validation or test")
    files = {name: _path(environment, found, f"{name}.parquet") for name in splits}
    chosen = _choose({name: _empties(path, found.facts) for name, path in files.items()}, count, seed)
    pictures = [one for name in splits for one in _read(files[name], name, chosen[name], found.facts)]
    channels, height, width = found.facts.input_shape
    return DatasetPreview(
        str(found.address),
        (channels, height, width),
        found.facts.label_values or (),
        pictures,
        sum(found.facts.rows[name] for name in splits),
    )


def _path(environment: EvidenceEnvironment, found: DatasetResults, name: str) -> Path:
    file = found.artifact.files.get(name)
    try:
        return environment.blobs.path(file.digest if file is not None else "")
    except KeyError:
        raise EdgewrightError(
            f"{name} of {found.address} is not stored here", hint="edgewright apply builds it again"
        ) from None


def _empties(path: Path, facts: DatasetFacts) -> list[bool]:
    """Return for each row whether its label says that there is no object."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if facts.columns[facts.label].type != "boxes":
        return [False] * pq.read_metadata(path).num_rows
    counts = pc.list_value_length(pq.read_table(path, columns=[facts.label])[facts.label])
    return [count == 0 for count in counts.to_pylist()]


def _choose(empties: Mapping[str, Sequence[bool]], count: int, seed: int) -> dict[str, list[int]]:
    """Choose rows of each split, in order."""
    random = Random(seed)  # noqa: S311 - a choice that can be made again, no secret
    places = [(name, row, empty) for name, rows in empties.items() for row, empty in enumerate(rows)]
    without = [place for place in places if place[2]]
    others = [place for place in places if not place[2]]
    negatives = min(len(without), max(count // _NEGATIVE_SHARE, 1), max(count - 1, 0))
    taken = random.sample(others, min(count - negatives, len(others)))
    taken += random.sample(without, min(count - len(taken), len(without)))
    return {name: sorted(row for where, row, _ in taken if where == name) for name in empties}


def _read(path: Path, split: str, rows: Sequence[int], facts: DatasetFacts) -> list[PreviewPicture]:
    """Read some rows; groups of rows without one of them are left aside."""
    import pyarrow.parquet as pq

    sources = [name for name in facts.columns if name in ("tileSource", "tileX", "tileY")]
    names = [facts.features[0], facts.label, *facts.slices, *sources]
    wanted, found, start = set(rows), [], 0
    with pq.ParquetFile(path) as file:
        for group in range(file.metadata.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            if inside := sorted(row for row in wanted if start <= row < end):
                table = file.read_row_group(group, columns=list(dict.fromkeys(names)))
                taken = table.take([row - start for row in inside]).to_pylist()
                found += [_picture(split, row, values, facts) for row, values in zip(inside, taken, strict=True)]
            start = end
    return found


def _picture(split: str, row: int, values: Mapping[str, Any], facts: DatasetFacts) -> PreviewPicture:
    label, objects = values[facts.label], None
    if facts.columns[facts.label].type == "boxes":
        named = facts.label_values or ()
        objects = [{**each, "category": named[each["category"]]} for each in label or ()]
    shown = {name: str(value) for name, value in values.items() if name not in (facts.features[0], facts.label)}
    return PreviewPicture(
        split, row, values[facts.features[0]], objects, None if objects is not None else str(label), shown
    )
