"""The step build-dataset: reads a source, prepares, splits, checks and writes its rows. Called by the worker."""

from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgewright.core.facts import DatasetFacts
from edgewright.errors import StepFailed
from edgewright.pipeline.dataset import precision
from edgewright.pipeline.dataset.columns import Columns, columns_of
from edgewright.pipeline.dataset.counts import counts
from edgewright.pipeline.dataset.files import SCHEMA, SPLITS
from edgewright.pipeline.dataset.locations import local_path, locate
from edgewright.pipeline.dataset.pictures.images import Decoder
from edgewright.pipeline.dataset.preparation import Preparation
from edgewright.pipeline.dataset.readers import Reader
from edgewright.pipeline.dataset.source_index import local_digest, remote_digest
from edgewright.pipeline.dataset.splits import check_splits, depends_on_all
from edgewright.pipeline.dataset.transforms import make_steps
from edgewright.pipeline.dataset.writer import SplitWriter, content_digest, write_schema, write_splits
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
    cut: Counter[str] = Counter()
    work = Preparation(spec, columns, make_steps(spec.steps, columns, task.checkout, cut), cut=cut)
    folders = (task.checkout, *map(Path, task.params.get("folders", ())))
    _check_pin(spec, task.checkout, folders)
    scale = spec.columns[columns.image].range if columns.image else None
    reader = Reader(spec, columns, task.checkout, folders, work.problems, Decoder(scale))
    total = reader.count()
    wait = depends_on_all(spec.split) or reader.gives_splits()
    with SplitWriter(context.out, columns, spec.split, wait=wait) as writer:
        for number, row in enumerate(reader.rows(), start=1):
            for prepared in work.prepare(row):
                writer.add(*prepared)
            context.progress(number, total, "row")
        work.checks.report(work.problems)
        reader.decoder.report(work.problems, columns.image or "")
        work.problems.raise_if_any(f"{task.address} cannot be built from {spec.source.uri}")
        writer.finish(work.copies.near())
    spools = writer.spools
    rows = Counter({split: spools[split].rows for split in SPLITS})
    if not rows.total():
        raise StepFailed(f"{spec.source.uri} gave no rows", hint="the source is empty, or the steps drop every row")
    check_splits(rows, spec.split, len(work.groups) if columns.group else None)
    values = work.categories(reader.categories)
    _check_classes(columns, values)
    _check_objects(columns, writer)
    schema = _schema(work, values)
    files = {**write_splits(spools, columns, values, context.out), SCHEMA: write_schema(schema, context.out)}
    distinct = precision.count_distinct(files, columns)
    precision.report(distinct, work.problems)
    work.problems.raise_if_any(f"{task.address} cannot be built from {spec.source.uri}")
    digest = content_digest(schema, spools)
    counted = {"rows": dict(rows), **counts(writer, work, reader, distinct)}
    return Built(
        digest=digest,
        files=files,
        facts=DatasetFacts.from_json({**schema, **counted, "contentDigest": digest}),
        environment={name: version(name) for name in _LIBRARIES},
    )


def _spec(value: Any) -> DatasetSpec:
    try:
        return DatasetSpec.model_validate(value)
    except ValidationError as error:
        raise StepFailed(f"the dataset's spec cannot be read: {error}") from error


def _check_classes(columns: Columns, values: Mapping[str, Sequence[str]]) -> None:
    """Refuse a label that leaves a model nothing to choose between."""
    found = values.get(columns.label, ()) if columns.classes() else ()
    if len(found) == 1:
        raise StepFailed(
            f"every row has the {columns.label} {found[0]!r}",
            hint="a model chooses between two classes or more: is the source the folder that holds a folder for each?"
            if columns.image
            else "a model chooses between two classes or more: is it the right column?",
        )


def _check_objects(columns: Columns, writer: SplitWriter) -> None:
    """Refuse a dataset in which no picture has an object."""
    if columns.objects and not any(spool.counted[columns.objects].total() for spool in writer.spools.values()):
        raise StepFailed(
            "no picture has an object", hint="are the annotations those of these pictures? What is left out is counted"
        )


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


def _schema(work: Preparation, values: dict[str, list[str]]) -> dict[str, Any]:
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
