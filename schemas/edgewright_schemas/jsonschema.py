"""JSON Schemas (2020-12) of the kinds, for editors and for ``edgewright schema``.

``python -m edgewright_schemas.jsonschema DIR`` writes one file for each kind and ``edgewright.json`` for any of them;
``# yaml-language-server: $schema=…`` at the top of a YAML file points an editor to one. Descriptions come from the
string literals under classes and fields, found by ``ast``: pydantic could do so too, at every import.
"""

import ast
import inspect
import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic.json_schema import models_json_schema as _models_json_schema

from edgewright_schemas import base, delivery, environment, notifications
from edgewright_schemas.kinds import KINDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ALL = "edgewright"
"""The name of the schema of any kind."""


def schema_of(kind: str) -> dict[str, Any]:
    """Return the schema of one kind; ``edgewright`` for any kind.

    Raises:
        KeyError: There is no such kind.
    """
    return schema_of_all() if kind == ALL else _finish(KINDS[kind].model_json_schema(schema_generator=_Generator), kind)


def schema_of_all() -> dict[str, Any]:
    """Return the schema of any document: one of the kinds, told apart by ``kind``."""
    references, definitions = _models_json_schema(
        [(model, "validation") for model in KINDS.values()], schema_generator=_Generator
    )
    branches = [references[model, "validation"] for model in KINDS.values()]
    schema = {
        "description": "A document of an edgewright repository.",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata"],
        # Editors pick the branch by kind before they complain; the outer properties help while it is still missing.
        "properties": {"apiVersion": {"const": base.API_VERSION}, "kind": {"enum": list(KINDS)}},
        "oneOf": branches,
    }
    return _finish(schema | {"$defs": definitions["$defs"]}, ALL)


class _Generator(GenerateJsonSchema):
    """Leaves out titles, which repeat field names, and lists no default for what a validator must parse."""

    schema_dialect = DIALECT

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return False: editors show the field's name already."""
        return False

    def encode_default(self, dft: Any) -> Any:
        """Write durations as specs do."""
        return base.format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def _finish(schema: dict[str, Any], kind: str) -> dict[str, Any]:
    definitions: dict[str, Any] = schema.get("$defs", {})
    models = {model.__name__: model for model in _models()}
    for name, definition in [*definitions.items(), (kind, schema)]:
        model = models.get(name)
        if model is None:
            continue
        definition.pop("title", None)
        for field, info in model.model_fields.items():
            text = _field_descriptions(model).get(field)
            properties = definition.get("properties", {})
            if text and (info.alias or field) in properties:
                properties[info.alias or field]["description"] = text
        if model in KINDS.values():
            # The default is for programs that build documents; what is written in a file must say so.
            definition["required"] = ["apiVersion", *definition.get("required", [])]
            definition["properties"]["apiVersion"].pop("default", None)
    title = "edgewright: any kind" if kind == ALL else f"edgewright: {kind}"
    return {"$schema": DIALECT, "title": title, **{k: v for k, v in schema.items() if k not in ("$schema", "title")}}


def _models() -> Iterator[type[BaseModel]]:
    modules = {sys.modules[model.__module__] for model in KINDS.values()} | {base, delivery, environment, notifications}
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, BaseModel):
                yield value


@cache
def _module_tree(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


@cache
def _field_descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Find the string literals under a class's fields."""
    tree = _module_tree(sys.modules[model.__module__])
    body = next(n.body for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == model.__name__)
    found = {}
    for node, after in pairwise(body):
        match node, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str() as text)),
            ):
                found[name] = " ".join(inspect.cleandoc(text).split())
            case _:
                pass
    return found


def write_schemas(folder: Path) -> list[Path]:
    """Write every schema below ``folder``; returns the files in order."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in [*KINDS, ALL]:
        path = folder / f"{name.lower()}.json"
        path.write_text(json.dumps(schema_of(name), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(path)
    return written


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m edgewright_schemas.jsonschema DIR")
    write_schemas(Path(sys.argv[1]))
