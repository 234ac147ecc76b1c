"""Decodes image files into arrays. Used by the readers of datasets."""

import io
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from edgewright.pipeline.dataset.pictures.depth import DeepGreys, Pixels, Source, Unscaled, source_of, values_of
from edgewright.pipeline.dataset.problems import Problems
from edgewright_schemas.dataset import Range

SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".avif"),
    *(".avifs", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".tga"),
)
"""Kinds of files that are pictures and are read."""
_OF_FRAMES = frozenset({"GIF", "TIFF", "PNG", "WEBP", "AVIF"})
"""Formats whose further frames are content; those of a phone's JPEG are previews and maps."""
_GREY_MODES = frozenset({"1", "L", "LA", "La"})


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its EXIF orientation."""


class Decoder:
    """Decodes pictures, and keeps what only shows over all of them: deep greys that eight bits do not tell apart."""

    def __init__(self, scale: Range | None = None) -> None:
        """Take what the spec declares to be black and white in deep greys."""
        self._scale = scale
        self._grey = DeepGreys(scale)
        self._frames: list[str] = []

    def decode(self, data: bytes, where: str = "") -> Pixels:
        """Decode an image file, turned upright: grey ones to (H, W), all others to (H, W, 3); transparency is dropped.

        Args:
            data: The file.
            where: Its name, for messages about several.

        Raises:
            ValueError: It is no image, a damaged one or one of numbers without a scale; the message says which.
        """
        try:
            with Image.open(io.BytesIO(data)) as image:
                pixels = self._decode(image)
                with suppress(Exception):  # what follows the first frame is not read, whole or damaged
                    if image.format in _OF_FRAMES and getattr(image, "n_frames", 1) > 1:
                        self._frames.append(where)
                return pixels
        except Unscaled:
            raise
        except UnidentifiedImageError:
            raise ValueError(_unidentified(data)) from None
        except Image.DecompressionBombError:
            raise ValueError("too large to be decoded safely") from None
        except MemoryError:
            raise
        except (OSError, SyntaxError, EOFError, ValueError, OverflowError) as error:
            raise ValueError(f"damaged: {error}") from error
        except Exception as error:  # whatever a decoder meets in a file is that file's trouble
            raise ValueError(f"damaged: {type(error).__name__}: {error}") from error

    def _decode(self, image: ImageFile.ImageFile) -> Pixels:
        source = source_of(image)
        upright = _upright(image)
        if source.kind == "grey":
            return self._grey.scale(values_of(np.asarray(upright), source), source)
        self._grey.see_eight_bits()
        if self._scale is not None:
            depth = "16-bit colour, which cannot be stretched" if source.kind == "colour" else "8 bits"
            raise Unscaled(f"has {depth}, and the column's range is one of deep greys")
        if image.mode == "RGBA" and source.grey_and_alpha:
            upright = upright.convert("RGB").getchannel(0)
        pixels: Pixels = np.array(upright.convert("L" if upright.mode in _GREY_MODES else "RGB"))
        if source.kind == "colour":
            self._grey.see_high_bytes(pixels)
        return pixels

    def scale(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Scale an array from the repository's code to uint8 by the range declared; without one, return it as it is."""
        if self._scale is None or values.dtype in (np.uint8, np.bool_) or values.dtype.kind not in "iuf":
            return values
        return self._grey.scale(values, Source("grey"))

    def report(self, problems: Problems, column: str) -> None:
        """Add what shows over all pictures."""
        self._grey.report(problems, column)

    def notices(self) -> list[str]:
        """Return sentences for people."""
        said = self._grey.notices()
        if self._frames:
            first = ", ".join(self._frames[:3])
            said.append(f"{len(self._frames)} pictures have several frames, of which the first is read: {first}")
        return said


def stored_size(data: bytes) -> tuple[int, int, bool]:
    """Return the width and height of a picture as its file holds it, and whether EXIF turns it.

    Raises:
        OSError: It is no image.
    """
    with Image.open(io.BytesIO(data)) as image:
        return *image.size, _turn(image) is not None


def decode(data: bytes) -> Pixels:
    """Decode one image file, as Decoder does."""
    return Decoder().decode(data)


def _unidentified(data: bytes) -> str:
    return "a TIFF of a kind that is not read" if data[:4] in (b"II*\0", b"MM\0*") else "no image"


def _upright(image: Image.Image) -> Image.Image:
    """Turn a picture by its orientation alone.

    ImageOps.exif_transpose writes every other tag anew, and fails on odd ones.
    """
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - tags that cannot be read turn nothing; viewers show such a picture as it is
        return None
