"""YAML text to nodes that know their line and column, within limits that hostile input cannot pass.

Parsers deliver events: libyaml where it gives the same as ruamel.yaml, which is the reference. The nodes are built here
instead of by a composer because that one recurses without bound, follows aliases without counting and stops at the
first duplicate key. Scalars follow the core schema of YAML 1.2.2 (§10.3.2). Called by ``load`` and by ``positions``.
"""

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from edgewright.errors import Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_NODES = 200_000
"""Of one document, aliases expanded."""
MAX_FILE_NODES = 1_000_000
"""Of all documents of a file, aliases expanded."""
MAX_TEXT = 4 << 20
"""Characters of a document's texts, aliases expanded."""

Scalar = None | bool | int | float | str


@dataclass(slots=True)
class Node:
    """One value. ``line`` and ``column`` count from 1; ``size``, ``text`` and ``depth`` count with aliases expanded."""

    path: str
    """The file it was written in; of a mapping that was merged, the file of the first of them."""
    line: int
    column: int
    value: "Scalar | dict[str, tuple[Node, Node]] | list[Node]"
    """A mapping holds (key node, value node) by key."""
    size: int = 1
    depth: int = 1
    text: int = 0
    """Characters of its texts."""
    written: str = ""
    """The text that values were filled in to, when it is not what was written."""
    patched: "Node | None" = None
    """Of a mapping: the last one that an overlay merged into it."""
    number: str = ""
    """A number's digits as they are written: ``007``, ``1.10``."""
    removed: "dict[str, Node] | None" = None
    """Of a mapping: the fields that an overlay took out, by name, each with where it says so."""

    def plain(self) -> Any:
        """Convert to dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: value.plain() for key, (_, value) in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value


@dataclass(slots=True)
class _Open:
    """A collection that is still being read."""

    node: Node
    anchor: str | None
    key: Node | None = None
    keep: bool = True
    """Whether the value after ``key`` goes into the mapping; it does not when the key was already a problem."""


@dataclass(slots=True)
class _Reader:
    path: str
    problems: list[Problem] = field(default_factory=list)
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, Node] = field(default_factory=dict)
    root: Node | None = None
    clean: bool = True
    nodes: int = 0
    """Of the documents before."""
    written: int = 0
    """Values of this document so far, aliases counted once."""
    is_over: bool = False
    """Whether a limit was passed, and reading stopped there."""

    def report(self, mark: Any, message: str, hint: str = "") -> None:
        self.clean = False
        self.problems.append(Problem(self.path, mark.line + 1, mark.column + 1, message, hint))

    def node(self, mark: Any, value: "Scalar | dict[str, tuple[Node, Node]] | list[Node]") -> Node:
        text = len(value) if isinstance(value, str) else 0
        return Node(self.path, mark.line + 1, mark.column + 1, value, text=text)

    def start(self) -> None:
        self.stack, self.anchors, self.root, self.clean, self.written = [], {}, None, True, 0

    def add(self, node: Node, mark: Any, *, is_alias: bool = False) -> None:
        """Put a finished node where it belongs."""
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        top.node.text += node.text
        if isinstance(top.node.value, list):
            top.node.value.append(node)
        elif isinstance(top.node.value, dict):
            if top.key is None:
                self._take_key(top, node, mark, is_alias)
                return
            if top.keep:
                top.node.value[str(top.key.value)] = (top.key, node)
            top.key = None
        self.written += 1
        top.node.size += node.size
        top.node.depth = max(top.node.depth, node.depth + 1)

    def name(self, anchor: str | None, node: Node) -> None:
        """Remember a node for the aliases to come."""
        if anchor is not None:
            self.anchors[anchor] = node

    def target(self, anchor: str, mark: Any) -> Node:
        """Find what an alias stands for; a placeholder when there is a problem with it."""
        if anchor in self.anchors:
            return self.anchors[anchor]
        inside = any(opened.anchor == anchor for opened in self.stack)
        why = "refers to what it is part of" if inside else "has no anchor"
        self.report(mark, f"alias *{anchor} {why}", f"define &{anchor} before it")
        return self.node(mark, None)

    def stop(self, mark: Any, message: str, hint: str = "") -> bool:
        """Report a limit that was passed, and return False: what follows is not read."""
        self.report(mark, message, hint)
        self.is_over = True
        return False

    def scalar(self, event: Any, mark: Any) -> None:
        """Add a scalar."""
        node = self.node(mark, _scalar(self, event))
        if isinstance(node.value, int | float) and not isinstance(node.value, bool):
            node.number = event.value
        self.name(event.anchor, node)
        self.add(node, mark)

    def open(self, event: Any, mark: Any, empty: "dict[str, tuple[Node, Node]] | list[Node]") -> bool:
        """Begin a collection; False when it lies too deep and reading must stop."""
        self.stack.append(_Open(self.node(mark, empty), event.anchor))
        return len(self.stack) <= MAX_DEPTH or self.stop(mark, f"nested deeper than {MAX_DEPTH} levels")

    def is_within(self, mark: Any) -> bool:
        """Return False when too many values are written and reading must stop.

        Asked as they come: collections are only measured at their end, and one list may be the whole file.
        """
        if self.written > MAX_NODES:
            return self.stop(mark, f"more than {MAX_NODES:,} values in one document", "divide the file")
        return True

    def close(self, mark: Any) -> bool:
        """Finish the innermost collection; False when it is over a limit and reading must stop."""
        done = self.stack.pop()
        if done.node.depth > MAX_DEPTH:
            return self.stop(mark, f"nested deeper than {MAX_DEPTH} levels once its aliases are expanded")
        if done.node.size > MAX_NODES:
            return self.stop(mark, f"more than {MAX_NODES:,} values once its aliases are expanded", "use fewer aliases")
        if done.node.text > MAX_TEXT:
            what = f"more than {MAX_TEXT:,} characters once its aliases are expanded"
            return self.stop(mark, what, "use fewer aliases")
        self.nodes += 0 if self.stack else done.node.size
        if self.nodes > MAX_FILE_NODES:
            what = f"more than {MAX_FILE_NODES:,} values in one file"
            return self.stop(mark, what, "use fewer aliases, or divide the file")
        self.name(done.anchor, done.node)
        self.add(done.node, mark)
        return True

    def _take_key(self, top: _Open, node: Node, mark: Any, is_alias: bool) -> None:
        top.key, top.keep = node, False
        fields = top.node.value
        if not isinstance(node.value, str) or not isinstance(fields, dict):
            what = "a collection" if isinstance(node.value, dict | list) else str(node.plain()).lower()
            self.report(mark, f"a field's name must be text, found {what}", "write it in quotes")
        elif node.value == "<<" and not is_alias:
            self.report(mark, "merge keys (<<) are not part of YAML 1.2", "repeat the fields, or alias a whole value")
        elif node.value in fields:
            first = fields[node.value][0]
            self.report(mark, f"field {node.value!r} is given twice", f"first on line {first.line}; remove one of them")
        else:
            top.keep = True


def read_documents(path: str, text: str) -> tuple[list[tuple[Node, bool]], list[Problem]]:
    """Read every document of a YAML file, each with whether it is free of problems.

    Broken syntax and passed limits end the file: what follows cannot be trusted.
    """
    from edgewright.source.yaml_events import NotTheSame, fast_events

    with suppress(NotTheSame):
        reader = _Reader(path)
        found = list(_documents(reader, fast_events(text)))
        if not reader.problems or reader.is_over:
            return found, reader.problems
    # What else is wrong is told by the parser that is the reference, at its places.
    return _read_by_reference(path, text)


def _read_by_reference(path: str, text: str) -> tuple[list[tuple[Node, bool]], list[Problem]]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    reader = _Reader(path)
    documents: list[tuple[Node, bool]] = []
    try:
        roots = _documents(reader, YAML(typ="safe", pure=True).parse(text))
        documents.extend(roots)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = str(error.problem or error.context or "cannot be read").replace("\n", " ")
        context = f" {error.context}" if error.context and error.problem else ""
        is_value = text[max(mark.index - 1, 0) : mark.index + 1] == "${"
        hint = "between {} and [], write ${…} in quotes" if is_value else ""
        what = f"malformed YAML: {reason}{context}"
        reader.problems.append(Problem(path, mark.line + 1, mark.column + 1, what, hint))
    except YAMLError as error:
        line, column = _where(text, getattr(error, "position", 0))
        code = getattr(error, "character", None)
        what = f"character U+{code:04X} is not allowed" if isinstance(code, int) else "it cannot be read"
        reader.problems.append(Problem(path, line, column, f"malformed YAML: {what}", "remove or escape it"))
    return documents, reader.problems


def _where(text: str, position: int) -> tuple[int, int]:
    before = text[:position]
    return before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1


def _documents(reader: _Reader, events: Any) -> Iterator[tuple[Node, bool]]:
    """Follow the parser; yields the root of each document and whether it is free of problems."""
    for event in events:
        mark = event.start_mark
        if not reader.is_within(mark):
            return
        # By name: two libraries have events of these names.
        match type(event).__name__:
            case "ScalarEvent":
                reader.scalar(event, mark)
            case "MappingStartEvent" | "SequenceStartEvent" as kind:
                _check_tag(reader, event)
                if not reader.open(event, mark, {} if kind == "MappingStartEvent" else []):
                    return
            case "MappingEndEvent" | "SequenceEndEvent":
                if not reader.close(mark):
                    return
            case "AliasEvent":
                reader.add(reader.target(event.anchor, mark), mark, is_alias=True)
            case "DocumentStartEvent":
                reader.start()
            case "DocumentEndEvent":
                if reader.root is not None:
                    yield reader.root, reader.clean
            case _:
                pass


_NULL = re.compile(r"(?:null|Null|NULL|~|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?[0-9]{1,300}\Z")
_BASED = re.compile(r"0(?:o[0-7]{1,300}|x[0-9a-fA-F]{1,300})\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")
_STR_TAG = "tag:yaml.org,2002:str"


def _check_tag(reader: _Reader, event: Any) -> None:
    if event.tag not in (None, "!"):
        reader.report(event.start_mark, f"tag {event.tag} is not supported", "remove the tag")


def _scalar(reader: _Reader, event: Any) -> Scalar:
    text: str = event.value
    if event.tag in (_STR_TAG, "!") or not event.implicit[0]:
        if event.tag not in (_STR_TAG, "!"):
            _check_tag(reader, event)
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            reader.report(event.start_mark, "half of a surrogate pair is no character", "write the character itself")
        return text
    value = _plain_scalar(text)
    if isinstance(value, float) and not math.isfinite(value):
        reader.report(event.start_mark, f"{text:.40} is not a finite number", "write it in quotes if text is meant")
        return None
    return value


def _plain_scalar(text: str) -> Scalar:
    """Read a scalar without quotes or tag by the core schema."""
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text[0] in "tT"
    if _INT.match(text):
        return int(text)
    if _BASED.match(text):
        return int(text, 0)
    if _FLOAT.match(text):
        return float(text)
    return math.nan if _NOT_FINITE.match(text) else text
