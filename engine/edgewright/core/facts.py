"""Facts: the small figures a build step records beside its files, typed by step.

Plans, gates, model cards and people read them without opening a file. docs/reference/artifacts.md describes each. The
stored form is plain JSON in camelCase; keys this version does not know are kept in ``extra`` and written back.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Self, TypeVar

from edgewright.core.address import Address
from edgewright.errors import StateError

Evidence = Mapping[str, Any]
"""Figures of one evaluated variant: ``overall`` {metric: value}, ``slices`` {"column=value": {metric: value}},
``rows``, ``sizeBytes``, ``latencyP50Ms``, ``latencyP95Ms``. Open-ended and read with care: see core.gates."""


def _fact(read: Callable[..., Any], *, key: str = "", optional: bool = False, null: bool = False) -> Any:
    """Declare a field with the conversion from its JSON value.

    Args:
        read: Converts the JSON value; TypeError, ValueError, KeyError or AttributeError refuse it.
        key: The JSON key, where it is not the field's name in camelCase.
        optional: The key may be absent; the field is None then, and None is not written.
        null: The value may be null, and is written as null.
    """
    metadata = {"read": read, "key": key, "null": null}
    return field(default=None, metadata=metadata) if optional or null else field(metadata=metadata)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(value)
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, _sequence(value)))


def _integers(value: Any) -> tuple[int, ...]:
    return tuple(map(_integer, _sequence(value)))


def _sizes(value: Any) -> tuple[int | None, ...]:
    return tuple(None if each is None else _integer(each) for each in _sequence(value))


def _sequence(value: Any) -> Sequence[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(value)
    return value


def _mapping(read: Callable[[Any], Any] = lambda value: value) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {_text(name): read(each) for name, each in value.items()}


def _json_key(each: "Field[Any]") -> str:
    first, *others = each.name.split("_")
    return each.metadata.get("key") or first + "".join(part.capitalize() for part in others)


class IncompleteValue(ValueError):
    """A required key is absent, or its value is not usable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFacts:
    """Facts with a declared shape, and what else was stored beside them."""

    extra: Mapping[str, Any] = field(default_factory=dict)
    """Keys this version does not know."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Parse the stored form; unknown keys are kept.

        Raises:
            IncompleteValue: A required key is absent or unusable; the message is a predicate: ``has no 'rows'``.
        """
        known: dict[str, Any] = {}
        declared = {_json_key(each): each for each in fields(cls) if each.name != "extra"}
        for key, each in declared.items():
            value = values.get(key)
            if value is None:
                if each.default is MISSING:
                    raise IncompleteValue(f"has no {key!r}")
                continue
            try:
                known[each.name] = each.metadata["read"](value)
            except (TypeError, ValueError, KeyError, AttributeError) as error:
                raise IncompleteValue(f"has an unusable {key!r}") from error
        return cls(**known, extra={key: value for key, value in values.items() if key not in declared})

    def to_json(self) -> dict[str, Any]:
        """Return the stored form: declared keys in order, then the unknown ones."""
        written = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name != "extra" and (value is not None or each.metadata.get("null")):
                written[_json_key(each)] = _plain(value)
        return written | dict(self.extra)


F = TypeVar("F", bound=StoredFacts)


def _plain(value: Any) -> Any:
    """Convert a fact to JSON values; the order of keys is kept."""
    if isinstance(value, StoredFacts):
        return value.to_json()
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(StoredFacts):
    """One column of a dataset."""

    type: str = _fact(_text)
    """``image``, ``category``, ``number``, ``integer``, ``boolean``, ``text``, ``boxes``."""
    values: tuple[str, ...] | None = _fact(_texts, optional=True)
    """Values of a category or of objects in the order of a model's outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts(StoredFacts):
    """Facts of build-dataset."""

    columns: Mapping[str, Column] = _fact(_mapping(Column.from_json))
    features: tuple[str, ...] = _fact(_texts)
    """Input columns, in order."""
    label: str = _fact(_text)
    """The column to predict."""
    slices: Mapping[str, tuple[str, ...]] = _fact(_mapping(_texts))
    """Values found of each slice column, sorted."""
    input_shape: tuple[int, ...] = _fact(_integers)
    """Without the batch: (C, H, W) for images, (F,) for tables."""
    rows: Mapping[str, int] = _fact(_mapping(_integer))
    """Rows of ``train``, ``validation`` and ``test``."""
    content_digest: str = _fact(_text)
    class_rows: Mapping[str, Mapping[str, int]] | None = _fact(_mapping(_mapping(_integer)), optional=True)
    """Rows of each class, by split: ``{train: {apple: 30}}``; none for a numeric label. Absent: by an older version."""
    slice_rows: Mapping[str, Mapping[str, Mapping[str, int]]] | None = _fact(
        _mapping(_mapping(_mapping(_integer))), optional=True
    )
    """Rows of each slice, by column, value and split: ``{store: {lyon: {train: 8, validation: 1, test: 1}}}``."""
    skipped: Mapping[str, int] | None = _fact(_mapping(_integer), optional=True)
    """Files of the source that were not read, by kind: ``{".txt": 3, hidden: 12}``."""
    objects: Mapping[str, Mapping[str, int]] | None = _fact(_mapping(_mapping(_integer)), optional=True)
    """Objects of each category, by split: ``{train: {bottle: 230}}``; of a label of type ``boxes``."""
    negatives: Mapping[str, int] | None = _fact(_mapping(_integer), optional=True)
    """Pictures without objects, by split."""
    left_out: Mapping[str, int] | None = _fact(_mapping(_integer), optional=True)
    """Objects and pictures that the source has and the dataset has not, by reason."""
    dropped: Mapping[str, int] | None = _fact(_mapping(_integer), optional=True)
    """Rows that steps dropped, by step."""
    copies: Mapping[str, int] | None = _fact(_mapping(_integer), optional=True)
    """Rows with the same picture as an earlier one: ``rows``; of near copies ``near``; ``labelledOtherwise``;
    ``acrossSplits``: in another split than the first. Those that are 0 are left out."""
    notices: tuple[str, ...] | None = _fact(_texts, optional=True)
    """Sentences for people about what was found, such as folders taken for splits."""

    @property
    def label_values(self) -> tuple[str, ...] | None:
        """The label's categories in the order of a model's outputs; None when the label is a number."""
        return self.columns[self.label].values


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFacts(StoredFacts):
    """Facts of train."""

    epochs: int = _fact(_integer)
    """Epochs run; early stopping may end before those declared."""
    best_epoch: int = _fact(_integer)
    """The epoch whose weights are kept, counted from 1."""
    metrics: Mapping[str, float | None] = _fact(_mapping())
    """Figures of the best epoch on the validation split."""
    parameters: int = _fact(_integer)
    architecture: str = _fact(_text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts(StoredFacts):
    """Facts of import and command: an ONNX file that edgewright did not write."""

    parameters: int = _fact(_integer)
    """Numbers that its initializers hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedVariant(StoredFacts):
    """One ONNX file of an export."""

    digest: str = _fact(_text)
    size: int = _fact(_integer)
    """Bytes."""
    precision: str = _fact(_text)
    """``float32`` or ``int8``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationFacts(StoredFacts):
    """The course of a quantization that was asked for."""

    mode: str = _fact(_text)
    calibration_samples: int = _fact(_integer)
    not_possible: str | None = _fact(_text, optional=True)
    """The reason for which there is no int8 variant."""
    error: float | None = _fact(float, optional=True)
    """Largest error of an int8 output, as a share of how much that output varies."""
    error_output: int | None = _fact(_integer, optional=True)
    """The output where it is largest."""
    bound: float | None = _fact(float, optional=True)
    """Largest error that may be packaged."""
    float_tail: bool | None = _fact(bool, optional=True)
    """True when what follows the last layers with weights was left in float, since it lost too much in int8."""


def _quantization(value: Any) -> QuantizationFacts:
    return QuantizationFacts.from_json(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFacts(StoredFacts):
    """Facts of export."""

    variants: Mapping[str, ExportedVariant] = _fact(_mapping(ExportedVariant.from_json))
    parity: Mapping[str, float | None] = _fact(_mapping())
    """Largest absolute difference from the reference, by variant; None where it is no finite number."""
    input_name: str = _fact(_text)
    output_name: str = _fact(_text)
    input_shape: tuple[int | None, ...] = _fact(_sizes)
    """Without the batch; None where any size will do."""
    input_type: str = _fact(_text)
    """NumPy's name of the element type."""
    parameters: int | None = _fact(_integer, null=True)
    quantization: QuantizationFacts | None = _fact(_quantization, optional=True)  # noqa: RUF009 - as all others here


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationFacts(StoredFacts):
    """Facts of evaluate."""

    variants: Mapping[str, Evidence] = _fact(_mapping())


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFacts(StoredFacts):
    """Facts of package."""

    manifest_digest: str = _fact(_text)
    manifest_size: int = _fact(_integer)
    """Bytes of ``manifest.json``."""
    package_size: int = _fact(_integer)
    """Bytes of all files."""
    variant: str = _fact(_text)
    size_bytes: int = _fact(_integer)
    """Bytes of ``model.onnx``."""
    golden_samples: int | None = _fact(_integer, optional=True)
    golden_atol: float | None = _fact(float, optional=True)
    """Largest absolute difference that devices allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherFacts(StoredFacts):
    """Facts of a step that declares none, such as render-config."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssumedFacts(StoredFacts):
    """Stands for the facts of an artifact that a preview assumes to exist. Never stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncompleteFacts(StoredFacts):
    """Stored facts that lack what their step records; ``extra`` holds them as they are, ``problem`` says what lacks.

    They are an error where they are read (``expect``), not where they are loaded: what does not need them, such as gc,
    goes on.
    """

    problem: str

    def to_json(self) -> dict[str, Any]:
        """Return the stored form as it was."""
        return dict(self.extra)


Facts = (
    DatasetFacts
    | TrainingFacts
    | ModelFacts
    | ExportFacts
    | EvaluationFacts
    | PackageFacts
    | OtherFacts
    | AssumedFacts
    | IncompleteFacts
)

KINDS: Mapping[str, type[Facts]] = {
    "build-dataset": DatasetFacts,
    "train": TrainingFacts,
    "import": ModelFacts,
    "command": ModelFacts,
    "export": ExportFacts,
    "evaluate": EvaluationFacts,
    "package": PackageFacts,
}
"""The facts of each build step, by ``Action``."""


def parse_facts(action: str, values: Mapping[str, Any]) -> Facts:
    """Parse the stored facts of an artifact; IncompleteFacts where a required key is absent or unusable.

    Args:
        action: The artifact's action.
        values: The stored JSON object.
    """
    try:
        return KINDS.get(action, OtherFacts).from_json(values)
    except IncompleteValue as error:
        return IncompleteFacts(problem=str(error), extra=dict(values))


def expect(kind: type[F], facts: StoredFacts, action: str, address: Address) -> F:
    """Return an artifact's facts as those of one step.

    Args:
        kind: The facts wanted.
        facts: The artifact's facts.
        action: The artifact's action, for the message.
        address: The artifact's address, for the message.

    Raises:
        StateError: They are incomplete, or another step's; names the artifact and the key.
    """
    if isinstance(facts, kind):
        return facts
    problem = facts.problem if isinstance(facts, IncompleteFacts) else f"has {type(facts).__name__}"
    raise StateError(
        f"the recorded {action} of {address} {problem}",
        hint="it was recorded by another version or is damaged; change the step's spec, so that it is made again",
    )
