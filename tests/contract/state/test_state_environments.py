"""Environments in one store: what they share, and that nothing else of one is seen or held up by another."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from edgewright.core.planning.observed import Champion
from edgewright.core.rollout.state import Controls
from edgewright.errors import LeaseHeld, LeaseLost, StateError
from edgewright.ports import Intent
from harness.state_stores import TTL, State, Subject
from samples.state_values import (
    MODEL,
    NOW,
    ROLLOUT,
    a_report,
    a_rollout,
    an_artifact,
    an_assignment,
    an_event,
    conditions,
)


@pytest.fixture
def staging(subject: Subject) -> State:
    """One environment, whose lease is held."""
    state, take = subject.open("staging")
    take("edgewright serve", NOW)
    return state


@pytest.fixture
def production(subject: Subject, staging: State) -> State:
    """Another one of the same store, whose lease is held by another process."""
    state, take = subject.open("production")
    take("edgewright serve", NOW)
    return state


def test_artifacts_failures_and_durations_are_shared(staging: State, production: State) -> None:
    production.record_failure(an_artifact().fingerprint, "loss is NaN")
    production.record_failure("sha256:f", "no rows")
    staging.record_artifact(an_artifact())
    assert production.artifacts() == {an_artifact().fingerprint: an_artifact()}
    assert production.failures() == staging.failures() == {"sha256:f": "no rows"}
    assert production.durations() == staging.durations() != {}
    production.forget_artifacts([an_artifact().fingerprint])
    assert dict(staging.artifacts()) == {}


def test_everything_else_is_an_environments_own(staging: State, production: State) -> None:
    _fill(staging)
    empty = {name: (read(production) or None) for name, read in OWN.items()}
    assert empty == dict.fromkeys(OWN), "production sees nothing of it"
    assert all(read(staging) for read in OWN.values())
    before = {name: read(staging) for name, read in OWN.items()}

    champion = Champion("p2", "e2", "f2", "fp32")
    production.save_rollout_with_assignments(
        ROLLOUT, a_rollout("lane-1", "lane-5"), [an_assignment("lane-1", 1)], [an_event(7)], ("reader", champion)
    )
    production.record_reports([a_report("lane-1", 1)])
    production.set_managed({ROLLOUT: True})
    production.enroll({"lane-1": {"ring": "other"}})
    production.unenroll(["lane-1"])
    production.begin(Intent("train a", "train", str(MODEL), {"other": 1}, NOW))
    production.finish("train a", "done")
    assert production.use_plan("plan-1", NOW + timedelta(days=1))
    production.request_controls(ROLLOUT, Controls(aborted=True))
    production.take_controls({ROLLOUT: Controls(aborted=True)})
    production.take_controls({ROLLOUT: Controls(paused=True)})
    production.mark_published({"lane-1": 1})
    production.set_conditions({})
    production.set_notified("chat", 0)
    production.signal("reconcile")
    production.prune_history(keep=0)
    assert {name: read(staging) for name, read in OWN.items()} == before
    assert (production.last_event(), staging.last_event()) == (1, 2)


def _fill(state: State) -> None:
    rollout = a_rollout("lane-1", "lane-2")
    state.save_rollout_with_assignments(
        ROLLOUT,
        rollout,
        [an_assignment("lane-1", 5)],
        [an_event(1), an_event(2)],
        ("reader", Champion("p", "e", "f", "int8")),
    )
    state.record_reports([a_report("lane-1", 3)])
    state.set_managed({MODEL: False})
    state.enroll({"lane-1": {"ring": "canary"}})
    state.begin(Intent("train a", "train", str(MODEL), {}, NOW))
    state.use_plan("plan-1", NOW)
    state.request_controls(ROLLOUT, Controls(paused=True))
    state.set_last_revision("abc")
    state.accept_revision("def")
    state.set_conditions({MODEL: conditions("UpToDate")})
    state.set_notified("chat", 2)
    state.signal("reconcile")


OWN: dict[str, Callable[[State], object]] = {
    "champions": lambda s: dict(s.champions()),
    "summaries": lambda s: dict(s.rollout_summaries()),
    "rollout": lambda s: s.rollout(ROLLOUT),
    "assignments": lambda s: dict(s.assignments()),
    "chosen assignments": lambda s: dict(s.assignments(["lane-1"])),
    "reports": lambda s: dict(s.reports()),
    "chosen reports": lambda s: dict(s.reports(["lane-1"])),
    "sequences": lambda s: dict(s.report_sequences()),
    "managed": lambda s: dict(s.managed()),
    "intents": lambda s: list(s.open_intents()),
    "plan": lambda s: s.plan_used("plan-1"),
    "events": lambda s: list(s.events()),
    "events of an address": lambda s: list(s.events(address=str(MODEL))),
    "events after": lambda s: list(s.events_after(0)),
    "last event": lambda s: s.last_event(),
    "last revision": lambda s: s.last_revision(),
    "accepted revision": lambda s: s.accepted_revision(),
    "enrolled": lambda s: dict(s.enrolled()),
    "controls": lambda s: dict(s.requested_controls()),
    "conditions": lambda s: {address: tuple(found) for address, found in s.conditions().items()},
    "notified": lambda s: dict(s.notified()),
    "signals": lambda s: dict(s.signals()),
}
"""What each environment has for itself, and how it is read."""


def test_the_version_changes_with_what_the_environment_sees(staging: State, production: State) -> None:
    version = production.version()
    _fill(staging)
    assert production.version() == version, "what staging has for itself is none of its business"
    seen = {version}
    changes: list[Callable[[], object]] = [
        lambda: staging.record_artifact(an_artifact()),
        lambda: staging.record_artifact(replace(an_artifact(), seconds=1.0)),
        lambda: staging.record_failure("sha256:f", "no rows"),
        lambda: staging.forget_artifacts([an_artifact().fingerprint]),
        lambda: production.set_last_revision("abc"),
    ]
    for change in changes:
        change()
        assert production.version() not in seen
        seen.add(production.version())


def test_leases_are_independent(subject: Subject, staging: State, production: State) -> None:
    other, take = subject.open("staging")
    with pytest.raises(LeaseHeld):
        take("a second controller", NOW)
    take("a second controller", NOW + TTL)
    with pytest.raises(LeaseLost):
        staging.record_artifact(an_artifact())
    production.record_artifact(an_artifact())
    other.set_last_revision("abc")
    assert (other.last_revision(), production.last_revision()) == ("abc", None)


def test_writing_artifacts_needs_the_lease_of_ones_own_environment(subject: Subject, staging: State) -> None:
    preview, _ = subject.open("preview")
    with pytest.raises(StateError, match="lease"):
        preview.record_artifact(an_artifact())
    staging.record_artifact(an_artifact())
    assert list(preview.artifacts()) == [an_artifact().fingerprint]
