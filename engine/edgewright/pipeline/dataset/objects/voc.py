"""Reads Pascal VOC: an XML file for each picture. Called by ``reading``.

VOC counts pixels from 1, and xmax and ymax are the last pixels of a box.
http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.objects.annotations import (
    Annotation,
    LabelledPicture,
    SourceFiles,
    about_splits,
    splits_of,
)
from edgewright.pipeline.dataset.objects.xml_trees import Element, XmlFault, parse
from edgewright_schemas.dataset import SPLIT_NAMES
from edgewright_schemas.labels import VocOptions

_LISTS = "ImageSets/Main/"
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_TURNED = ("cx", "cy", "w", "h", "angle")


class VocFormat:
    """Reader of a folder with VOC XML and its pictures."""

    def __init__(self, files: SourceFiles, options: VocOptions) -> None:
        """List the XML files and what divides them; they are parsed later.

        Raises:
            StepFailed: There is none.
        """
        self.categories: list[str] = []
        self.notices: list[str] = []
        self._files = files
        self._shift = 1 if options.coordinates == "one-based" else 0
        self._names = files.ending(".xml")
        if not self._names:
            raise StepFailed(f"{files.location.shown} holds no .xml file", hint="format voc reads one for each picture")
        merged = options.layout == "merged"
        self._splits = {} if merged else self._listed() or splits_of(self._names, merged=merged, by_name=False)
        self.gives_splits = bool(self._splits)
        if self.gives_splits:
            self.notices.append(about_splits("folders or lists of names"))
        self._difficult = 0

    def count(self) -> int:
        """Return how many XML files there are."""
        return len(self._names)

    def pictures(self) -> Iterator[LabelledPicture]:
        """Yield the pictures in the order of their XML files."""
        first: dict[str, str] = {}
        for name in self._names:
            shown = self._files.shown(name)
            try:
                root = parse(self._files.location.read(name))
            except XmlFault as fault:
                self._add("annotations cannot be read", f"{shown}:{fault.line}:{fault.column} {fault}")
                continue
            if root.tag != "annotation":
                self._add("annotations cannot be read", f"{_at(shown, root)} is <{root.tag}>, not <annotation>")
                continue
            file = self._picture(root, name, shown)
            if file is None:
                continue
            if file in first:
                self._add("one picture is there twice", f"{file} ({shown}, {first[file]})")
                continue
            first[file] = shown
            objects = list(self._objects(root, shown))
            yield LabelledPicture(file, shown, objects, _size(root), self._splits.get(name))
        if self._difficult:
            self.notices.append(f"objects marked as difficult, kept as all others are: {self._difficult:,}")
        self._files.count_unnamed()

    def _listed(self) -> dict[str, str]:
        """Return the splits that the lists of VOC give, by XML file; none unless two splits have a list."""
        lists = {
            PurePosixPath(name).stem: name
            for name in self._files.ending(".txt")
            if _LISTS in name and PurePosixPath(name).stem in SPLIT_NAMES
        }
        if len({SPLIT_NAMES[each] for each in lists}) < 2:
            return {}
        by_stem: dict[str, str] = {}
        for stem, list_ in lists.items():
            for number, line in enumerate((self._files.text(list_) or "").splitlines(), start=1):
                if not (words := line.split()):
                    continue
                split = SPLIT_NAMES[stem]
                if by_stem.setdefault(words[0], split) != split:
                    self._add("pictures are in two splits", f"{words[0]} ({self._files.shown(list_)}:{number})")
        return {name: by_stem[stem] for name in self._names if (stem := PurePosixPath(name).stem) in by_stem}

    def _picture(self, root: Element, name: str, shown: str) -> str | None:
        written = root.value("filename")
        if written is None:
            self._add("annotations name no picture", f"{_at(shown, root)} has no filename")
            return None
        folder = PurePosixPath(name).parent
        nearby = [folder, folder.parent / "JPEGImages", folder.parent / "images"]
        return self._files.near(written, [str(each) for each in nearby]) or self._files.find(written, shown)

    def _objects(self, root: Element, shown: str) -> Iterator[Annotation]:
        for each in root.all("object"):
            where, category = _at(shown, each), each.value("name")
            if category is None:
                self._add("annotations have unknown categories", f"{where} has no name")
                continue
            if parts := sum(1 for _ in each.all("part")):
                self._files.left_out["parts of objects"] += parts
            self._difficult += each.value("difficult") == "1"
            turned = each.find("robndbox")
            if turned is not None:
                numbers = self._numbers(turned, _TURNED, where)
                if numbers is not None:
                    x, y, width, height, angle = numbers
                    box = (x - width / 2, y - height / 2, width, height)
                    yield Annotation(category, where, box, turn=math.degrees(angle))
                continue
            edges = each.find("bndbox")
            if edges is None:
                self._add("annotations have no box", where)
                continue
            numbers = self._numbers(edges, _EDGES, where)
            if numbers is not None and (made := self._box(numbers, where)) is not None:
                yield Annotation(category, where, made, turn=_rotation(each))

    def _box(self, edges: Sequence[float], where: str) -> tuple[float, float, float, float] | None:
        left, top, right, bottom = edges
        if self._shift and 0 in (left, top):
            self._add(
                "boxes begin at pixel 0, and VOC counts from 1",
                where,
                hint="source.with {coordinates: zero-based} reads files of tools that count from 0",
            )
            return None
        return left - self._shift, top - self._shift, right - left + self._shift, bottom - top + self._shift

    def _numbers(self, element: Element, names: Sequence[str], where: str) -> list[float] | None:
        try:
            return [float(element.value(name) or "") for name in names]
        except ValueError:
            told = ", ".join(f"{name} {element.value(name)!r}" for name in names)
            self._add("boxes are no numbers", f"{where} ({told})")
            return None

    def _add(self, what: str, example: str, hint: str = "") -> None:
        self._files.problems.add(what, example, hint=hint)


def _at(shown: str, element: Element) -> str:
    return f"{shown}:{element.line}:{element.column}"


def _size(root: Element) -> tuple[int, int] | None:
    """Return the picture's width and height; None where tools leave them out or write 0."""
    size = root.find("size")
    try:
        found = (int(size.value("width") or 0), int(size.value("height") or 0)) if size is not None else (0, 0)
    except ValueError:
        return None
    return found if all(found) else None


def _rotation(element: Element) -> float:
    """Return the rotation that CVAT writes as an attribute."""
    attributes = element.find("attributes")
    for each in attributes.all("attribute") if attributes is not None else ():
        if each.value("name") == "rotation":
            try:
                return float(each.value("value") or 0)
            except ValueError:
                return math.nan
    return 0.0
