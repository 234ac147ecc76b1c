"""Kind Dataset: where the data comes from, how it is prepared, split and checked."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from edgewright_schemas.base import API_VERSION, Metadata, Ratio, SpecModel, Use
from edgewright_wire.names import Digest

SourceFormat = Literal["image-folder", "csv", "parquet", "python", "coco", "yolo", "voc"]
ColumnType = Literal["image", "category", "number", "integer", "text", "boolean", "boxes"]

SPLIT_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Names that people give to splits, in folders and columns, and the splits they mean."""


class Source(SpecModel):
    """Source of a dataset's rows."""

    uri: str = Field(min_length=1, examples=["data/price-tags", "s3://bucket/tags", "code/frames.py:generate"])
    """A path in the repository, or any URL fsspec opens; for format python, ``path/file.py:function``."""
    format: SourceFormat
    digest: Digest | None = None
    """Pins a source outside Git; the one found is printed when it is missing."""
    follow: bool = False
    """Rebuild whenever a source outside Git moves, instead of proposing it."""
    with_: dict[str, Any] = Field(default={}, alias="with")
    """Arguments for the reader: keyword arguments of the Python function, options of the other readers."""
    inputs: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    """Repository files and folders that the Python function reads; a change in one builds the dataset again."""

    @model_validator(mode="after")
    def _inputs_of_code(self) -> Self:
        if self.inputs and self.format != "python":
            raise ValueError("inputs go with format python; other formats read what uri names")
        return self


class Range(SpecModel):
    """Ends of a scale."""

    min: float
    max: float

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.min >= self.max:
            raise ValueError("max must be more than min")
        return self


class Column(SpecModel):
    """Type of one column."""

    type: ColumnType
    values: tuple[str, ...] | None = None
    """The categories, in the order of the model's outputs. Without it: those found, sorted as text (10 before 2), which
    a model that is not trained here has to confirm by the names in its file. Of objects: those that the source
    lists, in its order."""
    range: Range | None = Field(default=None, exclude_if=lambda value: value is None)
    """Of images deeper than eight bits: what becomes black and what white; needed unless 0 to 65535 are in use."""


class Split(SpecModel):
    """Shares of train, validation and test; rows of one group never part."""

    train: Ratio = 0.8
    validation: Ratio = 0.1
    test: Ratio = 0.1
    seed: int = 0
    group_by: str | None = None
    column: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """A column that names each row's split: train, validation or test."""
    stratify: bool = Field(default=False, exclude_if=lambda value: value is False)
    """Give every class and every value of a slice its share of each split. Rows added later may then move others."""
    near_copies: bool = Field(default=False, exclude_if=lambda value: value is False)
    """Keep pictures together that are one picture at another size or saved again. Equal ones always stay together."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"train, validation and test must add up to 1, not {total:g}")
        if self.column is not None and self.stratify:
            raise ValueError("column and stratify exclude each other: the column decides")
        return self


class Bounds(SpecModel):
    """Inclusive limits."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        return self


class RowsCheck(SpecModel):
    """Bounds the number of rows."""

    rows: Bounds


class ColumnCheck(SpecModel):
    """Bounds what one column holds."""

    column: str
    missing: Bounds | None = None
    """How many rows have no value."""
    value: Bounds | None = None
    """Each value of a numeric column."""
    unique: bool = False
    """No value twice."""

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.missing is None and self.value is None and not self.unique:
            raise ValueError("give missing, value or unique")
        return self


Check = Annotated[RowsCheck | ColumnCheck, Field(union_mode="smart")]


class DatasetSpec(SpecModel):
    """The desired dataset."""

    source: Source
    columns: dict[str, Column] = Field(min_length=1)
    steps: tuple[Use, ...] = ()
    split: Split = Split()
    slices: tuple[str, ...] = ()
    """Columns whose values divide the evaluation."""
    checks: tuple[Check, ...] = ()


class Dataset(SpecModel):
    """Data, from its source to its splits."""

    api_version: Literal["edgewright.dev/v1alpha1"] = API_VERSION
    kind: Literal["Dataset"]
    metadata: Metadata
    spec: DatasetSpec
