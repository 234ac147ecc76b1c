"""The step build-dataset: reads a source, prepares, splits, checks and writes its rows. Called by the worker."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgewright.core.facts import DatasetFacts
from edgewright.core.suggestions import suggestion
from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.checks import Checks
from edgewright.pipeline.dataset.columns import Columns, channels_first, coerce, columns_of
from edgewright.pipeline.dataset.files import SCHEMA, SPLITS
from edgewright.pipeline.dataset.locations import local_path, locate
from edgewright.pipeline.dataset.problems import Problems
from edgewright.pipeline.dataset.readers import Reader, Row, content_key
from edgewright.pipeline.dataset.source_index import local_digest, remote_digest
from edgewright.pipeline.dataset.splits import check_splits, choose_split
from edgewright.pipeline.dataset.transforms import Step, make_steps
from edgewright.pipeline.dataset.writer import Spool, content_digest, write_schema, write_splits
from edgewright.pipeline.runner.tasks import StepContext
from edgewright.ports import Built
from edgewright_schemas.dataset import DatasetSpec

_LIBRARIES = ("numpy", "pillow", "pyarrow")


def build(context: StepContext) -> Built[DatasetFacts]:
    """Build a dataset.

    ``params["folders"]``, when given, lists further folders in which a relative source path is looked for; the
    checkout comes first.

    Raises:
        StepFailed: The spec does not fit the data; everything that is wrong is in the message.
        UserCodeFailed: The repository's reader or step raised.
        SourceUnavailable: A remote source did not answer.
    """
    task = context.task
    spec = _spec(task.spec)
    columns = columns_of(spec)
    work = _Work(spec, columns, make_steps(spec.steps, columns, task.checkout))
    folders = (task.checkout, *map(Path, task.params.get("folders", ())))
    _check_pin(spec, task.checkout, folders)
    reader = Reader(spec, columns, task.checkout, folders, work.problems)
    total = reader.count()
    with ExitStack() as stack:
        spools = {split: stack.enter_context(Spool(context.out / f".{split}.arrow", columns.types)) for split in SPLITS}
        for number, row in enumerate(reader.rows(), start=1):
            prepared = work.prepare(row)
            if prepared is not None:
                split, values = prepared
                spools[split].add(values)
            context.progress(number, total, "row")
        for spool in spools.values():
            spool.flush()
    work.checks.report(work.problems)
    work.problems.raise_if_any(f"{task.address} cannot be built from {spec.source.uri}")
    rows = Counter({split: spools[split].rows for split in SPLITS})
    if not rows.total():
        raise StepFailed(f"{spec.source.uri} gave no rows", hint="the source is empty, or the steps drop every row")
    check_splits(rows, spec.split, len(work.groups) if columns.group else None)
    values = work.categories()
    schema = _schema(work, values)
    files = {**write_splits(spools, columns, values, context.out), SCHEMA: write_schema(schema, context.out)}
    digest = content_digest(schema, spools)
    return Built(
        digest=digest,
        files=files,
        facts=DatasetFacts.from_json({**schema, "rows": dict(rows), "contentDigest": digest}),
        environment={name: version(name) for name in _LIBRARIES},
    )


@dataclass(slots=True)
class _Work:
    """State of a build that accumulates as the rows pass."""

    spec: DatasetSpec
    columns: Columns
    steps: list[Step]
    problems: Problems = field(default_factory=Problems)
    checks: Checks = field(init=False)
    shape: tuple[int, ...] | None = None
    """(C, H, W) of the first image."""
    found: dict[str, set[str]] = field(default_factory=dict)
    """Values of the categories and slices, as strings."""
    groups: set[str] = field(default_factory=set)
    _seen_first: bool = False

    def __post_init__(self) -> None:
        self.checks = Checks(self.spec, self.columns)
        for name, type_ in self.columns.types.items():
            if type_ == "category" or name in self.columns.slices:
                self.found[name] = set()

    def prepare(self, row: Row) -> tuple[str, dict[str, Any]] | None:
        """Take a row through the steps; return its split and values, or None when it is dropped or wrong."""
        key = row.key if row.key is not None else content_key(row.values, self.columns)
        values = dict(row.values)
        if not self._typed(values, row.where):
            return None
        for step in self.steps:
            made = step(values)
            if made is None:
                return None
            values = made
        if not self._seen_first:
            self._seen_first = True
            self._check_names(values, row.where)
        kept = {name: values.get(name) for name in self.columns.types}
        if not self._typed(kept, row.where) or not self._known(kept, row.where):
            return None
        self.checks.see(kept, row.where)
        if self.columns.group is not None and kept[self.columns.group] is not None:
            key = str(kept[self.columns.group])
            self.groups.add(key)
        if self.columns.image and kept[self.columns.image] is not None:
            kept[self.columns.image] = self._image(kept[self.columns.image], row.where)
        return choose_split(key, self.spec.split), kept

    def categories(self) -> dict[str, list[str]]:
        """List the values of each category: as declared, or as found, sorted."""
        return {
            name: list(self.columns.values.get(name, sorted(self.found[name])))
            for name, type_ in self.columns.types.items()
            if type_ == "category"
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
            text = value if isinstance(value, str) else as_text(value)
            declared = self.columns.values.get(name)
            if declared is not None and text not in declared:
                self.problems.add(
                    f"values of {name!r} are not among those declared",
                    f"{text!r} ({where})",
                    hint=f"columns.{name}.values has: {', '.join(declared)}",
                )
                good = False
            found.add(text)
        return good

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


def as_text(value: Any) -> str:
    """Write a slice's value the way ``files`` reads it back."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _spec(value: Any) -> DatasetSpec:
    try:
        return DatasetSpec.model_validate(value)
    except ValidationError as error:
        raise StepFailed(f"the dataset's spec cannot be read: {error}") from error


def _check_pin(spec: DatasetSpec, checkout: Path, folders: Sequence[Path]) -> None:
    """Refuse data that is not what the spec pins."""
    source = spec.source
    if source.digest is None or source.follow or source.format == "python":
        return
    location = locate(source.uri, *folders)
    if Path(location.path).is_relative_to(checkout.absolute()):
        return  # part of the commit
    found = remote_digest(location) if local_path(source.uri, checkout) is None else local_digest(Path(location.path))
    if found != source.digest:
        raise StepFailed(
            f"source {source.uri} is {found}, and the spec pins {source.digest}",
            hint="restore the pinned data, or change digest to take the new data in",
        )


def _schema(work: _Work, values: dict[str, list[str]]) -> dict[str, Any]:
    columns = work.columns
    described: dict[str, dict[str, Any]] = {name: {"type": type_} for name, type_ in columns.types.items()}
    for name, listed in {**{n: list(v) for n, v in columns.values.items()}, **values}.items():
        described[name]["values"] = listed
    if columns.image:
        assert work.shape is not None
        input_shape = list(work.shape)
    else:
        input_shape = [sum(len(values[n]) if n in values else 1 for n in columns.features)]
    return {
        "columns": described,
        "features": list(columns.features),
        "label": columns.label,
        "slices": {name: sorted(work.found[name]) for name in columns.slices},
        "inputShape": input_shape,
    }
