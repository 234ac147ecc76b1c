"""The steps a dataset's rows go through: built-in ones, and functions of the repository. Used while it is built.

A step takes a row (column name → value) and returns it, changed or not, several in its place, or None to drop it.
Images are uint8 arrays (H, W) or (H, W, C). The built-in ones look at one row only, so no statistics of validation or
test rows leak.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import ValidationError

from edgewright.core.suggestions import suggestion
from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.columns import Columns
from edgewright.pipeline.dataset.objects.moving import moved, moved_object, tiles
from edgewright.pipeline.dataset.objects.values import Object, coerce_objects
from edgewright.pipeline.runner import user_code as usercode
from edgewright_inference.geometry import Placement, place
from edgewright_schemas.base import SpecModel, Use, is_code_reference
from edgewright_schemas.builtins import (
    TILE_COLUMNS,
    CenterCropArguments,
    ClipArguments,
    CropArguments,
    DropMissingArguments,
    GrayscaleArguments,
    LetterboxArguments,
    ResizeArguments,
    SelectArguments,
    TileArguments,
)

Pixels = npt.NDArray[np.uint8]
Values = dict[str, Any]
Made = Values | list[Values] | None
Step = Callable[[Values], Made]
_COLOURS = 3
"""Channels that Pillow scales at once, bit for bit as one by one."""


class _BuiltIn(SpecModel):
    """Build a built-in step from its arguments, which ``edgewright_schemas.builtins`` declares."""

    @abstractmethod
    def apply(self, row: Values, columns: Columns, cut: Counter[str]) -> Made:
        """Return the row, changed or not, several in its place, or None to drop it.

        Args:
            row: Its values.
            columns: Of the dataset.
            cut: Takes the counts of objects that are left out, by reason.
        """

    def names(self) -> tuple[str, ...]:
        """Columns the arguments name."""
        return ()


class _Image(_BuiltIn):
    """A step that changes the image, and moves the objects in it."""

    def apply(self, row: Values, columns: Columns, cut: Counter[str]) -> Made:
        name = image_column(columns)
        if (image := row.get(name)) is None:
            return row
        row[name] = self.change(image)
        place = self.place(image.shape[0], image.shape[1])
        if columns.objects and place is not None and row.get(columns.objects) is not None:
            objects = coerced_objects(row[columns.objects])
            row[columns.objects] = moved(objects, place, getattr(self, "min_share", 0.0), cut, self.step_name())
        return row

    @abstractmethod
    def change(self, image: Pixels) -> Pixels:
        """Return the changed image."""

    def place(self, height: int, width: int) -> Placement | None:
        """Return where a picture goes; None where it stays."""
        return None

    @classmethod
    def step_name(cls) -> str:
        """Return the name that specs give."""
        return next(name for name, model in BUILT_IN.items() if model is cls)


class _Resize(ResizeArguments, _Image):
    """Scale to height  x  width, bilinear with antialiasing."""

    def change(self, image: Pixels) -> Pixels:
        if image.shape[:2] == (self.height, self.width):
            return image
        return scaled(image, self.height, self.width)

    def place(self, height: int, width: int) -> Placement:
        return place((height, width), (self.height, self.width), "stretch")


class _Letterbox(LetterboxArguments, _Image):
    """Scale as a whole to fit height  x  width, with grey borders."""

    def change(self, image: Pixels) -> Pixels:
        goes = self.place(*image.shape[:2])
        canvas = np.full((self.height, self.width, *image.shape[2:]), self.pad, np.uint8)
        height, width = goes.resized
        canvas[goes.top : goes.top + height, goes.left : goes.left + width] = scaled(image, height, width)
        return canvas

    def place(self, height: int, width: int) -> Placement:
        return place((height, width), (self.height, self.width), "letterbox")


class _Grayscale(GrayscaleArguments, _Image):
    """Turn RGB into grey by ITU-R BT.601 luma."""

    def change(self, image: Pixels) -> Pixels:
        if image.ndim == 2 or image.shape[2] == 1:
            return image.reshape(image.shape[:2])
        if image.shape[2] < 3:
            raise StepFailed(f"grayscale reads RGB images, not {image.shape[2]} channels")
        return np.asarray(Image.fromarray(np.ascontiguousarray(image[..., :3])).convert("L"))


class _CenterCrop(CenterCropArguments, _Image):
    """Cut height  x  width out of the middle."""

    def change(self, image: Pixels) -> Pixels:
        top, left = (image.shape[0] - self.height) // 2, (image.shape[1] - self.width) // 2
        if top < 0 or left < 0:
            raise StepFailed(
                f"center-crop wants {self.height} x {self.width}, and an image has {image.shape[0]} x {image.shape[1]}",
                hint="resize first, or crop less",
            )
        return image[top : top + self.height, left : left + self.width]

    def place(self, height: int, width: int) -> Placement:
        left, top = (width - self.width) // 2, (height - self.height) // 2
        return Placement((height, width), (height, width), (self.height, self.width), -left, -top)


class _Crop(CropArguments, _Image):
    """Cut one region out."""

    def change(self, image: Pixels) -> Pixels:
        height, width = image.shape[:2]
        if self.y + self.height > height or self.x + self.width > width:
            raise StepFailed(
                f"crop wants {self.width} x {self.height} at {self.x}, {self.y}, and an image has {width} x {height}",
                hint="crop less, or resize first",
            )
        return image[self.y : self.y + self.height, self.x : self.x + self.width]

    def place(self, height: int, width: int) -> Placement:
        return Placement((height, width), (height, width), (self.height, self.width), -self.x, -self.y)


class _Tile(TileArguments, _BuiltIn):
    """Divide a picture into tiles, each a row of its own."""

    def apply(self, row: Values, columns: Columns, cut: Counter[str]) -> Made:
        name, label = image_column(columns), columns.objects
        if (image := row.get(name)) is None:
            return row
        if TILE_COLUMNS[0] in row:
            raise StepFailed("tile divides what it divided before", hint="use tile once, before resize or letterbox")
        objects = coerced_objects(row[label]) if label is not None and row.get(label) is not None else None
        found, kept = [], [False] * len(objects or ())
        height, width = image.shape[:2]
        for y in tiles(height, self.height, self.overlap):
            for x in tiles(width, self.width, self.overlap):
                made = {**row, name: self._cut(image, x, y)}
                made |= dict(zip(TILE_COLUMNS, (x, y, self.width, self.height), strict=True))
                if objects is not None:
                    goes = Placement((height, width), (height, width), (self.height, self.width), -x, -y)
                    made[str(label)] = self._objects(objects, goes, kept, cut)
                found.append(made)
        if lost := kept.count(False):
            cut["in no tile"] += lost
        return found

    def _cut(self, image: Pixels, x: int, y: int) -> Pixels:
        part = image[y : y + self.height, x : x + self.width]
        if part.shape[:2] == (self.height, self.width):
            return part
        canvas = np.full((self.height, self.width, *image.shape[2:]), self.pad, np.uint8)
        canvas[: part.shape[0], : part.shape[1]] = part
        return canvas

    def _objects(self, objects: Sequence[Object], goes: Placement, kept: list[bool], cut: Counter[str]) -> list[Object]:
        found = []
        for at, each in enumerate(objects):
            made, share = moved_object(each, goes)
            if made is None:
                continue
            if share >= self.min_share or each["crowd"]:
                found.append(made)
                kept[at] = True
            else:
                cut[f"pieces cut by tile to less than {self.min_share:.0%}"] += 1
        return found


class _DropMissing(DropMissingArguments, _BuiltIn):
    """Drop rows without a value in one of the columns; by default in any that needs one."""

    def apply(self, row: Values, columns: Columns, cut: Counter[str]) -> Made:
        needed = columns.required() if self.columns is None else self.columns
        return None if any(row.get(name) is None for name in needed) else row

    def names(self) -> tuple[str, ...]:
        return self.columns or ()


class _Clip(ClipArguments, _BuiltIn):
    """Limit a number to min and max."""

    def apply(self, row: Values, columns: Columns, cut: Counter[str]) -> Made:
        value = row.get(self.column)
        if value is None:
            return row
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise StepFailed(f"clip needs a number, and {self.column!r} holds {value!r}")
        if self.min is not None:
            value = max(value, type(value)(self.min))
        if self.max is not None:
            value = min(value, type(value)(self.max))
        row[self.column] = value
        return row

    def names(self) -> tuple[str, ...]:
        return (self.column,)


class _Select(SelectArguments, _BuiltIn):
    """Keep the rows whose column has one of the values."""

    def apply(self, row: Values, columns: Columns, cut: Counter[str]) -> Made:
        value = row.get(self.column)
        return row if value in self.values or str(value) in map(str, self.values) else None

    def names(self) -> tuple[str, ...]:
        return (self.column,)


def image_column(columns: Columns) -> str:
    """Return the image column.

    Raises:
        StepFailed: There is none.
    """
    if columns.image is None:
        raise StepFailed("an image step needs a column of type image", hint="columns: {image: {type: image}}")
    return columns.image


def coerced_objects(value: Any) -> list[Object]:
    """Check a row's objects.

    Raises:
        StepFailed: They are none.
    """
    try:
        return coerce_objects(value)
    except ValueError as error:
        raise StepFailed(f"a step moves objects, and they are none: {error}") from error


def scaled(image: Pixels, height: int, width: int) -> Pixels:
    """Scale rows, then columns: Pillow 13 takes them in the other order where the height shrinks most."""
    if image.shape[:2] == (height, width):
        return image
    if image.ndim == 2 or image.shape[2] == _COLOURS:
        return _scaled(image, height, width)
    planes = [_scaled(image[..., at], height, width) for at in range(image.shape[2])]
    return np.stack(planes, axis=-1)


def _scaled(image: Pixels, height: int, width: int) -> Pixels:
    picture = Image.fromarray(np.ascontiguousarray(image))
    wide = picture.resize((width, picture.height), Image.Resampling.BILINEAR)
    return np.asarray(wide.resize((width, height), Image.Resampling.BILINEAR))


BUILT_IN: Mapping[str, type[_BuiltIn]] = {
    "resize": _Resize,
    "grayscale": _Grayscale,
    "center-crop": _CenterCrop,
    "letterbox": _Letterbox,
    "crop": _Crop,
    "tile": _Tile,
    "drop-missing": _DropMissing,
    "clip": _Clip,
    "select": _Select,
}


def make_steps(uses: Sequence[Use], columns: Columns, checkout: Path, cut: Counter[str] | None = None) -> list[Step]:
    """Make the functions that rows go through, in order; ``cut`` takes the counts of objects left out, by reason.

    Raises:
        StepFailed: There is no such step, file or function, or its arguments are wrong.
        UserCodeFailed: Importing the repository's code raised.
    """
    counts: Counter[str] = cut if cut is not None else Counter()
    return [
        _user_step(use, checkout) if is_code_reference(use.use) else _built_in_step(use, columns, counts)
        for use in uses
    ]


def _built_in_step(use: Use, columns: Columns, cut: Counter[str]) -> Step:
    model = BUILT_IN.get(use.use)
    if model is None:
        raise StepFailed(
            f"there is no step {use.use!r}", hint=f"{suggestion(use.use, BUILT_IN)}; your own: code/file.py:function"
        )
    try:
        step = model.model_validate(use.with_)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise StepFailed(
            f"step {use.use}: {wrong}", hint=f"it takes: {', '.join(model.model_fields) or 'no arguments'}"
        ) from error
    return lambda row: step.apply(row, columns, cut)


def _user_step(use: Use, checkout: Path) -> Step:
    function = usercode.load(checkout, use.use)

    def step(row: Values) -> Values | None:
        made = usercode.call(checkout, use.use, function, row, **use.with_)
        if made is None:
            return None
        if not isinstance(made, Mapping):
            raise StepFailed(
                f"{use.use} returned {type(made).__name__}", hint="a step returns the row (a dict), or None to drop it"
            )
        return dict(made)

    return step
