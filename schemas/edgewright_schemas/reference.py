"""Tables of every kind's fields in Markdown, made from the JSON Schemas. Used by docs/reference/specs.md and its test.

``python -m edgewright_schemas.reference docs/reference/specs.md`` renews what stands between ``<!-- fields: Dataset
-->`` and ``<!-- end -->``, and leaves the rest alone.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgewright_schemas.jsonschema import schema_of

_TABLE = re.compile(r"(?<=<!-- fields: )(\w+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)

Schema = Mapping[str, Any]


def update(text: str) -> str:
    """Renew the tables in a document."""
    return _TABLE.sub(lambda found: f"{found[1]}{found[2]}\n{table(found[1])}\n", text)


def table(kind: str) -> str:
    """Write the fields of one kind's ``spec``.

    Raises:
        KeyError: There is no such kind.
    """
    schema = schema_of(kind)
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    rows += _rows(schema["properties"]["spec"], schema.get("$defs", {}), "")
    return "\n".join(rows) + "\n"


def _rows(node: Schema, definitions: Schema, path: str) -> Iterator[str]:
    """Walk an object's fields, those of the objects in them too."""
    for branch in _branches(node, definitions):
        for name, field in branch.get("properties", {}).items():
            here = f"{path}{name}"
            default = _default(field, required=name in branch.get("required", ()))
            own = field.get("description") or next(
                (b["description"] for b in _branches(field, definitions) if "description" in b), ""
            )
            words = [own.partition("\n\n")[0].replace("\n", " "), _limits(field, definitions)]
            meaning = " ".join(word for word in words if word)
            yield f"| `{here}` | {_type(field, definitions)} | {default} | {_cell(meaning)} |"
            for inner in _branches(field, definitions):
                if "properties" in inner:
                    yield from _rows(inner, definitions, f"{here}.")
                for item in _branches(inner.get("items", {}), definitions):
                    yield from _rows(item, definitions, f"{here}[].")
                if isinstance(values := inner.get("additionalProperties"), Mapping):
                    for value in _branches(values, definitions):
                        yield from _rows(value, definitions, f"{here}.*.")


def _branches(node: Schema, definitions: Schema) -> list[Schema]:
    """Follow a reference; list the alternatives of a union, without null."""
    if reference := node.get("$ref"):
        return _branches(definitions[reference.rpartition("/")[2]], definitions)
    if alternatives := node.get("anyOf"):
        found = [branch for option in alternatives for branch in _branches(option, definitions)]
        return [branch for branch in found if branch.get("type") != "null"]
    return [node]


def _type(node: Schema, definitions: Schema) -> str:
    return " or ".join(dict.fromkeys(_one_type(branch, definitions) for branch in _branches(node, definitions)))


def _one_type(node: Schema, definitions: Schema) -> str:
    if values := node.get("enum") or ([node["const"]] if "const" in node else None):
        return ", ".join(f"`{value}`" for value in values)
    kind, pattern, values = node.get("type", "anything"), node.get("pattern", ""), node.get("additionalProperties")
    if kind == "array":
        return f"list of {_type(node.get('items', {}), definitions)}"
    if named := node.get("patternProperties"):
        values = next(iter(named.values()))
    if kind == "object" and isinstance(values, Mapping):
        return f"map to {_type(values, definitions)}"
    units = {"wdhms": "duration", "KiB": "size"}
    return next((word for unit, word in units.items() if unit in pattern), str(kind))


def _default(field: Schema, *, required: bool) -> str:
    if required:
        return "**required**"
    value = field.get("default")
    return "" if value in (None, [], {}, "") or isinstance(value, dict | list) else f"`{json.dumps(value)}`"


def _limits(field: Schema, definitions: Schema) -> str:
    words = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [
        f"{sign} {branch[name]:g}"
        for branch in _branches(field, definitions)
        for name, sign in words.items()
        if name in branch
    ]
    return f"({', '.join(found)})" if found else ""


def _cell(text: str) -> str:
    """Keep text in its cell: reStructuredText's code marks become Markdown's, and bars are escaped."""
    return text.replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m edgewright_schemas.reference DOCUMENT")
    document = Path(sys.argv[1])
    document.write_text(update(document.read_text("utf-8")), encoding="utf-8")
