"""Reads CSV files row by row. Used by ``readers``."""

import csv
import io
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from edgewright.core.suggestions import suggestion
from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.locations import Location
from edgewright.pipeline.dataset.problems import Problems

_CSV_OPTIONS = frozenset({"delimiter", "quotechar", "encoding", "missing", "layout"})
_NO_DIALECT = frozenset({"encoding", "missing", "layout"})


def csv_rows(
    location: Location, file: str, options: Mapping[str, Any], where: str, problems: Problems
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row's line number and values; a value that is empty is missing.

    Raises:
        StepFailed: It is no such file, or an option is unknown.
    """
    unknown = sorted(set(options) - _CSV_OPTIONS)
    if unknown:
        raise StepFailed(f"csv has no option {unknown[0]!r}", hint=suggestion(unknown[0], _CSV_OPTIONS))
    dialect = {key: value for key, value in options.items() if key not in _NO_DIALECT}
    missing = {"", *_texts(options.get("missing", ()))}
    line = 1
    with closing(
        io.TextIOWrapper(location.open(file), encoding=options.get("encoding", "utf-8-sig"), newline="")
    ) as text:
        try:
            reader = csv.DictReader(text, **dialect, strict=True)
            names = reader.fieldnames or []
            if len(set(names)) < len(names):
                raise StepFailed(f"{where} names a column twice: {', '.join(names)}")
            for values in reader:
                line = reader.line_num
                if None in values or None in values.values():
                    found = sum(v is not None for k, v in values.items() if k is not None) + len(values.get(None) or ())
                    problems.add(
                        "rows have more or fewer values than the header",
                        f"{where}:{line} has {found} values for {len(names)} columns",
                    )
                    continue
                yield line, {name: None if value in missing else value for name, value in values.items()}
        except UnicodeDecodeError as error:
            raise StepFailed(
                f"{where} is not {error.encoding} after line {line}: {error.reason}", hint="give its encoding"
            ) from error
        except (csv.Error, TypeError, LookupError) as error:
            raise StepFailed(f"{where} cannot be read after line {line}: {error}") from error


def _texts(values: Any) -> list[str]:
    if not isinstance(values, list | tuple):
        raise StepFailed("csv: missing is a list of the texts that stand for no value", hint='missing: ["NA", "-"]')
    return [str(value) for value in values]
