"""Comments: nothing from outside does anything in them, and they always fit."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from edgewright.core.address import Address
from edgewright.core.gates import GateOutcome
from edgewright.core.planning.plan import Note, Plan, Reason, StartRollout, Train, WavePlan
from edgewright.core.review.findings import ReviewWarning
from edgewright.core.review.previews import EnvironmentPreview, PreviewReport
from edgewright.core.snapshot import Location
from edgewright.errors import Problem
from edgewright.render.preview_markdown import MARKER, description_text, preview_markdown
from edgewright_templates.inert import code, inert
from harness.profiles import examples

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
HEAD, BASE = "a" * 40, "b" * 40
OURS = re.compile(r"<!-- edgewright:preview -->|</?(?:br|sub|details|summary)>")
HOSTILE = (
    "@everyone", "<!-- edgewright:preview -->", "-->", "<img src=x onerror=y>", "![a](http://x.example/i.png)",
    "[a](http://x.example)", "|", "\n| a | b |\n", "\n\n# big\n\n", "`", "``", "```\n", "</details>", "https://x.example",
    "www.x.example", "a@b.example", "#12", "!12", "GH-12", "\\", "\\|", "&lt;img&gt;", "&#64;all", "**b**",
    "\u202e", "\x1b[31m", "/close", "~~x~~", "$`1`$", "\r", "\u2028", "<script>", "<http://x.example>", "- [ ] x",
)  # fmt: skip
TEXTS = st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=8)), max_size=6).map("".join)


def parse(text: str) -> list[Token]:
    """Read Markdown as forges do: with tables, links written out, and HTML."""
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def inline(text: str) -> list[Token]:
    return [child for token in parse(text) for child in token.children or ()]


def report_with(text: str, *, steps: int = 1, problems: int = 0, environments: int = 1) -> PreviewReport:
    """Put one text wherever text from outside may be."""
    address = Address("model", text)
    train = Train(address=address, fingerprint=None, epochs=3, reasons=(Reason(text, text, text),), unless=text)
    rollout = StartRollout(address=address, release=None, key=None, waves=(WavePlan(text, 3, None, 60.0),))
    outcomes = (GateOutcome(text, False, 0.5, 1.0, text),)
    plan = Plan(
        HEAD,
        "",
        "",
        (*(train for _ in range(steps)), rollout),
        (Note(address, "blocked", "X", text),),
        {address: outcomes},
    )
    finding = ReviewWarning("GateLoosened", address, text, Location(text, 3, 1))
    wrong = tuple(Problem(text, n, 1, f"{text} {n}", text) for n in range(problems))
    previews = tuple(
        EnvironmentPreview(f"{text}{n}" if n else text, plan, (finding,), wrong, in_force=text)
        for n in range(environments)
    )
    return PreviewReport(text, BASE, HEAD, previews, (text,), (text,), AT, text)


@settings(max_examples=examples(150), deadline=None)
@given(TEXTS)
def test_text_from_outside_does_nothing(text: str) -> None:
    comment = preview_markdown(report_with(text, problems=1))
    assert comment.startswith(MARKER)
    assert comment.count("<!--") == 1
    assert comment.count("-->") == 1
    assert not re.search(r"(?m)^/", comment)
    headings = [token for token in parse(comment) if token.type == "heading_open"]
    assert len(headings) <= 2
    for token in [*parse(comment), *inline(comment)]:
        assert token.type not in {"image", "link_open", "fence", "code_block", "s_open"}
        if token.type in {"html_inline", "html_block"}:
            assert not OURS.sub("", token.content).strip(), token.content
        if token.type == "code_inline":
            assert "@" not in token.content
        if token.type == "text":
            assert not re.search(r"@[\w{<]|[#!]\d|GH-\d|://|www\.", token.content), token.content


@settings(max_examples=examples(150), deadline=None)
@given(TEXTS)
def test_text_from_outside_stays_in_its_cell(text: str) -> None:
    counts: list[tuple[int, ...]] = []
    for name in ("plain", text):
        cells: list[int] = []
        for token in parse(preview_markdown(report_with(name))):
            if token.type == "tr_open":
                cells.append(0)
            elif token.type in {"td_open", "th_open"}:
                cells[-1] += 1
        counts.append(tuple(cells))
    assert counts[0] == counts[1]


@settings(max_examples=examples(150), deadline=None)
@given(TEXTS)
def test_text_from_outside_can_be_read_as_it_was(text: str) -> None:
    unseen = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
    wanted = unseen.sub("", re.sub(r"[\s\x85]+", " ", text)).strip()
    for written in (inert(text), code(text)):
        shown = "".join(token.content for token in inline(f"x {written} x"))
        assert shown.replace("\u200b", "")[2:-2].strip() == re.sub(" +", " ", wanted).strip() or "  " in wanted


@settings(max_examples=examples(60), deadline=None)
@given(
    TEXTS,
    st.integers(min_value=0, max_value=60),
    st.integers(min_value=0, max_value=60),
    st.integers(min_value=1, max_value=30),
    st.integers(min_value=300, max_value=6000),
)
def test_a_comment_always_fits(text: str, steps: int, problems: int, environments: int, limit: int) -> None:
    report = report_with(text, steps=steps, problems=problems, environments=environments)
    whole, comment = preview_markdown(report), preview_markdown(report, limit)
    assert len(comment) <= limit
    assert comment == whole or len(whole) > limit
    assert comment.startswith(MARKER)
    assert comment.count("<details>") == comment.count("</details>")


def test_what_is_left_out_is_counted_and_warnings_stay() -> None:
    report = report_with("reader", steps=500)
    comment = preview_markdown(report, 4000)
    rows = sum(line.startswith("| ~ |") for line in comment.splitlines())
    (more,) = re.findall(r"and ([\d,]+) more step", comment)
    assert rows + int(more.replace(",", "")) == 501
    assert rows >= 3
    assert "GateLoosened" in comment
    assert "The full plan" in comment
    assert 3000 < len(comment) <= 4000


def test_long_plans_are_folded_away_and_short_ones_are_not() -> None:
    assert "<details>" not in preview_markdown(report_with("reader", steps=2))
    assert "<details><summary>31 steps</summary>\n\n" in preview_markdown(report_with("reader", steps=30))


@pytest.mark.parametrize(
    ("report", "verdict", "words"),
    [
        (PreviewReport("main", BASE, HEAD), "success", "no environment follows main"),
        (PreviewReport("main", BASE, HEAD, conflicts=("a",)), "failure", "conflicts with main in 1 path"),
        (
            PreviewReport("main", BASE, HEAD, (EnvironmentPreview("a", problems=(Problem("x", 1, 1, "no"),)),)),
            "failure",
            "1 problem in the specs",
        ),
        (
            PreviewReport("main", BASE, HEAD, (EnvironmentPreview("a", trouble="no"),)),
            "error",
            "a: could not be planned",
        ),
        (
            PreviewReport("main", BASE, HEAD, (EnvironmentPreview("a", Plan(HEAD, "", "", ())),)),
            "success",
            "a: nothing to do",
        ),
    ],
)
def test_the_status_says_in_short_what_the_comment_says(report: PreviewReport, verdict: str, words: str) -> None:
    assert (report.verdict, description_text(report)) == (verdict, words)
    assert preview_markdown(report).startswith(MARKER)
