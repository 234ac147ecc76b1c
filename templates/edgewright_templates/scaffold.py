"""The scaffold of a spec repository: specs, data and templates that work as they are. Called by ``edgewright init``.

Files are jinja2 templates below ``scaffold/``, named by their target with ``.j2`` added. The data is made here, the
same every time, instead of being shipped.
"""

import csv
import io
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edgewright_schemas.jsonschema import ALL, schema_of
from edgewright_wire.names import MODEL_NAME_RULE, is_model_name

_TEMPLATES = Path(__file__).parent / "scaffold"
_RENAMED = {"gitignore": ".gitignore"}
"""Files whose own name would act on this repository."""
ROWS = 360
_STORES = ("lyon", "porto", "turin")


class ScaffoldRefused(ValueError):
    """The scaffold cannot be written; the text says why, ``hint`` what to do. Nothing was written."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def write_scaffold(target: Path, name: str) -> list[Path]:
    """Write a working spec repository into a folder, made when it is missing.

    Other files in the folder stay. A file that is there already with the same content is left alone, so that an
    interrupted run can be repeated.

    Args:
        target: The folder.
        name: The repository's name, as resources are named.

    Returns:
        The files, in order.

    Raises:
        ScaffoldRefused: The name is not valid, or other files are in the way.
        OSError: The folder cannot be written; what is there by then is whole, and it can be repeated.
    """
    if not is_model_name(name):
        raise ScaffoldRefused(f"{name!r} is not a name of a resource", f"use {MODEL_NAME_RULE}")
    files = dict(_files(name))
    if target.exists() and not target.is_dir():
        raise ScaffoldRefused(f"{target} is a file", "name a folder")
    in_the_way = sorted(path for path, data in files.items() if _collides(target, path, data))
    if in_the_way:
        raise ScaffoldRefused(
            f"{target} already has {', '.join(in_the_way)}", "name another folder, or move these files away"
        )
    return [_write(target / path, data) for path, data in files.items()]


def _collides(target: Path, path: str, data: bytes) -> bool:
    file = target / path
    if file.is_symlink() or file.is_dir():
        return True
    if file.exists():
        return file.read_bytes() != data
    parents = [parent for parent in file.parents if target in parent.parents]
    return any(parent.is_symlink() or (parent.exists() and not parent.is_dir()) for parent in parents)


def _write(file: Path, data: bytes) -> Path:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{file.name}.part")
        try:
            beside.write_bytes(data)
            beside.replace(file)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
    return file


def _files(name: str) -> Iterator[tuple[str, bytes]]:
    """List (path, bytes)."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # YAML and Markdown are not HTML
    )
    context: Mapping[str, object] = {"name": name, "rows": ROWS}
    for template in sorted(environment.list_templates(extensions=["j2"])):
        path = template.removesuffix(".j2")
        yield _RENAMED.get(path, path), environment.get_template(template).render(context).encode()
    yield "data/shelf-stock.csv", _readings().encode()
    yield "schemas/edgewright.json", (json.dumps(schema_of(ALL), indent=2, ensure_ascii=False) + "\n").encode()


def _readings() -> str:
    """Make readings of shelf sensors: weight and gap follow the stock, with noise; the label is a person's finding."""
    source = random.Random(7)  # noqa: S311  # example data, the same every time
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["store", "weight", "gap", "sold", "label"])
    for row in range(ROWS):
        stock = source.random()
        weight = max(0.0, stock + source.gauss(0, 0.03))
        gap = min(1.0, max(0.0, 1 - stock + source.gauss(0, 0.05)))
        sold = max(0, round(40 * (1 - stock) + source.gauss(0, 3)))
        label = "empty" if stock < 0.12 else "low" if stock < 0.4 else "ok"
        table.writerow([_STORES[row % len(_STORES)], f"{weight:.3f}", f"{gap:.3f}", sold, label])
    return text.getvalue()
