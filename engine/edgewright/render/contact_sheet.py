"""A contact sheet of a dataset's pictures with their labels drawn, as PNG or HTML. Called by ``dataset preview``."""

import base64
import io
from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from edgewright.core.status.dataset_previews import DatasetPreview, PreviewPicture

if TYPE_CHECKING:  # Pillow is imported where pictures are drawn
    from PIL.Image import Image

_SMALLEST, _LARGEST = 192, 384
"""Pixels of a drawn picture's longer side: small ones are enlarged by a whole number, large ones reduced."""
_COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000", "#000075")
_CAPTION, _GAP, _COLUMNS = 16, 8, 4
_STYLE = (
    "body{font:14px system-ui,sans-serif;margin:1em;background:#fff;color:#222}figure{display:inline-block;margin:4px;"
    "vertical-align:top}figcaption{font-size:12px;max-width:384px;overflow-wrap:anywhere}"
)


def sheet_png(preview: DatasetPreview) -> bytes:
    """Draw the pictures in a grid."""
    from PIL import Image, ImageDraw

    drawn = [draw(each, preview) for each in preview.pictures]
    width = max((each.width for each in drawn), default=_SMALLEST)
    height = max((each.height for each in drawn), default=0) + _CAPTION + _GAP
    columns = min(_COLUMNS, max(len(drawn), 1))
    lines = -(-len(drawn) // columns)
    sheet = Image.new("RGB", (columns * (width + _GAP) + _GAP, lines * height + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for at, (image, picture) in enumerate(zip(drawn, preview.pictures, strict=True)):
        x, y = _GAP + at % columns * (width + _GAP), _GAP + at // columns * height
        sheet.paste(image, (x, y))
        pen.text((x, y + image.height + 2), _fitting(caption(picture), width), fill="black")
    return _encoded(sheet)


def sheet_html(preview: DatasetPreview) -> str:
    """Write the pictures as one page without anything from elsewhere."""
    figures = []
    for each in preview.pictures:
        data = base64.b64encode(_encoded(draw(each, preview))).decode()
        told = escape(caption(each))
        figures.append(
            f'<figure><img alt="{told}" src="data:image/png;base64,{data}"><figcaption>{told}</figcaption></figure>'
        )
    names = ", ".join(preview.categories)
    heading = f"{preview.address}: {len(preview.pictures)} of {preview.rows:,} pictures"
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        f"<title>{escape(heading)}</title><style>{_STYLE}</style>\n"
        f"<h1>{escape(heading)}</h1>\n<p>{escape(names)}</p>\n" + "\n".join(figures) + "\n</html>\n"
    )


def caption(picture: PreviewPicture) -> str:
    """Write a picture's split, row, label and slices in one line."""
    parts = [f"{picture.split} {picture.row}"]
    if picture.objects is None:
        parts.append(picture.label or "")
    else:
        counts = Counter(each["category"] for each in picture.objects)
        parts.append(", ".join(f"{count} {name}" for name, count in counts.items()) or "no objects")
    parts += [f"{name}={value}" for name, value in picture.columns.items()]
    return " · ".join(part for part in parts if part)


def draw(picture: PreviewPicture, preview: DatasetPreview) -> "Image":
    """Draw one picture with its boxes and their categories."""
    from PIL import Image, ImageDraw

    channels, height, width = preview.shape
    mode = "L" if channels == 1 else "RGB"
    planes = [Image.frombytes("L", (width, height), plane) for plane in _planes(picture.pixels, height * width)]
    image = Image.merge("RGB", planes[:3]) if mode == "RGB" and channels >= 3 else planes[0].convert("RGB")
    longer = max(height, width)
    factor = -(-_SMALLEST // longer) if longer < _SMALLEST else min(1.0, _LARGEST / longer)
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    image = image.resize(size, Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(image)
    for each in picture.objects or ():
        colour = _COLOURS[preview.categories.index(each["category"]) % len(_COLOURS)]
        left, top = each["x"] * factor, each["y"] * factor
        right, bottom = left + each["width"] * factor, top + each["height"] * factor
        pen.rectangle((left, top, max(right - 1, left), max(bottom - 1, top)), outline=colour, width=2)
        name = each["category"] + (" (crowd)" if each["crowd"] else "")
        box = pen.textbbox((0, 0), name)
        place = (min(left, max(size[0] - box[2] - 2, 0)), top - box[3] - 2 if top > box[3] + 2 else top + 2)
        pen.rectangle((place[0], place[1], place[0] + box[2] + 2, place[1] + box[3] + 2), fill=colour)
        pen.text((place[0] + 1, place[1] + 1), name, fill="white")
    return image


def _planes(pixels: bytes, size: int) -> list[bytes]:
    return [pixels[at : at + size] for at in range(0, len(pixels), size)]


def _fitting(text: str, width: int) -> str:
    most = max(width // 6, 8)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _encoded(image: "Image") -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
