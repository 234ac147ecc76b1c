"""From data to package: which build steps datasets and models need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgewright.core import gates
from edgewright.core.address import Address
from edgewright.core.facts import AssumedFacts, DatasetFacts, EvaluationFacts, Evidence, ExportFacts
from edgewright.core.gates import GateOutcome
from edgewright.core.planning.earlier import int8_astray
from edgewright.core.planning.fingerprint import (
    Components,
    columns_found,
    dataset_components,
    evaluate_components,
    export_components,
    origin_components,
    package_components,
)
from edgewright.core.planning.plan import (
    KNOWN_AFTER_APPLY,
    BuildDataset,
    Command,
    Evaluate,
    Export,
    Import,
    Package,
    Train,
)
from edgewright.core.planning.unjudged import doubt, note_unjudged
from edgewright.core.planning.workbench import BLOCKED, Node, Workbench
from edgewright_schemas.dataset import Dataset, DatasetSpec
from edgewright_schemas.model import LARGEST_DEFAULT_ATOL, Golden, Model, ModelSpec
from edgewright_schemas.thresholds import Gate

ORIGINS: Mapping[str, type[Any]] = {"trained": Train, "imported": Import, "command": Command}


def _digest(node: Node) -> str:
    return node.digest or KNOWN_AFTER_APPLY


def variant_order(spec: ModelSpec) -> tuple[str, ...]:
    """List the ONNX variants in the order they are tried against the gates."""
    quantization = spec.package.quantization
    if quantization.mode == "none":
        return ("fp32",)
    return ("int8", "fp32") if quantization.fallback == "fp32" else ("int8",)


def plan_dataset(bench: Workbench, dataset: Dataset) -> Node:
    """Plan a dataset; a source outside Git that is neither pinned nor followed blocks it."""
    address = Address("dataset", dataset.metadata.name)
    source = _source_digest(bench, address, dataset.spec)
    if source is None:
        return BLOCKED
    components = dataset_components(dataset.spec, source, bench.desired.code, bench.desired.content)
    return bench.build(BuildDataset, address, components, {})


def _source_digest(bench: Workbench, address: Address, spec: DatasetSpec) -> str | None:
    source = spec.source
    if source.format == "python":
        return "code"
    if (tracked := bench.desired.content.get(source.uri)) is not None:
        return tracked
    state = bench.observed.sources.get(source.uri)
    found = state.digest if state else None
    problem = (state.problem if state else "") or "it was not looked at"
    bench.consulted[f"source {source.uri}"] = found
    if source.follow:
        if found is None:
            bench.note(address, "blocked", "SourceUnavailable", f"source {source.uri} cannot be read: {problem}")
        return found
    if source.digest is None and state is not None and state.missing:
        bench.note(
            address,
            "blocked",
            "SourceUnavailable",
            f"source {source.uri} is not there, neither in this revision nor in the work tree: "
            "it was deleted or never added; restore it, add it, or write a URL",
        )
        return None
    if source.digest is None:
        advice = f"pin it with digest: {found}" if found else f"pin it with digest (none is known yet: {problem})"
        bench.note(
            address,
            "blocked",
            "SourceNotPinned",
            f"source {source.uri} is not in Git; {advice}, or set follow: true to rebuild whenever it changes",
        )
        return None
    if found is not None and found != source.digest:
        bench.note(
            address,
            "warning",
            "SourceMoved",
            f"source {source.uri} is now {found}; the spec pins {source.digest}; to take it in, change digest",
        )
    return source.digest


@dataclass(frozen=True, slots=True)
class ModelNodes:
    """The artifacts of one model."""

    dataset: Node
    origin: Node
    export: Node
    evaluation: Node
    package: Node
    variant: str | None


def plan_model(bench: Workbench, model: Model, dataset: Node) -> ModelNodes:
    """Plan a model from its origin to its package."""
    address = Address("model", model.metadata.name)
    spec = model.spec
    gate_list = _gates(bench, spec)
    if dataset.blocked:
        bench.note(address, "info", "DatasetBlocked", f"dataset/{spec.dataset} cannot be built as declared")
    origin = _plan_origin(bench, address, spec, dataset)
    export = bench.build(
        Export,
        address,
        _export_components(bench, spec, origin, dataset),
        {"model": origin, "dataset": dataset},
        unless="the model comes out the same",
    )
    if spec.origin == "imported" and export.digest is None and not export.blocked:
        _note_unknown_order(bench, address, spec)
    evaluation = _plan_evaluation(bench, model, export, dataset, gate_list)
    champion = _champion_evidence(bench, model, dataset, export, evaluation, gate_list)
    package, variant = _plan_package(bench, model, gate_list, (dataset, export, evaluation), champion)
    note_unjudged(bench, model, export, evaluation, package)
    return ModelNodes(dataset, origin, export, evaluation, package, variant)


def _export_components(bench: Workbench, spec: ModelSpec, origin: Node, dataset: Node) -> Components:
    described = bench.desired.dataset(spec.dataset)
    columns = described.spec if described is not None else None
    desired = bench.desired
    return export_components(spec, _digest(origin), _digest(dataset), desired.code, columns, desired.content)


def _note_unknown_order(bench: Workbench, address: Address, spec: ModelSpec) -> None:
    """Warn that only names in the model's file can tell its order where the dataset declares no values."""
    described = bench.desired.dataset(spec.dataset)
    if described is None:
        return
    columns = described.spec.columns
    of_pictures = any(column.type == "image" for column in columns.values())
    found = [name for name in columns_found(described.spec) if name == "label" or not of_pictures]
    if not found:
        return
    bench.note(
        address,
        "warning",
        "OrderNotDeclared",
        f"dataset/{spec.dataset} declares no values of {', '.join(found)}: the export refuses the model, unless, for "
        "the label, names in its file tell the order; "
        f"declare {' and '.join(f'columns.{name}.values' for name in found)} in the model's order",
    )


def _gates(bench: Workbench, spec: ModelSpec) -> Sequence[Gate]:
    if spec.thresholds is None:
        return ()
    thresholds = bench.desired.thresholds(spec.thresholds)
    return thresholds.spec.gates if thresholds else ()


def _plan_origin(bench: Workbench, address: Address, spec: ModelSpec, dataset: Node) -> Node:
    kind = ORIGINS[spec.origin]
    extra: dict[str, Any] = {"epochs": spec.training_or_default.epochs} if kind is Train else {}
    inputs = {} if kind is Import else {"dataset": dataset}
    desired = bench.desired
    components = origin_components(spec, _digest(dataset), desired.code, desired.content, bench.observed.environment)
    return bench.build(kind, address, components, inputs, unless="the dataset's content stays the same", **extra)


def _plan_evaluation(bench: Workbench, model: Model, export: Node, dataset: Node, gate_list: Sequence[Gate]) -> Node:
    spec = model.spec
    return bench.build(
        Evaluate,
        Address("model", model.metadata.name),
        evaluate_components(spec.task, _digest(export), _digest(dataset), gate_list, spec.nms),
        {"export": export, "dataset": dataset},
        unless="export and data come out the same",
        doubt=doubt(model),
        gates=tuple(gates.describe(gate) for gate in gate_list),
    )


@dataclass(frozen=True, slots=True)
class _ChampionEvidence:
    """The champion's figures on today's data: there, to be measured first, or none because there is no champion."""

    figures: Evidence | None = None
    pending: Node | None = None


def _champion_evidence(
    bench: Workbench,
    model: Model,
    dataset: Node,
    export: Node,
    evaluation: Node,
    gate_list: Sequence[Gate],
) -> _ChampionEvidence:
    champion = bench.observed.champions.get(model.metadata.name)
    wanted = any(gate.against == "champion" for gate in gate_list)
    if not wanted or champion is None or export.blocked or dataset.blocked:
        return _ChampionEvidence()
    bench.consulted[f"champion {model.metadata.name}"] = champion.package
    if champion.export == export.digest:
        measured = evaluation
    else:
        stored = bench.artifact(champion.export_fingerprint)
        if stored is None:
            return _ChampionEvidence(figures={})
        measured = bench.build(
            Evaluate,
            Address("model", model.metadata.name),
            evaluate_components(model.spec.task, champion.export, _digest(dataset), gate_list, model.spec.nms),
            {"export": Node(champion.export_fingerprint, stored), "dataset": dataset},
            unless="the dataset's content stays the same",
            doubt=doubt(model),
            subject="champion",
        )
    if measured.artifact is None:
        return _ChampionEvidence(figures={}) if measured.blocked else _ChampionEvidence(pending=measured)
    if isinstance(measured.artifact.facts, AssumedFacts):
        return _ChampionEvidence(figures={})
    return _ChampionEvidence(measured.artifact.facts_as(EvaluationFacts).variants.get(champion.variant, {}))


def _plan_package(
    bench: Workbench,
    model: Model,
    gate_list: Sequence[Gate],
    made_from: tuple[Node, Node, Node],
    champion: _ChampionEvidence,
) -> tuple[Node, str | None]:
    dataset, export, evaluation = made_from
    address = Address("model", model.metadata.name)
    inputs = {"dataset": dataset, "export": export, "evaluation": evaluation}
    if champion.pending:
        inputs["champion"] = champion.pending
    if any(node.blocked for node in inputs.values()):
        return BLOCKED, None
    known = all(node.artifact for node in inputs.values())
    variant = _choose_variant(bench, model, gate_list, made_from, champion.figures) if known else KNOWN_AFTER_APPLY
    if variant is None:
        return BLOCKED, None
    name, spec = model.metadata.name, model.spec
    components = package_components(name, spec, variant, _digest(export), _digest(dataset), _digest(evaluation))
    package = bench.build(
        Package,
        address,
        components,
        inputs,
        unless="a gate fails, or everything comes out the same",
        variant=variant if known else None,
        golden=_tolerance(spec.package.golden),
    )
    return package, variant if known else None


def _tolerance(golden: Golden) -> str:
    """Write how close a device must come to what golden samples expect."""
    return f"{golden.atol:g}" if golden.atol else f"a tenth of their spread, at most {LARGEST_DEFAULT_ATOL:g}"


def _choose_variant(
    bench: Workbench,
    model: Model,
    gate_list: Sequence[Gate],
    made_from: tuple[Node, Node, Node],
    champion: Evidence | None,
) -> str | None:
    """Choose the first variant whose gates pass, by dataset, export and evaluation; note it when none does."""
    dataset, export, evaluation = made_from
    assert dataset.artifact is not None and evaluation.artifact is not None
    if isinstance(evaluation.artifact.facts, AssumedFacts):
        return variant_order(model.spec)[0]
    address = Address("model", model.metadata.name)
    evidence = evaluation.artifact.facts_as(EvaluationFacts).variants
    astray = _int8_astray(export, evidence, model.spec.int8_bound)
    if astray:
        evidence = {name: found for name, found in evidence.items() if name != "int8"}
    choice = gates.choose_variant(variant_order(model.spec), gate_list, evidence, champion, _dataset_facts(dataset))
    tried = [name for name in variant_order(model.spec) if name in choice.outcomes]
    shown: tuple[GateOutcome, ...] = choice.outcomes[choice.variant or tried[-1]] if tried else ()
    bench.verdicts[address] = shown
    if choice.variant is None:
        failed = [outcome for outcome in shown if not outcome.passed]
        first = "; ".join(f"{o.gate}: {_found(o)}" for o in failed[:3])
        bench.note(address, "blocked", "GateFailed", f"stopped before any device: {first}", shown)
    elif choice.variant != variant_order(model.spec)[0]:
        refused = variant_order(model.spec)[0]
        why = astray or why_refused(refused, export, choice.outcomes[refused])
        bench.note(address, "info", "FellBack", f"{why}; {choice.variant} is packaged instead", shown)
    return choice.variant


def _dataset_facts(dataset: Node) -> DatasetFacts | None:
    facts = dataset.artifact.facts if dataset.artifact else None
    return facts if isinstance(facts, DatasetFacts) else None


def _int8_astray(export: Node, evidence: Mapping[str, Evidence], bound: float) -> str:
    facts = export.artifact.facts if export.artifact else None
    return int8_astray(facts, evidence, bound) if isinstance(facts, ExportFacts) else ""


def why_refused(variant: str, export: Node, outcomes: Sequence[GateOutcome]) -> str:
    """Write why a variant is not packaged: it was not made, or the gates it fails."""
    facts = export.artifact.facts if export.artifact else None
    if isinstance(facts, ExportFacts) and variant not in facts.variants:
        why = facts.quantization.not_possible if facts.quantization else None
        return f"{variant} was not made" + (f": {why}" if why else "")
    failed = [outcome for outcome in outcomes if not outcome.passed]
    return f"{variant} fails {'; '.join(f'{o.gate}: {_found(o)}' for o in failed[:3])}"


def _found(outcome: GateOutcome) -> str:
    """Write what a gate found: its figure, and what that was compared with."""
    if outcome.value is None:
        return outcome.detail
    return f"{outcome.value:.6g}" + (f" ({outcome.detail})" if outcome.detail else "")
