"""The table of reasons: it knows every reason the engine gives, and the page for people says the same."""

import ast
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import get_args

import pytest

from edgewright.core.config_drift import is_config_drift
from edgewright.core.rollout.state import ENDED, Phase
from edgewright.core.status.events import Event
from edgewright.core.status.notifications import severity_of
from edgewright.core.status.reasons import REASONS, current_reason
from edgewright.core.status.source import SourceReason
from paths import ROOT

PARTS = ("core", "reconcile", "controller", "server")
ARGUMENTS = {
    "Event": 1,
    "RolloutEvent": 0,
    "emit": 0,
    "event": 0,
    "_event": 0,
    "note": 2,
    "Note": 2,
    "enter": 1,
    "RolloutFailure": 0,
    "_pause": 1,
}
"""Calls that give a reason, and which of their arguments it is."""


def texts(node: ast.expr, constants: dict[str, str]) -> Iterator[str]:
    """The texts an argument may be, as far as they are written down: constants, by name too, and choices of them."""
    match node:
        case ast.Constant(value=str(text)) if text:
            yield text
        case ast.Name(id=name) if name in constants:
            yield constants[name]
        case ast.IfExp(body=body, orelse=orelse):
            yield from texts(body, constants)
            yield from texts(orelse, constants)


def given() -> dict[str, str]:
    """Every reason in the code, and where it is."""
    trees = {f: ast.parse(f.read_text()) for part in PARTS for f in (ROOT / "engine/edgewright" / part).rglob("*.py")}
    constants = {
        target.id: node.value.value
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = {}
    for file, tree in trees.items():
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call):
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            position = ARGUMENTS.get(name)
            arguments = call.args[position : position + 1] if position is not None else []
            arguments += [keyword.value for keyword in call.keywords if name == "enter" and keyword.arg == "event"]
            for argument in arguments:
                for text in texts(argument, constants):
                    found[text] = f"{file.relative_to(ROOT)}:{call.lineno}"
    return found


def test_every_reason_in_the_code_has_a_severity_and_a_meaning() -> None:
    reasons = given()
    assert {"StepFailed", "GateFailed", "WavePassed", "DevicesFailed", "ReleaseRejected", "NotificationFailed"} <= set(
        reasons
    )
    unknown = {reason: where for reason, where in reasons.items() if reason not in REASONS}
    assert unknown == {}, "list them in core/status/reasons.py"


def test_phases_and_standings_are_reasons_too() -> None:
    phases = {phase.value[0].upper() + phase.value[1:] for phase in set(Phase) - ENDED}
    assert phases <= set(REASONS)
    assert set(filter(None, get_args(SourceReason))) <= set(REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_the_page_says_what_each_reason_means(reason: str) -> None:
    severity, words = REASONS[reason]
    page = (ROOT / "docs/reference/status.md").read_text(encoding="utf-8")
    line = f"| `{reason}` | {severity} | {words} |\n"
    assert line in page, "put this line into the table at the end of the page, in the order of core/reasons.py"


def test_the_page_lists_nothing_else() -> None:
    page = (ROOT / "docs/reference/status.md").read_text(encoding="utf-8")
    listed = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `") and line.count("|") == 4]
    assert listed == list(REASONS)


def test_a_reason_by_its_earlier_name_is_still_known() -> None:
    assert current_reason("Drifted") == "ConfigDrifted"
    assert {current_reason(reason) for reason in REASONS} == set(REASONS)
    event = Event(datetime(2026, 3, 1, tzinfo=UTC), "Drifted", "rollout/reader", "lane-1 package: expected a, found b")
    assert severity_of(event) == "warning"
    assert is_config_drift("Drifted") and is_config_drift("ConfigDrifted") and not is_config_drift("Offline")
