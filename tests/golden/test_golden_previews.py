"""Comments as data: every file below ``previews`` is a pull request, and beside it lies the comment it gets."""

import os
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from edgewright.render.preview_markdown import MARKER
from samples.plan_cases import read_yaml
from samples.preview_cases import PreviewCase

PREVIEWS = Path(__file__).parent / "previews"


@pytest.mark.parametrize("path", sorted(PREVIEWS.glob("*.yaml")), ids=lambda path: path.stem)
def test_preview(path: Path) -> None:
    found = PreviewCase(path, read_yaml(path.read_text())).comment()
    written = path.with_suffix(".md")
    if os.environ.get("UPDATE_GOLDEN"):
        written.write_text(found)
    assert found == written.read_text()


@pytest.mark.parametrize("path", sorted(PREVIEWS.glob("*.md")), ids=lambda path: path.stem)
def test_a_preview_is_what_it_looks_like(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(MARKER)
    assert text.count("<details>") == text.count("</details>")
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    rows, columns = 0, 0
    for token in tokens:
        if token.type == "tr_open":
            rows, columns = rows + 1, 0
        if token.type in {"td_open", "th_open"}:
            columns += 1
    # A row that is no row any more would be a paragraph that begins with a bar.
    assert not [token.content for token in tokens if token.type == "inline" and token.content.startswith("|")]
    assert rows == sum(line.startswith("| ") for line in text.splitlines())
