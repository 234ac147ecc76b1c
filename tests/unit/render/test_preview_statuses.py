"""Commit statuses of what is being applied: never green too early, told once, and never in the controller's way."""

from datetime import UTC, datetime, timedelta

import pytest

from edgewright.controller.statuses import StatusReporter
from edgewright.core.address import Address
from edgewright.core.status.conditions import Condition, ConditionType, Status
from edgewright.errors import EdgewrightError, ForgeError, ForgeUnavailable
from fakes.forge import MemoryForge

NEW, OLD = "a" * 40, "b" * 40
MODEL, ROLLOUT = Address("model", "reader"), Address("rollout", "reader")


def stands(kind: ConditionType, revision: str = NEW, message: str = "") -> tuple[Condition, ...]:
    """Conditions of which one is true."""

    def status(of: ConditionType) -> Status:
        return "True" if of == kind else "False"

    types: tuple[ConditionType, ...] = ("Ready", "Reconciling", "Stalled")
    return tuple(Condition(of, status(of), "Because", message, revision) for of in types)


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 5, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.mark.parametrize(
    ("conditions", "state", "words"),
    [
        ({}, "pending", "about to begin"),
        ({MODEL: stands("Ready"), ROLLOUT: stands("Ready")}, "success", "all 2 resources are ready"),
        ({MODEL: stands("Ready"), ROLLOUT: stands("Reconciling")}, "pending", "1 of 2 ready: rollout/reader"),
        # What is ready at the revision before this one has not been looked at yet.
        ({MODEL: stands("Ready"), ROLLOUT: stands("Ready", OLD)}, "pending", "1 of 2 ready: rollout/reader"),
        (
            {MODEL: stands("Stalled", message="a gate failed"), ROLLOUT: stands("Reconciling")},
            "failure",
            "model/reader: a gate failed",
        ),
        (
            {MODEL: (Condition("Ready", "Unknown", "Unreadable", "", NEW),)},
            "error",
            "the status of model/reader is unknown",
        ),
    ],
)
def test_a_status_is_green_only_when_everything_is_ready_at_the_revision(
    conditions: dict[Address, tuple[Condition, ...]], state: str, words: str
) -> None:
    forge = MemoryForge()
    assert StatusReporter(forge, Clock()).report("staging", NEW, conditions) == (state, words)
    (told,) = forge.set[NEW]["edgewright/staging"]
    assert (told.state, told.description) == (state, words)


def test_it_is_told_only_when_it_changes_and_for_each_environment() -> None:
    forge = MemoryForge()
    reporter = StatusReporter(forge, Clock(), url="https://edge.example")
    for _ in range(3):
        reporter.report("", NEW, {MODEL: stands("Reconciling")})
    reporter.report("staging", NEW, {MODEL: stands("Reconciling")})
    reporter.report("", NEW, {MODEL: stands("Ready")})
    reporter.report("", OLD, {MODEL: stands("Ready", OLD)})
    assert [told.state for told in forge.set[NEW]["edgewright"]] == ["pending", "success"]
    assert len(forge.set[NEW]["edgewright/staging"]) == len(forge.set[OLD]["edgewright"]) == 1
    assert forge.set[NEW]["edgewright"][0].url == "https://edge.example"


def test_what_cannot_be_read_is_an_error() -> None:
    forge = MemoryForge()
    StatusReporter(forge, Clock()).report("", NEW, {}, unreadable="the database does not answer")
    assert forge.set[NEW]["edgewright"][0].state == "error"


@pytest.mark.parametrize(
    ("fault", "wait"),
    [(ForgeUnavailable("busy", retry_after=300), 300), (ForgeUnavailable("gone"), 60), (ForgeError("no right"), 60)],
)
def test_a_forges_faults_stay_here_and_it_is_told_later(fault: EdgewrightError, wait: int) -> None:
    forge, clock = MemoryForge(failures=[fault]), Clock()
    reporter = StatusReporter(forge, clock)
    conditions = {MODEL: stands("Ready")}
    assert reporter.report("", NEW, conditions)[0] == "success"
    clock.now += timedelta(seconds=wait - 1)
    reporter.report("", NEW, conditions)
    assert NEW not in forge.set
    clock.now += timedelta(seconds=1)
    reporter.report("", NEW, conditions)
    assert forge.set[NEW]["edgewright"][0].state == "success"


def test_contexts_are_told_apart_by_environment_and_folder_and_from_previews() -> None:
    forge = MemoryForge()
    for environment in ("", "staging", "plan"):
        StatusReporter(forge, Clock()).report(environment, NEW, {})
        StatusReporter(forge, Clock(), folder="eu").report(environment, NEW, {})
    names = ("edgewright", "edgewright/staging", "edgewright/plan environment")
    assert set(forge.set[NEW]) == {*names, *(f"{name} (eu)" for name in names)}
