"""Counts what a build made of its rows, for the facts that people read. Used by ``step``."""

from collections.abc import Mapping
from typing import Any

from edgewright.pipeline.dataset.preparation import Preparation
from edgewright.pipeline.dataset.readers import Reader
from edgewright.pipeline.dataset.writer import Spool


def counts(spools: Mapping[str, Spool], work: Preparation, reader: Reader) -> dict[str, Any]:
    """Return the counts as DatasetFacts holds them; those without anything to count are left out."""
    columns = work.columns
    found: dict[str, Any] = {}
    if columns.types[columns.label] in ("category", "boolean"):
        values = columns.values.get(columns.label, tuple(sorted(work.found.get(columns.label, ()))))
        found["classRows"] = {
            split: {value: spool.counted[columns.label][value] for value in values} for split, spool in spools.items()
        }
    if columns.slices:
        found["sliceRows"] = {name: _by_value(name, work, spools) for name in columns.slices}
    for name, counted in (("skipped", reader.skipped), ("dropped", work.dropped)):
        if counted:
            found[name] = dict(sorted(counted.items()))
    if notices := [*reader.notices, *reader.decoder.notices()]:
        found["notices"] = notices
    return found


def _by_value(name: str, work: Preparation, spools: Mapping[str, Spool]) -> dict[str, dict[str, int]]:
    return {
        value: {split: spool.counted[name][value] for split, spool in spools.items()}
        for value in sorted(work.found[name])
    }
