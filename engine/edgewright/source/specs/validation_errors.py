"""pydantic's errors in plain English, at the line and column that caused them. Called by ``load`` and ``inventories``.

pydantic locates an error by field aliases, indices and, inside a union, the name of the branch it tried. The walk
here follows the model's annotations beside the YAML nodes, so that a branch is never mistaken for a field.
"""

import re
import types
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from edgewright.core.suggestions import nearest, suggestion
from edgewright.errors import Problem
from edgewright.source.specs.yaml_nodes import Node
from edgewright_schemas.repository import REPOSITORY_FILE
from edgewright_wire.names import (
    DEVICE_ID_PATTERN,
    DEVICE_ID_RULE,
    DIGEST_PATTERN,
    DIGEST_RULE,
    MODEL_NAME_PATTERN,
    MODEL_NAME_RULE,
)

_PATTERNS = {
    MODEL_NAME_PATTERN: MODEL_NAME_RULE,
    r"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$": "lower-case letters, digits, '-' and '.', at most 63 characters",
    r"^[A-Za-z_][A-Za-z0-9_.-]*$": "letters, digits, '_', '.' and '-', beginning with a letter or '_'",
    r"^[0-9a-f]{40}$": "a whole commit id, 40 hexadecimal digits",
    r"^[a-z0-9][a-z0-9-]{0,62}$": "lower-case letters, digits and '-', at most 63 characters",
    DIGEST_PATTERN: DIGEST_RULE,
    r"^[^\s@,;<>\x00-\x1f\x7f]+@[^\s@,;<>\x00-\x1f\x7f]+$": "one mail address, like on-call@example.com",
    r"^[^/\\]+$": "a file name without '/'",
    DEVICE_ID_PATTERN: DEVICE_ID_RULE,
}


@dataclass(frozen=True, slots=True)
class _Place:
    """Node and path of an error's location."""

    node: Node
    key: Node | None
    """The node of the last field name on the way."""
    annotation: Any
    field: str
    """As a reader writes it: ``spec.checks[0].rows``."""
    union: tuple[str, str] | None = None
    """The outermost union passed through: the field it stands at and the branch's name."""
    branches: tuple[Any, ...] = ()
    union_node: Node | None = None


def explain(root: Node, model: type[BaseModel], errors: Sequence[ErrorDetails]) -> list[Problem]:
    """Turn the errors of one document into problems, one for each thing that is wrong."""
    placed = [(_follow(root, model, error["loc"]), error) for error in errors]
    problems: list[Problem] = []
    unions: dict[str, list[tuple[_Place, ErrorDetails]]] = defaultdict(list)
    for place, error in placed:
        if place.union is None:
            problems.append(_problem(place, error))
        else:
            unions[place.union[0]].append((place, error))
    for field, members in unions.items():
        problems.extend(_one_branch(field, members))
    return problems


def _unwrap(annotation: Any) -> Any:
    """Remove Annotated and ``| None``."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, types.UnionType):
            members = [member for member in get_args(annotation) if member is not type(None)]
            if len(members) != 1:
                return annotation
            annotation = members[0]
        else:
            return annotation


def _branches(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(_unwrap(member) for member in get_args(annotation) if member is not type(None))
    return ()


def _tagged(branches: Iterable[Any], tag: str) -> Any:
    """Find the branch a union's tag names, such as ``function-after[check(), RowsCheck]`` or ``tuple[Device, ...]``."""
    for branch in branches:
        origin = get_origin(branch)
        name = getattr(origin or branch, "__name__", "")
        if tag == name or (origin is not None and tag.startswith(f"{name}[")):
            return branch
        if origin is None and re.search(rf"\b{re.escape(name)}\b", tag):
            return branch
    return Any


def _follow(root: Node, model: type[BaseModel], loc: tuple[int | str, ...]) -> _Place:
    node, key, field = root, None, ""
    annotation: Any = model
    union: tuple[str, str] | None = None
    branches: tuple[Any, ...] = ()
    union_node: Node | None = None
    for step in loc:
        if step == "[key]":  # what is wrong is the name itself
            node = Node(key.path, key.line, key.column, key.value) if key else node
            annotation = str
            continue
        annotation = _unwrap(annotation)
        options = _branches(annotation)
        if options and isinstance(step, str):
            if union is None:
                union, branches, union_node = (field, step), options, node
            annotation = _tagged(options, step)
            continue
        annotation = _child(annotation, step)
        field = f"{field}[{step}]" if isinstance(step, int) else f"{field}.{step}" if field else step
        if isinstance(node.value, dict) and isinstance(step, str) and step in node.value:
            key, node = node.value[step]
        elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
            key, node = None, node.value[step]
    return _Place(node, key, annotation, field, union, branches, union_node)


def _child(annotation: Any, step: int | str) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, info in annotation.model_fields.items():
            if (info.alias or name) == step:
                # Annotated[X | Y, Field(...)] is split by pydantic: the annotation is the bare X | Y.
                return info.annotation
        return annotation
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (tuple, list) and args:
        return args[0]
    return args[1] if origin is dict and len(args) == 2 else Any


def _one_branch(field: str, members: list[tuple[_Place, ErrorDetails]]) -> list[Problem]:
    """Report the branch of a union that was meant; the others' errors would only confuse."""
    first = members[0][0]
    node = first.union_node or first.node
    by_tag: dict[str, list[tuple[_Place, ErrorDetails]]] = defaultdict(list)
    for place, error in members:
        by_tag[place.union[1] if place.union else ""].append((place, error))
    fitting = [branch for branch in first.branches if _shape_fits(branch, node)]
    if not fitting:
        expected = " or ".join(dict.fromkeys(_shape(branch) for branch in first.branches))
        message = f"{field}: expected {expected}, found {describe(node)}"
        return [Problem(node.path, node.line, node.column, message)]
    tried = [(tag, errors) for tag, errors in by_tag.items() if _tagged(first.branches, tag) in fitting]
    # Most of the fields written belong to the branch that was meant; then, the fewest errors.
    _, errors = min(tried, key=lambda item: (-_known_fields(_tagged(first.branches, item[0]), node), len(item[1])))
    return [_problem(place, error) for place, error in errors]


def _shape_fits(branch: Any, node: Node) -> bool:
    match node.value:
        case dict():
            return (isinstance(branch, type) and issubclass(branch, BaseModel)) or get_origin(branch) is dict
        case list():
            return get_origin(branch) in (tuple, list)
        case str():
            return branch is str or get_origin(branch) is Literal
        case bool():
            return branch is bool
        case int() | float():
            return branch in (int, float)
        case _:
            return False


def _shape(branch: Any) -> str:
    if isinstance(branch, type) and issubclass(branch, BaseModel):
        return f"a mapping of {', '.join(_fields(branch))}"
    origin = get_origin(branch)
    if origin in (tuple, list):
        return "a list"
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "a mapping"}
    return names.get(origin or branch, "another value")


def _fields(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _known_fields(branch: Any, node: Node) -> int:
    if not isinstance(node.value, dict) or not (isinstance(branch, type) and issubclass(branch, BaseModel)):
        return 0
    known = _fields(branch)
    # A misspelt field counts a little for the branch that has its like.
    return sum(2 if key in known else nearest(key, known) is not None for key in node.value)


def describe(node: Node) -> str:
    """Return the value there, short enough for a message."""
    found = describe_value(node.value)
    return f"{found}, which {node.written:.40} stands for" if node.written else found


def describe_value(value: Any) -> str:
    """Return a value, or of which type it is."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value!s:.40}"
        case str():
            shown = value if len(value) <= 40 else value[:39] + "…"
            return f"text {shown!r}"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _problem(place: _Place, error: ErrorDetails) -> Problem:
    kind, name = error["type"], str(error["loc"][-1]) if error["loc"] else ""
    node = place.node
    if kind == "extra_forbidden":
        at = place.key or node
        known = _fields(place.annotation) if _is_model(place.annotation) else []
        return Problem(at.path, at.line, at.column, f"unknown field {place.field!r}", suggestion(name, known, limit=20))
    if kind == "missing" and node.removed and name in node.removed:
        at = node.removed[name]
        return Problem(at.path, at.line, at.column, f"null removes field {place.field!r}, which is needed", "leave it")
    if kind == "missing":
        return Problem(node.path, node.line, node.column, f"missing field {place.field!r}", "add it")
    if kind == "value_error" and error["loc"][-1:] != ():
        text = str(error.get("ctx", {}).get("error", error["msg"]))
        node = node.patched or node  # a rule over several fields was most likely kept before
        return Problem(node.path, node.line, node.column, f"{place.field}: {text}")
    message = f"{place.field or 'document'}: {_text(error, node)}"
    return Problem(node.path, node.line, node.column, message, _hint(error, place))


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _hint(error: ErrorDetails, place: _Place) -> str:
    annotation, node = _unwrap(place.annotation), place.node
    if error["type"] == "literal_error" and isinstance(node.value, str):
        return suggestion(node.value, [str(value) for value in get_args(annotation)], limit=20)
    if error["type"] == "string_type" and isinstance(node.value, bool | int | float):
        return f"write the value in quotes in {REPOSITORY_FILE}" if node.written else "write it in quotes"
    if error["type"] in _NUMBERS and isinstance(node.value, str) and re.fullmatch(r"-?\d+(\.\d+)?", node.value):
        return f"write the value without quotes in {REPOSITORY_FILE}" if node.written else "write it without quotes"
    return ""


_NUMBERS = ("int_type", "float_type", "int_from_float")
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping of fields",
    "none_required": "nothing",
}
_LIMITS: dict[str, Callable[[dict[str, Any]], str]] = {
    "greater_than": lambda c: f"a number above {_number(c['gt'])}",
    "greater_than_equal": lambda c: f"a number of at least {_number(c['ge'])}",
    "less_than": lambda c: f"a number below {_number(c['lt'])}",
    "less_than_equal": lambda c: f"a number of at most {_number(c['le'])}",
    "string_too_short": lambda c: "some text" if c["min_length"] == 1 else f"at least {c['min_length']} characters",
    "too_short": lambda c: f"at least {c['min_length']} of them" if c["min_length"] > 1 else "at least one entry",
    "too_long": lambda c: f"at most {c['max_length']} of them",
    "string_pattern_mismatch": lambda c: _PATTERNS.get(c["pattern"], f"text that matches {c['pattern']}"),
    "literal_error": lambda c: "one of " + str(c["expected"]).replace(" or ", ", "),
}


def _number(limit: float) -> str:
    """Write a limit without an exponent: ``1,000,000``."""
    return f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"


def _text(error: ErrorDetails, node: Node) -> str:
    found = describe(node)
    if error["type"] in ("too_short", "too_long"):
        found = f"{len(node.value) if isinstance(node.value, dict | list) else 0}"
    return expectation(error, found)


def expectation(error: ErrorDetails, found: str) -> str:
    """Say what was expected, and what was found instead."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, found {found}"
    if kind in _LIMITS:
        expected = _LIMITS[kind](context)
        return f"expected {expected.removeprefix('one of ') if ',' not in expected else expected}, found {found}"
    message = error["msg"]
    return f"{message[:1].lower()}{message[1:]}, found {found}"
