"""Decodes image files into arrays. Used by the readers of datasets."""

import io
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".avif"),
    *(".avifs", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".tga"),
)
"""Kinds of files that are pictures and are read."""
_GREY_MODES = frozenset({"1", "L", "LA", "La"})


def decode(data: bytes | BinaryIO) -> npt.NDArray[np.uint8]:
    """Decode an image file, turned upright: grey ones to (H, W), all others to (H, W, 3); transparency is dropped.

    Raises:
        ValueError: It is no image, or a damaged one; the message says which.
    """
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16") or upright.mode == "I":
                # 16-bit grey: keep the high byte; Pillow's own conversion clips instead.
                return (np.asarray(upright).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
            return np.array(upright.convert("L" if upright.mode in _GREY_MODES else "RGB"))
    except UnidentifiedImageError:
        raise ValueError("no image") from None
    except Image.DecompressionBombError:
        raise ValueError("too large to be decoded safely") from None
    except (OSError, SyntaxError, EOFError, ValueError, OverflowError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"damaged: {error}") from error
