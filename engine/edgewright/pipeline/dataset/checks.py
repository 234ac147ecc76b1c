"""The checks a dataset declares, and those every dataset has to pass. Used while it is built."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from edgewright.core.suggestions import suggestion
from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.columns import Columns
from edgewright.pipeline.dataset.problems import Problems
from edgewright_schemas.dataset import Bounds, ColumnCheck, DatasetSpec, RowsCheck


class Checks:
    """Looks at every row as it passes, and says at the end what does not hold."""

    def __init__(self, spec: DatasetSpec, columns: Columns) -> None:
        """Prepare the checks.

        Raises:
            StepFailed: One names a column that is not there, or bounds the values of one that is no number.
        """
        self._columns = columns
        self._rows = [check.rows for check in spec.checks if isinstance(check, RowsCheck)]
        self._checks = [check for check in spec.checks if isinstance(check, ColumnCheck)]
        self._count = 0
        self._missing: dict[str, int] = dict.fromkeys(columns.types, 0)
        self._absent: set[str] = set()
        self._outside = Problems()
        self._seen: dict[str, set[bytes]] = {check.column: set() for check in self._checks if check.unique}
        for check in self._checks:
            if check.column not in columns.types:
                raise StepFailed(
                    f"a check names column {check.column!r}, which is not declared",
                    hint=suggestion(check.column, columns.types),
                )
            if check.value is not None and columns.types[check.column] not in ("number", "integer"):
                raise StepFailed(f"a check bounds the values of {check.column!r}, which is no number")

    def see(self, row: Mapping[str, Any], where: str) -> None:
        """Look at one row, its values as their types."""
        self._count += 1
        for name in self._missing:
            if row.get(name) is None:
                self._missing[name] += 1
        for check in self._checks:
            value = row.get(check.column)
            if value is None:
                continue
            if check.value is not None and not _within(value, check.value):
                self._outside.add(f"values of {check.column!r} are not {_bounds(check.value)}", f"{value:g} ({where})")
            if check.unique:
                key = value.tobytes() if hasattr(value, "tobytes") else repr(value).encode()
                digest = blake2b(key, digest_size=16).digest()
                if digest in self._seen[check.column]:
                    self._outside.add(f"values of {check.column!r} are there before", where)
                self._seen[check.column].add(digest)

    def leave_out(self, column: str) -> None:
        """Do not report each row that has no value in a column that is not there at all."""
        self._absent.add(column)

    def report(self, problems: Problems) -> None:
        """Add everything that does not hold."""
        for bounds in self._rows:
            if not _within(self._count, bounds):
                problems.add(f"rows: {self._count}, not {_bounds(bounds)}")
        for check in self._checks:
            if check.column in self._absent:
                continue
            if check.missing is not None and not _within(self._missing[check.column], check.missing):
                problems.add(
                    f"rows without {check.column!r}: {self._missing[check.column]}, not {_bounds(check.missing)}"
                )
        for line in self._outside.describe():
            problems.add(line)
        for name in dict.fromkeys(self._columns.required()):
            if self._missing[name] and name not in self._absent:
                problems.add(
                    f"rows without {name!r}: {self._missing[name]}, and every row needs it",
                    hint="fill it in, or add the step drop-missing",
                )


def _within(value: float, bounds: Bounds) -> bool:
    return (bounds.min is None or value >= bounds.min) and (bounds.max is None or value <= bounds.max)


def _bounds(bounds: Bounds) -> str:
    if bounds.min is None:
        return f"at most {bounds.max:g}"
    return f"at least {bounds.min:g}" if bounds.max is None else f"from {bounds.min:g} to {bounds.max:g}"
