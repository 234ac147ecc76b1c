"""The export step: a model's ONNX files, as trained and quantized. Run by the worker.

Reads roles ``model`` (``weights.pt`` of a trained model, ``model.onnx`` of any other) and ``dataset``; what it writes
is in docs/reference/artifacts.md. The planner calls nothing here: which variant is packaged is decided by gates, later.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.core.facts import (
    DatasetFacts,
    ExportedVariant,
    ExportFacts,
    ModelFacts,
    QuantizationFacts,
    TrainingFacts,
)
from edgewright.durable import digest_file
from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.files import load_split
from edgewright.pipeline.export import parity
from edgewright.pipeline.export.onnx_runtime import (
    FP32,
    INT8,
    ORDER,
    Interface,
    OnnxModel,
    count_unusable,
    finite_or_none,
    first_lines,
    shape_text,
    variant_file,
)
from edgewright.pipeline.imported.onnx_names import check_order, read_names
from edgewright.pipeline.runner.tasks import StepContext
from edgewright.ports import Built
from edgewright_schemas.model import ModelSpec
from edgewright_wire.canonical import digest_json

PARITY_ROWS = 64
PARITY_TOLERANCE = 1e-3
"""Largest difference from torch, as a share of the outputs' spread: between the largest and the smallest."""
_ROUNDING = 1e-5
"""What arithmetic may be off by besides, as a share of the largest output."""
PRECISIONS: Mapping[str, str] = {FP32: "float32", INT8: "int8"}
_LIBRARIES = ("numpy", "onnx", "onnxruntime")


@dataclass(frozen=True, slots=True)
class _Exported:
    """The float variant, and what torch computes for the parity rows (None when there is no torch model)."""

    path: Path
    reference: npt.NDArray[np.float32] | None


def build(context: StepContext) -> Built[ExportFacts]:
    """Export a model and, where its spec asks for it, quantize it.

    Raises:
        StepFailed: It cannot be exported, computes something else than torch does, or cannot be quantized although
            nothing else may be packaged.
        UserCodeFailed: The repository's own module raised.
    """
    spec = ModelSpec.model_validate(context.task.spec)
    quantization = spec.package.quantization
    wanted = quantization.calibration_samples if quantization.mode == "static-int8" else 0
    validation = _rows(context)
    total = 2 if wanted else 1
    context.progress(0, total, "variant")
    exported = _export(context, spec, validation[:PARITY_ROWS])
    model = OnnxModel(exported.path)
    model.check_input(validation.shape[1:])
    if spec.origin != "trained":
        found, facts = context.task.params.get("found", ()), context.facts("dataset", DatasetFacts)
        check_order(read_names(exported.path), facts, found, always=spec.origin == "imported")
    differences: dict[str, float | None] = {}
    fp32_output = model.run(validation[:PARITY_ROWS])
    if exported.reference is not None:
        differences[FP32] = _check_parity(exported.reference, fp32_output)
    context.progress(1, total, "variant")

    paths = {FP32: exported.path}
    calibrated: QuantizationFacts | None = None
    if wanted:
        calibrated = _quantize(context, spec, model, validation, paths)
        if INT8 in paths:
            quantized = OnnxModel(paths[INT8]).run(validation[:PARITY_ROWS])
            differences[INT8] = _max_error(fp32_output if exported.reference is None else exported.reference, quantized)
            if quantization.fallback == "none":
                paths.pop(FP32).unlink()
        context.progress(2, total, "variant")
    return _built(
        model.interface, {name: paths[name] for name in ORDER if name in paths}, differences, context, calibrated
    )


def _rows(context: StepContext) -> npt.NDArray[np.float32]:
    """Read the rows that parity and calibration use: validation rows, or train rows where a dataset has no others."""
    files, facts = context.task.inputs["dataset"], context.facts("dataset", DatasetFacts)
    for split in ("validation", "train"):
        found = load_split(files, facts, split).features
        if len(found):
            return found
    raise StepFailed("the dataset has no rows to check the exported model with", hint="add rows to the source")


def _built(
    interface: Interface,
    paths: Mapping[str, Path],
    differences: Mapping[str, float | None],
    context: StepContext,
    quantization: QuantizationFacts | None,
) -> Built[ExportFacts]:
    spec = ModelSpec.model_validate(context.task.spec)
    model = context.task.facts.get("model")
    variants = {
        name: ExportedVariant(digest=digest_file(path), size=path.stat().st_size, precision=PRECISIONS[name])
        for name, path in paths.items()
    }
    libraries = _LIBRARIES + (("onnxscript", "torch") if spec.origin == "trained" else ())
    return Built(
        digest=digest_json({name: variant.digest for name, variant in variants.items()}),
        files={variant_file(name): path for name, path in paths.items()},
        facts=ExportFacts(
            variants=variants,
            parity=dict(differences),
            input_name=interface.input_name,
            output_name=interface.output_name,
            input_shape=tuple(interface.input_shape),
            input_type=interface.input_type,
            parameters=model.parameters if isinstance(model, TrainingFacts | ModelFacts) else None,
            quantization=quantization,
        ),
        environment={name: version(name) for name in libraries},
    )


def _export(context: StepContext, spec: ModelSpec, rows: npt.NDArray[np.float32]) -> _Exported:
    path = context.out / variant_file(FP32)
    files = context.task.inputs["model"]
    if spec.origin != "trained":
        if "model.onnx" not in files:
            raise StepFailed("the model step made no model.onnx", hint="run apply again to rebuild it")
        shutil.copyfile(files["model.onnx"], path)
        return _Exported(path, None)
    if "weights.pt" not in files:
        raise StepFailed("the train step made no weights.pt", hint="run apply again to train again")

    import torch

    from edgewright.pipeline.export.onnx_export import export_module, run_module, write_model
    from edgewright.pipeline.runner import user_code as usercode
    from edgewright.pipeline.training.module import load_trained

    task = context.task
    assert spec.architecture is not None
    module = load_trained(task.spec, task.checkout, files["weights.pt"], context.facts("dataset", DatasetFacts))
    with torch.random.fork_rng(devices=[]), usercode.user_errors(task.checkout, spec.architecture.use):
        reference = run_module(module, rows)
    write_model(export_module(module, rows.shape[1:], spec.package.opset), path)
    return _Exported(path, reference)


def _quantize(
    context: StepContext,
    spec: ModelSpec,
    model: OnnxModel,
    validation: npt.NDArray[np.float32],
    paths: dict[str, Path],
) -> QuantizationFacts:
    """Add the int8 variant to ``paths`` where the model can be quantized and comes close enough to itself."""
    from edgewright.pipeline.export.quantization import choose_rows, quantize

    quantization = spec.package.quantization
    chosen = choose_rows(len(validation), quantization.calibration_samples, spec.training_or_default.seed)
    facts = QuantizationFacts(mode=quantization.mode, calibration_samples=len(chosen))
    target, rows = context.out / variant_file(INT8), model.prepare(validation[chosen])
    compared = validation[parity.spread_rows(len(validation))]
    expected = model.run(compared)
    classes = len(context.facts("dataset", DatasetFacts).label_values or ()) or None
    bound = spec.int8_bound
    problem = ""
    for float_tail in (False, True):
        failure = quantize(paths[FP32], target, model.interface, rows, float_tail=float_tail)
        if failure is not None:
            problem = problem or failure.reason
            break
        try:
            found = parity.int8_error(expected, OnnxModel(target).run(compared), classes)
        except StepFailed as error:
            problem = problem or first_lines(error)
            continue
        if found.within(bound):
            paths[INT8] = target
            return replace(facts, **_measured(found, bound), float_tail=float_tail or None)
        if not problem:
            problem, facts = found.reason(bound), replace(facts, **_measured(found, bound))
    target.unlink(missing_ok=True)
    if quantization.fallback == "none":
        raise StepFailed(
            f"the model cannot be quantized to int8: {problem}",
            hint="set package.quantization.fallback to fp32, or mode to none",
        )
    return replace(facts, not_possible=problem)


def _measured(found: parity.Int8Error, bound: float) -> dict[str, Any]:
    share = None if found.share is None else finite_or_none(found.share)
    return {"error": share, "error_output": found.output, "bound": bound}


def _check_parity(expected: npt.NDArray[np.float32], found: npt.NDArray[Any]) -> float | None:
    """Compare the exported model with torch; return the largest absolute difference."""
    if expected.shape != found.shape:
        raise StepFailed(
            f"the exported model gives {shape_text(found.shape)} where torch gives {shape_text(expected.shape)}",
            hint="the model's forward must not branch on the size of the batch",
        )
    if unusable := count_unusable(expected):
        raise StepFailed(
            f"the trained model gives no finite number for {unusable} of {len(expected)} validation rows",
            hint="lower training.learningRate, or look for missing values in the dataset",
        )
    error = _max_error(expected, found)
    limit = PARITY_TOLERANCE * float(np.ptp(expected)) + _ROUNDING * float(np.abs(expected).max(initial=0.0))
    if error is None or error > limit:
        size = "no finite number" if error is None else f"{error:.3g}"
        raise StepFailed(
            f"the exported model computes something else than torch: largest difference {size} on {len(expected)} "
            f"validation rows, allowed is {limit:.3g}",
            hint="use operations that ONNX has too; random ones must be off in evaluation mode",
        )
    return error


def _max_error(expected: npt.NDArray[Any], found: npt.NDArray[Any]) -> float | None:
    """Return the largest absolute difference; None when it is no finite number, or the shapes differ."""
    if expected.shape != found.shape or not expected.size:
        return None
    return finite_or_none(np.abs(expected.astype(np.float64) - found.astype(np.float64)).max())
