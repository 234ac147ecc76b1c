"""Results of datasets and models in one line. Used by progress, ``status``, ``explain`` and ``show``."""

from collections.abc import Iterator, Mapping, Sequence

from edgewright.core.facts import DatasetFacts, Evidence
from edgewright.core.status.results import DatasetResults, ModelResults, Results
from edgewright.render.quantities import count_text

_SHOWN = 8
"""Classes, and kinds of files, that a line lists."""
_FIGURES = ("accuracy", "f1Macro", "mae", "rmse", "r2", "map", "countMae")
"""Figures that a line shows, of those there are; the first two."""


def results_line(found: Results) -> str:
    """Write results in one line."""
    line = dataset_line(found.facts) if isinstance(found, DatasetResults) else _model_line(found)
    return line if found.current else f"before the last change: {line}"


def dataset_line(facts: DatasetFacts) -> str:
    """Write rows, classes and splits of a dataset, and the files that were not read."""
    splits = ", ".join(f"{count:,} {split}" for split, count in facts.rows.items())
    parts = [f"{count_text(sum(facts.rows.values()), 'row')} ({splits})"]
    parts.extend(_classes(facts))
    if facts.left_out:
        parts.append(f"left out: {_listed(facts.left_out)}")
    for what, counts in (("not read", facts.skipped), ("dropped", facts.dropped)):
        if counts:
            noun = "file" if what == "not read" else "row"
            parts.append(f"{count_text(sum(counts.values()), noun)} {what}: {_listed(counts)}")
    if facts.copies:
        parts.append(f"copies: {_listed(facts.copies)}")
    return "; ".join(parts)


def evidence_line(variants: Mapping[str, Evidence]) -> str:
    """Write the first figures of each variant: ``int8 accuracy 0.95, fp32 accuracy 0.96 on 41 test rows``."""
    rows = next((each.get("rows") for each in variants.values() if each.get("rows") is not None), None)
    shown = ", ".join(f"{name} {_figures(evidence)}" for name, evidence in variants.items())
    return shown + (f" on {count_text(rows, 'test row')}" if isinstance(rows, int) else "")


def gates_line(found: ModelResults) -> str:
    """Write whether gates judge a model, and how they stand."""
    if not found.gated:
        named = f"thresholds/{found.thresholds} has no gate on the engine's figures" if found.thresholds else "no gates"
        return f"{named}: nothing judges it before devices"
    if not found.verdict:
        return "its gates are judged when it is measured again"
    passed = sum(outcome.passed is True for outcome in found.verdict)
    return f"{passed} of {count_text(len(found.verdict), 'gate')} passed"


def figure_text(value: object) -> str:
    """Write a figure; ``-`` where it could not be computed."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _model_line(found: ModelResults) -> str:
    packaged = found.variants.get(found.packaged or "")
    shown = {found.packaged or "": packaged} if packaged is not None else found.variants
    return f"{evidence_line(shown)}; {gates_line(found)}"


def _figures(evidence: Evidence) -> str:
    overall = evidence.get("overall")
    known = overall if isinstance(overall, Mapping) else {}
    shown = [f"{name} {figure_text(known[name])}" for name in _FIGURES if name in known][:2]
    return " ".join(shown) or "without figures"


def _classes(facts: DatasetFacts) -> Iterator[str]:
    values = facts.label_values
    if values is None:
        return
    counted = facts.class_rows or {}
    totals = {value: sum(rows.get(value, 0) for rows in counted.values()) for value in values}
    if facts.objects is not None:
        yield _objects(facts.objects, facts.negatives or {}, values)
        return
    if not counted:
        more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
        yield f"{len(values)} classes of {facts.label}: {', '.join(values[:_SHOWN])}{more}"
        return
    yield f"{len(values)} classes of {facts.label}: {_listed(totals, keep_order=True)}"
    if empty := [name for name, count in totals.items() if not count]:
        yield f"no rows of {', '.join(empty[:_SHOWN])}"


def _objects(objects: Mapping[str, Mapping[str, int]], negatives: Mapping[str, int], values: Sequence[str]) -> str:
    totals = {value: sum(counts.get(value, 0) for counts in objects.values()) for value in values}
    found = f"{count_text(sum(totals.values()), 'object')}: {_listed(totals, keep_order=True)}"
    return f"{found}; {count_text(sum(negatives.values()), 'picture')} without objects"


def _listed(counts: Mapping[str, int], *, keep_order: bool = False) -> str:
    """Write counts by name, the largest first or as they are."""
    ordered = list(counts) if keep_order else sorted(counts, key=lambda name: (-counts[name], name))
    text = ", ".join(f"{name} ({counts[name]:,})" for name in ordered[:_SHOWN])
    return f"{text} and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else text
