"""Some pictures of a dataset with their labels. Gathered by ``services``, drawn by ``render.contact_sheet``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PreviewPicture:
    """One picture with its label."""

    split: str
    row: int
    """Its number in the split, from 0."""
    pixels: bytes
    """(C, H, W), uint8."""
    objects: Sequence[Mapping[str, Any]] | None
    """With ``category`` by name; None where the label is something else."""
    label: str | None
    columns: Mapping[str, str]
    """Its slices, and where a tile comes from."""


@dataclass(frozen=True, slots=True)
class DatasetPreview:
    """Some pictures of a dataset."""

    address: str
    shape: tuple[int, int, int]
    categories: tuple[str, ...]
    pictures: Sequence[PreviewPicture]
    rows: int
    """Rows of the splits chosen from."""
