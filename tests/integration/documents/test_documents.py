"""The documents: the tutorial does what it shows, links and paths lead somewhere, figures are true."""

import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.terminal import Terminal
from edgewright_schemas.reference import update
from layers import renewed
from paths import ROOT

IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Reader"), ("EMAIL", "reader@example.com"))
}
MARKDOWN = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not {part for part in path.relative_to(ROOT).parts if part.startswith(".")} and "site-packages" not in path.parts
)
TUTORIAL = ROOT / "docs/tutorial/first-rollout.md"
_BLOCK = re.compile(r"(?P<mark><!-- not run: [^\n]+ -->\n)?^```(?:console|bash|sh)\n(?P<text>.*?)^```$", re.M | re.S)
_VARYING = re.compile(
    r"[0-9a-f]{7,40}\b|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\d+(?:\.\d+)? (?:s|ms|min|h)\b|\b\d+\.\d+\b|\b[0-9]{4,}\b"
)
"""Digests, times, durations, figures: what another day or machine may give otherwise."""
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```$", re.M | re.S)


@dataclass(frozen=True)
class Typed:
    """One command of a block, and what the document says it prints."""

    command: str
    shown: tuple[str, ...]


def typed(block: str) -> Iterator[Typed]:
    """Take a console block apart: ``$`` begins a command, ``>`` continues it, the rest is output."""
    for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
        first, *rest = part.splitlines()
        more = [line for line in rest if line.startswith(">")]
        shown = [line for line in rest if not line.startswith(">")]
        yield Typed("\n".join([first, *(line.removeprefix(">").removeprefix(" ") for line in more)]), tuple(shown))


def as_pattern(shown: str) -> re.Pattern[str]:
    """Make a line of output into a pattern for the real one: figures may differ, and ``…`` stands for anything."""
    return re.compile(".*".join(_literal(piece) for piece in shown.strip().split("…")))


def _literal(text: str) -> str:
    pieces, at = [], 0
    for found in _VARYING.finditer(text):
        pieces += [re.escape(text[at : found.start()]), r"[0-9a-f.:\- ]+(?:s|ms|min|h)?"]
        at = found.end()
    return "".join([*pieces, re.escape(text[at:])])


def missing(shown: tuple[str, ...], printed: str) -> list[str]:
    """List the lines shown that were not printed, in this order."""
    lines = iter([line.strip() for line in printed.splitlines()])
    return [
        line
        for line in shown
        if line.strip() not in {"", "…"} and not any(as_pattern(line).fullmatch(real) for real in lines)
    ]


@pytest.mark.e2e
def test_the_tutorial_does_what_it_shows(tmp_path: Path) -> None:
    blocks = [found["text"] for found in _BLOCK.finditer(TUTORIAL.read_text("utf-8")) if not found["mark"]]
    assert len(blocks) >= 5
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", **IDENTITY}
    scratch = tmp_path / "typed.sh"
    (tmp_path / "desk").mkdir()
    with Terminal(tmp_path / "desk", environment) as terminal:
        for block in blocks:
            commands = list(typed(block))
            for step, after in zip(commands, [*commands[1:], None], strict=True):
                # A code other than 0 is meant where the reader is told to look at it next.
                fine = "true" if after is not None and after.command == "echo $?" else "[ $code -eq 0 ]"
                text = f"set +e; (exit ${{code:-0}})\n{step.command}\ncode=$?; set -e; {fine}\n"
                printed = terminal.type(text, scratch)
                assert not missing(step.shown, printed), f"{step.command}\nprinted\n{printed}"


def test_lines_that_were_not_printed_are_noticed() -> None:
    printed = "one is 12 devices\ntwo took 3.4 s\nthree is bb512a99db47"
    assert missing(("one is 12 devices", "…", "three is 0123456789ab"), printed) == []
    assert missing(("two took 9.1 s",), printed) == []
    assert missing(("two …",), printed) == []
    assert missing(("three is bb512a99db47", "one is 12 devices"), printed) == ["one is 12 devices"]
    assert missing(("one is 13 devices",), printed) == ["one is 13 devices"]


@pytest.mark.parametrize("document", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(document: Path) -> None:
    text = _FENCED.sub("", document.read_text("utf-8"))
    targets = [found["target"] for found in _LINK.finditer(text)]
    dead = []
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            dead.append(target)
    assert dead == []


def anchors(document: Path) -> set[str]:
    """Name a document's headings as forges do in links."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", document.read_text("utf-8")), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_are_about_any_machine(document: Path) -> None:
    """No path of the machine it was written on: it means nothing to a reader."""
    places = "|".join(re.escape(str(place)) for place in {ROOT, ROOT.parent, Path.home()} - {Path(ROOT.anchor)})
    # A place begins where a path does: ".edgewright/work/" is not below /work.
    found = re.findall(rf"(?<![\w.~-])(?:{places})/\S*", document.read_text("utf-8"))
    assert found == []


def test_the_field_tables_are_in_step_with_the_kinds() -> None:
    document = ROOT / "docs/reference/specs.md"
    text = document.read_text("utf-8")
    again = f"run: {shlex.join(['python', '-m', 'edgewright_schemas.reference', 'docs/reference/specs.md'])}"
    assert update(text) == text, again


def test_every_decision_has_a_number_of_its_own() -> None:
    names = [path.name for path in sorted((ROOT / "docs/decisions").glob("*.md"))]
    assert [name[:4] for name in names] == [f"{number:04}" for number in range(1, len(names) + 1)]
    for name in names:
        text = (ROOT / "docs/decisions" / name).read_text("utf-8")
        assert text.startswith(f"# {name[:4]} "), name
        assert len(text.splitlines()) <= 40, name
        assert name in (ROOT / "docs/index.md").read_text("utf-8"), f"docs/index.md does not list {name}"


def test_the_architecture_names_files_that_are_there() -> None:
    text = _FENCED.sub("", (ROOT / "docs/explanation/architecture.md").read_text("utf-8"))
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:\.py|/))`", text))
    roots = (ROOT, ROOT / "engine/edgewright")
    assert len(named) > 50, "the walk names files"
    assert [name for name in sorted(named) if not any((root / name).exists() for root in roots)] == []


def test_the_layers_of_contributing_are_those_that_are_held() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert renewed(text, (ROOT / ".importlinter").read_text("utf-8")) == text, "run: python tests/layers.py"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150
