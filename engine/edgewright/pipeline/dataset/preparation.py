"""Prepares rows one by one: steps, types, checks, and what is counted of them. Used by ``step``."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgewright.core.suggestions import suggestion
from edgewright.errors import StepFailed, UserCodeFailed
from edgewright.pipeline.dataset.checks import Checks
from edgewright.pipeline.dataset.columns import Columns, as_text, channels_first, coerce, nfc
from edgewright.pipeline.dataset.objects.rules import BoxRules
from edgewright.pipeline.dataset.pictures.copies import Copies, content_digest
from edgewright.pipeline.dataset.problems import Problems
from edgewright.pipeline.dataset.readers import Row, content_key
from edgewright.pipeline.dataset.splits import Candidate
from edgewright.pipeline.dataset.transforms import Step
from edgewright_schemas.dataset import SPLIT_NAMES, DatasetSpec

_OFF = 1e-3
"""Pixels that boxes may be off after steps."""


@dataclass(slots=True)
class Preparation:
    """Takes rows through the steps, types and checks; what it learns of them accumulates."""

    spec: DatasetSpec
    columns: Columns
    steps: list[Step]
    problems: Problems = field(default_factory=Problems)
    checks: Checks = field(init=False)
    shape: tuple[int, ...] | None = None
    """(C, H, W) of the first image."""
    found: dict[str, set[str]] = field(default_factory=dict)
    """Values of the categories and slices, as strings."""
    cut: Counter[str] = field(default_factory=Counter)
    """Objects that steps left out, by reason."""
    thin: int = 0
    """Objects that steps made less than a pixel wide or high."""
    copies: Copies = field(init=False)
    rules: BoxRules = field(init=False)
    """For boxes that do not fit their picture."""
    groups: dict[str, str | None] = field(default_factory=dict)
    """Each group, and the split that its rows name."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Rows that steps dropped, by the step's name."""
    _spellings: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of each category, the spelling kept of values that Unicode holds to be the same."""
    _seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.checks = Checks(self.spec, self.columns)
        self.copies = Copies(near=self.spec.split.near_copies)
        self.rules = BoxRules(self.problems)
        if self.columns.objects:
            self.found[self.columns.objects] = set()
        for name, type_ in self.columns.types.items():
            if type_ == "category" or name in self.columns.slices:
                self.found[name] = set()
                self._spellings[name] = {nfc(value): value for value in self.columns.values.get(name, ())}

    def prepare(self, row: Row) -> Iterator[tuple[Candidate, dict[str, Any]]]:
        """Take a row through the steps; yield what its split depends on and its values, nothing if dropped or wrong.

        A step may divide a picture into tiles, which come one after the other and never part.
        """
        identity = row.key if row.key is not None else content_key(row.values, self.columns)
        held = row.values.get(self.columns.image) if self.columns.image else None
        content = content_digest(held) if isinstance(held, np.ndarray) else None  # now: a step may write into it
        settled = self._settled(row)
        if settled is None:
            return
        whole = None
        if self.is_tiled and isinstance(held, np.ndarray):
            whole = self.copies.name(identity, content, held, str(settled.get(self.columns.label)))
        for values in self._stepped(row, settled):
            if self.is_tiled:
                values.setdefault("tileSource", row.where)
            if (made := self._candidate(row, values, identity, content, whole)) is not None:
                yield made

    @property
    def is_tiled(self) -> bool:
        """True when a step divides pictures into tiles."""
        return any(use.use == "tile" for use in self.spec.steps)

    def _candidate(
        self, row: Row, values: dict[str, Any], identity: str, content: bytes | None, whole: str | None
    ) -> tuple[Candidate, dict[str, Any]] | None:
        """Check a row that went through the steps.

        Args:
            row: As the source has it.
            values: As the steps left it.
            identity: Of the source's row.
            content: Digest of the source's picture.
            whole: Of a tile, the name of the picture it is a part of.
        """
        if row.source not in self._seen:
            self._seen.add(row.source)
            self._check_names(values, row.where)
        kept = {name: values.get(name) for name in self.columns.types}
        if not self._typed(kept, row.where) or not self._known(kept, row.where):
            return None
        self.checks.see(kept, row.where)
        given = self._given(kept, row)
        group = self._group(kept, given, row.where)
        picture = None
        after = kept[self.columns.image] if self.columns.image else None
        if self.columns.image and after is not None:
            self._check_boxes(kept, after.shape, row.where)
            picture = whole or self.copies.name(identity, content, after, str(kept[self.columns.label]))
            kept[self.columns.image] = self._image(after, row.where)
        return Candidate(group or picture or identity, given, picture, self._strata(kept)), kept

    def _strata(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        if not self.spec.split.stratify:
            return ()
        names = (*self.columns.classes(), *self.columns.slices)
        objects = values[self.columns.objects] if self.columns.objects else None
        kinds = sorted({each["category"] for each in objects}) or [""] if objects is not None else []
        there = {name: values[name] for name in names if values[name] is not None}
        of = (*((self.columns.label, kind) for kind in kinds), *((name, as_text(each)) for name, each in there.items()))
        return tuple(f"{name}={value}" for name, value in of)

    def _settled(self, row: Row) -> dict[str, Any] | None:
        """Clip the objects of a row to their picture; None where one cannot be."""
        values, name, image = dict(row.values), self.columns.objects, self.columns.image
        held = values.get(image) if image else None
        if name is None or not isinstance(held, np.ndarray) or held.ndim not in (2, 3):
            return values
        try:
            objects = coerce(values.get(name), "boxes")
        except ValueError:
            return values  # a step may mend it
        if objects is not None:
            size = (held.shape[1], held.shape[0])
            found = [self.rules.settle(each, size, f"{row.where} object {at}") for at, each in enumerate(objects, 1)]
            values[name] = [each for each in found if each is not None]
        return values

    def _check_boxes(self, values: Mapping[str, Any], shape: tuple[int, ...], where: str) -> None:
        """Check that steps left objects in their picture."""
        name = self.columns.objects
        for each in (values[name] or ()) if name else ():
            left, top = min(each["x"], 0.0), min(each["y"], 0.0)
            right, bottom = each["x"] + each["width"] - shape[1], each["y"] + each["height"] - shape[0]
            if max(-left, -top, right, bottom) > _OFF or min(each["width"], each["height"]) <= 0:
                self.problems.add(
                    "steps leave boxes outside of their pictures, or without area",
                    where,
                    hint="a step that changes a picture's size or cuts it moves the boxes with it",
                )
            self.thin += min(each["width"], each["height"]) < 1 - _OFF

    def _stepped(self, row: Row, values: dict[str, Any]) -> list[dict[str, Any]]:
        """Take a row through the steps; nothing when one drops it or cannot handle it."""
        if not self.steps:
            return [values]
        for name, type_ in self.columns.types.items():
            try:
                if name in values:
                    values[name] = coerce(values[name], type_)
            except ValueError:  # steps get what has no type yet as it is: they may mend it
                continue
        rows = [values]
        for use, step in zip(self.spec.steps, self.steps, strict=True):
            try:
                made = [step(each) for each in rows]
            except UserCodeFailed as error:
                raise UserCodeFailed(error.message, hint=f"{error.hint}\n  in the row {row.where}".lstrip()) from error
            except StepFailed as error:
                self.problems.add(error.message, row.where, hint=error.hint)
                return []
            if lost := made.count(None):
                self.dropped[use.use] += lost
            rows = [one for each in made if each is not None for one in (each if isinstance(each, list) else [each])]
        return rows

    def _group(self, values: Mapping[str, Any], given: str | None, where: str) -> str | None:
        if self.columns.group is None or values[self.columns.group] is None:
            return None
        group = str(values[self.columns.group])
        if self.groups.setdefault(group, given) != given:
            self.problems.add(
                f"groups by {self.columns.group!r} are in more than one split",
                f"{group} ({where})",
                hint="give all rows of a group one split, or leave groupBy out",
            )
        return group

    def _given(self, values: Mapping[str, Any], row: Row) -> str | None:
        """Return the split that a row names."""
        column = self.spec.split.column
        if column is None:
            return row.split
        named = values[column]
        if named is not None and named.strip().lower() not in SPLIT_NAMES:
            self.problems.add(
                f"values of {column!r} name no split", f"{named!r} ({row.where})", hint="train, validation or test"
            )
        return SPLIT_NAMES.get(named.strip().lower()) if named is not None else None

    def categories(self, listed: Sequence[str] = ()) -> dict[str, list[str]]:
        """List the values of each category: as declared, or as found, sorted.

        Args:
            listed: Of objects, the categories that the source lists.
        """
        found = {name: sorted(values) for name, values in self.found.items()}
        if self.columns.objects and listed:
            found[self.columns.objects] = list(listed)
        return {
            name: list(self.columns.values.get(name, found[name]))
            for name, type_ in self.columns.types.items()
            if type_ in ("category", "boxes")
        }

    def _typed(self, values: dict[str, Any], where: str) -> bool:
        good = True
        for name, type_ in self.columns.types.items():
            if name not in values:
                continue
            try:
                values[name] = coerce(values[name], type_)
            except ValueError as error:
                self.problems.add(f"values of {name!r} are no {type_}", f"{error} ({where})")
                good = False
        return good

    def _known(self, values: dict[str, Any], where: str) -> bool:
        good = True
        for name, found in self.found.items():
            value = values[name]
            if value is None:
                continue
            if name == self.columns.objects:
                good &= self._known_objects(name, value, found, where)
                continue
            text = value if isinstance(value, str) else as_text(value)
            if text in found:
                continue
            text = self._spellings[name].setdefault(nfc(text), text)
            if isinstance(value, str):
                values[name] = text
            declared = self.columns.values.get(name)
            if declared is not None and text not in declared:
                self.problems.add(
                    f"values of {name!r} are not among those declared",
                    f"{text!r} ({where})",
                    hint=f"columns.{name}.values has: {', '.join(declared)}",
                )
                good = False
                continue
            found.add(text)
        return good

    def _known_objects(self, name: str, objects: Sequence[Mapping[str, Any]], found: set[str], where: str) -> bool:
        declared = self.columns.values.get(name)
        categories = {each["category"] for each in objects}
        unknown = sorted(categories.difference(declared)) if declared is not None else []
        for each in unknown:
            self.problems.add(
                f"objects of {name!r} are of categories that are not declared",
                f"{each!r} ({where})",
                hint=f"columns.{name}.values has: {', '.join(declared or ())}",
            )
        found |= categories
        return not unknown

    def _check_names(self, values: dict[str, Any], where: str) -> None:
        for name in self.columns.types:
            if name not in values:
                self.checks.leave_out(name)
                self.problems.add(f"column {name!r} is not there ({suggestion(name, values)}; looked at {where})")

    def _image(self, image: Any, where: str) -> bytes:
        pixels = channels_first(image)
        if self.shape is None:
            self.shape = pixels.shape
        elif pixels.shape != self.shape:
            self.problems.add(
                f"images do not have the first one's shape {_shape(self.shape)}",
                f"{_shape(pixels.shape)} ({where})",
                hint="make them alike with the steps resize, center-crop or grayscale",
            )
        return pixels.tobytes()


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
