"""What devices say of actions, and what is believed of it."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Proof
from edgewright.core.fleet.twins import Stage, Twin
from edgewright.delivery.evidence import nonce_of
from edgewright.delivery.served.ddi import actions
from edgewright.delivery.served.ddi.actions import (
    MAX_CLAIMS,
    ActionStatus,
    apply_cancellation_feedback,
    apply_feedback,
    fetched,
    notes_of,
    offered,
)
from edgewright.delivery.served.ddi.messages import Execution, Feedback, Finished
from edgewright_wire.evidence import Evidence
from edgewright_wire.messages import Assignment, Blob, ModelAssignment, ModelReport, Phase, ProbeResult

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PROBE = ProbeResult(passed=True, samples=5, max_error=0.0, atol=0.001, runtime="onnxruntime 1.20.0")
EVERYTHING = Feedback(Execution.PROCEEDING, everything=True)
SUCCESS = Feedback(Execution.CLOSED, Finished.SUCCESS)
FAILURE = Feedback(Execution.CLOSED, Finished.FAILURE, details=("ERROR : something broke",))


def a_target(name: str) -> ModelAssignment:
    return ModelAssignment(
        model="reader", package=Blob(digest="sha256:" + name * 64, size=10), release=f"release-{name}"
    )


A, B = a_target("a"), a_target("b")


def assigned(version: int, target: ModelAssignment, twin: Twin | None = None) -> Twin:
    before = twin or Twin("lane-1", "ddi")
    changed = twins.assign(before, Assignment(device="lane-1", version=version, models=(target,)), NOW)
    return twins.seen(changed, NOW)


def at_work(target: ModelAssignment = A, *, whole: bool = True, version: int = 1, twin: Twin | None = None) -> Twin:
    found = assigned(version, target, twin)
    assert found.job is not None
    found = offered(found, found.job.number, "bundle", NOW)
    return fetched(found, found.jobs, NOW) if whole else found


def showing(target: ModelAssignment, *, order: ModelAssignment | None = None, **changes: object) -> Feedback:
    digest = target.package.digest
    sound = ModelReport(
        model="reader", phase=Phase.VERIFIED, release=target.release, installed=digest, active=digest,
        active_release=target.release, verified=digest, probe=PROBE,
    ).model_copy(update=changes)  # fmt: skip
    evidence = Evidence(nonce=nonce_of("reader", order or target), model=sound).to_bytes()
    encoded = base64.b64encode(evidence).decode()
    parts = [encoded[at : at + 200] for at in range(0, len(encoded), 200)]
    lines = [f"ERROR : edgewright-evidence 7 {n}/{len(parts)} {part}" for n, part in enumerate(parts, 1)]
    return Feedback(Execution.PROCEEDING, details=tuple(lines))


def say(twin: Twin, *said: Feedback, wanted: Proof = Proof.VERIFIED) -> Twin:
    number = twin.jobs
    for each in said:
        twin = apply_feedback(twin, number, each, wanted, NOW)
    return twin


def failed(twin: Twin) -> str:
    known = twin.model("reader").failed
    return known.reason if known is not None else ""


@pytest.mark.parametrize("end", [[EVERYTHING], [SUCCESS], [FAILURE], [Feedback(Execution.CLOSED)]])
def test_what_the_script_has_proved_is_so_whatever_else_is_said(end: Sequence[Feedback]) -> None:
    twin = say(at_work(), showing(A), *end)

    model = twin.model("reader")
    assert (model.installed, model.proof, model.probe, twin.job) == (A, Proof.VERIFIED, PROBE, None)


@pytest.mark.parametrize("said", [SUCCESS, Feedback(Execution.CLOSED)])
def test_success_without_evidence_is_not_proved_and_what_ran_before_is_put_back(said: Feedback) -> None:
    before = say(at_work(A), showing(A), EVERYTHING)
    twin = say(at_work(B, version=2, twin=before), said)

    assert failed(twin) == "NotProved"
    assert twin.job is not None
    assert twin.job.target == A
    assert twin.model("reader").installed is None


def test_a_client_that_shows_nothing_again_and_again_is_given_up() -> None:
    twin = say(at_work(), *[EVERYTHING] * (MAX_CLAIMS - 1))
    assert twin.job is not None

    assert failed(say(twin, EVERYTHING)) == "NotProved"


def test_evidence_before_anything_was_fetched_does_not_count() -> None:
    twin = say(at_work(whole=False), showing(A), EVERYTHING)

    assert twin.model("reader").installed is None
    twin = say(twin, SUCCESS)
    assert twin.job is not None, "clients without memory say so when they start"
    assert failed(say(twin, SUCCESS)) == "NotProved"


def test_evidence_of_an_earlier_fetch_does_not_count_for_a_later_one() -> None:
    twin = say(at_work(), showing(A))
    twin = say(fetched(twin, twin.jobs, NOW), SUCCESS)

    assert failed(twin) == "NotProved"


def test_evidence_of_something_else_is_a_contradiction() -> None:
    assert failed(say(at_work(A), showing(B, order=A), SUCCESS)) == "Contradiction"
    assert failed(say(at_work(A), showing(B), SUCCESS)) == "NotProved", "it is of another order"


def test_the_installers_reason_is_told() -> None:
    refusal = showing(A, phase=Phase.FAILED, reason="ProbeMismatch", message="off by 3", active=None)
    twin = say(at_work(), refusal, FAILURE)

    known = twin.model("reader").failed
    assert known is not None
    assert (known.reason, known.message) == ("ProbeMismatch", "off by 3")


def test_errors_said_on_the_way_explain_a_failure() -> None:
    on_the_way = Feedback(Execution.PROCEEDING, details=("[x] : y", "ERROR : HASH mismatch : 1 <--> 2"))
    twin = say(at_work(), on_the_way, FAILURE)

    known = twin.model("reader").failed
    assert known is not None
    assert known.reason == "DigestMismatch"
    assert known.message == "HASH mismatch : 1 <--> 2; something broke"


def test_without_an_installer_the_client_is_believed_that_it_is_there() -> None:
    for end in (EVERYTHING, SUCCESS):
        twin = say(at_work(), end, wanted=Proof.INSTALLED)
        assert (twin.model("reader").installed, twin.model("reader").proof) == (A, Proof.INSTALLED)


def test_other_actions_change_nothing() -> None:
    twin = at_work()

    assert apply_feedback(twin, twin.jobs + 1, SUCCESS, Proof.INSTALLED, NOW) == twin
    assert apply_cancellation_feedback(twin, twin.jobs, SUCCESS, Proof.INSTALLED, NOW) == twin, "it was not cancelled"
    done = say(twin, showing(A), SUCCESS)
    assert apply_feedback(done, twin.jobs, FAILURE, Proof.VERIFIED, NOW) == done


def test_an_action_stands_as_it_does() -> None:
    twin = at_work()
    assert [actions.status_of(twin, number) for number in (0, 1, 2)] == [
        ActionStatus.UNKNOWN,
        ActionStatus.OPEN,
        ActionStatus.UNKNOWN,
    ]
    ended = say(twin, showing(A), EVERYTHING)
    assert actions.status_of(ended, 1) is ActionStatus.SETTLED, (
        "the device has still to say that all chunks are installed"
    )
    assert actions.status_of(apply_feedback(ended, 1, SUCCESS, Proof.VERIFIED, NOW), 1) is ActionStatus.CLOSED
    assert ended.memo.keys() == {"settled"}


# ── calling off ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_device_that_stopped_in_time_is_at_rest() -> None:
    twin = twins.cancel(at_work(whole=False), NOW)
    assert actions.is_cancelling(twin)

    twin = apply_cancellation_feedback(twin, 1, SUCCESS, Proof.VERIFIED, NOW)

    assert (twin.job, failed(twin)) == (None, "Cancelled")


def test_what_was_proved_counts_though_it_was_called_off() -> None:
    twin = apply_cancellation_feedback(say(twins.cancel(at_work(), NOW), showing(A)), 1, SUCCESS, Proof.VERIFIED, NOW)

    assert (twin.model("reader").installed, twin.model("reader").proof) == (A, Proof.VERIFIED)


def test_what_may_have_been_installed_is_put_back() -> None:
    before = say(at_work(A), showing(A), EVERYTHING)
    twin = twins.cancel(at_work(B, version=2, twin=before), NOW)

    twin = apply_cancellation_feedback(twin, twin.jobs, SUCCESS, Proof.VERIFIED, NOW)

    assert twin.job is not None
    assert (twin.job.target, twin.model("reader").installed, failed(twin)) == (A, None, "Cancelled")


def test_a_device_that_is_too_late_may_end_what_it_does() -> None:
    twin = twins.cancel(at_work(), NOW)
    twin = apply_cancellation_feedback(twin, 1, Feedback(Execution.REJECTED), Proof.VERIFIED, NOW)
    assert not actions.is_cancelling(twin)
    assert notes_of(twin).late

    assert say(twin, showing(A), SUCCESS).model("reader").proof is Proof.VERIFIED


@pytest.mark.parametrize("said", [FAILURE, Feedback(Execution.CANCELED), Feedback(Execution.REJECTED)])
def test_a_failure_of_what_was_called_off_is_no_news(said: Feedback) -> None:
    twin = say(twins.cancel(at_work(whole=False), NOW), said)

    assert (twin.job, failed(twin)) == (None, "Cancelled")


@pytest.mark.parametrize(("execution", "reason"), [(Execution.REJECTED, "Rejected"), (Execution.CANCELED, "Cancelled")])
def test_a_device_may_refuse(execution: Execution, reason: str) -> None:
    assert failed(say(at_work(whole=False), Feedback(execution))) == reason


def test_stages_only_go_on() -> None:
    twin = say(at_work(), Feedback(Execution.PROCEEDING), Feedback(Execution.DOWNLOAD), Feedback(Execution.SCHEDULED))

    assert twin.job is not None
    assert twin.job.stage is Stage.INSTALLING
