"""Reads the rows of a dataset's source, one at a time: folders of images, CSV, Parquet, the repository's own Python.

``dataset`` drives these. What cannot be read goes to Problems and reading goes on, so that one run shows everything.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from edgewright.errors import SourceUnavailable, StepFailed
from edgewright.pipeline.dataset import layout
from edgewright.pipeline.dataset.columns import Columns, nfc
from edgewright.pipeline.dataset.csv_files import csv_rows
from edgewright.pipeline.dataset.locations import Location, locate
from edgewright.pipeline.dataset.objects.reading import LabelReader, open_labels
from edgewright.pipeline.dataset.objects.rules import BoxRules
from edgewright.pipeline.dataset.pictures.images import SUFFIXES, Decoder
from edgewright.pipeline.dataset.problems import Problems
from edgewright.pipeline.runner import user_code as usercode
from edgewright_schemas.dataset import DatasetSpec, Source
from edgewright_schemas.labels import LABEL_FORMATS

_FILE_COLUMNS = ("file", "file_name")
_COPY = re.compile(r"(?i)((?:^|/))copy (?:\(\d+\) )?of |(?:[ -]{1,4}copy(?: ?\(?\d+\)?)?| ?\(\d+\))(\.\w+)$")
"""What file managers and browsers add to the name of a copy."""
_STALE = "unpack it, rename it, or move it out of the source's folder"
_UNREADABLE = "images cannot be read"


@dataclass(slots=True)
class Row:
    """One row of the source."""

    values: dict[str, Any]
    where: str
    """For messages: ``data/tags.csv:12``, or the image's path."""
    key: str | None = None
    """What stays the same when other rows come and go; None: the row's own content."""
    split: str | None = None
    """The split that the source's folders give it."""
    source: str = ""
    """The table it comes from, where there are several."""


@dataclass(frozen=True, slots=True)
class _Table:
    """One table of a source."""

    file: str
    """Relative to the source."""
    shown: str
    folder: Location | None
    """Where its images are."""
    split: str | None = None
    """The split its name gives."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reader of a dataset's source."""

    spec: DatasetSpec
    columns: Columns
    checkout: Path
    folders: tuple[Path, ...]
    """Where relative paths are looked for, in this order."""
    problems: Problems
    decoder: Decoder
    skipped: Counter[str] = field(default_factory=Counter)
    """Files that are not read, by kind; complete when the rows are."""
    notices: list[str] = field(default_factory=list)
    """Sentences for people about what was found; complete when the rows are."""
    _labels: list[LabelReader] = field(default_factory=list)
    _surveys: list[layout.Survey] = field(default_factory=list)
    _found_tables: list[_Table] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)
    """Files of the source by their composed names, once one is looked for."""

    def rows(self) -> Iterator[Row]:
        """Read the source's rows.

        Raises:
            StepFailed: The source as a whole cannot be read; UserCodeFailed: the repository's reader raised.
            SourceUnavailable: A remote did not answer.
        """
        source = self.spec.source
        if source.format == "python":
            yield from self._python(source)
            return
        location = locate(source.uri, *self.folders)
        with _readable(location):
            match source.format:
                case "image-folder":
                    yield from self._image_folder(location)
                case "csv":
                    yield from self._csv(location)
                case "parquet":
                    yield from self._parquet(location)
                case _:
                    yield from self._labelled(location)

    def count(self) -> int:
        """Return how many rows there will be where that is cheap to tell, else 0."""
        format_ = self.spec.source.format
        if format_ != "image-folder" and format_ not in LABEL_FORMATS:
            return 0
        location = locate(self.spec.source.uri, *self.folders)
        if format_ in LABEL_FORMATS:
            return self._label_reader(location).format.count()
        return len(self._survey(location).entries)

    @property
    def categories(self) -> list[str]:
        """Categories of objects that the source lists, in its order; complete when the rows are."""
        return self._labels[0].format.categories if self._labels else []

    @property
    def left_out(self) -> Counter[str]:
        """Objects and pictures of the source that are no part of its rows, by reason."""
        return self._labels[0].left_out if self._labels else Counter()

    def told(self) -> list[str]:
        """Return sentences for people about what was found; complete when the rows are."""
        return [*self.notices, *(self._labels[0].notices() if self._labels else ())]

    def gives_splits(self) -> bool:
        """Return whether names of folders or tables give the rows their splits.

        Raises:
            StepFailed, SourceUnavailable: As in rows.
        """
        source = self.spec.source
        if source.format == "python":
            return False
        location = locate(source.uri, *self.folders)
        with _readable(location):
            if source.format == "image-folder":
                return bool(self._survey(location).split_folders)
            if source.format in LABEL_FORMATS:
                return self._label_reader(location).format.gives_splits
            return any(table.split for table in self._tables(location, f".{source.format}"))

    # ── folders of images ─────────────────────────────────────────────────────────────────────────────────────

    def _image_folder(self, location: Location) -> Iterator[Row]:
        if not location.is_folder():
            raise StepFailed(f"{location.shown} is no folder", hint="format image-folder reads a folder per label")
        image = self.columns.image
        if image is None:
            raise StepFailed("format image-folder needs a column of type image", hint="columns: {image: {type: image}}")
        found = self._survey(location)
        spelled = {nfc(entry.file): entry.file for entry in found.entries}
        exact = {entry.file for entry in found.entries}
        metadata = {
            name if name in exact else spelled.get(nfc(name), name): values
            for name, values in self._metadata(location, found.metadata).items()
        }
        blank = dict.fromkeys([self.columns.label, *(name for values in metadata.values() for name in values)])
        for missing in sorted(metadata.keys() - exact):
            self.problems.add(_UNREADABLE, f"{missing} (named in {layout.METADATA}, not there)")
        for entry in found.entries:
            values: dict[str, Any] = {**blank, "file": entry.file}
            if entry.label is not None:
                values[self.columns.label] = entry.label
            values |= metadata.get(entry.file, {})
            if (pixels := self._image(location, entry.file)) is not None:
                where = f"{location.shown}/{entry.file}"
                yield Row({**values, image: pixels}, where, key=entry.file, split=entry.split)

    def _survey(self, location: Location) -> layout.Survey:
        if not self._surveys:

            def head(name: str) -> bytes:
                try:
                    with location.open(name) as stream:
                        return stream.read(16)
                except FileNotFoundError:  # a link that leads nowhere
                    return b""

            options = layout.options_of(self.spec.source.with_)
            declared = self.columns.values.get(self.columns.label, ())
            found = layout.survey(location.files(), declared, options, self.problems, head)
            self._surveys.append(found)
            self.skipped.update(found.skipped)
            if found.split_folders:
                self.notices.append(_about(found.split_folders, options))
        return self._surveys[0]

    def _metadata(self, location: Location, prefixes: Sequence[str]) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for prefix in prefixes:
            where = f"{location.shown}/{prefix}{layout.METADATA}"
            for number, values in csv_rows(location, f"{prefix}{layout.METADATA}", {}, where, self.problems):
                name = next((values[column] for column in _FILE_COLUMNS if values.get(column)), None)
                if name is None:
                    hint = "the column `file` holds each image's path"
                    raise StepFailed(f"{where}:{number} names no file", hint=hint)
                found[prefix + name.removeprefix("./")] = {k: v for k, v in values.items() if k not in _FILE_COLUMNS}
        return found

    def _image(self, folder: Location, file: str) -> Any:
        try:
            data = folder.read(file)
        except FileNotFoundError:
            other = self._spelled_otherwise(folder, file)
            if other is None:
                self.problems.add(_UNREADABLE, f"{file} (not there)")
                return None
            data = folder.read(other)
        return self._decoded(data, file)

    def _spelled_otherwise(self, folder: Location, file: str) -> str | None:
        """Find a file whose name Unicode holds to be the same: macOS takes names apart that tables write composed."""
        if not self._names:
            self._names.update((nfc(name), name) for name in folder.files())
        found = self._names.get(nfc(file))
        return None if found == file else found

    # ── labelled pictures ─────────────────────────────────────────────────────────────────────────────────────────

    def _labelled(self, location: Location) -> Iterator[Row]:
        image, label = self.columns.image, self.columns.objects
        if image is None or label is None:
            raise StepFailed(
                f"format {self.spec.source.format} needs a column of type image and a label of type boxes",
                hint="columns: {image: {type: image}, objects: {type: boxes}}",
            )
        for each in self._label_reader(location).rows():
            values = {image: each.pixels, label: each.objects, "file": each.file}
            yield Row(values, each.where, key=each.file, split=each.split)

    def _label_reader(self, location: Location) -> LabelReader:
        if not self._labels:
            source, rules = self.spec.source, BoxRules(self.problems)
            with _readable(location):
                self._labels.append(open_labels(source.format, source.with_, location, rules, self.decoder))
        return self._labels[0]

    # ── tables ────────────────────────────────────────────────────────────────────────────────────────────────

    def _csv(self, location: Location) -> Iterator[Row]:
        numeric = [name for name, type_ in self.columns.types.items() if type_ in ("number", "integer")]
        options = self.spec.source.with_
        for table in self._tables(location, ".csv"):
            for number, values in csv_rows(location, table.file, options, table.shown, self.problems, numeric):
                row = Row(values, f"{table.shown}:{number}", split=table.split, source=table.file)
                yield from self._with_images(row, table.folder)

    def _parquet(self, location: Location) -> Iterator[Row]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        for table in self._tables(location, ".parquet"):
            number, shown = 0, table.shown
            try:
                with location.open(table.file) as stream, pq.ParquetFile(stream) as parquet:
                    for batch in parquet.iter_batches(batch_size=1024):
                        for values in batch.to_pylist():
                            number += 1
                            row = Row(values, f"{shown} row {number}", split=table.split, source=table.file)
                            yield from self._with_images(row, table.folder)
            except pa.ArrowInvalid as error:
                raise StepFailed(f"{shown} is no Parquet file, or a damaged one: {error}") from error
            except (pa.ArrowException, ValueError, OverflowError) as error:
                after = f" after row {number}" if number else ""
                raise StepFailed(f"{shown} cannot be read{after}: {error}") from error

    def _tables(self, location: Location, suffix: str) -> list[_Table]:
        """List the tables of a source."""
        if not self._found_tables:
            self._found_tables.extend(self._find_tables(location, suffix))
        return self._found_tables

    def _find_tables(self, location: Location, suffix: str) -> list[_Table]:
        if not location.is_folder():
            return [_Table("", location.shown, None)]
        listed = location.files()
        shown = [name for name in listed if not layout.is_hidden(name)]
        files = [name for name in shown if name.lower().endswith(suffix)]
        self._count_unread(shown, files, suffix)
        if len(listed) > len(shown):
            self.skipped[layout.HIDDEN] += len(listed) - len(shown)
        if not files:
            raise StepFailed(f"{location.shown} holds no {suffix} file")
        splits = layout.table_splits(files, self.spec.source.with_.get("layout", "auto"), self.problems)
        if splits:
            self.notices.append(
                f"the names of {len(splits)} tables give the splits; "
                "source.with {layout: merged} divides their rows by split's shares"
            )
        return [_Table(file, f"{location.shown}/{file}", location, splits.get(file)) for file in files]

    def _count_unread(self, shown: Sequence[str], files: Sequence[str], suffix: str) -> None:
        """Count the files that are no tables; refuse those that are, under a name that is not read."""
        read = set(files)
        pictures = SUFFIXES if self.columns.image else ()  # those the tables name
        for name in shown:
            if name not in read and not name.lower().endswith(pictures):
                self.skipped[layout.kind_of(name)] += 1
                if f"{suffix}." in name.lower():
                    self.problems.add(f"files hold {suffix[1:]} under a name that is not read", name, hint=_STALE)
        for name in files:
            if (original := _COPY.sub(r"\1\2", name)) != name and original in read:
                self.problems.add("tables look like copies of others, and both would be read", name, hint=_STALE)

    def _with_images(self, row: Row, folder: Location | None) -> Iterator[Row]:
        """Decode what an image column of a table holds: encoded bytes, or a path relative to the source's folder."""
        image = self.columns.image
        held = row.values.get(image) if image else None
        if isinstance(held, dict):  # how Hugging Face datasets store an image
            held = held.get("bytes") or held.get("path")
        if image is None or not isinstance(held, str | bytes) or held == "":
            if image is not None and isinstance(held, np.ndarray):
                row.values[image] = self.decoder.scale(held)
            yield row
            return
        row.key = content_key(row.values, self.columns)
        if isinstance(held, bytes):
            pixels = self._decoded(held, row.where)
        elif folder is not None:
            pixels = self._image(folder, held)
        else:
            raise StepFailed(
                f"{row.where} names the image {held}, which is no part of the source",
                hint="make the folder that holds the table and its images the source's uri",
            )
        if pixels is not None:
            row.values[image] = pixels
            yield row

    def _decoded(self, data: bytes, where: str) -> Any:
        try:
            return self.decoder.decode(data, where)
        except ValueError as error:
            self.problems.add(_UNREADABLE, f"{where} ({error})")
            return None

    # ── the repository's own code ─────────────────────────────────────────────────────────────────────────────

    def _python(self, source: Source) -> Iterator[Row]:
        function = usercode.load(self.checkout, source.uri)
        made = usercode.call(self.checkout, source.uri, function, **source.with_)
        if not hasattr(made, "__iter__"):
            raise StepFailed(
                f"{source.uri} returned {type(made).__name__}, no rows", hint="yield one dict per row, by column name"
            )
        iterator = iter(made)
        for number in range(1, 2**62):
            with usercode.user_errors(self.checkout, source.uri):
                values = next(iterator, None)
            if values is None:
                return
            if not isinstance(values, Mapping):
                raise StepFailed(f"{source.uri} yielded {type(values).__name__} as row {number}; a row is a dict")
            yield from self._with_images(Row(dict(values), f"{source.uri} row {number}"), None)


def content_key(values: Mapping[str, Any], columns: Columns) -> str:
    """Name a row by its content as the source holds it, of the kept columns where it has any."""
    kept = {name: values[name] for name in columns.names if name in values} or dict(sorted(values.items()))
    return "\0".join([f"{name}={value if type(value) is str else _text(value)}" for name, value in kept.items()])


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{sha256(value.tobytes()).hexdigest()}"
    return sha256(value).hexdigest() if isinstance(value, bytes) else str(value)


@contextmanager
def _readable(location: Location) -> Iterator[None]:
    """Raise what a file system says as what it means for the source."""
    try:
        yield
    except FileNotFoundError as error:
        raise StepFailed(f"{location.shown}: {error.filename or error} is not there") from error
    except OSError as error:
        if location.is_remote():
            raise SourceUnavailable(f"{location.shown} did not answer: {error}") from error
        raise StepFailed(f"{location.shown} cannot be read: {error}") from error


def _about(folders: Sequence[str], options: layout.ImageFolderOptions) -> str:
    names = ", ".join(folders)
    if options.layout == "merged":
        return f"the folders {names} are neither labels nor splits, as source.with.layout says"
    return (
        f"the folders {names} are the splits; source.with {{layout: merged}} divides their pictures by split's shares"
    )
