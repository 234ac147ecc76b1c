"""Built-ins that specs may name: architectures and dataset steps, with their arguments.

``source`` checks specs against these tables, and the pipeline implements them; so nothing heavy is imported here.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from edgewright_schemas.base import SpecModel

Activation = Literal["relu", "silu"]


class SmallCnnArguments(SpecModel):
    """Arguments of ``small-cnn``."""

    width: int = Field(default=32, ge=1, le=1024)
    """Channels of the first block; the following blocks have twice as many."""
    activation: Activation = "relu"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)


class MlpArguments(SpecModel):
    """Arguments of ``mlp``."""

    hidden: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = Field(default=(64, 32), max_length=100)
    """Units of each hidden layer."""
    activation: Activation = "relu"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)


class SmallDetectorArguments(SpecModel):
    """Arguments of ``small-detector``."""

    width: int = Field(default=16, ge=1, le=1024)
    """Channels of the first block; later ones have up to four times as many."""
    stride: Literal[4, 8, 16] = 8
    """Pixels between positions that may each be one object."""


DETECTOR = "small-detector"
ARCHITECTURES: Mapping[str, type[SpecModel]] = {
    "small-cnn": SmallCnnArguments,
    "mlp": MlpArguments,
    DETECTOR: SmallDetectorArguments,
}


class ResizeArguments(SpecModel):
    """Arguments of ``resize``: pixels."""

    height: int = Field(ge=1, le=16384)
    width: int = Field(ge=1, le=16384)


class GrayscaleArguments(SpecModel):
    """``grayscale`` takes none."""


class CenterCropArguments(SpecModel):
    """Arguments of ``center-crop``: pixels."""

    height: int = Field(ge=1, le=16384)
    width: int = Field(ge=1, le=16384)
    min_share: float = Field(default=0.3, gt=0, le=1)
    """Share of its area that an object keeps at least."""


class LetterboxArguments(SpecModel):
    """Arguments of ``letterbox``: pixels."""

    height: int = Field(ge=1, le=16384)
    width: int = Field(ge=1, le=16384)
    pad: int = Field(default=114, ge=0, le=255)
    """Grey of the borders."""


MinShare = Annotated[float, Field(gt=0, le=1)]
"""Share of its area that an object keeps at least, where an edge cuts it; one of less is left out and counted."""


class CropArguments(SpecModel):
    """Arguments of ``crop``: pixels from the picture's left and top."""

    x: int = Field(ge=0, le=65535)
    y: int = Field(ge=0, le=65535)
    height: int = Field(ge=1, le=16384)
    width: int = Field(ge=1, le=16384)
    min_share: MinShare = 0.3


class TileArguments(SpecModel):
    """Arguments of ``tile``: pixels of each tile."""

    height: int = Field(ge=1, le=16384)
    width: int = Field(ge=1, le=16384)
    overlap: float = Field(default=0.2, ge=0, lt=1)
    """Share of a tile that the next one shows too, at least."""
    min_share: MinShare = 0.3
    pad: int = Field(default=114, ge=0, le=255)
    """Grey beside a picture that is smaller than a tile."""


TILE_COLUMNS = ("tileX", "tileY", "tileWidth", "tileHeight")
"""Columns that ``tile`` adds, in pixels of the picture; ``tileSource`` names that."""


class DropMissingArguments(SpecModel):
    """Arguments of ``drop-missing``."""

    columns: tuple[str, ...] | None = None
    """By default every column that needs a value."""


class ClipArguments(SpecModel):
    """Arguments of ``clip``."""

    column: str
    min: float | None = None
    max: float | None = None


class SelectArguments(SpecModel):
    """Arguments of ``select``."""

    column: str
    values: tuple[str | int | float | bool, ...] = Field(min_length=1)


DATASET_STEPS: Mapping[str, type[SpecModel]] = {
    "resize": ResizeArguments,
    "grayscale": GrayscaleArguments,
    "center-crop": CenterCropArguments,
    "letterbox": LetterboxArguments,
    "crop": CropArguments,
    "tile": TileArguments,
    "drop-missing": DropMissingArguments,
    "clip": ClipArguments,
    "select": SelectArguments,
}
