"""Reads labelled pictures: opens their format and brings annotations into their pictures. Called by ``readers``.

What is wrong goes to Problems with its file and record; what is left out is counted with its reason.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.locations import Location
from edgewright.pipeline.dataset.objects.annotations import Annotation, LabelFormat, LabelledPicture, SourceFiles
from edgewright.pipeline.dataset.objects.coco import CocoFormat
from edgewright.pipeline.dataset.objects.polygons import box_around, is_turned_rectangle, turned_box
from edgewright.pipeline.dataset.objects.rules import BoxRules
from edgewright.pipeline.dataset.objects.values import NUMBERS, Object
from edgewright.pipeline.dataset.objects.voc import VocFormat
from edgewright.pipeline.dataset.objects.yolo import YoloFormat
from edgewright.pipeline.dataset.pictures.images import Decoder, stored_size
from edgewright.pipeline.dataset.problems import Problems
from edgewright_schemas.labels import LABEL_FORMATS, LabelOptions

_UNREADABLE = "images cannot be read"


@dataclass(frozen=True, slots=True)
class Labelled:
    """One picture, decoded, with its objects."""

    file: str
    where: str
    pixels: Any
    objects: list[Object]
    split: str | None


@dataclass(slots=True)
class LabelReader:
    """Reader of a source in one of the label formats."""

    files: SourceFiles
    format: LabelFormat
    options: LabelOptions
    rules: BoxRules
    decoder: Decoder
    outlines: int = 0
    """Objects whose boxes are made from their outlines."""
    enclosed: int = 0
    """Turned boxes that are kept as the box around them."""
    upright: int = 0
    """Pictures that are turned by their EXIF orientation."""
    negatives: int = field(default=0)

    @property
    def problems(self) -> Problems:
        """Take what is wrong."""
        return self.files.problems

    @property
    def left_out(self) -> Counter[str]:
        """Counts of what is left out, by reason."""
        return self.rules.left_out + self.files.left_out

    def rows(self) -> Iterator[Labelled]:
        """Read the pictures with their objects."""
        for picture in self.format.pictures():
            data = self.files.location.read(picture.file)
            try:
                pixels = self.decoder.decode(data, picture.file)
            except ValueError as error:
                self.problems.add(_UNREADABLE, f"{picture.file} ({error})")
                continue
            size = (pixels.shape[1], pixels.shape[0])
            if self._fits(picture, data, size):
                found = [self._object(each, picture, size) for each in picture.objects]
                objects = [each for each in found if each is not None]
                yield Labelled(picture.file, self.files.shown(picture.file), pixels, objects, picture.split)

    def notices(self) -> list[str]:
        """Return sentences for people about what was found; complete when the rows are."""
        said = [*self.format.notices, *self.rules.notices()]
        for count, what in (
            (self.outlines, "objects with outlines, of which the boxes around them are read"),
            (self.enclosed, "turned boxes, kept as the upright boxes around them as source.with.turned says"),
            (self.upright, "pictures that EXIF turns, whose labels are for them upright"),
        ):
            if count:
                said.append(f"{what}: {count:,}")
        return said

    def _fits(self, picture: LabelledPicture, data: bytes, size: tuple[int, int]) -> bool:
        """Check that annotations are for the picture as it is decoded."""
        width, height, turned = stored_size(data)
        if turned and picture.objects and self.options.orientation != "upright":
            told = picture.size == size and (width, height) != size
            if not told:
                self.problems.add(
                    "labels are for pictures that EXIF turns, and may be meant for them unturned",
                    f"{picture.file} (stored {width}x{height}; {picture.where})",
                    hint="save such pictures upright and check their labels, or confirm that the labels are for them "
                    "upright with source.with {orientation: upright}",
                )
                return False
        self.upright += turned
        if picture.size is not None and picture.size != size:
            shown = f"{picture.file} is {size[0]}x{size[1]}, its labels are for {picture.size[0]}x{picture.size[1]}"
            self.problems.add("pictures are of another size than their labels say", f"{shown} ({picture.where})")
            return False
        return True

    def _object(self, found: Annotation, picture: LabelledPicture, size: tuple[int, int]) -> Object | None:
        scale = size if picture.relative else (1, 1)
        points = [(x * scale[0], y * scale[1]) for x, y in found.points]
        if found.box is not None:
            x, y, width, height = found.box
            box = (x * scale[0], y * scale[1], width * scale[0], height * scale[1])
        else:
            box = box_around(points)
            self.outlines += 1
        if found.turn % 360 or (found.box is None and is_turned_rectangle(points)):
            if self.options.turned == "refuse":
                self.problems.add(
                    "boxes are turned",
                    found.where,
                    hint="models here find upright boxes: source.with {turned: enclose} takes the upright box around "
                    "each",
                )
                return None
            self.enclosed += 1
            if found.box is not None:
                box = turned_box(box, found.turn)
        made = {"category": found.category, **dict(zip(NUMBERS, box, strict=True)), "crowd": found.crowd}
        return self.rules.settle(made, size, found.where)


_FORMATS: dict[str, Callable[[SourceFiles, Any], LabelFormat]] = {
    "coco": CocoFormat,
    "yolo": YoloFormat,
    "voc": VocFormat,
}


def open_labels(
    format_: str, values: dict[str, Any], location: Location, rules: BoxRules, decoder: Decoder
) -> LabelReader:
    """Open a source of labelled pictures.

    Args:
        format_: ``coco``, ``yolo`` or ``voc``.
        values: ``source.with``.
        location: The folder.
        rules: Those for boxes; options are written into them.
        decoder: Of the dataset's pictures.

    Raises:
        StepFailed: An option is wrong, it is no folder, or there are no labels.
        SourceUnavailable: A remote did not answer.
    """
    model = LABEL_FORMATS[format_]
    try:
        options = model.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        takes = ", ".join(info.alias or name for name, info in model.model_fields.items())
        raise StepFailed(f"{format_}: {wrong}", hint=f"it takes {takes}") from error
    if not location.is_folder():
        raise StepFailed(
            f"{location.shown} is no folder", hint=f"format {format_} reads a folder with labels and their pictures"
        )
    rules.clip, rules.drop_empty = options.outside == "clip", options.without_area == "leave-out"
    rules.has_options = True
    files = SourceFiles.of(location, rules.problems, options.images)
    return LabelReader(files, _FORMATS[format_](files, options), options, rules, decoder)
