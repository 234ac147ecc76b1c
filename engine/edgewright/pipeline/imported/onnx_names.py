"""Names of classes and features that an ONNX file holds, compared with a dataset's. ``export.step`` calls it.

Which output is which class is an order that somebody else chose: nothing but names can tell that it is the dataset's.
Operators of ai.onnx.ml hold the classes' names (https://onnx.ai/onnx/operators/), and exporters write them into the
file's metadata: ``names`` (Ultralytics), ``id2label`` (transformers), ``classes``, ``class_names``, ``labels``;
features as ``feature_names`` or ``features``. Each is a list or an object by position, as JSON or as Python writes it,
or words with commas or line ends between them.
"""

import ast
import json
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgewright.core.facts import DatasetFacts
from edgewright.core.sorting import in_numeric_order, sorts_otherwise
from edgewright.errors import StepFailed

_CLASSES = ("names", "id2label", "class_names", "classes", "labels")
_FEATURES = ("feature_names", "features")
_LABEL_ATTRIBUTES = frozenset({"classlabels_ints", "classlabels_int64s", "classlabels_strings"})
_KEEPS_COLUMNS = frozenset(
    {
        "Identity",
        "Cast",
        "Normalizer",
        "Softmax",
        "LogSoftmax",
        "Sigmoid",
        "Clip",
        "Log",
        "Exp",
        "Add",
        "Sub",
        "Mul",
        "Div",
    }
)
"""Operators after a classifier that leave its columns where they are."""
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class FileNames:
    """Names that a file holds, in its order; empty where it holds none."""

    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()


def read_names(path: Path) -> FileNames:
    """Read the names that an ONNX file holds."""
    model = onnx.load(str(path), load_external_data=False)
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    return FileNames(_of_classifier(model.graph) or _of_metadata(metadata, _CLASSES), _of_metadata(metadata, _FEATURES))


def check_order(named: FileNames, facts: DatasetFacts, found: Collection[str], *, always: bool) -> None:
    """Refuse a model whose outputs or inputs may be in another order than the dataset's.

    Args:
        named: Names in the model's file.
        facts: Facts of the dataset.
        found: Columns that declare no values: theirs are those found, sorted as text.
        always: Whether values must be declared or named wherever they matter; otherwise, where numbers and text sort
            them differently.

    Raises:
        StepFailed: The order is not known, or is another one; says the order to write.
    """
    _check_classes(named.classes, facts, facts.label in found, always=always)
    for name in facts.features:
        values = facts.columns[name].values
        if values and name in found and (always or sorts_otherwise(values)):
            raise StepFailed(
                f"nothing tells which input of the model is which {name}: the dataset's column declares no values",
                hint="write the model's order into the dataset: "
                f"{_written(name, in_numeric_order(values))}, or another order of these",
            )
    features = tuple(map(_same, facts.features))
    if _differs(tuple(map(_same, named.features)), features):
        raise StepFailed(
            f"the file's features are {_listed(named.features)}, and the dataset's {_listed(facts.features)}",
            hint="declare the dataset's columns in the order of the model's features",
        )


def _check_classes(names: tuple[str, ...], facts: DatasetFacts, found: bool, *, always: bool) -> None:
    values = facts.label_values
    if values is None or facts.columns[facts.label].type == "boolean":
        return
    named, ours = tuple(map(_same, names)), tuple(map(_same, values))
    if named == tuple(map(str, range(len(named)))) and set(named) != set(ours):
        named = ()  # numbers of the outputs, no names
    if _differs(named, ours):
        raise StepFailed(
            f"the file names its outputs {_listed(names)}, and the dataset's {facts.label} has {_listed(values)}",
            hint=f"write the file's order into the dataset: {_written(facts.label, _in_order_of(named, values))}",
        )
    if found and named != ours and (always or sorts_otherwise(values)):
        told = f"the file names {_listed(names)}" if named else "the file names none"
        raise StepFailed(
            f"nothing tells which output of the model is which {facts.label}: the dataset declares no values, and "
            f"{told}",
            hint="write the order of the model's outputs into the dataset: "
            f"{_written(facts.label, in_numeric_order(values))}, or another order of these",
        )


def _differs(theirs: Sequence[str], ours: Sequence[str]) -> bool:
    """Return whether a name that both have stands at another place."""
    places = {name: place for place, name in enumerate(theirs)}
    return any(places.get(name, place) != place for place, name in enumerate(ours))


def _in_order_of(named: Sequence[str], values: Sequence[str]) -> list[str]:
    places = {name: place for place, name in enumerate(named)}
    return sorted(values, key=lambda value: places.get(_same(value), len(places)))


def _same(name: str) -> str:
    """Reduce a name to what spelling does not change."""
    words = unicodedata.normalize("NFC", name).casefold().replace("_", " ").replace("-", " ")
    return " ".join(words.split()) or name


def _of_classifier(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Read the classes of the operators that give the output's columns; none where they do not agree."""
    producers = {output: node for node in graph.node for output in node.output}
    wanted = [output.name for output in graph.output]
    seen: set[str] = set()
    found: set[tuple[str, ...]] = set()
    while wanted:
        name = wanted.pop()
        node = producers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        labels = _labels(node)
        if labels:
            found.add(labels)
        elif node.op_type in _KEEPS_COLUMNS:
            wanted.extend(node.input)
    return found.pop() if len(found) == 1 else ()


def _labels(node: onnx.NodeProto) -> tuple[str, ...]:
    for attribute in node.attribute:
        if attribute.name in _LABEL_ATTRIBUTES:
            texts = [text.decode("utf-8", "replace") for text in attribute.strings]
            if listed := texts or [str(number) for number in attribute.ints]:
                return tuple(listed)
    return ()


def _of_metadata(metadata: Mapping[str, str], keys: Sequence[str]) -> tuple[str, ...]:
    return next(filter(None, (_parsed(metadata[key]) for key in keys if key in metadata)), ())


def _parsed(text: str) -> tuple[str, ...]:
    """Parse a list of names; empty where there are not two or more."""
    value: object = None
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        break
    else:
        value = [word.strip() for word in text.replace("\n", ",").split(",") if word.strip()]
    if isinstance(value, dict):
        try:
            value = [value[key] for key in sorted(value, key=int)]
        except (ValueError, TypeError):
            return ()
    if not isinstance(value, list | tuple) or len(value) < 2 or not all(isinstance(v, str | int) for v in value):
        return ()
    return tuple(map(str, value))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _written(column: str, values: Sequence[str]) -> str:
    """Write a column's values as a spec does."""
    return f"columns.{column}.values: [{', '.join(json.dumps(value, ensure_ascii=False) for value in values)}]"
