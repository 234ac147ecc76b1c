"""One YAML file to checked documents, with every problem it has. Called by ``resolving``, which caches by blob id."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher

from pydantic import ValidationError

from edgewright.core.address import Address
from edgewright.core.suggestions import nearest, suggestion
from edgewright.errors import Problem
from edgewright.source.pointers import HINT, is_pointer
from edgewright.source.specs.documents import UNKNOWN_KIND, typed
from edgewright.source.specs.known_names import check_written_uses
from edgewright.source.specs.references import FieldProblem
from edgewright.source.specs.substitution import Filled
from edgewright.source.specs.validation_errors import describe, explain
from edgewright.source.specs.yaml_nodes import MAX_BYTES, Node, read_documents
from edgewright_schemas.base import API_VERSION
from edgewright_schemas.kinds import KINDS

_GROUP = API_VERSION.partition("/")[0]
_FIRST_COLUMN = rb"""(?m)^["']?%s["']?[ \t]*:[ \t]*["']?([^\s"'#]*)"""
_API_VERSION_LINE = re.compile(_FIRST_COLUMN % b"apiVersion")
_KIND_LINE = re.compile(_FIRST_COLUMN % b"kind")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_LONGEST_GROUP = 80
"""What is longer resembles nothing; comparing takes its time."""


@dataclass(frozen=True, slots=True)
class LoadedDocument:
    """A document that its kind's model accepts."""

    kind: str
    name: str
    line: int
    column: int
    body: str
    """The whole document as JSON, as written: no defaults filled in."""


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """The documents and problems of one file."""

    documents: tuple[LoadedDocument, ...] = ()
    problems: tuple[Problem, ...] = ()
    is_spec: bool = True
    """Whether any document of it is for edgewright."""
    broken: frozenset[str] = frozenset()
    """Kinds, in lower case, of the documents with problems; ``UNKNOWN_KIND`` where that cannot be told."""


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A document whose apiVersion and kind are right, or what is wrong with them."""

    root: Node
    kind: str
    """As written in ``kind``; ``UNKNOWN_KIND`` where that is no kind."""
    name: str | None
    """As written in ``metadata.name``; None where that is no text."""
    is_clean: bool
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """A file as YAML: its documents before their fields are looked at."""

    documents: tuple[ParsedDocument, ...] = ()
    problems: tuple[Problem, ...] = ()
    """Of the file itself."""
    is_spec: bool = True


Resolve = Callable[[ParsedDocument], Filled]
"""Merges into a document, and fills in, what its environment says."""


def load_file(path: str, data: bytes, *, required: bool = False) -> LoadedFile:
    """Read and check one file as it is written.

    Args:
        path: As problems name it.
        data: The file's bytes; of one larger than ``MAX_BYTES``, any part that is larger too.
        required: Whether every document must be edgewright's, as below folders that ``spec.paths`` names. Otherwise
            files and documents that say they are for something else, or say nothing, are left alone.
    """
    return check_file(parse_file(path, data, required=required), lambda document: Filled(document.root))


def parse_file(path: str, data: bytes, *, required: bool = False) -> ParsedFile:
    """Read one file's YAML; arguments as in ``load_file``."""
    if not required and not looks_like_spec(data):
        return ParsedFile(is_spec=False)
    if is_pointer(data):
        return _broken(path, 1, 1, "a Git LFS pointer; the file itself is not in Git", HINT)
    if len(data) > MAX_BYTES:
        return _broken(path, 1, 1, f"larger than {MAX_BYTES:,} bytes", "divide it; data does not belong in specs")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1
        what = f"not UTF-8: byte 0x{data[error.start]:02x}"
        return _broken(path, line, column, what, "save the file as UTF-8")
    roots, problems = read_documents(path, text)
    parsed = [_parse_document(root, required, is_clean) for root, is_clean in roots]
    return ParsedFile(tuple(document for document in parsed if document is not None), tuple(problems))


def check_file(parsed: ParsedFile, resolve: Resolve) -> LoadedFile:
    """Check every document's fields, once it is resolved."""
    documents: list[LoadedDocument] = []
    problems = list(parsed.problems)
    # Broken syntax ends the file: which documents would follow is not known.
    broken = {UNKNOWN_KIND} if problems else set()
    reported = {(problem.line, problem.column) for problem in problems}
    for document in parsed.documents:
        loaded = check_document(document, resolve)
        if not isinstance(loaded, LoadedDocument):
            # What stands where YAML itself was wrong is a placeholder: one error about it is enough.
            problems.extend(p for p in loaded if document.is_clean or (p.line, p.column) not in reported)
            broken.add(_broken_kind(document))
        elif document.is_clean:
            documents.append(loaded)
    return LoadedFile(tuple(documents), tuple(problems), parsed.is_spec, frozenset(broken))


def check_document(document: ParsedDocument, resolve: Resolve) -> LoadedDocument | list[Problem]:
    """Check one document's fields, once it is resolved."""
    if document.problems:
        return list(document.problems)
    filled = resolve(document)
    body = json.dumps(filled.root.plain(), separators=(",", ":"))
    try:
        checked = typed(document.kind, body)
    except ValidationError as error:
        found = explain(filled.root, KINDS[document.kind], error.errors(include_url=False))
        uses = check_written_uses(Address(document.kind.lower(), "?"), json.loads(body))
        found += [_placed(filled.root, problem) for problem in uses]
        return filled.problems + [p for p in found if (p.path, p.line, p.column) not in filled.unknown]
    if filled.problems or filled.unknown:
        return filled.problems
    return LoadedDocument(document.kind, checked.metadata.name, document.root.line, document.root.column, body)


def _placed(root: Node, found: FieldProblem) -> Problem:
    node = root
    for depth, step in enumerate(found.field, 1):
        if isinstance(node.value, dict) and isinstance(step, str) and step in node.value:
            node = node.value[step][0 if found.at_key and depth == len(found.field) else 1]
        elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
    return Problem(node.path, node.line, node.column, f"{found.where}: {found.message}", found.hint)


def looks_like_spec(data: bytes) -> bool:
    """Return cheaply whether a file is meant for edgewright, even when it is broken.

    It is when a top-level ``apiVersion`` is edgewright's or nearly so, or when there is none and ``kind`` is one of
    edgewright's; also when it is not UTF-8, or JSON, or indented as a whole.
    """
    if data.startswith(_UTF16):
        data = data.decode("utf-16", "replace").encode()
    if data[:1] in {b"{", b" "} and _GROUP.encode() in data:
        return True
    found_groups = {found.partition(b"/")[0] for found in _API_VERSION_LINE.findall(data)}
    groups = [group.decode("utf-8", "replace") for group in found_groups if len(group) <= _LONGEST_GROUP]
    if found_groups:
        return any(_resembles(group) for group in groups)
    return any(found.decode("utf-8", "replace") in KINDS for found in _KIND_LINE.findall(data))


def _resembles(group: str) -> bool:
    return group == _GROUP or (
        len(group) <= _LONGEST_GROUP and SequenceMatcher(None, group.lower(), _GROUP).ratio() > 0.75
    )


def _broken(path: str, line: int, column: int, message: str, hint: str) -> ParsedFile:
    return ParsedFile(problems=(Problem(path, line, column, message, hint),))


def _broken_kind(document: ParsedDocument) -> str:
    return UNKNOWN_KIND if document.kind == UNKNOWN_KIND else document.kind.lower()


def _parse_document(root: Node, required: bool, is_clean: bool) -> ParsedDocument | None:
    """Look at a document's frame; None when it is for another tool, or empty."""
    if root.value is None:
        return None
    if not isinstance(root.value, dict):
        if not required:
            return None
        message = f"expected a mapping of fields, found {describe(root)}"
        problem = Problem(root.path, root.line, root.column, message)
        return ParsedDocument(root, UNKNOWN_KIND, None, is_clean, (problem,))
    problems = _check_frame(root, root.value, required)
    if problems is not None and not problems:
        return None
    kind = _text(root, "kind")
    known = kind if kind is not None and kind in KINDS else UNKNOWN_KIND
    metadata = root.value["metadata"][1] if "metadata" in root.value else root
    return ParsedDocument(root, known, _text(metadata, "name"), is_clean, tuple(problems or ()))


def _text(mapping: Node, field: str) -> str | None:
    fields = mapping.value if isinstance(mapping.value, dict) else {}
    value = fields[field][1].value if field in fields else None
    return value if isinstance(value, str) else None


def _check_frame(root: Node, fields: dict[str, tuple[Node, Node]], required: bool) -> list[Problem] | None:
    """Check apiVersion and kind, without which nothing else can be judged.

    None when they are right, no problems when the document is for another tool.
    """
    problems = []
    version = fields["apiVersion"][1] if "apiVersion" in fields else None
    kind = fields["kind"][1] if "kind" in fields else None
    if version is None:
        hint = f"add apiVersion: {API_VERSION}"
        close = nearest("apiVersion", fields)
        if close:
            hint += f" in place of {close}"
        problems.append(Problem(root.path, root.line, root.column, "missing field 'apiVersion'", hint))
    elif version.value != API_VERSION:
        if not required and isinstance(version.value, str) and not _resembles(version.value.partition("/")[0]):
            return []
        message = f"unknown apiVersion: {describe(version)}"
        problems.append(Problem(root.path, version.line, version.column, message, f"write {API_VERSION}"))
    if kind is None:
        hint = f"add one of {', '.join(KINDS)}"
        problems.append(Problem(root.path, root.line, root.column, "missing field 'kind'", hint))
    elif not isinstance(kind.value, str) or kind.value not in KINDS:
        hint = suggestion(str(kind.value), KINDS)
        problems.append(Problem(root.path, kind.line, kind.column, f"unknown kind: {describe(kind)}", hint))
    return problems or None
