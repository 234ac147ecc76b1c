"""Values of a column of type ``boxes`` (decision 0031): lists of dicts. Called by ``columns`` and ``writer``."""

import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

NUMBERS = ("x", "y", "width", "height")
_FIELDS = frozenset({"category", *NUMBERS, "crowd"})
_COORDINATES = [(name, pa.float32()) for name in NUMBERS]
NAMED = pa.list_(pa.struct([("category", pa.string()), *_COORDINATES, ("crowd", pa.bool_())]))
"""While a dataset is built: categories by name."""
STORED = pa.list_(pa.struct([("category", pa.int32()), *_COORDINATES, ("crowd", pa.bool_())]))
"""In a dataset's files: categories by their position in the column's ``values``."""

Object = dict[str, Any]
"""``category`` (its name), ``x``, ``y``, ``width``, ``height`` (pixels, zero-based, continuous), ``crowd``."""


def coerce_objects(value: Any) -> list[Object]:
    """Check a picture's objects; ``crowd`` may be left out.

    Raises:
        ValueError: They are something else; the message reads well after the row's name.
    """
    if not isinstance(value, list | tuple):
        raise ValueError(f"objects are a list of dicts, not {type(value).__name__}")
    return [_object(each) for each in value]


def _object(value: Any) -> Object:
    if not isinstance(value, Mapping):
        raise ValueError(f"an object is a dict, not {type(value).__name__}")
    if value.keys() - _FIELDS or _FIELDS - value.keys() - {"crowd"}:
        found = ", ".join(map(str, value)) or "nothing"
        raise ValueError(f"an object has category, x, y, width, height and maybe crowd; found {found}")
    category, crowd = value["category"], value.get("crowd")
    if not isinstance(category, str) or not category:
        raise ValueError(f"an object's category is a text, not {category!r}")
    made: Object = {"category": category}
    for name in NUMBERS:
        try:
            made[name] = float(value[name])
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"an object's {name} is {value[name]!r}, no number") from None
        if not math.isfinite(made[name]):
            raise ValueError(f"an object's {name} is {value[name]!r}, which is not finite")
    if crowd not in (None, True, False):
        raise ValueError(f"an object's crowd is {crowd!r}, neither true nor false")
    return {**made, "crowd": bool(crowd)}


def objects_bytes(objects: Iterable[Object]) -> bytes:
    """Write objects as they are stored, so that different ones come to different bytes."""
    parts = []
    for each in objects:
        name = each["category"].encode()
        numbers = (each[field] + 0.0 for field in NUMBERS)  # + 0.0 turns -0.0 into 0.0
        parts.append(struct.pack("<I4f?", len(name), *numbers, each["crowd"]) + name)
    return struct.pack("<I", len(parts)) + b"".join(parts)


def positioned(column: pa.Array, values: Iterable[str]) -> pa.Array:
    """Turn a column of NAMED into one of STORED."""
    flat = column.flatten()
    category = pc.index_in(flat.field("category"), value_set=pa.array(list(values), pa.string())).cast(pa.int32())
    others = [flat.field(name) for name in (*NUMBERS, "crowd")]
    struct_ = pa.StructArray.from_arrays([category, *others], fields=list(STORED.value_type))
    # The offsets of a slice, or of one with nulls, do not begin at 0 or do not cover the nulls: count the lengths.
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    ends = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths.cast(pa.int32()))])
    return pa.ListArray.from_arrays(ends, struct_, type=STORED, mask=pc.is_null(column))
