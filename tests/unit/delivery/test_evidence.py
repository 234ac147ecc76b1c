"""What evidence proves, and what follows for the device's twin."""

import json
from datetime import UTC, datetime

import pytest

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Proof
from edgewright.core.fleet.twins import ModelTwin, Stage, Twin
from edgewright.delivery.evidence import Contradiction, Refused, Verified, assess, nonce_of, settle
from edgewright_wire.evidence import Evidence
from edgewright_wire.messages import Assignment, Blob, ModelAssignment, ModelReport, Phase, ProbeResult

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PROBE = ProbeResult(passed=True, samples=5, max_error=0.0, atol=0.001, runtime="onnxruntime 1.20.0")


def a_target(name: str) -> ModelAssignment:
    return ModelAssignment(
        model="reader", package=Blob(digest="sha256:" + (name * 64)[:64], size=10), release=f"release-{name}"
    )


A, B = a_target("a"), a_target("b")
NONCE = nonce_of("reader", A)


def shown(target: ModelAssignment, **changes: object) -> ModelReport:
    digest = target.package.digest
    sound = ModelReport(
        model="reader",
        phase=Phase.VERIFIED,
        release=target.release,
        installed=digest,
        active=digest,
        active_release=target.release,
        verified=digest,
        probe=PROBE,
    )
    return sound.model_copy(update=changes)


def line(model: ModelReport, nonce: str = NONCE) -> str:
    return Evidence(nonce=nonce, model=model).to_bytes().decode()


def test_sound_evidence_verifies() -> None:
    assert assess("reader", A, NONCE, line(shown(A))) == Verified(PROBE)
    assert assess("reader", A, NONCE, Evidence(nonce=NONCE, model=shown(A))) == Verified(PROBE)


def test_evidence_is_found_however_a_client_passes_it_on() -> None:
    said = line(shown(A))
    pieces = [said[at : at + 100] for at in range(0, len(said), 100)]
    quoted = f"level=info msg={json.dumps('Output (stdout): ' + said)}"
    for texts in (
        ["begin", f"[INFO ] script says: {said} (end)", "done"],
        ["begin", *pieces, "done"],
        [quoted],
        ['{"evidence":1', '{"evidence":2,"model":{}}', '{"evidence":[[[', said],
    ):
        assert assess("reader", A, NONCE, texts) == Verified(PROBE), texts


def test_evidence_of_another_order_does_not_count() -> None:
    assert assess("reader", A, NONCE, line(shown(A), nonce_of("reader", B))) is None
    assert assess("reader", A, NONCE, ["installed", "all is well"]) is None
    assert assess("reader", A, NONCE, "") is None


def test_the_last_evidence_of_the_order_counts() -> None:
    refused = shown(A, phase=Phase.FAILED, reason="NoSpace", message="disk is full", verified=None, active=None)
    assert assess("reader", A, NONCE, [line(refused), line(shown(A))]) == Verified(PROBE)
    assert assess("reader", A, NONCE, [line(shown(A)), line(refused)]) == Refused("NoSpace", "disk is full", PROBE)


@pytest.mark.parametrize(
    "changes",
    [
        {"active": B.package.digest, "active_release": B.release, "verified": B.package.digest},
        {"active_release": B.release},
        {"release": B.release},
        {"verified": None},
        {"phase": Phase.INSTALLED},
        {"probe": None},
        {"probe": PROBE.model_copy(update={"passed": False})},
        {"active": None, "active_release": None},
        {"model": "other"},
    ],
)
def test_evidence_of_something_else_contradicts(changes: dict[str, object]) -> None:
    assert isinstance(assess("reader", A, NONCE, line(shown(A, **changes))), Contradiction)


def test_a_removal_is_proved_by_nothing_being_active() -> None:
    nonce = nonce_of("reader", None)
    gone = ModelReport(model="reader", phase=Phase.IDLE)
    assert assess("reader", None, nonce, line(gone, nonce)) == Verified(None)
    assert isinstance(assess("reader", None, nonce, line(shown(A), nonce)), Contradiction)


def test_each_order_has_its_own_nonce() -> None:
    nonces = {nonce_of("reader", A), nonce_of("reader", B), nonce_of("reader", None), nonce_of("writer", None)}
    assert len(nonces) == 4
    assert nonce_of("reader", a_target("a")) == NONCE


def at_work(target: ModelAssignment | None, before: ModelAssignment | None = None) -> Twin:
    """A device that is at bringing one model to ``target``."""
    models = (ModelTwin("reader", before, Proof.VERIFIED),) if before else ()
    wanted = Assignment(device="lane-1", version=4, models=(target,) if target else ())
    twin = twins.seen(twins.assign(Twin("lane-1", "ddi", models=models), wanted, NOW), NOW)
    assert twin.job is not None and twin.job.target == target
    return twins.move(twin, twin.job.number, Stage.INSTALLING, NOW)


def settled(twin: Twin, *, succeeded: bool = True, wanted: Proof = Proof.VERIFIED, said: str = "") -> Twin:
    job = twin.job
    assert job is not None
    verdict = assess(job.model, job.target, nonce_of(job.model, job.target), said)
    return settle(twin, job.number, NOW, wanted=wanted, succeeded=succeeded, verdict=verdict, words="it says so")


def phase_of(twin: Twin) -> tuple[Phase, str]:
    report = twins.report_of(twin, "test")
    assert report is not None
    model = report.model("reader")
    assert model is not None
    return model.phase, model.reason


def test_success_counts_as_verified_with_evidence_alone() -> None:
    assert phase_of(settled(at_work(A), said=line(shown(A)))) == (Phase.VERIFIED, "")
    assert phase_of(settled(at_work(A))) == (Phase.FAILED, "NotProved")
    assert phase_of(settled(at_work(A), wanted=Proof.INSTALLED)) == (Phase.INSTALLED, "")
    assert phase_of(settled(at_work(A), wanted=Proof.INSTALLED, said=line(shown(A)))) == (Phase.VERIFIED, "")


def test_a_refusal_says_what_the_installer_says() -> None:
    refused = shown(A, phase=Phase.FAILED, reason="ProbeMismatch", message="3 of 5 differ", active=None, verified=None)
    for succeeded in (True, False):
        twin = settled(at_work(A, before=B), succeeded=succeeded, said=line(refused))
        assert phase_of(twin) == (Phase.FAILED, "ProbeMismatch")
        assert (twin.model("reader").installed, twin.job) == (B, None), "the installer left what ran before"
    assert phase_of(settled(at_work(A), succeeded=False)) == (Phase.FAILED, "InstallFailed")


def test_a_device_that_may_have_switched_gets_back_what_ran_before() -> None:
    twin = settled(at_work(A, before=B))
    assert phase_of(twin) == (Phase.FAILED, "NotProved")
    assert twin.model("reader").installed is None, "what runs there is not known"
    assert twin.job is not None and twin.job.target == B

    back = settled(twin, said=line(shown(B), nonce_of("reader", B)))
    assert back.model("reader").installed == B
    assert back.job is None, "what failed is not tried again"
    assert phase_of(back) == (Phase.FAILED, "NotProved")


def test_a_device_that_ran_nothing_before_is_cleared() -> None:
    twin = settled(at_work(A))
    assert twin.job is not None and (twin.job.model, twin.job.target) == ("reader", None)
    gone = line(ModelReport(model="reader", phase=Phase.IDLE), nonce_of("reader", None))
    for said in (gone, ""):
        back = settled(twin, said=said)
        assert back.job is None
        assert phase_of(back) == (Phase.FAILED, "NotProved")


def test_bringing_back_is_tried_once() -> None:
    twin = settled(settled(at_work(A, before=B)))
    assert twin.job is None
    assert phase_of(twin) == (Phase.FAILED, "NotProved")


def test_what_is_assigned_next_replaces_bringing_back() -> None:
    twin = settled(at_work(A, before=B))
    newer = Assignment(device="lane-1", version=5, models=(B,))
    twin = twins.seen(twins.assign(twin, newer, NOW), NOW)
    assert twin.job is not None and (twin.job.target, twin.job.version) == (B, 5)
    assert phase_of(settled(twin, said=line(shown(B), nonce_of("reader", B)))) == (Phase.VERIFIED, "")


def test_a_superseded_job_that_shows_nothing_gives_way_to_what_is_wanted() -> None:
    twin = twins.assign(at_work(A), Assignment(device="lane-1", version=5, models=(B,)), NOW)
    twin = settled(twin)
    assert twin.job is not None and (twin.job.target, twin.job.version) == (B, 5)


def test_success_of_the_system_and_failure_of_the_evidence_is_no_success() -> None:
    other = line(shown(B), NONCE)
    assert phase_of(settled(at_work(A), said=other)) == (Phase.FAILED, "Contradiction")
    assert phase_of(settled(at_work(A), said=other, wanted=Proof.INSTALLED)) == (Phase.FAILED, "Contradiction")
    assert phase_of(settled(at_work(A), succeeded=False, said=line(shown(A)))) == (Phase.FAILED, "Contradiction")


def test_a_removal_that_is_not_proved_leaves_the_model_where_it_was() -> None:
    twin = settled(at_work(None, before=A))
    assert twin.model("reader").installed == A
    assert twin.job is None
    done = line(ModelReport(model="reader", phase=Phase.IDLE), nonce_of("reader", None))
    assert settled(at_work(None, before=A), said=done).models == ()
