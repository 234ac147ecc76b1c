"""Counts what a build made of its rows, for the facts that people read. Used by ``step``."""

from collections.abc import Mapping
from typing import Any

from edgewright.pipeline.dataset import precision
from edgewright.pipeline.dataset.pictures.copies import Copies
from edgewright.pipeline.dataset.preparation import Preparation
from edgewright.pipeline.dataset.readers import Reader
from edgewright.pipeline.dataset.writer import SplitWriter, Spool


def counts(
    writer: SplitWriter, work: Preparation, reader: Reader, distinct: list[precision.Distinct]
) -> dict[str, Any]:
    """Return the counts as DatasetFacts holds them; those without anything to count are left out."""
    columns, spools = work.columns, writer.spools
    found: dict[str, Any] = {}
    if columns.classes():
        values = columns.values.get(columns.label, tuple(sorted(work.found.get(columns.label, ()))))
        found["classRows"] = {
            split: {value: spool.counted[columns.label][value] for value in values} for split, spool in spools.items()
        }
    if columns.objects:
        listed = columns.values.get(columns.label) or reader.categories or sorted(work.found[columns.label])
        found["objects"] = {
            split: {value: spool.counted[columns.label][value] for value in listed} for split, spool in spools.items()
        }
        found["negatives"] = {split: spool.without_objects for split, spool in spools.items()}
    if columns.slices:
        found["sliceRows"] = {name: _by_value(name, work, spools) for name in columns.slices}
    for name, counted in (
        ("skipped", reader.skipped),
        ("dropped", work.dropped),
        ("leftOut", reader.left_out + work.rules.left_out + work.cut),
    ):
        if counted:
            found[name] = dict(sorted(counted.items()))
    if copies := _copies(work.copies, writer.parted):
        found["copies"] = copies
    said = [
        *reader.told(),
        *reader.decoder.notices(),
        *work.rules.notices(),
        *_about_thin(work.thin),
        *_about_copies(work, writer.parted),
    ]
    if said := [*said, *precision.notices(distinct)]:
        found["notices"] = said
    return found


def _by_value(name: str, work: Preparation, spools: Mapping[str, Spool]) -> dict[str, dict[str, int]]:
    return {
        value: {split: spool.counted[name][value] for split, spool in spools.items()}
        for value in sorted(work.found[name])
    }


def _about_thin(count: int) -> list[str]:
    return [f"objects that are less than a pixel wide or high after the steps: {count:,}"] if count else []


def _copies(copies: Copies, parted: int) -> dict[str, int]:
    counted = {
        "rows": copies.rows,
        "near": copies.near_rows,
        "labelledOtherwise": copies.labelled_otherwise,
        "acrossSplits": parted,
    }
    return {name: count for name, count in counted.items() if count}


def _about_copies(work: Preparation, parted: int) -> list[str]:
    copies, said = work.copies, []
    if copies.rows:
        has = "has" if copies.labelled_otherwise == 1 else "have"
        other = f"; {copies.labelled_otherwise} of them {has} another label" if copies.labelled_otherwise else ""
        hold = "row holds" if copies.rows == 1 else "rows hold"
        said.append(f"{copies.rows} {hold} the same picture as another ({', '.join(copies.examples)}){other}")
    if copies.near_rows:
        are = "picture is a near copy" if copies.near_rows == 1 else "pictures are near copies"
        stay = "stays" if copies.near_rows == 1 else "stay"
        said.append(f"{copies.near_rows} {are} of another and {stay} with it")
    if parted:
        why = "the groups" if work.columns.group else "the given splits"
        hold = "row holds" if parted == 1 else "rows hold"
        said.append(f"{parted} {hold} a picture that another split has too, as {why} have it: figures are too good")
    return said
