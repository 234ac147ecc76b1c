"""One YAML file to checked documents, with every problem it has. Called by ``reading``, which caches by blob id."""

import json
import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from pydantic import ValidationError

from edgewright.core.nearest import nearest, suggestion
from edgewright.errors import Problem
from edgewright.source.complaints import describe, explain
from edgewright.source.documents import typed
from edgewright.source.yamlnodes import MAX_BYTES, Node, read_documents
from edgewright_schemas.base import API_VERSION
from edgewright_schemas.kinds import KINDS

_GROUP = API_VERSION.partition("/")[0]
_FIRST_COLUMN = rb"""(?m)^["']?%s["']?[ \t]*:[ \t]*["']?([^\s"'#]*)"""
_API_VERSION_LINE = re.compile(_FIRST_COLUMN % b"apiVersion")
_KIND_LINE = re.compile(_FIRST_COLUMN % b"kind")
UNKNOWN_KIND = "?"


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
    """What one file holds."""

    documents: tuple[LoadedDocument, ...] = ()
    problems: tuple[Problem, ...] = ()
    is_spec: bool = True
    """Whether any document of it is for edgewright."""
    broken: frozenset[str] = frozenset()
    """Kinds, in lower case, of the documents with problems; ``UNKNOWN_KIND`` where that cannot be told."""


def load_file(path: str, data: bytes, *, required: bool = False) -> LoadedFile:
    """Read and check one file.

    Args:
        path: As problems name it.
        data: The file's bytes; of one larger than ``MAX_BYTES``, any part that is larger too.
        required: Whether every document must be edgewright's, as below folders that ``spec.paths`` names. Otherwise
            files and documents that say they are for something else, or say nothing, are left alone.
    """
    if not required and not looks_like_spec(data):
        return LoadedFile(is_spec=False)
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
    documents: list[LoadedDocument] = []
    # Broken syntax ends the file: which documents would follow is not known.
    broken = {UNKNOWN_KIND} if problems else set()
    reported = {(problem.line, problem.column) for problem in problems}
    for root, is_clean in roots:
        loaded = _load_document(path, root, required)
        if not isinstance(loaded, LoadedDocument):
            # What stands where YAML itself was wrong is a placeholder: one complaint about it is enough.
            problems.extend(p for p in loaded if is_clean or (p.line, p.column) not in reported)
        elif is_clean:
            documents.append(loaded)
        if loaded and not isinstance(loaded, LoadedDocument):
            broken.add(_kind(root))
    return LoadedFile(tuple(documents), tuple(problems), broken=frozenset(broken))


def looks_like_spec(data: bytes) -> bool:
    """Tell cheaply whether a file is meant for edgewright, even when it is broken.

    It is when a top-level ``apiVersion`` is edgewright's or nearly so, or when there is none and ``kind`` is one of
    edgewright's.
    """
    groups = [found.partition(b"/")[0].decode("utf-8", "replace") for found in _API_VERSION_LINE.findall(data)]
    if groups:
        return any(_resembles(group) for group in groups)
    return any(found.decode("utf-8", "replace") in KINDS for found in _KIND_LINE.findall(data))


def _resembles(group: str) -> bool:
    return group == _GROUP or SequenceMatcher(None, group.lower(), _GROUP).ratio() > 0.75


def _broken(path: str, line: int, column: int, message: str, hint: str) -> LoadedFile:
    return LoadedFile(problems=(Problem(path, line, column, message, hint),), broken=frozenset({UNKNOWN_KIND}))


def _kind(root: Node) -> str:
    kind = root.value["kind"][1].value if isinstance(root.value, dict) and "kind" in root.value else None
    return kind.lower() if isinstance(kind, str) and kind in KINDS else UNKNOWN_KIND


def _load_document(path: str, root: Node, required: bool) -> LoadedDocument | list[Problem]:
    if root.value is None:
        return []
    if not isinstance(root.value, dict):
        if not required:
            return []
        return [Problem(path, root.line, root.column, f"expected a mapping of fields, found {describe(root)}")]
    problems = _check_frame(path, root, root.value, required)
    if problems is not None:
        return problems
    kind = str(root.value["kind"][1].value)
    plain: dict[str, Any] = root.plain()
    body = json.dumps(plain, separators=(",", ":"))
    try:
        document = typed(kind, body)
    except ValidationError as error:
        return explain(path, root, KINDS[kind], error.errors(include_url=False))
    return LoadedDocument(kind, document.metadata.name, root.line, root.column, body)


def _check_frame(path: str, root: Node, fields: dict[str, tuple[Node, Node]], required: bool) -> list[Problem] | None:
    """Check apiVersion and kind, without which nothing else can be judged; None when they are right."""
    problems = []
    version = fields["apiVersion"][1] if "apiVersion" in fields else None
    kind = fields["kind"][1] if "kind" in fields else None
    if version is None:
        hint = f"add apiVersion: {API_VERSION}"
        close = nearest("apiVersion", fields)
        if close:
            hint += f" in place of {close}"
        problems.append(Problem(path, root.line, root.column, "missing field 'apiVersion'", hint))
    elif version.value != API_VERSION:
        if not required and isinstance(version.value, str) and not _resembles(version.value.partition("/")[0]):
            return []
        message = f"unknown apiVersion: {describe(version)}"
        problems.append(Problem(path, version.line, version.column, message, f"write {API_VERSION}"))
    if kind is None:
        hint = f"add one of {', '.join(KINDS)}"
        problems.append(Problem(path, root.line, root.column, "missing field 'kind'", hint))
    elif not isinstance(kind.value, str) or kind.value not in KINDS:
        hint = suggestion(str(kind.value), KINDS)
        problems.append(Problem(path, kind.line, kind.column, f"unknown kind: {describe(kind)}", hint))
    return problems or None
