"""Columns of a dataset by role (features, label, slices, group), and values as their types. Used while it is built.

Rules. The label is the column named ``label``; without one, the column named ``target``; without that, the column of
type ``boxes``, or the only category column that is neither a slice nor the group. One declared image column makes an
image dataset, whose only feature it is. Otherwise every declared number, integer, boolean and category column is a
feature, in the order declared, except the label, the slices and the group. Slice and group columns need no declaration:
they are read as categories.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.objects.values import coerce_objects
from edgewright_schemas.builtins import TILE_COLUMNS
from edgewright_schemas.dataset import Column, ColumnType, DatasetSpec

_FEATURE_TYPES = frozenset({"number", "integer", "boolean", "category"})
_SLICE_TYPES = frozenset({"category", "boolean", "integer", "text"})
_CLASS_TYPES = frozenset({"category", "boolean"})
_TRUE, _FALSE = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})


@dataclass(frozen=True)
class Columns:
    """Every column a dataset keeps, and what for."""

    types: Mapping[str, ColumnType]
    values: Mapping[str, tuple[str, ...]]
    """The categories a column declares; a column that declares none is not here."""
    features: tuple[str, ...]
    label: str
    slices: tuple[str, ...]
    group: str | None
    split: str | None = None
    """The column that names each row's split."""

    @cached_property
    def image(self) -> str | None:
        """The image column of an image dataset."""
        return next((name for name in self.features if self.types[name] == "image"), None)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns by name, in the order that identifies a row."""
        return tuple(sorted(self.types))

    def classes(self) -> tuple[str, ...]:
        """Return the label where its values are classes; nothing for a number."""
        return (self.label,) if self.types[self.label] in _CLASS_TYPES else ()

    @cached_property
    def objects(self) -> str | None:
        """The label where its values are the objects in a picture."""
        return self.label if self.types[self.label] == "boxes" else None

    def required(self) -> tuple[str, ...]:
        """Columns in which every row must have a value."""
        return (*self.features, self.label, *(name for name in (self.group, self.split) if name))


def columns_of(spec: DatasetSpec) -> Columns:
    """Work out what each column is for.

    Raises:
        StepFailed: The label or the features cannot be told, or a column is used as what it cannot be.
    """
    aside = {*spec.slices, *(name for name in (spec.split.group_by, spec.split.column) if name)}
    declared = spec.columns
    types: dict[str, ColumnType] = {name: column.type for name, column in declared.items()}
    types.update({name: "category" for name in sorted(aside) if name not in types})
    for name in spec.slices:
        if types[name] not in _SLICE_TYPES:
            raise StepFailed(f"column {name!r} of type {types[name]} cannot be a slice", hint="slice by a category")
    if spec.split.column and types[spec.split.column] not in ("category", "text"):
        raise StepFailed(
            f"column {spec.split.column!r} of type {types[spec.split.column]} names no splits",
            hint="it holds train, validation or test: type: category",
        )
    if any(step.use == "tile" for step in spec.steps):
        added: dict[str, ColumnType] = {"tileSource": "text", **dict.fromkeys(TILE_COLUMNS, "integer")}
        types |= added
    label = _label(declared, aside)
    _check_ranges(declared)
    _check_objects(declared, label)
    if spec.split.stratify and declared[label].type not in {*_CLASS_TYPES, "boxes"} and not spec.slices:
        raise StepFailed("split.stratify has nothing to go by", hint="it goes by a label with classes, and by slices")
    return Columns(
        types=types,
        values=_values(declared, label),
        features=_features(declared, label, aside),
        label=label,
        slices=spec.slices,
        group=spec.split.group_by,
        split=spec.split.column,
    )


def _label(declared: Mapping[str, Column], aside: set[str]) -> str:
    if "label" in declared or "target" in declared:
        name = "label" if "label" in declared else "target"
        if declared[name].type not in {*_FEATURE_TYPES, "boxes"}:
            raise StepFailed(
                f"column {name!r} is the label and cannot be of type {declared[name].type}",
                hint="a label is a category, or a number for regression",
            )
        return name
    if boxes := [name for name, column in declared.items() if column.type == "boxes"]:
        return boxes[0]
    categories = [name for name, column in declared.items() if column.type == "category" and name not in aside]
    if len(categories) == 1:
        return categories[0]
    found = " and ".join(categories) if categories else "none"
    raise StepFailed(
        f"it cannot be told which column is the label: category columns that are no slices: {found}",
        hint="name the column to predict `label` (or `target`)",
    )


def _features(declared: Mapping[str, Column], label: str, aside: set[str]) -> tuple[str, ...]:
    images = [name for name, column in declared.items() if column.type == "image"]
    if len(images) > 1:
        raise StepFailed(f"there are {len(images)} image columns: {', '.join(images)}", hint="declare exactly one")
    if images:
        return (images[0],)
    features = tuple(
        name
        for name, column in declared.items()
        if column.type in _FEATURE_TYPES and name != label and name not in aside
    )
    if not features:
        raise StepFailed(
            f"no column is left as a feature beside the label {label!r}",
            hint="declare the columns a model gets under `columns`; slices and the group are none",
        )
    return features


def _check_objects(declared: Mapping[str, Column], label: str) -> None:
    boxes = [name for name, column in declared.items() if column.type == "boxes"]
    if not boxes:
        return
    if boxes != [label]:
        raise StepFailed(
            f"columns of type boxes: {', '.join(boxes)}; the label is {label!r}",
            hint="objects are the label of a dataset: declare one column of type boxes, and none named label or target",
        )
    if all(column.type != "image" for column in declared.values()):
        raise StepFailed(
            f"column {label!r} holds objects in pictures, and there are none", hint="columns: {image: {type: image}}"
        )


def _check_ranges(declared: Mapping[str, Column]) -> None:
    for name, column in declared.items():
        if column.range is not None and column.type != "image":
            raise StepFailed(
                f"column {name!r} has a range and is of type {column.type}", hint="a range is of deep greys in images"
            )


def _values(declared: Mapping[str, Column], label: str) -> dict[str, tuple[str, ...]]:
    values = {name: c.values for name, c in declared.items() if c.values is not None}
    for name, listed in values.items():
        if declared[name].type not in ("category", "boxes"):
            raise StepFailed(
                f"column {name!r} lists values and is of type {declared[name].type}", hint="type: category"
            )
        if len(set(listed)) < len(listed) or not listed:
            raise StepFailed(f"column {name!r} lists a value twice, or none: {', '.join(listed)}")
    if declared[label].type == "boolean":
        values[label] = ("false", "true")
    return values


def coerce(value: Any, type_: ColumnType) -> Any:
    """Turn a value into its column's type; None for what is missing (None, an empty string, NaN).

    Images are uint8 arrays (H, W) or (H, W, C) and are only checked; ``pictures`` reads them.

    Raises:
        ValueError: It cannot be; the message reads well after the row's name.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (value == "" if isinstance(value, str) else isinstance(value, float) and math.isnan(value)):
        return None
    convert: Callable[[Any], Any] = _COERCIONS.get(type_, _text)
    return convert(value)


def nfc(text: str) -> str:
    """Compose a text's characters, so that texts compare equal that Unicode holds to be the same."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def as_text(value: Any) -> str:
    """Write a category's or slice's value the way ``files`` reads it back."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def pixels(value: Any) -> npt.NDArray[np.uint8]:
    """Check an image: a uint8 array (H, W) or (H, W, C); booleans become 0 and 255.

    Raises:
        ValueError: It is something else.
    """
    if not isinstance(value, np.ndarray):
        raise ValueError(f"an image is a NumPy array (H, W) or (H, W, C), not {type(value).__name__}")
    if value.dtype == np.bool_:
        value = np.where(value, np.uint8(255), np.uint8(0))
    if value.dtype != np.uint8:
        raise ValueError(f"an image holds uint8 from 0 to 255, not {value.dtype}; a column's range brings it there")
    if value.ndim not in (2, 3) or 0 in value.shape:
        raise ValueError(f"an image has the shape (H, W) or (H, W, C), not {value.shape}")
    image: npt.NDArray[np.uint8] = value
    return image


def channels_first(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Turn (H, W) into (1, H, W), and (H, W, C) into (C, H, W)."""
    return np.ascontiguousarray(image[np.newaxis] if image.ndim == 2 else image.transpose(2, 0, 1))


def _text(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} is not Unicode") from None
    return text


def _advice(value: Any) -> str:
    is_comma = isinstance(value, str) and re.fullmatch(r"\s*[-+]?[0-9]{1,300},[0-9]{1,300}\s*", value)
    return '; decimal commas need `decimal: ","` in the source\'s `with`' if is_comma else ""


def _number(value: Any) -> float:
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{value!r} is no number that 64 bits hold") from None
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is no number{_advice(value)}") from None
    if isinstance(value, str) and "_" in value:  # Python's own way of writing numbers, and nobody else's
        raise ValueError(f"{value!r} is no number")
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not finite")
    return number


def _integer(value: Any) -> int:
    number: float
    try:
        number = int(value) if isinstance(value, int | str) and "_" not in str(value) else _number(value)
    except ValueError:
        number = _number(value)
    if number != int(number) or not -(2**63) <= number < 2**63:
        raise ValueError(f"{value!r} is no 64-bit integer")
    return int(number)


def _boolean(value: Any) -> bool:
    text = str(value).strip().lower().removesuffix(".0")
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"{value!r} is neither true nor false")


_COERCIONS: Mapping[ColumnType, Callable[[Any], Any]] = {
    "image": pixels,
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "boxes": coerce_objects,
}
