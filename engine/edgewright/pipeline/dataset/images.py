"""Decodes image files into arrays. Used by the readers of datasets."""

import io

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".avif"),
    *(".avifs", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".tga"),
)
"""Kinds of files that are pictures and are read."""
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


def decode(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode an image file, turned upright: grey ones to (H, W), all others to (H, W, 3); transparency is dropped.

    Raises:
        ValueError: It is no image, or a damaged one; the message says which.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            upright = _upright(image)
            if upright.mode.startswith("I;16") or upright.mode == "I":
                # 16-bit grey: keep the high byte; Pillow's own conversion clips instead.
                return (np.asarray(upright).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
            return np.array(upright.convert("L" if upright.mode in _GREY_MODES else "RGB"))
    except UnidentifiedImageError:
        raise ValueError("no image") from None
    except Image.DecompressionBombError:
        raise ValueError("too large to be decoded safely") from None
    except MemoryError:
        raise
    except (OSError, SyntaxError, EOFError, ValueError, OverflowError) as error:
        raise ValueError(f"damaged: {error}") from error
    except Exception as error:  # whatever a decoder meets in a file is that file's trouble
        raise ValueError(f"damaged: {type(error).__name__}: {error}") from error


def _upright(image: Image.Image) -> Image.Image:
    """Turn a picture by its orientation alone.

    ImageOps.exif_transpose writes every other tag anew, and fails on odd ones.
    """
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - tags that cannot be read turn nothing; viewers show such a picture as it is
        turn = None
    return image if turn is None else image.transpose(turn)
