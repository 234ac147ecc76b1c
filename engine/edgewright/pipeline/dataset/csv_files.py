"""Reads CSV files row by row. Used by ``readers``."""

import csv
import io
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from typing import Any

from edgewright.core.suggestions import suggestion
from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.locations import Location
from edgewright.pipeline.dataset.problems import Problems

_CSV_OPTIONS = frozenset({"delimiter", "quotechar", "encoding", "missing", "decimal", "layout"})
_NO_DIALECT = frozenset({"encoding", "missing", "decimal", "layout"})


def csv_rows(
    location: Location,
    file: str,
    options: Mapping[str, Any],
    where: str,
    problems: Problems,
    numeric: Collection[str] = (),
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row's line number and values; a value that is empty is missing.

    Args:
        location: What ``file`` is in.
        file: Its name there.
        options: The source's ``with``.
        where: The file, for messages.
        problems: Takes what is wrong with rows.
        numeric: Columns of numbers, which the option ``decimal`` is about.

    Raises:
        StepFailed: It is no such file, or an option is unknown.
    """
    unknown = sorted(set(options) - _CSV_OPTIONS)
    if unknown:
        raise StepFailed(f"csv has no option {unknown[0]!r}", hint=suggestion(unknown[0], _CSV_OPTIONS))
    dialect = {key: value for key, value in options.items() if key not in _NO_DIALECT}
    missing = {"", *_texts(options.get("missing", ()))}
    commas = numeric if _has_decimal_commas(options) else ()
    line = 1
    with closing(
        io.TextIOWrapper(location.open(file), encoding=options.get("encoding", "utf-8-sig"), newline="")
    ) as text:
        try:
            reader = csv.reader(text, **dialect, strict=True)
            names = next(reader, [])
            if len(set(names)) < len(names):
                raise StepFailed(f"{where} names a column twice: {', '.join(names)}")
            for values in reader:
                line = reader.line_num
                if len(values) != len(names):
                    if values:  # a line without anything is no row
                        problems.add(
                            "rows have more or fewer values than the header",
                            f"{where}:{line} has {len(values)} values for {len(names)} columns",
                        )
                    continue
                row: dict[str, Any] = {
                    name: None if value in missing else value for name, value in zip(names, values, strict=True)
                }
                for name in commas:
                    row[name] = _with_point(row.get(name), f"{where}:{line}", name, problems)
                yield line, row
        except UnicodeDecodeError as error:
            raise StepFailed(
                f"{where} is not {error.encoding} after line {line}: {error.reason}", hint="give its encoding"
            ) from error
        except (csv.Error, TypeError, LookupError) as error:
            raise StepFailed(f"{where} cannot be read after line {line}: {error}") from error


def _has_decimal_commas(options: Mapping[str, Any]) -> bool:
    decimal = options.get("decimal", ".")
    if decimal not in (".", ","):
        raise StepFailed(f"csv: decimal is {decimal!r}", hint='decimal: "," or decimal: "."')
    return bool(decimal == ",")


def _with_point(value: str | None, where: str, column: str, problems: Problems) -> str | None:
    """Write a number with a point; one that has a point already may mean either."""
    if value is None or "." not in value:
        return value.replace(",", ".") if value is not None and value.count(",") == 1 else value
    hint = "write them without separators of thousands, or leave decimal out"
    problems.add("numbers have a point where decimal is a comma", f"{where} {column}: {value:.40}", hint=hint)
    return None


def _texts(values: Any) -> list[str]:
    if not isinstance(values, list | tuple):
        raise StepFailed("csv: missing is a list of the texts that stand for no value", hint='missing: ["NA", "-"]')
    return [str(value) for value in values]
