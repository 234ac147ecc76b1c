"""Regular expressions take linear time: each is fed long texts of its own characters, in a process that is watched."""

import ast
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from re import _constants as sre  # type: ignore[attr-defined]  # the parser of re, which has no public name
from re import _parser  # type: ignore[attr-defined]  # as above
from typing import Any

import pytest

from paths import ROOT

SOURCES = ("engine", "schemas", "fleet", "templates")
METHODS = ("search", "match", "fullmatch", "sub", "subn", "findall", "finditer", "split")
CALLS = {"compile", *METHODS}
CHARACTERS = 1 << 20
SHORTER = 1 << 18
"""Of texts that are the beginning of a match, over and over."""
SECONDS = 0.5
"""Of a processor, for one text; a quadratic pattern takes minutes to hours."""
FED = """
import json, re, signal, sys
for line in sys.stdin:
    given = json.loads(line)
    pattern, text = given["pattern"], given["text"]
    text = (text * (given["size"] // len(text) + 1))[: given["size"]] + "\\0"
    if given["bytes"]:
        pattern, text = pattern.encode("latin-1"), text.encode("latin-1", "replace")
    compiled = re.compile(pattern, given["flags"])
    for method in given["methods"]:
        signal.setitimer(signal.ITIMER_PROF, given["seconds"])
        if method in ("sub", "subn"):
            getattr(compiled, method)(text[:0], text)
        elif method == "finditer":
            for _ in compiled.finditer(text): pass
        else:
            getattr(compiled, method)(text)
    print("done", flush=True)
"""
"""The timer ends the process, since nothing else interrupts a pattern."""
Pattern = re.Pattern[Any]
REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)


def _patterns() -> Iterator[tuple[str, Pattern, tuple[str, ...]]]:
    for source in SOURCES:
        for path in sorted((ROOT / source).rglob("*.py")):
            text = path.read_text()
            if "re." in text:
                yield from _of_module(path, ast.parse(text), path.relative_to(ROOT / source))


def _of_module(path: Path, tree: ast.Module, name: Path) -> Iterator[tuple[str, Pattern, tuple[str, ...]]]:
    where = str(path.relative_to(ROOT))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    module: Any = None
    for call in calls:
        assert isinstance(call.func, ast.Attribute)
        if not (isinstance(call.func.value, ast.Name) and call.func.value.id == "re" and call.func.attr in CALLS):
            continue
        module = module or import_module(".".join(name.with_suffix("").parts))
        given, *rest = call.args
        scope = {**vars(module)}
        try:
            pattern = eval(ast.unparse(given), scope)  # our own source
        except NameError:
            continue  # of a name inside a function: what it is compiled from is named there
        flags = 0
        for other in [*rest, *(keyword.value for keyword in call.keywords if keyword.arg == "flags")]:
            if "re." in (written := ast.unparse(other)):
                flags = eval(written, scope)  # our own source
        compiled = pattern if isinstance(pattern, re.Pattern) else re.compile(pattern, flags)
        methods = _methods(tree, call) if call.func.attr == "compile" else (call.func.attr,)
        yield f"{where}:{call.lineno}", compiled, methods


def _methods(tree: ast.Module, call: ast.Call) -> tuple[str, ...]:
    """How a compiled pattern is used in its module; one that leaves it may be searched for."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and node.value is call and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            used = {
                each.attr
                for each in ast.walk(tree)
                if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == name
            }
            return tuple(sorted(used & set(METHODS))) or ("search",)
    return ("search", "sub")


def _texts(pattern: Pattern) -> Iterator[tuple[str, int]]:
    """Texts of every class of a pattern, and of every beginning of what it matches."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    parsed = _parser.parse(source, pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags)
    for letter in dict.fromkeys(_classes(parsed, repeated=False)):
        yield letter, CHARACTERS
    for text in dict.fromkeys(_beginnings(parsed)):
        if len(text) > 1:
            yield text, SHORTER


def _classes(parsed: Any, *, repeated: bool) -> Iterator[str]:
    """One character of each class, and of each letter that is repeated."""
    for operator, argument in parsed:
        if operator in (sre.IN, sre.ANY, sre.NOT_LITERAL) or (operator is sre.LITERAL and repeated):
            yield _letter(operator, argument)
        for inner in _inner(operator, argument):
            yield from _classes(inner, repeated=repeated or operator in REPEATS)


def _inner(operator: Any, argument: Any) -> list[Any]:
    if operator is sre.BRANCH:
        return list(argument[1])
    if operator is sre.SUBPATTERN:
        return [argument[3]]
    if operator in REPEATS:
        return [argument[2]]
    if operator in (sre.ASSERT, sre.ASSERT_NOT):
        return [argument[1]]
    return [argument] if operator is sre.ATOMIC_GROUP else []


def _letter(operator: Any, argument: Any) -> str:
    """One character that a class takes."""
    if operator is sre.LITERAL:
        return chr(int(argument))
    if operator is sre.ANY:
        return "x"
    wanted = [(sre.NOT_LITERAL, argument)] if operator is sre.NOT_LITERAL else argument
    written = [argument for operator, argument in wanted if operator is sre.LITERAL]
    if written and wanted[0][0] is not sre.NEGATE:
        return chr(written[-1])  # the odd ones of a class, as ``-`` of ``[a-z-]``, are borders of words
    letters = "a0 :A-_.~/\x1b\t"
    return next((each for each in letters if _takes(wanted, each)), "é")


def _takes(wanted: Any, letter: str) -> bool:
    inside = False
    categories = {sre.CATEGORY_DIGIT: str.isdigit, sre.CATEGORY_SPACE: str.isspace, sre.CATEGORY_WORD: str.isalnum}
    negated = {
        sre.CATEGORY_NOT_DIGIT: str.isdigit,
        sre.CATEGORY_NOT_SPACE: str.isspace,
        sre.CATEGORY_NOT_WORD: str.isalnum,
    }
    for operator, argument in wanted:
        if operator in (sre.LITERAL, sre.NOT_LITERAL):
            inside |= (argument == ord(letter)) == (operator is sre.LITERAL)
        elif operator is sre.RANGE:
            inside |= argument[0] <= ord(letter) <= argument[1]
        elif operator is sre.CATEGORY:
            inside |= categories[argument](letter) if argument in categories else not negated[argument](letter)
    return not inside if wanted[0][0] is sre.NEGATE else inside


def _beginnings(parsed: Any) -> Iterator[str]:
    """The least that each beginning of a pattern matches, up to what is repeated, and all of it."""
    text, steps = "", list(parsed)
    for at, (operator, argument) in enumerate(steps):
        if operator is sre.BRANCH:
            for branch in argument[1]:
                yield from (text + each for each in _beginnings(branch))
        elif operator in (sre.SUBPATTERN, *REPEATS):
            yield from (text + each for each in _beginnings(_inner(operator, argument)[0]))
        text += _least(operator, argument)
        if at + 1 == len(steps) or steps[at + 1][0] is not sre.LITERAL:
            yield text


def _least(operator: Any, argument: Any) -> str:
    if operator in (sre.LITERAL, sre.NOT_LITERAL, sre.IN, sre.ANY):
        return _letter(operator, argument)
    if operator is sre.BRANCH:
        return "".join(_least(*each) for each in argument[1][0])
    if operator in REPEATS:
        return "".join(_least(*each) for each in argument[2]) * max(int(argument[0]), 1)
    if operator is sre.SUBPATTERN:
        return "".join(_least(*each) for each in argument[3])
    return ""


def test_every_pattern_takes_linear_time() -> None:
    found = list(_patterns())
    assert len(found) > 60
    assert list(_slow(found)) == []


def _slow(found: list[tuple[str, Pattern, tuple[str, ...]]]) -> Iterator[str]:
    """Name the patterns that took too long."""
    todo = [(where, pattern, methods, *text) for where, pattern, methods in found for text in _texts(pattern)]
    while todo:
        lines = [_line(pattern, methods, text, size) for _, pattern, methods, text, size in todo]
        done = subprocess.run(
            [sys.executable, "-I", "-c", FED], input="\n".join(lines), text=True, capture_output=True, check=False
        )
        assert done.returncode in (0, -signal.SIGPROF), done.stderr
        count = done.stdout.count("done")
        if count == len(todo):
            return
        where, _, _, text, _ = todo[count]
        yield f"{where}: {text!r} over and over"
        todo = [each for each in todo[count:] if each[0] != where]


def _line(pattern: Pattern, methods: tuple[str, ...], text: str, size: int) -> str:
    is_bytes = isinstance(pattern.pattern, bytes)
    source = pattern.pattern.decode("latin-1") if is_bytes else pattern.pattern
    given = {"pattern": source, "flags": pattern.flags & ~re.UNICODE, "bytes": is_bytes, "seconds": SECONDS}
    return json.dumps({**given, "text": text, "size": size, "methods": methods})


@pytest.mark.parametrize("pattern", [r"[a-z]+://", r"^\s*(?:x+)?\s*$", r"\beyJ[A-Za-z-]{8,}\.eyJ"])
def test_a_quadratic_pattern_is_found(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "SECONDS", 0.25)
    assert list(_slow([("here", re.compile(pattern), ("search",))]))
