"""Reads COCO instances: JSON files with images, annotations and categories. Called by ``reading``.

Boxes are x, y, width, height in pixels, zero-based and continuous. https://cocodataset.org/#format-data
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.objects.annotations import (
    Annotation,
    LabelledPicture,
    SourceFiles,
    about_splits,
    splits_of,
)
from edgewright.pipeline.dataset.objects.json_places import Places, read_members
from edgewright.pipeline.dataset.objects.polygons import closed
from edgewright.pipeline.dataset.problems import Problems
from edgewright_schemas.labels import CocoOptions

_RECORDS = "records are not what COCO has"


@dataclass(slots=True)
class _Image:
    """One entry of ``images``."""

    file: str
    where: str
    size: tuple[int, int] | None
    split: str | None
    objects: list[Annotation] = field(default_factory=list)


class CocoFormat:
    """Reader of a folder with COCO JSON and its pictures."""

    def __init__(self, files: SourceFiles, options: CocoOptions) -> None:
        """Read all JSON; the pictures come later.

        Raises:
            StepFailed: There is none, or it is no COCO JSON.
        """
        self.categories: list[str] = []
        self.notices: list[str] = []
        self._files = files
        self._problems: Problems = files.problems
        self._images: list[_Image] = []
        self._by_file: dict[str, _Image] = {}
        self._masks = 0
        names = list(options.annotations) or files.ending(".json")
        if not names:
            raise StepFailed(f"{files.location.shown} holds no .json file", hint="format coco reads instances JSON")
        for name in options.annotations:
            if name not in files.names:
                raise StepFailed(f"{files.shown(name)} is not there", hint="source.with.annotations names it")
        splits = splits_of(names, merged=options.layout == "merged")
        self.gives_splits = bool(splits)
        if splits:
            self.notices.append(about_splits("the names of the annotation files"))
        for name in names:
            self._read(name, splits.get(name))
        if self._masks:
            self.notices.append(f"objects with masks, of which the boxes are read: {self._masks:,}")

    def count(self) -> int:
        """Return how many pictures there are."""
        return len(self._images)

    def pictures(self) -> Iterator[LabelledPicture]:
        """Yield the pictures in the order of their files."""
        for each in self._images:
            yield LabelledPicture(each.file, each.where, each.objects, each.size, each.split)
        self._files.count_unnamed()

    def _read(self, name: str, split: str | None) -> None:
        shown = self._files.shown(name)
        try:
            text = self._files.location.read(name).decode("utf-8-sig")
            members = read_members(text)
        except UnicodeDecodeError as error:
            raise StepFailed(f"{shown} is not UTF-8: {error}") from None
        except json.JSONDecodeError as error:
            raise StepFailed(f"{shown}:{error.lineno}:{error.colno} is no JSON: {error.msg}") from None
        except RecursionError:
            raise StepFailed(f"{shown} is nested too deeply") from None
        wanted = ("images", "annotations", "categories")
        if not isinstance(members, dict) or any(not isinstance(members.get(each), list) for each in wanted):
            raise StepFailed(
                f"{shown} is no COCO instances JSON: it needs lists of images, annotations and categories",
                hint="source.with {annotations: [FILE]} names the files to read where others are beside them",
            )
        places = Places(shown, text)
        names = self._read_categories(members["categories"], places)
        images = self._read_images(members["images"], places, split)
        for offset, record in members["annotations"]:
            self._read_annotation(record, places, offset, names, images)

    def _read_categories(self, records: list[tuple[int, Any]], places: Places) -> dict[int, str]:
        """Return the names of categories by id, and list new ones by their ids."""
        found: dict[int, str] = {}
        for offset, record in records:
            where = places.at(offset)
            if not isinstance(record, dict) or not _is_id(record.get("id")) or not _is_text(record.get("name")):
                self._problems.add(_RECORDS, f"{where}: a category has an id and a name")
            elif record["id"] in found:
                self._problems.add("two categories have one id", f"{record['id']} ({where})")
            elif record["name"] in found.values():
                self._problems.add("two categories have one name", f"{record['name']} ({where})")
            else:
                found[record["id"]] = record["name"]
        self.categories += [found[each] for each in sorted(found) if found[each] not in self.categories]
        return found

    def _read_images(self, records: list[tuple[int, Any]], places: Places, split: str | None) -> dict[int, _Image]:
        found: dict[int, _Image] = {}
        ids: set[int] = set()
        self._absent: set[int] = set()
        for offset, record in records:
            where = places.at(offset)
            if not isinstance(record, dict) or not _is_id(record.get("id")) or not _is_text(record.get("file_name")):
                self._problems.add(_RECORDS, f"{where}: an image has an id and a file_name")
                continue
            if record["id"] in ids:
                self._problems.add("two pictures have one id", f"{record['id']} ({where})")
                continue
            ids.add(record["id"])
            file = self._files.find(record["file_name"], where)
            if file is None:
                self._absent.add(record["id"])
                continue
            if file in self._by_file:
                self._problems.add("one picture is there twice", f"{file} ({where}, {self._by_file[file].where})")
                continue
            image = _Image(file, where, _size(record.get("width"), record.get("height")), split)
            found[record["id"]] = self._by_file[file] = image
            self._images.append(image)
        self._absent |= ids - found.keys()
        return found

    def _read_annotation(
        self, record: Any, places: Places, offset: int, names: dict[int, str], images: dict[int, _Image]
    ) -> None:
        if not isinstance(record, dict):
            self._problems.add(_RECORDS, f"{places.at(offset)}: an annotation is an object")
            return
        image, category = record.get("image_id"), record.get("category_id")
        if not _is_id(image) or image not in images:
            if not _is_id(image) or image not in self._absent:  # those that are not there are told by their image
                self._problems.add("annotations are of pictures that are not listed", places.of(offset, record, image))
            return
        if not _is_id(category) or category not in names:
            self._problems.add("annotations have unknown categories", places.of(offset, record, category))
            return
        box = record.get("bbox")
        points = self._points(record.get("segmentation"), places, offset, record)
        if box is None and not points:
            self._problems.add("annotations have neither a box nor an outline", places.of(offset, record, category))
            return
        numbers = _four(box)
        if box is not None and numbers is None:
            self._problems.add("boxes are no four numbers", places.of(offset, record, box))
            return
        attributes = record.get("attributes")
        turn = attributes.get("rotation", 0) if isinstance(attributes, dict) else 0
        self._masks += bool(record.get("segmentation"))
        where = places.of(offset, record, None)
        images[image].objects.append(
            Annotation(
                names[category],
                where,
                numbers,
                points,
                float(turn) if _is_number(turn) else 0.0,
                bool(record.get("iscrowd", 0)),
            )
        )

    def _points(self, outline: Any, places: Places, offset: int, record: Any) -> tuple[tuple[float, float], ...]:
        """Check an outline; return its corners, none for RLE and where there is none."""
        if not isinstance(outline, list):
            return ()
        parts = [part for part in outline if part != []]
        points: list[tuple[float, float]] = []
        for part in parts:
            if not (isinstance(part, list) and all(map(_is_number, part)) and closed([*map(_finite, part)])):
                self._problems.add(
                    "polygons cannot be closed",
                    places.of(offset, record, None),
                    hint="a polygon is x, y of three corners or more, all finite",
                )
                return ()
            points += zip(part[::2], part[1::2], strict=True)
        return tuple(points)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _size(width: Any, height: Any) -> tuple[int, int] | None:
    return (width, height) if _is_id(width) and _is_id(height) else None


def _four(box: Any) -> tuple[float, float, float, float] | None:
    if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
        return None
    x, y, width, height = map(_finite, box)
    return x, y, width, height


def _finite(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf
