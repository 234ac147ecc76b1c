"""The steps a dataset's rows go through: built-in ones, and functions of the repository. Used while it is built.

A step takes a row (column name → value) and returns it, changed or not, or None to drop it. Images are uint8 arrays
(H, W) or (H, W, C). The built-in ones look at one row only, so no statistics of validation or test rows leak.
"""

from abc import abstractmethod
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
from edgewright.pipeline.runner import user_code as usercode
from edgewright_schemas.base import SpecModel, Use, is_code_reference
from edgewright_schemas.builtins import (
    CenterCropArguments,
    ClipArguments,
    DropMissingArguments,
    GrayscaleArguments,
    ResizeArguments,
    SelectArguments,
)

Pixels = npt.NDArray[np.uint8]
Values = dict[str, Any]
Step = Callable[[Values], Values | None]


class _BuiltIn(SpecModel):
    """Build a built-in step from its arguments, which ``edgewright_schemas.builtins`` declares."""

    @abstractmethod
    def apply(self, row: Values, columns: Columns) -> Values | None:
        """Return the row, changed or not, or None to drop it."""

    def names(self) -> tuple[str, ...]:
        """Columns the arguments name."""
        return ()


class _Image(_BuiltIn):
    """A step that changes the image alone."""

    def apply(self, row: Values, columns: Columns) -> Values | None:
        name = columns.image
        if name is None:
            raise StepFailed("an image step needs a column of type image", hint="columns: {image: {type: image}}")
        if row.get(name) is not None:
            row[name] = self.change(row[name])
        return row

    @abstractmethod
    def change(self, image: Pixels) -> Pixels:
        """Return the changed image."""


class _Resize(ResizeArguments, _Image):
    """Scale to height  x  width, bilinear with antialiasing."""

    def change(self, image: Pixels) -> Pixels:
        if image.shape[:2] == (self.height, self.width):
            return image
        planes = image[..., np.newaxis] if image.ndim == 2 else image
        scaled = [self._plane(np.ascontiguousarray(planes[..., c])) for c in range(planes.shape[2])]
        return scaled[0] if image.ndim == 2 else np.stack(scaled, axis=-1)

    def _plane(self, plane: Pixels) -> Pixels:
        """Scale rows, then columns: Pillow 13 takes them in the other order where the height shrinks most."""
        wide = Image.fromarray(plane).resize((self.width, plane.shape[0]), Image.Resampling.BILINEAR)
        return np.asarray(wide.resize((self.width, self.height), Image.Resampling.BILINEAR))


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


class _DropMissing(DropMissingArguments, _BuiltIn):
    """Drop rows without a value in one of the columns; by default in any that needs one."""

    def apply(self, row: Values, columns: Columns) -> Values | None:
        needed = columns.required() if self.columns is None else self.columns
        return None if any(row.get(name) is None for name in needed) else row

    def names(self) -> tuple[str, ...]:
        return self.columns or ()


class _Clip(ClipArguments, _BuiltIn):
    """Limit a number to min and max."""

    def apply(self, row: Values, columns: Columns) -> Values | None:
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

    def apply(self, row: Values, columns: Columns) -> Values | None:
        value = row.get(self.column)
        return row if value in self.values or str(value) in map(str, self.values) else None

    def names(self) -> tuple[str, ...]:
        return (self.column,)


BUILT_IN: Mapping[str, type[_BuiltIn]] = {
    "resize": _Resize,
    "grayscale": _Grayscale,
    "center-crop": _CenterCrop,
    "drop-missing": _DropMissing,
    "clip": _Clip,
    "select": _Select,
}


def make_steps(uses: Sequence[Use], columns: Columns, checkout: Path) -> list[Step]:
    """Make the functions that rows go through, in order.

    Raises:
        StepFailed: There is no such step, file or function, or its arguments are wrong.
        UserCodeFailed: Importing the repository's code raised.
    """
    return [_user_step(use, checkout) if is_code_reference(use.use) else _built_in_step(use, columns) for use in uses]


def _built_in_step(use: Use, columns: Columns) -> Step:
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
    return lambda row: step.apply(row, columns)


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
