"""Tables of a dataset's or model's results. Called by ``show``."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rich.console import Console
from rich.text import Text

from edgewright.cli.render.plan_text import gate_text
from edgewright.cli.render.table import print_table
from edgewright.core.facts import DatasetFacts, Evidence
from edgewright.core.status.results import Confusion, DatasetResults, ModelResults, Results
from edgewright.render.quantities import bytes_text, seconds_text, short
from edgewright.render.results_words import dataset_line, evidence_line, figure_text, gates_line

_WIDEST_CONFUSION = 20
"""Classes up to which the whole matrix is shown; of more, the most frequent confusions."""
_MOST_CONFUSED = 20


def print_results(console: Console, found: Results) -> None:
    """Print the results of a dataset or model."""
    made = _made(found.artifact.created_at, found.artifact.seconds)
    state = "up to date" if found.current else "the spec has changed since; this is the last one made"
    console.print(f"{found.address}: {made}, fingerprint {short(found.artifact.fingerprint)} ({state})")
    if isinstance(found, DatasetResults):
        _print_dataset(console, found.facts)
    else:
        _print_model(console, found)


def _made(at: datetime | None, seconds: float) -> str:
    return (f"made {at:%Y-%m-%d %H:%M:%S} UTC" if at else "made") + f" in {seconds_text(seconds)}"


def _print_dataset(console: Console, facts: DatasetFacts) -> None:
    console.print(dataset_line(facts))
    for notice in facts.notices or ():
        console.print(Text.assemble(("!", "yellow"), f" {notice}"))
    shape = " × ".join(map(str, facts.input_shape))
    console.print(f"features: {', '.join(facts.features)} ({shape}); label: {facts.label}")
    if facts.class_rows and facts.label_values:
        _print_counts(console, facts.label.upper(), _turned(facts.class_rows, facts.label_values))
    if facts.objects and facts.label_values:
        counted = _turned(facts.objects, facts.label_values)
        _print_counts(console, facts.label.upper(), {**counted, "(pictures without)": facts.negatives or {}})
    for column, values in (facts.slice_rows or {}).items():
        _print_counts(console, f"SLICE {column}", values)


def _turned(by_split: Mapping[str, Mapping[str, int]], values: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
    return {value: {split: counts.get(value, 0) for split, counts in by_split.items()} for value in values}


def _print_counts(console: Console, heading: str, counts: Mapping[str, Mapping[str, int]]) -> None:
    splits = list(next(iter(counts.values()), {}))
    rows = [(name, *(f"{each.get(split, 0):,}" for split in splits)) for name, each in counts.items()]
    _print(console, [heading, *(split.upper() for split in splits)], rows)


def _print(console: Console, headings: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    console.print()
    print_table(console, headings, rows, whole=set(headings))


def _print_model(console: Console, found: ModelResults) -> None:
    console.print(f"{evidence_line(found.variants)} of {found.dataset}")
    packaged = f"{found.packaged} is packaged; " if found.packaged else ""
    console.print(f"{packaged}{gates_line(found)}")
    for outcome in found.verdict:
        console.print(gate_text(outcome))
    _print_figures(console, found.variants)
    _print_slices(console, found.variants)
    for name, counts in (found.confusion or {}).items():
        _print_confusion(console, name, counts, found.classes or ())


def _print_figures(console: Console, variants: Mapping[str, Evidence]) -> None:
    names = _names(_mapping(evidence, "overall") for evidence in variants.values())
    rows = [
        (
            variant,
            *(figure_text(_mapping(evidence, "overall").get(name)) for name in names),
            figure_text(evidence.get("rows")),
            bytes_text(size) if isinstance(size := evidence.get("sizeBytes"), int) else "-",
            f"{figure_text(evidence.get('latencyP95Ms'))} ms",
        )
        for variant, evidence in variants.items()
    ]
    _print(console, ["VARIANT", *names, "ROWS", "SIZE", "P95 HERE"], rows)


def _print_slices(console: Console, variants: Mapping[str, Evidence]) -> None:
    for variant, evidence in variants.items():
        slices = _mapping(evidence, "slices")
        figures = {key: each for key, each in slices.items() if isinstance(each, Mapping)}
        if figures:
            names = [name for name in _names(figures.values()) if name != "rows"]
            rows = [
                (key, *(figure_text(each.get(name)) for name in names), figure_text(each.get("rows")))
                for key, each in figures.items()
            ]
            _print(console, [f"SLICE ({variant})", *names, "ROWS"], rows)


def _print_confusion(console: Console, variant: str, counts: Confusion, classes: Sequence[str]) -> None:
    """Print a matrix of true (rows) and predicted classes, or of a large one what is confused most."""
    names = list(classes) or [str(number) for number in range(len(counts))]
    if len(names) <= _WIDEST_CONFUSION:
        rows = [(name, *map(str, row)) for name, row in zip(names, counts, strict=True)]
        _print(console, [f"TRUE ({variant}) \\ PREDICTED", *names], rows)
        return
    pairs = [
        (count, names[true], names[predicted])
        for true, row in enumerate(counts)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    pairs.sort(key=lambda pair: -pair[0])
    shown = [(true, predicted, f"{count:,}") for count, true, predicted in pairs[:_MOST_CONFUSED]]
    _print(console, [f"TRUE ({variant})", "PREDICTED", "ROWS"], shown)
    if len(pairs) > _MOST_CONFUSED:
        console.print(f"and {len(pairs) - _MOST_CONFUSED:,} more pairs; -o json has the whole matrix")


def _mapping(evidence: Evidence, key: str) -> Mapping[str, object]:
    value = evidence.get(key)
    return value if isinstance(value, Mapping) else {}


def _names(figures: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for each in figures for name in each))
