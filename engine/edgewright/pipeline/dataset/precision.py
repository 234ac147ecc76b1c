"""Numbers that a model's 32-bit inputs do not tell apart: times, codes, positions. Used by ``step``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from edgewright.pipeline.dataset.columns import Columns
from edgewright.pipeline.dataset.files import SPLITS, file_name
from edgewright.pipeline.dataset.problems import Problems

_DIGITS = 12
"""Significant digits that count; what follows is what computing with 64 bits leaves."""
_MOST_LOST = 0.1
_ENOUGH, _ENOUGH_WHOLE = 4096, 65536
"""Values left with which a column is as fine as its sensor, and as a whole number that counts something."""


@dataclass(frozen=True, slots=True)
class Distinct:
    """Different values of a column, as the source has them and as 32 bits hold them."""

    column: str
    before: int
    after: int
    largest: float
    whole: bool
    """All are whole numbers."""

    @property
    def is_lossy(self) -> bool:
        """More than a tenth of the values are gone."""
        return self.after < (1 - _MOST_LOST) * self.before

    @property
    def is_refused(self) -> bool:
        """So few are left that it matters, or one is too large for 32 bits."""
        enough = _ENOUGH_WHOLE if self.whole else _ENOUGH
        return (self.is_lossy and self.after < enough) or self.largest > float(np.finfo(np.float32).max)


def count_distinct(files: Mapping[str, Path], columns: Columns) -> list[Distinct]:
    """Count the different values of every numeric feature and label of the written splits."""
    names = dict.fromkeys((*columns.features, columns.label))
    return [_count(name, files) for name in names if columns.types[name] in ("number", "integer")]


def _count(name: str, files: Mapping[str, Path]) -> Distinct:
    parts = [pq.read_table(files[file_name(split)], columns=[name])[name].drop_null().to_numpy() for split in SPLITS]
    values = np.unique(np.concatenate(parts))
    if not values.size:
        return Distinct(name, 0, 0, 0.0, whole=True)
    with np.errstate(over="ignore"):
        after = np.unique(values.astype(np.float32)).size
    whole = values.dtype.kind == "i" or bool((values == np.trunc(values)).all())
    before = values.size if whole else np.unique(_rounded(values)).size
    return Distinct(name, int(before), int(after), float(np.abs(values.astype(np.float64)).max()), whole)


def _rounded(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Round to the significant digits that count."""
    floats = values.astype(np.float64)
    exponents = np.floor(np.log10(np.abs(floats), out=np.zeros_like(floats), where=floats != 0))
    scale = 10.0 ** np.clip(_DIGITS - 1 - exponents, -300, 300)
    rounded: npt.NDArray[np.float64] = np.rint(floats * scale) / scale
    return rounded


def report(found: list[Distinct], problems: Problems) -> None:
    """Add the columns whose values are not told apart."""
    for each in found:
        if each.is_refused:
            problems.add(
                f"values of {each.column!r} are not told apart by the 32-bit numbers a model gets: {each.after} of "
                f"{each.before} are left, up to {each.largest:g}",
                hint="a code or an id is a category, or no feature; of a time or a position take the difference to a "
                "fixed value, or its parts, in a step",
            )


def notices(found: list[Distinct]) -> list[str]:
    """Return sentences about columns that lose values and are fine enough all the same."""
    return [
        f"values of {each.column!r}: {each.after} of {each.before} are told apart by 32-bit numbers"
        for each in found
        if each.is_lossy and not each.is_refused
    ]
