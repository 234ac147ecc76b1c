"""Options of the formats that hold objects in pictures (``coco``, ``yolo``, ``voc``), in a source's ``with``.

``source`` checks specs against them, and the readers of datasets take them.
"""

from collections.abc import Mapping
from typing import Literal

from edgewright_schemas.base import SpecModel


class LabelOptions(SpecModel):
    """Options of every format of labelled pictures."""

    images: str | None = None
    """Folder of the pictures, where names of files alone do not tell them apart."""
    layout: Literal["auto", "merged"] = "auto"
    """``merged``: splits that the source names are divided anew by the shares."""
    outside: Literal["refuse", "clip"] = "refuse"
    """Boxes that stick out of their picture by a pixel or more. Less is rounding, cut off and counted."""
    without_area: Literal["refuse", "leave-out"] = "refuse"
    turned: Literal["refuse", "enclose"] = "refuse"
    """Turned boxes: ``enclose`` keeps the upright box around each."""
    orientation: Literal["refuse", "upright"] = "refuse"
    """Labels of pictures that EXIF turns: ``upright`` confirms that they are for the picture upright."""


class CocoOptions(LabelOptions):
    """Options of ``coco``."""

    annotations: tuple[str, ...] = ()
    """The JSON files; by default every one in the folder."""


class YoloOptions(LabelOptions):
    """Options of ``yolo``."""

    data: str = "data.yaml"
    """The file that names the categories and the folders."""


class VocOptions(LabelOptions):
    """Options of ``voc``."""

    coordinates: Literal["one-based", "zero-based"] = "one-based"
    """``one-based``, as VOC has it: the first pixel is 1, and xmax and ymax are the last pixels of the box.
    ``zero-based``, as some tools write it: edges of the box, the picture begins at 0."""


LABEL_FORMATS: Mapping[str, type[LabelOptions]] = {"coco": CocoOptions, "yolo": YoloOptions, "voc": VocOptions}
