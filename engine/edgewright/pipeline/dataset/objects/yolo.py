"""Reads YOLO folders: a ``data.yaml``, pictures and a text file of labels for each. Called by ``reading``.

A line is a category's number and the middle, width and height of its box, or the corners of an outline: shares of the
picture's width and height. https://docs.ultralytics.com/datasets/detect/
"""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import yaml

from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.objects.annotations import Annotation, LabelledPicture, SourceFiles, about_splits
from edgewright.pipeline.dataset.objects.polygons import closed
from edgewright_schemas.dataset import SPLIT_NAMES
from edgewright_schemas.labels import YoloOptions

_BOX, _SCORED_BOX = 5, 6
_NO_LABELS = frozenset({"classes.txt", "notes.txt", "train.txt", "val.txt", "valid.txt", "test.txt", "obj.names"})


class YoloFormat:
    """Reader of a folder with ``data.yaml``."""

    def __init__(self, files: SourceFiles, options: YoloOptions) -> None:
        """Read ``data.yaml`` and find the pictures; their labels come later.

        Raises:
            StepFailed: It is not there, or does not say where what is.
        """
        self.notices: list[str] = []
        self._files = files
        self._shown = files.shown(options.data)
        document = self._document(options.data)
        self._names = _names(document, self._shown)
        self.categories = list(dict.fromkeys(self._names[each] for each in sorted(self._names)))
        self._root = PurePosixPath(options.data).parent
        self._pictures: dict[str, str] = {}
        """The split by picture."""
        for key in ("train", "val", "valid", "validation", "test"):
            for place in _places(document.get(key)):
                for file in self._below(place, key, str(document.get("path") or "")):
                    first = self._pictures.setdefault(file, SPLIT_NAMES[key])
                    if first != SPLIT_NAMES[key]:
                        files.problems.add("pictures are in two splits", f"{file} ({first} and {SPLIT_NAMES[key]})")
        if not self._pictures:
            files.problems.raise_if_any(f"{self._shown} cannot be read")
            raise StepFailed(
                f"{self._shown} names no pictures", hint="it needs train: FOLDER, and val and test or none"
            )
        self.gives_splits = len(set(self._pictures.values())) > 1 and options.layout != "merged"
        if self.gives_splits:
            self.notices.append(about_splits(f"train, val and test of {options.data}"))

    def count(self) -> int:
        """Return how many pictures there are."""
        return len(self._pictures)

    def pictures(self) -> Iterator[LabelledPicture]:
        """Yield the pictures, by split and name."""
        there = set(self._files.names)
        read: set[str] = set()
        outlines = unlabelled = 0
        for file, split in self._pictures.items():
            self._files.use(file)
            labels = _labels_of(file)
            read.add(labels)
            found = list(self._read(labels)) if labels in there else []
            unlabelled += labels not in there
            outlines += sum(each.box is None for each in found)
            given = split if self.gives_splits else None
            yield LabelledPicture(file, self._files.shown(labels), found, split=given, relative=True)
        if unlabelled:
            self.notices.append(
                f"pictures without a file of labels, which count as pictures without objects: {unlabelled:,}"
            )
        self._refuse_unread(read)
        self._files.count_unnamed()

    def _document(self, name: str) -> dict[str, Any]:
        if name not in self._files.names:
            raise StepFailed(f"{self._shown} is not there", hint="source.with {data: FILE} names it otherwise")
        try:
            document = yaml.safe_load(self._files.location.read(name))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            place = f"{self._shown}:{mark.line + 1}:{mark.column + 1}" if mark is not None else self._shown
            raise StepFailed(f"{place} is no YAML: {error.problem}") from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise StepFailed(f"{self._shown} is no YAML: {error}") from None
        if not isinstance(document, dict):
            raise StepFailed(f"{self._shown} is no mapping", hint="it has names, train, val and test")
        if "kpt_shape" in document:
            raise StepFailed(f"{self._shown} is of poses (kpt_shape), which are not read", hint="export boxes instead")
        return document

    def _below(self, place: str, key: str, path: str) -> list[str]:
        """List the pictures of a folder or of a list of pictures, as ``data.yaml`` names them."""
        for base in ("", path):
            name = _relative(self._root, base, place)
            if name.endswith(".txt") and name in self._files.names:
                return self._listed(name)
            prefix = "" if name == "." else f"{name}/"
            if found := [file for file in self._files.pictures() if file.startswith(prefix)]:
                return found
        self._files.problems.add(
            "folders have no pictures", f"{place} ({self._shown}, {key})", hint=f"check the paths in {self._shown}"
        )
        return []

    def _listed(self, name: str) -> list[str]:
        text = self._files.text(name)
        lines = enumerate((text or "").splitlines(), start=1)
        found = (
            self._files.find(line.strip(), f"{self._files.shown(name)}:{at}") for at, line in lines if line.strip()
        )
        return [file for file in found if file is not None]

    def _read(self, name: str) -> Iterator[Annotation]:
        text = self._files.text(name)
        for number, line in enumerate((text or "").splitlines(), start=1):
            if words := line.split():
                made = self._annotation(words, f"{self._files.shown(name)}:{number}")
                if made is not None:
                    yield made

    def _annotation(self, words: list[str], where: str) -> Annotation | None:
        problems = self._files.problems
        try:
            category, *numbers = map(float, words)
        except ValueError:
            problems.add("lines of labels hold what is no number", f"{where} ({' '.join(words[:6])})")
            return None
        if category not in self._names:
            problems.add(
                "labels have unknown categories", f"{words[0]} ({where})", hint=f"names of {self._shown} lists them"
            )
            return None
        named = self._names[int(category)]
        if len(words) == _BOX:
            x, y, width, height = numbers
            return Annotation(named, where, (x - width / 2, y - height / 2, width, height))
        if len(words) == _SCORED_BOX:
            problems.add("lines have a box and a score: they are a model's detections and no labels", where)
        elif len(words) < _BOX:
            problems.add("lines of labels are cut short", f"{where} ({' '.join(words)})")
        elif not closed(numbers):
            problems.add(
                "polygons cannot be closed", where, hint="a polygon is x, y of three corners or more, all finite"
            )
        else:
            return Annotation(named, where, points=tuple(zip(numbers[::2], numbers[1::2], strict=True)))
        return None

    def _refuse_unread(self, read: set[str]) -> None:
        """Refuse files of labels without their picture."""
        folders = {str(PurePosixPath(name).parent) for name in read}
        for name in self._files.ending(".txt"):
            path = PurePosixPath(name)
            is_told = path.name.lower() in _NO_LABELS or path.name.lower().startswith("readme")
            if name not in read and str(path.parent) in folders and not is_told:
                self._files.problems.add("labels are of pictures that are not there", self._files.shown(name))


def _names(document: dict[str, Any], shown: str) -> dict[int, str]:
    """Return the categories' names by number."""
    listed = document.get("names")
    names = dict(enumerate(listed)) if isinstance(listed, list) else listed
    hint = "names: [bottle, can], or a mapping from numbers to names"
    if not isinstance(names, dict) or not names:
        raise StepFailed(f"{shown} has no names of categories", hint=hint)
    if any(not isinstance(key, int) or isinstance(key, bool) or key < 0 for key in names):
        raise StepFailed(f"{shown} numbers its names otherwise than by whole numbers from 0", hint=hint)
    texts = {key: str(value) for key, value in names.items()}
    if twice := sorted({name for name in texts.values() if list(texts.values()).count(name) > 1}):
        raise StepFailed(f"{shown} lists a name twice: {', '.join(twice)}")
    count = document.get("nc")
    if isinstance(count, int) and count != len(texts):
        raise StepFailed(f"{shown} has {len(texts)} names, and nc is {count}")
    return texts


def _places(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)] if value else []


def _relative(root: PurePosixPath, base: str, place: str) -> str:
    """Name a place of ``data.yaml`` from the source's folder; ways out of it lead to its top, as exports mean them."""
    parts = [*root.parts, *PurePosixPath(base.replace("\\", "/")).parts, *PurePosixPath(place.replace("\\", "/")).parts]
    kept: list[str] = []
    for part in parts:
        if part == "..":
            kept = kept[:-1]
        elif part not in (".", "/"):
            kept.append(part)
    return "/".join(kept) or "."


def _labels_of(file: str) -> str:
    """Name the file of labels of a picture: below ``labels`` instead of the last ``images``, or beside it."""
    path = PurePosixPath(file).with_suffix(".txt")
    folders = list(path.parts[:-1])
    for at in reversed(range(len(folders))):
        if folders[at] == "images":
            folders[at] = "labels"
            break
    return "/".join([*folders, path.name])
