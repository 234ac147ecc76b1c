"""Reads the rows of a dataset's source, one at a time: folders of images, CSV, Parquet, the repository's own Python.

``dataset`` drives these. What cannot be read goes to Problems and reading goes on, so that one run shows everything.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from edgewright.core.suggestions import suggestion
from edgewright.errors import SourceUnavailable, StepFailed
from edgewright.pipeline.dataset.columns import Columns
from edgewright.pipeline.dataset.images import SUFFIXES, decode
from edgewright.pipeline.dataset.locations import Location, locate
from edgewright.pipeline.dataset.problems import Problems
from edgewright.pipeline.runner import user_code as usercode
from edgewright_schemas.dataset import DatasetSpec, Source

_METADATA = "metadata.csv"
_FILE_COLUMNS = ("file", "file_name")
_UNREADABLE = "images cannot be read"
_CSV_OPTIONS = frozenset({"delimiter", "quotechar", "encoding"})


@dataclass(slots=True)
class Row:
    """One row of the source."""

    values: dict[str, Any]
    where: str
    """For messages: ``data/tags.csv:12``, or the image's path."""
    key: str | None = None
    """What stays the same when other rows come and go; None: the row's own content."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reader of a dataset's source."""

    spec: DatasetSpec
    columns: Columns
    checkout: Path
    folders: tuple[Path, ...]
    """Where relative paths are looked for, in this order."""
    problems: Problems

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
        try:
            match source.format:
                case "image-folder":
                    yield from self._image_folder(location)
                case "csv":
                    yield from self._csv(location)
                case "parquet":
                    yield from self._parquet(location)
        except FileNotFoundError as error:
            raise StepFailed(f"{source.uri}: {error.filename or error} is not there") from error
        except OSError as error:
            if location.is_remote():
                raise SourceUnavailable(f"{source.uri} did not answer: {error}") from error
            raise StepFailed(f"{source.uri} cannot be read: {error}") from error

    def count(self) -> int:
        """Return how many rows there will be where that is cheap to tell, else 0."""
        if self.spec.source.format != "image-folder":
            return 0
        return len(_images(locate(self.spec.source.uri, *self.folders).files()))

    # ── folders of images ─────────────────────────────────────────────────────────────────────────────────────

    def _image_folder(self, location: Location) -> Iterator[Row]:
        if not location.is_folder():
            raise StepFailed(f"{location.shown} is no folder", hint="format image-folder reads a folder per label")
        image = self.columns.image
        if image is None:
            raise StepFailed("format image-folder needs a column of type image", hint="columns: {image: {type: image}}")
        listed = location.files()
        files = _images(listed)
        metadata = self._metadata(location) if _METADATA in listed else {}
        blank = dict.fromkeys([self.columns.label, *(name for values in metadata.values() for name in values)])
        for missing in sorted(metadata.keys() - set(files)):
            self.problems.add(_UNREADABLE, f"{missing} (named in {_METADATA}, not there)")
        for file in files:
            folder, slash, _ = file.partition("/")
            values: dict[str, Any] = {**blank, "file": file}
            if slash:
                values[self.columns.label] = folder
            values |= metadata.get(file, {})
            if (pixels := self._image(location, file)) is not None:
                yield Row({**values, image: pixels}, f"{location.shown}/{file}", key=file)

    def _metadata(self, location: Location) -> dict[str, dict[str, Any]]:
        where = f"{location.shown}/{_METADATA}"
        found: dict[str, dict[str, Any]] = {}
        for number, values in _csv_rows(location, _METADATA, {}, where):
            name = next((values[column] for column in _FILE_COLUMNS if values.get(column)), None)
            if name is None:
                raise StepFailed(f"{where}:{number} names no file", hint="the column `file` holds each image's path")
            found[name.removeprefix("./")] = {k: v for k, v in values.items() if k not in _FILE_COLUMNS}
        return found

    def _image(self, folder: Location, file: str) -> Any:
        try:
            with folder.open(file) as stream:
                return decode(stream)
        except FileNotFoundError:
            self.problems.add(_UNREADABLE, f"{file} (not there)")
        except ValueError as error:
            self.problems.add(_UNREADABLE, f"{file} ({error})")
        return None

    # ── tables ────────────────────────────────────────────────────────────────────────────────────────────────

    def _csv(self, location: Location) -> Iterator[Row]:
        for file, shown, folder in self._tables(location, ".csv"):
            for number, values in _csv_rows(location, file, self.spec.source.with_, shown):
                yield from self._with_images(Row(values, f"{shown}:{number}"), folder)

    def _parquet(self, location: Location) -> Iterator[Row]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        for file, shown, folder in self._tables(location, ".parquet"):
            number = 0
            try:
                with location.open(file) as stream, pq.ParquetFile(stream) as parquet:
                    for batch in parquet.iter_batches(batch_size=1024):
                        for values in batch.to_pylist():
                            number += 1
                            yield from self._with_images(Row(values, f"{shown} row {number}"), folder)
            except pa.ArrowInvalid as error:
                raise StepFailed(f"{shown} is no Parquet file, or a damaged one: {error}") from error

    def _tables(self, location: Location, suffix: str) -> list[tuple[str, str, Location | None]]:
        """List the tables of a source: relative name, how to show it, and the folder its images are in."""
        if not location.is_folder():
            return [("", location.shown, None)]
        files = [name for name in location.files() if name.endswith(suffix)]
        if not files:
            raise StepFailed(f"{location.shown} holds no {suffix} file")
        return [(file, f"{location.shown}/{file}", location) for file in files]

    def _with_images(self, row: Row, folder: Location | None) -> Iterator[Row]:
        """Decode what an image column of a table holds: encoded bytes, or a path relative to the source's folder."""
        image = self.columns.image
        held = row.values.get(image) if image else None
        if isinstance(held, dict):  # how Hugging Face datasets store an image
            held = held.get("bytes") or held.get("path")
        if image is None or not isinstance(held, str | bytes) or held == "":
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
            return decode(data)
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
    kept = {name: values[name] for name in sorted(columns.types) if name in values} or dict(sorted(values.items()))
    return "\0".join(f"{name}={_text(value)}" for name, value in kept.items())


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{sha256(value.tobytes()).hexdigest()}"
    return sha256(value).hexdigest() if isinstance(value, bytes) else str(value)


def _images(files: list[str]) -> list[str]:
    return [name for name in files if name.lower().endswith(SUFFIXES) and not name.rpartition("/")[2].startswith(".")]


def _csv_rows(
    location: Location, file: str, options: Mapping[str, Any], where: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row's line number and values; a value that is empty is missing."""
    unknown = sorted(set(options) - _CSV_OPTIONS)
    if unknown:
        raise StepFailed(f"csv has no option {unknown[0]!r}", hint=suggestion(unknown[0], _CSV_OPTIONS))
    dialect = {key: value for key, value in options.items() if key != "encoding"}
    binary = location.open(file)
    with closing(io.TextIOWrapper(binary, encoding=options.get("encoding", "utf-8-sig"), newline="")) as text:
        try:
            reader = csv.DictReader(text, **dialect, strict=True)
            names = reader.fieldnames or []
            if len(set(names)) < len(names):
                raise StepFailed(f"{where} names a column twice: {', '.join(names)}")
            for values in reader:
                if None in values or None in values.values():
                    found = sum(v is not None for k, v in values.items() if k is not None) + len(values.get(None) or ())
                    raise StepFailed(f"{where}:{reader.line_num} has {found} values for {len(names)} columns")
                yield reader.line_num, {name: value if value != "" else None for name, value in values.items()}
        except UnicodeDecodeError as error:
            raise StepFailed(f"{where} is not {error.encoding}: {error.reason}", hint="give its encoding") from error
        except (csv.Error, TypeError, LookupError) as error:
            raise StepFailed(f"{where} cannot be read: {error}") from error
