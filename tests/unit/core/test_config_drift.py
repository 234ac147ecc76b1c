"""Drift as a function of plain values: what is compared, what heals by itself, what nobody may repair."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from edgewright.core.address import Address
from edgewright.core.config_drift import (
    CONFIG_DRIFTED,
    TRY_AGAIN,
    ConfigDrift,
    DriftInputs,
    DriftRollout,
    RecordedAssignment,
    Remedy,
    RepositoryFault,
    RepositoryInspection,
    describe_drifts,
    find_config_drift,
)
from edgewright.core.rollout.repair import reassign
from edgewright.core.rollout.state import DeviceProgress, DeviceState, Phase, Rejection, Release, RolloutState
from edgewright_wire.canonical import digest_bytes
from edgewright_wire.messages import Assignment, Blob, ModelAssignment, ModelReport, Report
from edgewright_wire.messages import Phase as DevicePhase

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ROLLOUT = Address("rollout", "reader")
HERE = Address("repository", "shop")
GOOD, OTHER = digest_bytes(b"good"), digest_bytes(b"other")
RELEASE = Release("release-good", GOOD, 700, 100_000)


def _assignment(version: int = 3, release: Release | None = RELEASE, device: str = "lane-1") -> Assignment:
    models = (
        ()
        if release is None
        else (
            ModelAssignment(
                model="reader",
                package=Blob(digest=release.package, size=release.manifest_size),
                release=release.fingerprint,
            ),
        )
    )
    return Assignment(device=device, version=version, models=models)


def _report(*, taken: int = 3, **said: Any) -> Report:
    given: dict[str, Any] = {
        "model": "reader",
        "phase": DevicePhase.VERIFIED,
        "release": RELEASE.fingerprint,
        "active": GOOD,
        "active_release": RELEASE.fingerprint,
        "verified": GOOD,
    }
    return Report(
        device="lane-1",
        sequence=9,
        sent_at=NOW,
        agent_version="1",
        assignment_version=taken,
        models=(ModelReport(**{**given, **said}),),
    )


def _facts(
    report: Report | None,
    progress: DeviceProgress | None = None,
    *,
    phase: Phase = Phase.SUCCEEDED,
    held: str = "",
    assignment: Assignment | None = None,
    rejected: tuple[Rejection, ...] = (),
) -> DriftInputs:
    progress = progress or DeviceProgress(DeviceState.VERIFIED, after=2, release=RELEASE, verified=RELEASE)
    state = RolloutState(RELEASE, "key", phase, devices={"lane-1": progress}, rejected=rejected)
    assignment = assignment or _assignment()
    there = {"lane-1": (assignment.version, digest_bytes(assignment.to_bytes()))}
    return DriftInputs(
        repository=HERE,
        rollouts={ROLLOUT: DriftRollout("reader", state, held)},
        assignments={"lane-1": RecordedAssignment(assignment, published=True)},
        reports={"lane-1": report} if report else {},
        inspection=RepositoryInspection(there),
    )


def _only(facts: DriftInputs) -> ConfigDrift:
    (found,) = find_config_drift(facts)
    return found


def test_a_device_that_runs_what_it_should_has_not_drifted() -> None:
    assert find_config_drift(_facts(_report())) == ()
    assert find_config_drift(_facts(None)) == (), "silence is no drift"


@pytest.mark.parametrize(
    ("said", "field", "expected", "found"),
    [
        ({"active": OTHER, "verified": OTHER}, "package", GOOD, OTHER),
        ({"active": None, "active_release": None, "verified": None}, "package", GOOD, None),
        ({"active_release": "release-else"}, "release", "release-good", "release-else"),
        ({"verified": None, "phase": DevicePhase.FAILED}, "verified", GOOD, None),
    ],
)
def test_a_device_that_lost_what_it_had_is_assigned_it_again(
    said: dict[str, Any], field: str, expected: str, found: str | None
) -> None:
    drift = _only(_facts(_report(**said)))
    assert (drift.remedy, drift.address, drift.name) == (Remedy.ASSIGN, ROLLOUT, "lane-1")
    assert (drift.field, drift.expected, drift.found) == (field, expected, found)


LOST: dict[str, Any] = {"active": OTHER, "verified": OTHER}


def test_what_an_agent_does_by_itself_is_left_to_it() -> None:
    late = _only(_facts(_report(taken=2, **LOST)))
    busy = _only(_facts(_report(phase=DevicePhase.FETCHING, **LOST)))
    nothing = DeviceProgress(DeviceState.ROLLED_BACK, after=2, release=None)
    leaving = _only(_facts(_report(), nothing, assignment=_assignment(release=None)))
    assert [drift.remedy for drift in (late, busy, leaving)] == [Remedy.ITSELF] * 3
    assert "assignment 3" in late.detail


@pytest.mark.parametrize("phase", [p for p in Phase if p not in {Phase.SUCCEEDED, Phase.FAILED, Phase.ABORTED}])
def test_a_rollout_under_way_judges_its_own_devices(phase: Phase) -> None:
    assert find_config_drift(_facts(_report(**LOST), phase=phase)) == ()


@pytest.mark.parametrize("state", [DeviceState.PENDING, DeviceState.FETCHING, DeviceState.DEFERRED])
def test_a_device_that_is_changing_has_not_drifted(state: DeviceState) -> None:
    assert find_config_drift(_facts(_report(**LOST), DeviceProgress(state, release=RELEASE))) == ()


def test_a_device_that_never_took_the_release_has_not_lost_it() -> None:
    failed = DeviceProgress(DeviceState.FAILED, release=RELEASE, verified=None, reason="ProbeMismatch")
    assert find_config_drift(_facts(_report(**LOST), failed)) == ()


def test_a_pause_and_a_rejection_forbid_the_repair() -> None:
    held = _only(_facts(_report(**LOST), held="the rollout is paused"))
    assert (held.remedy, held.detail) == (Remedy.PERSON, "the rollout is paused")
    rejection = Rejection("key", RELEASE.fingerprint, GOOD, NOW, "DevicesFailed")
    refused = _only(_facts(_report(**LOST), phase=Phase.FAILED, rejected=(rejection,)))
    assert refused.remedy is Remedy.PERSON
    assert "rejected" in refused.detail


def test_a_repair_that_failed_is_tried_again_later_and_one_that_held_at_once() -> None:
    failed = DeviceProgress(
        DeviceState.FAILED, assigned_at=NOW, release=RELEASE, verified=RELEASE, reason="ProbeMismatch"
    )
    assert _only(_facts(_report(**LOST), failed)).not_before == NOW + TRY_AGAIN
    lost = replace(failed, reason="VerificationLost")
    assert _only(_facts(_report(**LOST), lost)).not_before is None


def test_a_device_from_the_future_gets_a_version_beyond_it_if_that_can_be_true() -> None:
    drift = _only(_facts(_report(taken=8)))
    assert (drift.remedy, drift.expected, drift.found) == (Remedy.ASSIGN, "version 3", "version 8")
    assert _only(_facts(_report(taken=10**15))).remedy is Remedy.PERSON


def test_a_model_nobody_assigned_is_told_of_and_stays() -> None:
    facts = replace(_facts(_report()), rollouts={}, assignments={}, inspection=RepositoryInspection())
    assert find_config_drift(facts) == (), "a device of no fleet is nobody's"
    drift = _only(replace(facts, fleets={"lane-1": Address("fleet", "lanes")}))
    assert (drift.field, drift.found, drift.remedy) == ("model reader", GOOD, Remedy.PERSON)


@pytest.mark.parametrize(
    ("there", "remedy"),
    [
        ({}, Remedy.WRITE),
        ({"lane-1": (2, OTHER)}, Remedy.WRITE),
        ({"lane-1": (4, OTHER)}, Remedy.PERSON),
        ({"lane-1": (3, OTHER)}, Remedy.PERSON),
    ],
)
def test_assignments_that_are_gone_or_older_are_published_again_and_newer_ones_stay(
    there: Mapping[str, tuple[int, str]], remedy: Remedy
) -> None:
    drift = _only(replace(_facts(_report()), inspection=RepositoryInspection(there)))
    assert (drift.subject, drift.name, drift.remedy) == ("assignment", "lane-1", remedy)


def test_an_assignment_on_its_way_out_is_not_missed_and_an_unknown_one_is_kept() -> None:
    facts = _facts(_report())
    waiting = {"lane-1": RecordedAssignment(_assignment(), published=False)}
    assert find_config_drift(replace(facts, assignments=waiting, inspection=RepositoryInspection())) == ()
    known = dict(facts.inspection.assigned)
    drift = _only(replace(facts, inspection=RepositoryInspection({**known, "lane-9": (1, OTHER)})))
    assert (drift.name, drift.expected, drift.remedy, drift.address) == ("lane-9", None, Remedy.PERSON, HERE)


def test_files_are_put_right_by_whoever_has_them_and_metadata_by_a_person() -> None:
    facts = replace(_facts(_report()), packages={GOOD: (Address("model", "reader"), "fingerprint")})
    flaws = (
        RepositoryFault("package", GOOD, "blobs/sha256/aa", GOOD, None),
        RepositoryFault("package", OTHER, "blobs/sha256/bb", OTHER, None),
        RepositoryFault("assignment", "lane-1", "targets/assignments/cc.lane-1.json", GOOD, OTHER),
        RepositoryFault("configuration", OTHER, "blobs/sha256/dd", OTHER, "3 bytes"),
    )
    found = find_config_drift(replace(facts, inspection=replace(facts.inspection, flaws=flaws)))
    assert {d.name.rpartition("/")[2]: d.remedy for d in found} == {
        "aa": Remedy.PUBLISH,
        "bb": Remedy.PERSON,
        "cc.lane-1.json": Remedy.WRITE,
        "dd": Remedy.WRITE,
    }
    bad = RepositoryInspection(
        flaws=(RepositoryFault("metadata", "timestamp", "metadata/timestamp.json", "version 9", "version 4"),)
    )
    drift = _only(replace(facts, inspection=bad))
    assert (drift.field, drift.remedy) == ("metadata", Remedy.PERSON), "nothing else there means anything then"


def test_many_are_said_in_a_bounded_line() -> None:
    drift = _only(_facts(_report(**LOST)))
    assert describe_drifts([drift] * 944).endswith("; and 941 more")
    assert describe_drifts([drift]).startswith(f"lane-1 package: expected {GOOD[7:19]}, found {OTHER[7:19]}")


def test_a_repair_is_under_way_until_the_device_shows_it() -> None:
    facts = _facts(_report(**LOST))
    state = reassign(facts.rollouts[ROLLOUT].state, {"lane-1": (4, "found another")}, NOW)
    progress = state.devices["lane-1"]
    assert (progress.state, progress.after, progress.reason) == (DeviceState.OFFERED, 3, CONFIG_DRIFTED)
    view = replace(facts.rollouts[ROLLOUT], state=state)
    again = {"lane-1": RecordedAssignment(_assignment(4), published=False)}
    assert _only(replace(facts, rollouts={ROLLOUT: view}, assignments=again)).remedy is Remedy.UNDER_WAY


def test_a_device_that_was_sent_back_goes_back_again_and_a_running_rollout_is_left_alone() -> None:
    older = Release("release-old", OTHER, 700, 100_000)
    state = _facts(None, DeviceProgress(DeviceState.ROLLED_BACK, release=older)).rollouts[ROLLOUT].state
    again = reassign(replace(state, phase=Phase.FAILED), {"lane-1": (4, "")}, NOW + timedelta(hours=1))
    assert again.devices["lane-1"].state is DeviceState.RETURNING
    running = replace(state, phase=Phase.ROLLING)
    assert reassign(running, {"lane-1": (4, "")}, NOW) == running
