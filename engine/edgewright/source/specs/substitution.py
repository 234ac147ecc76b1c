"""``${name}`` in the text of documents replaced by an environment's values. Pure; called by ``resolving``.

Strict: what stands for nothing is a problem, and never an empty string. What a value holds is not looked through again.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from edgewright.core.suggestions import suggestion
from edgewright.errors import Problem
from edgewright.source.specs.yaml_nodes import MAX_BYTES, Node
from edgewright_schemas.environment import Scalar

_OPENING = "${"
_PART = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_.-]*)\}|\$\{")
_MAX_PROBLEMS = 20
"""Of one document."""
_LITERAL = "write $${ for ${ itself"


@dataclass(frozen=True, slots=True)
class Values:
    """Values of placeholders."""

    environment: str = ""
    values: Mapping[str, Scalar] = field(default_factory=dict)
    declared: Sequence[str] = ()
    """Every environment there is."""
    are_known: bool = True
    """False where the Repository document is itself wrong: what is not known then is not reported."""
    numbers: Mapping[str, str] = field(default_factory=dict)
    """Digits of the values that are numbers, as they are written."""

    def text(self, name: str) -> str:
        """Return a value as part of a text: a number as it is written, so that 1.10 stays 1.10."""
        value = self.values[name]
        return value if isinstance(value, str) else self.numbers.get(name) or json.dumps(value)


@dataclass(slots=True)
class Filled:
    """A document without placeholders, and what is wrong with those it had."""

    root: Node
    problems: list[Problem] = field(default_factory=list)
    unknown: set[tuple[str, int, int]] = field(default_factory=set)
    """Where text was left as it is: whatever else is said about these places follows from that."""


def uses(root: Node) -> frozenset[str] | None:
    """Name the values a document asks for; None where it holds no ``${`` at all, escaped or not."""
    names: set[str] = set()
    found = False
    todo = [root]
    while todo:
        value = todo.pop().value
        if isinstance(value, dict):
            todo += [node for pair in value.values() for node in pair]
        elif isinstance(value, list):
            todo += value
        elif isinstance(value, str) and _OPENING in value:
            found = True
            names.update(name for name in _PART.findall(value) if name)
    return frozenset(names) if found else None


def fill(root: Node, values: Values) -> Filled:
    """Replace every placeholder below a node; nodes without any are kept as they are."""
    filling = _Filling(values)
    filled = Filled(filling.node(root), filling.problems, filling.unknown)
    if filling.written > MAX_BYTES:
        message = f"larger than {MAX_BYTES:,} characters once its values are filled in"
        filled.problems.append(Problem(root.path, root.line, root.column, message, "use shorter values, or fewer"))
    return filled


def fill_text(text: str, values: Values) -> str | None:
    """Replace the placeholders of one text; None when that cannot be done, or gives no text."""
    if _OPENING not in text:
        return text
    filled = fill(Node("", 1, 1, text), values)
    found = filled.root.value
    return found if isinstance(found, str) and not filled.problems and not filled.unknown else None


class _Filling:
    """The work on one document."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.problems: list[Problem] = []
        self.unknown: set[tuple[str, int, int]] = set()
        self.written = 0
        """How many characters of values were put in."""

    def node(self, node: Node) -> Node:
        """Fill one value and all below it."""
        if isinstance(node.value, dict):
            return self._mapping(node, node.value)
        if isinstance(node.value, list):
            items = [self.node(item) for item in node.value]
            same = all(new is old for new, old in zip(items, node.value, strict=True))
            return node if same else replace(node, value=items)
        if isinstance(node.value, str) and _OPENING in node.value:
            return self._text(node, node.value)
        return node

    def _mapping(self, node: Node, fields: dict[str, tuple[Node, Node]]) -> Node:
        filled: dict[str, tuple[Node, Node]] = {}
        is_same = True
        for name, (key, value) in fields.items():
            if _OPENING in name:
                self._report(key, f"the name of a field cannot hold {_OPENING}", "write the name itself")
            new = self.node(value)
            is_same &= new is value
            filled[name] = (key, new)
        return node if is_same else replace(node, value=filled)

    def _text(self, node: Node, text: str) -> Node:
        parts: list[str] = []
        at, is_known = 0, True
        for found in _PART.finditer(text):
            parts.append(text[at : found.start()])
            at = found.end()
            name = found[1]
            if found[0] == "$${":
                parts.append(_OPENING)
            elif name is None:
                self._report(node, "${ without a name and a }", f"write ${{name}}; {_LITERAL}")
                is_known = False
            elif name not in self.values.values:
                self._undefined(node, name)
                is_known = False
            elif found[0] == text:
                return replace(node, value=self.values.values[name], written=text)
            elif is_known:
                parts.append(self._put(self.values.text(name)))
        if not is_known:
            return node
        return replace(node, value="".join([*parts, text[at:]]), written=text)

    def _put(self, text: str) -> str:
        self.written += len(text)
        return text if self.written <= MAX_BYTES else ""

    def _undefined(self, node: Node, name: str) -> None:
        values, shown = self.values, f"${{{name:.60}}}"
        if not values.are_known or len(self.problems) >= _MAX_PROBLEMS:
            self.unknown.add((node.path, node.line, node.column))
        elif values.environment:
            hint = suggestion(name, values.values) or f"environment {values.environment} has no values"
            self._report(node, f"there is no value for {shown}", f"{hint}; {_LITERAL}")
        elif values.declared:
            what = f"what {shown} stands for depends on the environment: name an environment"
            self._report(node, what, f"there is {', '.join(values.declared)}")
        else:
            what = f"there is no value for {shown}: name an environment that has one"
            self._report(node, what, f"this repository declares none; {_LITERAL}")

    def _report(self, node: Node, message: str, hint: str) -> None:
        self.unknown.add((node.path, node.line, node.column))
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(Problem(node.path, node.line, node.column, message, hint))
