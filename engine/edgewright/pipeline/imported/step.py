"""The import step: fetches an existing ONNX file, checked against its pinned digest. The worker calls it."""

import shutil

from edgewright.core.facts import ModelFacts
from edgewright.pipeline.imported.adapting import adapt
from edgewright.pipeline.imported.onnx_checks import MODEL, built_from_onnx
from edgewright.pipeline.imported.pinned import fetch_pinned
from edgewright.pipeline.imported.weight_files import beside, take_in
from edgewright.pipeline.runner.tasks import StepContext
from edgewright.ports import Built
from edgewright_schemas.model import ModelSpec


def build(context: StepContext) -> Built[ModelFacts]:
    """Copy the file the spec names, verify its digest, adapt it to the interface declared and check that it is a model.

    Raises:
        StepFailed: It is not there, may not be read, has another digest, or is no usable ONNX file.
        SourceUnavailable: A server did not answer, or failed.
    """
    spec = ModelSpec.model_validate(context.task.spec)
    source = spec.source
    assert source is not None
    target = context.out / MODEL
    shown = fetch_pinned(context, source.uri, source.digest, target, "source.digest")
    weights = context.task.workdir / "weights"
    for index, file in enumerate(source.files):
        place = weights / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        fetch_pinned(context, beside(source.uri, file.path), file.digest, place, f"source.files[{index}].digest")
    if source.files:
        take_in(target, weights, {file.path: file.digest for file in source.files}, shown)
        shutil.rmtree(weights)
    if spec.interface is not None:
        adapt(target, shown, spec.interface)
    return built_from_onnx(target, shown, context.dataset_or_none())
