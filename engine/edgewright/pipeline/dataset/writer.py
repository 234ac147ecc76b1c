"""Writes a dataset's splits as Parquet files, with a digest over what the rows mean. Used while a dataset is built.

Rows are spooled to disk in the order they come, so that memory holds a batch only, and are written as Parquet once
every category's values are known.
"""

import json
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from edgewright.pipeline.dataset.columns import Columns, as_text
from edgewright.pipeline.dataset.files import SCHEMA, SPLITS, file_name
from edgewright.pipeline.dataset.objects.values import NAMED, STORED, objects_bytes, positioned
from edgewright.pipeline.dataset.splits import Candidate, assign, choose_split
from edgewright_schemas.dataset import ColumnType, Split
from edgewright_wire.canonical import digest_json

_BATCH_ROWS = 1024
_BATCH_BYTES = 16 << 20
_ARROW_TYPES: Mapping[ColumnType, Any] = {
    "image": pa.binary(),
    "category": pa.string(),
    "number": pa.float64(),
    "integer": pa.int64(),
    "text": pa.string(),
    "boolean": pa.bool_(),
    "boxes": NAMED,
}


class Spool:
    """Keeps the rows of one split on disk and digests them."""

    def __init__(self, path: Path, types: Mapping[str, ColumnType], count: Iterable[str] = ()) -> None:
        self.path = path
        self.rows = 0
        self.counted: dict[str, Counter[str]] = {name: Counter() for name in count}
        """Of some columns, how many rows have each value; of objects, how many there are of each category."""
        self.without_objects = 0
        self._types = types
        self._schema = pa.schema([(name, _ARROW_TYPES[type_]) for name, type_ in types.items()])
        self._writer = pa.ipc.new_stream(str(path), self._schema)
        self._batch: list[Mapping[str, Any]] = []
        self._bytes = 0
        self._hash = sha256()

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row: values as their types, an image as its bytes, None where there is none."""
        self.rows += 1
        self._batch.append(row)
        for name, counter in self.counted.items():
            if self._types[name] == "boxes":
                counter.update(each["category"] for each in row[name] or ())
                self.without_objects += not row[name]
            elif row[name] is not None:
                counter[as_text(row[name])] += 1
        for name, type_ in self._types.items():
            data = _bytes_of(row[name], type_)
            self._hash.update(data)
            self._bytes += len(data)
        if len(self._batch) >= _BATCH_ROWS or self._bytes >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is held in memory."""
        if self._batch:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._batch, schema=self._schema))
        self._batch, self._bytes = [], 0

    def close(self) -> None:
        """Write what is held in memory and end the file; a second time, do nothing."""
        self.flush()
        self._writer.close()

    def rows_again(self) -> Iterator[dict[str, Any]]:
        """Read the rows of a closed spool."""
        with pa.OSFile(str(self.path)) as source, pa.ipc.open_stream(source) as reader:
            for batch in reader:
                yield from batch.to_pylist()

    def digest(self) -> str:
        """Digest the rows so far; equal rows in equal order give the same, whatever wrote them."""
        return self._hash.hexdigest()


class SplitWriter:
    """Gives each row its split: as it comes, or once all are there where the splits depend on all."""

    def __init__(self, folder: Path, columns: Columns, split: Split, *, wait: bool) -> None:
        objects = (columns.objects,) if columns.objects else ()
        types, counted = columns.types, (*columns.classes(), *objects, *columns.slices)
        self.spools = {name: Spool(folder / f".{name}.arrow", types, counted) for name in SPLITS}
        self._split = split
        self._waiting = Spool(folder / ".rows.arrow", types) if wait else None
        self._candidates: list[Candidate] = []
        self._pictures: dict[str, str] = {}
        """The split of each picture's first row."""
        self.parted = 0
        """Rows in another split than the first row with their picture."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for spool in (*self.spools.values(), *((self._waiting,) if self._waiting else ())):
            spool.close()

    def add(self, candidate: Candidate, row: Mapping[str, Any]) -> None:
        """Add a row, as ``Spool.add`` takes it."""
        if self._waiting is None:
            self._put(choose_split(candidate.key, self._split), candidate, row)
        else:
            self._candidates.append(candidate)
            self._waiting.add(row)

    def finish(self, near: Mapping[str, str]) -> None:
        """Give the rows that wait their splits, and write what is held in memory.

        Args:
            near: Of pictures that are near an earlier one, the key of that one.
        """
        if self._waiting is not None:
            self._waiting.close()
            candidates = [_with_near(each, near) for each in self._candidates]
            splits = assign(candidates, self._split)
            for row, candidate, split in zip(self._waiting.rows_again(), candidates, splits, strict=True):
                self._put(split, candidate, row)
            self._waiting.path.unlink()
        for spool in self.spools.values():
            spool.close()

    def _put(self, split: str, candidate: Candidate, row: Mapping[str, Any]) -> None:
        self.spools[split].add(row)
        if candidate.picture is not None:
            self.parted += self._pictures.setdefault(candidate.picture, split) != split


def _with_near(candidate: Candidate, near: Mapping[str, str]) -> Candidate:
    picture = candidate.picture
    if picture is None or picture not in near:
        return candidate
    key = near[picture] if candidate.key == picture else candidate.key
    return replace(candidate, key=key, picture=near[picture])


def write_splits(
    spools: Mapping[str, Spool], columns: Columns, values: Mapping[str, Sequence[str]], out: Path
) -> dict[str, Path]:
    """Write each spool as ``<split>.parquet``, categories encoded by their values' positions; return the files."""
    files = {}
    for split in SPLITS:
        path = out / file_name(split)
        _write_parquet(spools[split].path, columns, values, path)
        spools[split].path.unlink()
        files[file_name(split)] = path
    return files


def write_schema(schema: Mapping[str, Any], out: Path) -> Path:
    """Write ``schema.json``."""
    path = out / SCHEMA
    path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def content_digest(schema: Mapping[str, Any], spools: Mapping[str, Spool]) -> str:
    """Digest a dataset's meaning: its schema, and the rows of each split in order."""
    rows = {split: {"rows": spools[split].rows, "digest": spools[split].digest()} for split in SPLITS}
    return digest_json({"schema": schema, "splits": rows})


def _write_parquet(spool: Path, columns: Columns, values: Mapping[str, Sequence[str]], path: Path) -> None:
    categories = [name for name, type_ in columns.types.items() if type_ == "category"]
    with pa.OSFile(str(spool)) as source, pa.ipc.open_stream(source) as reader:
        schema = reader.schema
        for name in categories:
            schema = schema.set(schema.get_field_index(name), pa.field(name, pa.dictionary(pa.int32(), pa.string())))
        if columns.objects:
            schema = schema.set(schema.get_field_index(columns.objects), pa.field(columns.objects, STORED))
        with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=categories) as writer:
            for batch in reader:
                arrays = [
                    _stored(batch.column(name), columns.types[name], values.get(name, ())) for name in schema.names
                ]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _stored(column: pa.Array, type_: ColumnType, values: Sequence[str]) -> pa.Array:
    if type_ == "boxes":
        return positioned(column, values)
    return _encoded(column, values) if type_ == "category" else column


def _encoded(column: pa.Array, values: Sequence[str]) -> pa.Array:
    known = pa.array(values, pa.string())
    return pa.DictionaryArray.from_arrays(pc.index_in(column, value_set=known, skip_nulls=True), known)


def _bytes_of(value: Any, type_: ColumnType) -> bytes:
    """Write a value so that no two values, nor a value and none, come to the same bytes."""
    if value is None:
        return b"\0"
    match type_:
        case "number":
            return struct.pack("<bd", 1, value + 0.0)  # + 0.0 turns -0.0 into 0.0
        case "integer":
            return struct.pack("<bq", 1, value)
        case "boolean":
            return b"\1\1" if value else b"\1\0"
        case "boxes":
            return b"\1" + objects_bytes(value)
        case _:
            data = value if isinstance(value, bytes) else value.encode("utf-8")
            return struct.pack("<bQ", 1, len(data)) + data
