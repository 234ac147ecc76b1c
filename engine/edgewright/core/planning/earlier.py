"""Artifacts of an earlier version of a builder: taken over where what that version did wrong does not concern them.

Called by the workbench. A correction must not make everything again: a plan stays empty after an upgrade, except for
artifacts whose figures, as far as they tell, may be wrong.

Version 1 of ``evaluate`` took r2 for 1 or 0 where its sums were below 0.0001, and took probabilities that add up to 1
only roughly, or not at all after quantization, for logits. Version 1 of ``package`` allowed an absolute 0.05 whatever
the outputs' size. Exports have one version: what an int8 variant lost before it was judged shows in its evidence.

Datasets of folders have had a part ``source.reading`` since folders of splits were taken for labels, tables a part
``columns.order`` since another order of columns made nothing again, and exports of models from elsewhere a part
``dataset.found`` since the order of their outputs is looked at.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence

from edgewright.core.artifact import Action, Artifact
from edgewright.core.facts import DatasetFacts, EvaluationFacts, Evidence, ExportFacts
from edgewright.core.planning.fingerprint import FOUND, IMPLIED, ORDER, READING, Components, fingerprint
from edgewright.core.sorting import sorts_otherwise
from edgewright_schemas.dataset import SPLIT_NAMES
from edgewright_schemas.model import LARGEST_DEFAULT_ATOL

_ATOL = "package.golden.atol"
_FIRST_ATOL = LARGEST_DEFAULT_ATOL
"""Tolerance of version 1 where a spec named none."""
_TOLD_APART = 4.0
"""Deviations of the outputs' spread that a tolerance must stay below, as ``packaging.tolerance`` asks for twice."""


def earlier_fingerprint(action: Action, components: Components) -> str | None:
    """Name the same work of version 1; None where there is no later one."""
    if not IMPLIED.isdisjoint(components):
        return fingerprint(action, {name: text for name, text in components.items() if name not in IMPLIED})
    if action is Action.EVALUATE:
        return fingerprint(action, components, 1)
    if action is Action.PACKAGE:
        return fingerprint(action, {_ATOL: repr(_FIRST_ATOL), **components}, 1)
    return None


def corrected(made: Artifact, inputs: Mapping[str, Artifact], components: Components) -> str:
    """Return what an artifact of version 1 may hold that is wrong; empty where it holds for good.

    Args:
        made: The artifact.
        inputs: What it was made from, by role.
        components: What the output depends on now.
    """
    if made.action is Action.EVALUATE and isinstance(made.facts, EvaluationFacts):
        dataset = inputs["dataset"].facts
        values = dataset.label_values if isinstance(dataset, DatasetFacts) else None
        return next(filter(None, (_evidence(each, values) for each in made.facts.variants.values())), "")
    if made.action is Action.BUILD_DATASET and isinstance(made.facts, DatasetFacts):
        return _dataset(made.facts, components)
    if made.action is Action.EXPORT and isinstance(facts := inputs["dataset"].facts, DatasetFacts):
        return _export(facts, json.loads(components.get(FOUND, "[]")))
    if made.action is Action.PACKAGE:
        return _package(made, inputs["evaluation"])
    return ""


def made_by_first_version(action: Action, made: Artifact) -> bool:
    """Return whether the first version of a builder made an artifact, by the parts it recorded."""
    return bool(made.components) and made.fingerprint == fingerprint(action, made.components, 1)


def tolerance_untold(evidence: Evidence) -> bool:
    """Return whether figures do not tell if a golden tolerance is small beside what the outputs vary."""
    overall = evidence.get("overall")
    return not isinstance(overall, Mapping) or _least_spread(overall) is None


def int8_astray(export: ExportFacts, evidence: Mapping[str, Evidence], bound: float) -> str:
    """Return why the int8 variant of an export that was never judged output by output is too far off; empty where not.

    Regression figures tell it: what quantization adds to the mean square error, as a share of the label's variance.
    """
    judged = export.quantization is not None and export.quantization.bound is not None
    quantized, exact = (evidence.get(name, {}).get("overall") for name in ("int8", "fp32"))
    if judged or not isinstance(quantized, Mapping) or not isinstance(exact, Mapping):
        return ""
    rmse, found, r2 = exact.get("rmse"), quantized.get("rmse"), exact.get("r2")
    if not (isinstance(rmse, float) and isinstance(found, float) and isinstance(r2, float)) or rmse == 0 or r2 >= 1:
        return ""
    share = math.sqrt(max(0.0, (found / rmse) ** 2 - 1) * (1 - r2))
    if share <= bound:
        return ""
    return f"int8 outputs are off by about {share:.2g} of what the label varies; {bound:g} is allowed"


def _dataset(facts: DatasetFacts, components: Components) -> str:
    labels = facts.label_values
    if labels and READING in components and all(label.lower() in SPLIT_NAMES for label in labels):
        return f"the folders {', '.join(labels)} were taken for labels"
    declared = [name for name in json.loads(components.get(ORDER, "[]")) if name in facts.features]
    if declared and tuple(declared) != facts.features:
        return f"its features are in the order {', '.join(facts.features)}"
    return ""


def _export(dataset: DatasetFacts, found: Sequence[str]) -> str:
    for name in (dataset.label, *dataset.features):
        values = dataset.columns[name].values
        if name in found and values and sorts_otherwise(values):
            return f"{name} was taken as {', '.join(values[:4])}, …, which a model from elsewhere hardly gives"
    return ""


def _evidence(evidence: Evidence, classes: tuple[str, ...] | None) -> str:
    for figures in _groups(evidence):
        if figures.get("r2") in {0.0, 1.0}:
            return "r2 of small numbers was taken for 0 or 1"
        if classes and _of_logits_taken_twice(figures, len(classes)):
            return "probabilities may have been taken for logits in the loss"
    return ""


def _groups(evidence: Evidence) -> Iterator[Mapping[str, object]]:
    slices = evidence.get("slices")
    for group in (evidence.get("overall"), *(slices.values() if isinstance(slices, Mapping) else ())):
        if isinstance(group, Mapping):
            yield group


def _of_logits_taken_twice(figures: Mapping[str, object], classes: int) -> bool:
    """Return whether a loss is what softmax of probabilities gives: never below log(e + classes - 1) - 1."""
    loss, accuracy = figures.get("loss"), figures.get("accuracy")
    if not isinstance(loss, float) or not isinstance(accuracy, float):
        return False
    floor = math.log(math.e + classes - 1) - 1
    # A model of logits that is right so often hardly ever has such a loss.
    return loss >= floor - 1e-3 and accuracy > 0.9


def _package(made: Artifact, evaluation: Artifact) -> str:
    atol = float(made.components.get(_ATOL, _FIRST_ATOL))
    variant = made.components.get("variant", "")
    facts = evaluation.facts
    evidence = facts.variants.get(variant) if isinstance(facts, EvaluationFacts) else None
    overall = evidence.get("overall") if evidence is not None else None
    if not isinstance(overall, Mapping):
        return ""
    spread = _least_spread(overall)
    if spread is None or atol * _TOLD_APART < spread:
        return ""
    return f"devices allow {atol:g}, which may be as much as the outputs vary"


def _least_spread(figures: Mapping[str, object]) -> float | None:
    """Estimate from below how far outputs lie apart; None where figures do not tell."""
    rmse, r2, loss = (figures.get(name) for name in ("rmse", "r2", "loss"))
    if isinstance(rmse, float) and isinstance(r2, float) and r2 < 1:
        # r2 = 1 - rmse² / variance of the label; golden samples reach over at least two deviations of it.
        return 2 * rmse / math.sqrt(1 - r2)
    if isinstance(loss, float):
        # Whatever the number of classes, some row gives its class a probability of at least exp(-loss).
        return math.exp(-loss)
    return None
