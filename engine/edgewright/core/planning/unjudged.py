"""Evidence of earlier versions that lacks a judgement of today's, and what to do about it. Called by ``builds``.

Such a model stays as it is, since nothing shows that it is wrong; a person is told once for each model. The annotation
``edgewright.dev/evaluate: again`` has it evaluated by today's version, without training it again.
"""

from collections.abc import Iterator

from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.core.facts import EvaluationFacts, ExportFacts, PackageFacts
from edgewright.core.planning.earlier import made_by_first_version, tolerance_untold
from edgewright.core.planning.workbench import Node, Workbench
from edgewright_schemas.base import EVALUATE_AGAIN, EVALUATE_ANNOTATION, is_code_reference
from edgewright_schemas.model import Model, ModelSpec

NOT_JUDGED = "NotJudged"
ROWS_UNTOLD = "its rows were evaluated in batches only, and devices compute them one by one"


def doubt(model: Model) -> str:
    """Return why an evaluation of an earlier version is not taken over; empty where it is."""
    asked = model.metadata.annotations.get(EVALUATE_ANNOTATION) == EVALUATE_AGAIN
    return f"{ROWS_UNTOLD}; the annotation {EVALUATE_ANNOTATION} asks for more" if asked else ""


def note_unjudged(bench: Workbench, model: Model, export: Node, evaluation: Node, package: Node) -> None:
    """Note which of today's judgements the evidence of a packaged model lacks."""
    if package.artifact is None or not isinstance(facts := package.artifact.facts, PackageFacts):
        return
    if lacking := list(_lacking(model.spec, facts.variant, export, evaluation, package)):
        bench.note(Address("model", model.metadata.name), "warning", NOT_JUDGED, "; ".join(lacking))


def _lacking(spec: ModelSpec, variant: str, export: Node, evaluation: Node, package: Node) -> Iterator[str]:
    measured, exported, made = evaluation.artifact, export.artifact, package.artifact
    if measured is None or exported is None or made is None:
        return
    if not isinstance(measured.facts, EvaluationFacts) or not isinstance(exported.facts, ExportFacts):
        return
    evidence = measured.facts.variants.get(variant, {})
    if _may_mix_rows(spec) and made_by_first_version(Action.EVALUATE, measured):
        yield (
            f"an earlier version made its evidence: {ROWS_UNTOLD}; to have it evaluated again, without training, "
            f"set metadata.annotations[{EVALUATE_ANNOTATION!r}]: {EVALUATE_AGAIN}"
        )
    quantization = exported.facts.quantization
    if variant == "int8" and quantization is not None and quantization.bound is None and spec.task != "regression":
        yield (
            "an earlier version made its int8 variant, whose outputs were not compared one by one with fp32's; to have "
            f"it exported and compared again, without training, set package.quantization.parity: {spec.int8_bound:g}"
        )
    if made_by_first_version(Action.PACKAGE, made) and tolerance_untold(evidence):
        yield (
            "an earlier version packaged it, and its figures do not tell whether the golden tolerance proves anything; "
            "set package.golden.atol to a tenth of what its outputs vary"
        )


def _may_mix_rows(spec: ModelSpec) -> bool:
    """Return whether a row's answer may depend on the others: built-in architectures are exported so that none does."""
    return spec.architecture is None or is_code_reference(spec.architecture.use)
