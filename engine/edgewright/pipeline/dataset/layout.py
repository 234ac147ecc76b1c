"""Layout of a folder of pictures: what is read, what is skipped, which folders are labels or splits. For ``readers``.

Pure: works on names, and on the first bytes of files whose names tell nothing.

Folders named train, valid (val, validation, dev) and test are splits, above or below the folders of the labels, unless
the label declares one of them as a value.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import ValidationError

from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.pictures.images import SUFFIXES
from edgewright.pipeline.dataset.problems import Problems
from edgewright_schemas.base import SpecModel
from edgewright_schemas.dataset import SPLIT_NAMES

METADATA = "metadata.csv"
_SYSTEM_FOLDERS = frozenset({"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information"})
_SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini"})
_PHONES = (".heic", ".heif", ".hif", ".jxl")
_CAMERAS = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw")
_VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mts", ".wmv")
_ARRAYS = (".npy", ".npz", ".mat", ".exr", ".hdr", ".dcm", ".nii", ".fits")
_DRAWINGS = (".svg", ".pdf", ".eps", ".psd", ".xcf", ".ico", ".pcx", ".dds", ".qoi")
_PICTURES = frozenset({*_PHONES, *_CAMERAS, *_VIDEOS, *_ARRAYS, *_DRAWINGS})
"""Kinds that hold pictures and are not read."""
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*")
_LOOKED_AT = 5
"""Files of one kind whose first bytes are read."""
_NUMBERED = re.compile(r"([a-z]+)(?:[-_.]?\d[\d\w-]*)?\.\w+$")
"""A table's name: ``train.csv``, ``train_1.csv``, ``train-00000-of-00002.parquet``."""
_NO_SUFFIX = "no suffix"
HIDDEN = "hidden"


class ImageFolderOptions(SpecModel):
    """Options of format image-folder, in ``source.with``."""

    layout: Literal["auto", "labels", "splits", "merged"] = "auto"
    """``splits``: folders named train, valid, test are the splits. ``merged``: they are neither labels nor splits.
    ``labels``: every folder is a label."""
    skip: tuple[str, ...] = ()
    """Kinds of files (``.heic``) that may be left out."""

    def skips(self, kind: str) -> bool:
        """Return whether files of a kind may be left out."""
        return kind in {each.lower() if each.startswith(".") else f".{each.lower()}" for each in self.skip}


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture."""

    file: str
    label: str | None
    split: str | None
    """The split its folder names."""


@dataclass(slots=True)
class Survey:
    """Files of a folder, divided into pictures, tables of metadata and what is not read."""

    entries: list[Entry] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    """Folders that hold a ``metadata.csv``, as prefixes: ``""``, ``"train/"``."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Files that are not read, by kind."""
    split_folders: tuple[str, ...] = ()
    """Folders whose names give the splits."""


def options_of(values: Mapping[str, Any]) -> ImageFolderOptions:
    """Parse ``source.with`` of format image-folder.

    Raises:
        StepFailed: An option is unknown or wrong.
    """
    try:
        return ImageFolderOptions.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise StepFailed(
            f"image-folder: {wrong}", hint="it takes layout (auto, labels, splits or merged) and skip (kinds of files)"
        ) from error


def is_hidden(name: str) -> bool:
    """Return whether a file is one that programs keep for themselves: hidden, in a hidden folder, or of the system."""
    *folders, last = name.split("/")
    if any(part.startswith(".") or part.lower() in _SYSTEM_FOLDERS for part in folders):
        return True
    return last.startswith((".", "~$")) or last.lower() in _SYSTEM_FILES


def kind_of(name: str) -> str:
    """Return a file's kind: its suffix in lower case."""
    return PurePosixPath(name).suffix.lower() or _NO_SUFFIX


def survey(
    files: Sequence[str],
    declared: Iterable[str],
    options: ImageFolderOptions,
    problems: Problems,
    head: Callable[[str], bytes],
) -> Survey:
    """Divide the files of a folder into pictures and others, and find each picture's label and split.

    Args:
        files: Every file below the folder, relative, sorted.
        declared: The values that the label declares.
        options: What the spec says about the layout.
        problems: Takes what looks like data and is not read.
        head: Reads the first bytes of a file.
    """
    found = Survey()
    shown = [name for name in files if not is_hidden(name)]
    found.skipped[HIDDEN] = len(files) - len(shown)
    pictures = [name for name in shown if name.lower().endswith(SUFFIXES)]
    label_level, split_level = _levels([p.split("/")[:-1] for p in pictures], frozenset(declared), options, problems)
    if split_level is not None:
        found.split_folders = tuple(sorted({p.split("/")[split_level] for p in pictures if _depth(p) > split_level}))
    found.entries = [_entry(picture, label_level, split_level, options) for picture in pictures]
    others = [name for name in shown if not name.lower().endswith(SUFFIXES)]
    for name in others:
        folder, _, last = name.rpartition("/")
        if last == METADATA and (not folder or (split_level == 0 and "/" not in folder)):
            found.metadata.append(f"{folder}/" if folder else "")
        else:
            found.skipped[kind_of(name)] += 1
    found.skipped = +found.skipped
    _refuse_unread(others, options, problems, head)
    _refuse_empty(others, found.entries, label_level, options, problems)
    return found


def table_splits(files: Sequence[str], wanted: object, problems: Problems) -> dict[str, str]:
    """Find the split that each table's name or folder gives, like ``train.csv`` or ``test-00000-of-00002.parquet``.

    Args:
        files: The tables, relative to their folder.
        wanted: The option ``layout``: ``auto``, or ``merged`` where names give no splits.
        problems: Takes what is half a split.

    Returns:
        The split by table; empty where names give none.

    Raises:
        StepFailed: The option is unknown.
    """
    if wanted not in ("auto", "merged"):
        raise StepFailed(f"a table's layout is auto or merged, not {wanted!r}")
    found = {name: role for name in files if (role := _table_role(name)) is not None}
    if wanted == "merged" or len(set(found.values())) < 2:
        return {}
    if len(found) < len(files):
        problems.add(
            f"the tables {', '.join(found)} look like splits, and there are others beside them",
            ", ".join(name for name in files if name not in found),
            hint="move those away, or divide all rows by the shares with source.with {layout: merged}",
        )
    return found


def _table_role(name: str) -> str | None:
    *folders, last = name.lower().split("/")
    named = _NUMBERED.match(last)
    parts = (*folders, named[1] if named else "")
    return next((SPLIT_NAMES[part] for part in parts if part in SPLIT_NAMES), None)


def _depth(name: str) -> int:
    return name.count("/")


def _entry(picture: str, label_level: int, split_level: int | None, options: ImageFolderOptions) -> Entry:
    folders = picture.split("/")[:-1]
    label = folders[label_level] if len(folders) > label_level else None
    split = SPLIT_NAMES[folders[split_level].lower()] if split_level is not None else None
    return Entry(picture, label, None if options.layout == "merged" else split)


def _levels(
    paths: Sequence[Sequence[str]], declared: frozenset[str], options: ImageFolderOptions, problems: Problems
) -> tuple[int, int | None]:
    """Return at which depth the labels' folders are, and at which those of the splits, if there are any."""
    tops = {path[0] for path in paths if path}
    splits = {top for top in tops if top.lower() in SPLIT_NAMES}
    if options.layout == "labels" or splits & declared or not tops:
        return 0, None
    if all(path and path[0] in splits for path in paths):
        return 1, 0
    if all(len(path) > 1 and path[1].lower() in SPLIT_NAMES for path in paths) and len(tops) > 1:
        return 0, 1
    if options.layout in ("splits", "merged"):
        problems.add(
            f"source.with.layout is {options.layout}, and not every picture is in a folder named train, valid or test",
            next("/".join(path) or "." for path in paths if not path or path[0] not in splits),
        )
    elif len({SPLIT_NAMES[top.lower()] for top in splits}) > 1 and any(len(p) > 1 and p[0] in splits for p in paths):
        problems.add(
            f"the folders {', '.join(sorted(splits))} look like splits, and there are pictures outside of them",
            ", ".join(sorted(tops - splits)) or "at the top",
            hint="move those away, or say with source.with {layout: labels} that every folder is a label",
        )
    elif len(tops) == 1 and all(len(path) > 2 and path[1].lower() in SPLIT_NAMES for path in paths):
        problems.add(
            "the folders of the splits are one level down", hint=f"make the folder {next(iter(tops))} the source's uri"
        )
    return 0, None


def _refuse_unread(
    others: Sequence[str], options: ImageFolderOptions, problems: Problems, head: Callable[[str], bytes]
) -> None:
    looked: Counter[str] = Counter()
    for name in others:
        kind = kind_of(name)
        if options.skips(kind):
            continue
        if kind in _PICTURES:
            problems.add(f"{kind} files are not read", name, hint=_hint(kind))
            continue
        looked[kind] += 1
        if looked[kind] <= _LOOKED_AT and _is_picture(head(name)):
            problems.add(
                "files hold pictures, and their names do not say so",
                name,
                hint=f"give them the suffix of what they are, like {SUFFIXES[0]}",
            )


def _hint(kind: str) -> str:
    return f"convert them to PNG or JPEG, or leave them out with source.with {{skip: [{kind}]}}"


def _is_picture(start: bytes) -> bool:
    if start.startswith(_MAGIC) or (start.startswith(b"RIFF") and start[8:12] == b"WEBP"):
        return True
    if start.startswith(b"BM") and start[6:10] == bytes(4):
        return True
    return start[4:8] == b"ftyp" and start[8:11] in (b"hei", b"avi", b"mif", b"hev", b"msf")


def _refuse_empty(
    others: Sequence[str],
    entries: Sequence[Entry],
    label_level: int,
    options: ImageFolderOptions,
    problems: Problems,
) -> None:
    """Refuse folders of labels that hold files, and not one that is read."""
    read = {entry.file.split("/")[label_level] for entry in entries if _depth(entry.file) > label_level}
    if not read:
        return
    unread: dict[str, Counter[str]] = {}
    for name in others:
        if _depth(name) > label_level and (label := name.split("/")[label_level]) not in read:
            unread.setdefault(label, Counter())[kind_of(name)] += 1
    for label, kinds in sorted(unread.items()):
        if all(kind in _PICTURES or options.skips(kind) for kind in kinds):
            continue  # told by kind, or wanted
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        problems.add(
            "folders hold files, and none that is read",
            f"{label} ({listed})",
            hint="move folders that are no label away, or leave their kinds of files out with source.with {skip: […]}",
        )
