"""Small pictures with labels, drawn by Pillow: each object is a filled rectangle of its category's colour."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from edgewright.ports import Built
from harness.steps import run_dataset

Box = tuple[str, float, float, float, float]
"""Category, x, y, width, height."""
COLOURS = {"bottle": (200, 30, 30), "can": (30, 200, 30), "box": (30, 30, 200)}
SIZE = (64, 48)


def draw(path: Path, boxes: Sequence[Box], size: tuple[int, int] = SIZE, seed: int = 0, **save: Any) -> None:
    """Draw a picture; the seed's colour of its ground makes it one of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (240, 240, seed % 256))
    pen = ImageDraw.Draw(image)
    for category, x, y, width, height in boxes:
        pen.rectangle((x, y, x + width - 1, y + height - 1), fill=COLOURS[category])
    image.save(path, **save)


def coco(
    folder: Path,
    pictures: Mapping[str, Sequence[Box]],
    *,
    ids: Mapping[str, int] | None = None,
    size: tuple[int, int] = SIZE,
) -> dict[str, Any]:
    """Draw pictures below ``images`` and return their COCO JSON, which ``write`` writes."""
    ids = ids or {"bottle": 1, "can": 2, "box": 90}
    annotations: list[dict[str, Any]] = []
    for number, (name, boxes) in enumerate(pictures.items()):
        draw(folder / "images" / name, boxes, size, seed=number)
        for category, *box in boxes:
            annotation = {"id": len(annotations) + 1, "image_id": number, "category_id": ids[category], "bbox": box}
            annotations.append({**annotation, "area": box[2] * box[3], "iscrowd": 0, "segmentation": []})
    return {
        "images": [
            {"id": number, "file_name": name, "width": size[0], "height": size[1]}
            for number, name in enumerate(pictures)
        ],
        "annotations": annotations,
        "categories": [{"id": id_, "name": name} for name, id_ in ids.items()],
    }


def write(folder: Path, document: Any, name: str = "instances.json") -> None:
    """Write JSON with a line for each record."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(document, indent=1))


def spec(format_: str, uri: str = "data", **others: Any) -> dict[str, Any]:
    """Return a dataset's spec; ``with_`` are the source's options, and all rows are trained on unless told."""
    source = {"uri": uri, "format": format_, "with": others.pop("with_", {})}
    return {
        "source": source,
        "columns": {"image": {"type": "image"}, "objects": {"type": "boxes"}},
        "split": {"train": 1, "validation": 0, "test": 0},
        **others,
    }


def build(root: Path, spec_: Mapping[str, Any], workdir: str = "work") -> Built[Any]:
    """Build a dataset."""
    return run_dataset(root, spec_, workdir=workdir)


def stored(built: Built[Any], split: str = "train") -> list[list[Box]]:
    """Return the boxes of each row, categories by name."""
    table = pq.read_table(built.files[f"{split}.parquet"])
    names = built.facts.label_values
    return [
        [(names[each["category"]], each["x"], each["y"], each["width"], each["height"]) for each in row]
        for row in table[built.facts.label].to_pylist()
    ]


def pictures(built: Built[Any], split: str = "train") -> list[Any]:
    """Return the pictures of each row, (C, H, W)."""
    table = pq.read_table(built.files[f"{split}.parquet"])
    return [np.frombuffer(each, np.uint8).reshape(built.facts.input_shape) for each in table["image"].to_pylist()]


def yolo(folder: Path, splits: Mapping[str, Mapping[str, Sequence[Box]]], size: tuple[int, int] = SIZE) -> None:
    """Write a YOLO folder: pictures, labels and ``data.yaml``."""
    names = list(COLOURS)
    for split, pictures_ in splits.items():
        for number, (name, boxes) in enumerate(pictures_.items()):
            draw(folder / split / "images" / name, boxes, size, seed=number + 100 * len(split))
            lines = []
            for category, x, y, width, height in boxes:
                middle = ((x + width / 2) / size[0], (y + height / 2) / size[1])
                shares = (*middle, width / size[0], height / size[1])
                lines.append(" ".join([str(names.index(category)), *(f"{each:.6f}" for each in shares)]))
            labels = folder / split / "labels" / f"{Path(name).stem}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            if boxes:
                labels.write_text("\n".join(lines) + "\n")
    lists = "".join(f"{split}: ../{split}/images\n" for split in splits)
    (folder / "data.yaml").write_text(f"{lists}nc: {len(names)}\nnames: [{', '.join(names)}]\n")


def voc(folder: Path, pictures_: Mapping[str, Sequence[Box]], size: tuple[int, int] = SIZE) -> None:
    """Write Pascal VOC of whole pixels: one-based, the last pixel included."""
    for number, (name, boxes) in enumerate(pictures_.items()):
        draw(folder / "JPEGImages" / name, boxes, size, seed=number)
        lines = ["<annotation>", f"  <filename>{name}</filename>"]
        lines.append(f"  <size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>")
        for category, x, y, width, height in boxes:
            edges = {"xmin": x + 1, "ymin": y + 1, "xmax": x + width, "ymax": y + height}
            box = "".join(f"<{edge}>{value}</{edge}>" for edge, value in edges.items())
            lines.append(f"  <object><name>{category}</name><bndbox>{box}</bndbox></object>")
        target = folder / "Annotations" / f"{Path(name).stem}.xml"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join([*lines, "</annotation>", ""]))
