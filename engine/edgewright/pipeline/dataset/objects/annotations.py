"""Annotations as files hold them, and the pictures they name. Used by the readers of formats and by ``reading``."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from edgewright.pipeline.dataset import layout
from edgewright.pipeline.dataset.columns import nfc
from edgewright.pipeline.dataset.locations import Location
from edgewright.pipeline.dataset.pictures.images import SUFFIXES
from edgewright.pipeline.dataset.problems import Problems
from edgewright_schemas.dataset import SPLIT_NAMES

_WORDS = re.compile("[a-z]+")
MISSING = "annotations name pictures that are not there"


@dataclass(frozen=True, slots=True)
class Annotation:
    """One object as its file has it."""

    category: str
    where: str
    """``data/instances.json:12:5 (annotation 17)``."""
    box: tuple[float, float, float, float] | None = None
    """x, y, width, height."""
    points: tuple[tuple[float, float], ...] = ()
    """Corners of its outline, where it has no box."""
    turn: float = 0.0
    """Degrees by which the box is turned about its middle."""
    crowd: bool = False


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """One picture and its objects."""

    file: str
    """Relative to the source."""
    where: str
    objects: Sequence[Annotation]
    size: tuple[int, int] | None = None
    """Width and height that its annotations are for, where they tell."""
    split: str | None = None
    relative: bool = False
    """Coordinates are shares of the picture's width and height."""


class LabelFormat(Protocol):
    """Reader of one format."""

    categories: list[str]
    """Listed by the source, in its order; empty where it lists none."""
    gives_splits: bool
    notices: list[str]
    """Complete when the pictures are read."""

    def pictures(self) -> Iterator[LabelledPicture]:
        """Read the pictures."""
        ...

    def count(self) -> int:
        """Return about how many pictures there will be."""
        ...


@dataclass(slots=True)
class SourceFiles:
    """Files of a source's folder, by what they are."""

    location: Location
    problems: Problems
    images: str | None
    """Folder of the pictures, where the spec names it."""
    names: list[str]
    left_out: Counter[str] = field(default_factory=Counter)
    _used: set[str] = field(default_factory=set)
    _by_last: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, location: Location, problems: Problems, images: str | None) -> "SourceFiles":
        """List a folder; hidden files are left aside."""
        listed = location.files()
        names = [name for name in listed if not layout.is_hidden(name)]
        found = cls(location, problems, images.strip("/") if images else None, names)
        for name in names:
            if name.lower().endswith(SUFFIXES):
                found._by_last[nfc(PurePosixPath(name).name)].append(name)
        return found

    def ending(self, suffix: str) -> list[str]:
        """List the files with a suffix."""
        return [name for name in self.names if name.lower().endswith(suffix)]

    def pictures(self) -> list[str]:
        """List the pictures."""
        return sorted(name for names in self._by_last.values() for name in names)

    def shown(self, name: str) -> str:
        """Name a file for messages."""
        return f"{self.location.shown}/{name}"

    def find(self, written: str, where: str) -> str | None:
        """Find the picture that annotations name: the one whose path ends so, below ``images`` where that is given."""
        wanted = nfc(written.replace("\\", "/").removeprefix("./"))
        if self.images is not None:
            wanted = f"{nfc(self.images)}/{wanted}"
        ends = f"/{wanted}"
        found = [name for name in self._by_last.get(wanted.rpartition("/")[2], ()) if f"/{nfc(name)}".endswith(ends)]
        exact = [name for name in found if nfc(name) == wanted]
        if len(exact or found) == 1:
            self._used.add((exact or found)[0])
            return (exact or found)[0]
        if not found:
            self.problems.add(MISSING, f"{written} ({where})", hint="pictures are part of the source's folder")
        else:
            self.problems.add(
                "annotations name pictures that are there more than once",
                f"{written} is {', '.join(found[:3])} ({where})",
                hint="name the folder of the pictures with source.with {images: FOLDER}",
            )
        return None

    def near(self, written: str, folders: Sequence[str]) -> str | None:
        """Find a picture in one of some folders, the first that has it; None where none has."""
        for folder in folders:
            name = nfc(f"{folder}/{written}" if folder not in ("", ".") else written)
            named = self._by_last.get(name.rpartition("/")[2], ())
            if (found := next((each for each in named if nfc(each) == name), None)) is not None:
                self._used.add(found)
                return found
        return None

    def use(self, file: str) -> None:
        """Note that a picture has annotations."""
        self._used.add(file)

    def text(self, name: str) -> str | None:
        """Read a file as text; one that is none is a problem."""
        try:
            return self.location.read(name).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self.problems.add("files of labels are not UTF-8", f"{self.shown(name)} ({error})")
            return None

    def count_unnamed(self) -> None:
        """Count the pictures that no annotations name: they may show objects that nobody marked."""
        if unnamed := len(set(self.pictures()) - self._used):
            self.left_out["pictures that no annotations name"] += unnamed


def splits_of(names: Sequence[str], *, merged: bool, by_name: bool = True) -> dict[str, str]:
    """Find the split that each annotations file's folder, or its own name, gives; none unless two splits are named."""
    found = {}
    for name in names:
        *folders, last = name.lower().split("/")
        words = (*folders, *(_WORDS.findall(last) if by_name else ()))
        if (split := next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)) is not None:
            found[name] = split
    return found if len(set(found.values())) > 1 and not merged else {}


def about_splits(what: str) -> str:
    """Return a sentence for people about what gives the splits."""
    return f"{what} give the splits; source.with {{layout: merged}} divides all pictures by split's shares"
