"""What is believed of what devices with Mender's client say."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Proof
from edgewright.core.fleet.twins import Stage, Twin, report_of
from edgewright.delivery.served.mender.conversation import (
    INVENTORY_TIMEOUT,
    STATUSES,
    DeviceConversation,
    artifact_of,
    deployment_id,
)
from edgewright.delivery.served.mender.messages import LogMessage
from edgewright_wire.evidence import Evidence, InstalledEvidence
from edgewright_wire.messages import Assignment, Blob, ModelAssignment, ModelReport, Phase, ProbeResult

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PASSED = ProbeResult(passed=True, samples=5, atol=0.001, runtime="onnxruntime")


def target(number: int) -> ModelAssignment:
    return ModelAssignment(model="reader", package=Blob(digest=f"sha256:{number:064x}", size=1), release=f"r{number}")


def talk(proof: Proof = Proof.VERIFIED, now: datetime = NOW) -> DeviceConversation:
    return DeviceConversation("prod", proof, now)


def assigned(twin: Twin, version: int, *targets: ModelAssignment) -> Twin:
    return twins.assign(twin, Assignment(device=twin.device, version=version, models=targets), NOW)


def asking(twin: Twin, **provides: str) -> Twin:
    return talk().asked(twin, provides)


def id_of(twin: Twin) -> str:
    assert twin.job is not None
    return deployment_id("prod", twin.device, twin.job)


def report(wanted: ModelAssignment, phase: Phase = Phase.VERIFIED, **fields: object) -> ModelReport:
    said = {
        "model": "reader",
        "phase": phase,
        "release": wanted.release,
        "active": wanted.package.digest,
        "active_release": wanted.release,
        "verified": wanted.package.digest,
        "probe": PASSED,
    }
    return ModelReport.model_validate({**said, **fields})


def shown(nonce: str, said: ModelReport) -> dict[str, str]:
    return {"edgewright_evidence_reader": Evidence(nonce=nonce, model=said).to_bytes().decode()}


def offered(version: int = 1, number: int = 1) -> Twin:
    return asking(assigned(Twin("lane-1", "mender"), version, target(number)))


def phase_of(twin: Twin) -> tuple[Phase, str]:
    told = report_of(twin, "")
    model = told.model("reader") if told is not None else None
    assert model is not None
    return model.phase, model.reason


def done(twin: Twin, number: int) -> Twin:
    """Report a success, and show it."""
    id_ = id_of(twin)
    twin, _ = talk().reported(twin, id_, "success")
    return talk().listed(twin, shown(id_, report(target(number))), whole=False)


def provided(number: int, name: str = "some") -> dict[str, str]:
    return {"artifact_name": name, "edgewright.reader.release": f"r{number}"}


# ── success ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_success_counts_once_the_inventory_shows_it() -> None:
    twin = offered()
    id_ = id_of(twin)
    for status in ("downloading", "downloading", "installing", "installing"):
        twin, stops = talk().reported(twin, id_, status)
        assert not stops
    assert phase_of(twin)[0] is Phase.PROBING
    twin, _ = talk().reported(twin, id_, "success")
    assert phase_of(twin)[0] is Phase.PROBING
    assert talk().offered(asking(twin)) is None, "it is waited for, and given nothing else"

    twin = talk().listed(twin, shown(id_, report(target(1))), whole=False)

    assert phase_of(twin) == (Phase.VERIFIED, "")
    assert twin.model("reader").probe == PASSED
    assert twin.memo.get("said") is None


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"device_type": "edgewright"}, "NotProved"),
        ({"edgewright_evidence_reader": "what?"}, "NotProved"),
        (shown("another-deployment", report(target(1))), "NotProved"),
        (
            {"device_type": "x", "evidence": Evidence(nonce="x", model=report(target(1))).to_bytes().decode()},
            "NotProved",
        ),
        ("other-release", "Contradiction"),
        ("not-probed", "Contradiction"),
    ],
    ids=["nothing", "no-evidence", "of-another-deployment", "elsewhere", "other-release", "not-probed"],
)
def test_a_success_that_shows_something_else_is_not_believed(attributes: dict[str, str] | str, reason: str) -> None:
    twin = offered()
    id_ = id_of(twin)
    if attributes == "other-release":
        attributes = shown(id_, report(target(2)))
    elif attributes == "not-probed":
        attributes = shown(id_, report(target(1), probe=None, verified=None, phase=Phase.INSTALLED))
    assert isinstance(attributes, dict)
    twin, _ = talk().reported(twin, id_, "success")

    twin = talk().listed(twin, attributes, whole=False)

    assert phase_of(twin) == (Phase.FAILED, reason)
    assert twin.job is not None, "the device may have switched: what was there before is brought back"
    assert twin.job.target is None


def test_attributes_that_other_programs_send_do_not_end_the_wait() -> None:
    twin = offered()
    id_ = id_of(twin)
    twin, _ = talk().reported(twin, id_, "success")
    twin = talk().listed(twin, {"geo": "somewhere"}, whole=False)
    assert phase_of(twin)[0] is Phase.PROBING
    twin = talk().listed(twin, shown(id_, report(target(1))), whole=False)
    twin = talk().listed(twin, {"geo": "elsewhere"}, whole=False)
    assert phase_of(twin) == (Phase.VERIFIED, "")


def test_evidence_that_was_shown_before_the_success_counts() -> None:
    twin = offered()
    id_ = id_of(twin)
    twin = talk().listed(twin, shown(id_, report(target(1))), whole=False)
    assert phase_of(twin)[0] is not Phase.VERIFIED
    twin, _ = talk().reported(twin, id_, "already-installed")
    assert phase_of(twin) == (Phase.VERIFIED, "")


def test_evidence_of_an_earlier_job_of_the_same_release_does_not_count() -> None:
    twin = done(offered(), 1)
    old = shown(deployment_id("prod", "lane-1", twins.Job(1, "reader", None, 1, Stage.OFFERED, NOW)), report(target(1)))
    twin = done(asking(assigned(twin, 2, target(2)), **provided(1)), 2)
    twin = asking(assigned(twin, 3, target(1)), **provided(2))
    twin, _ = talk().reported(twin, id_of(twin), "success")

    assert phase_of(talk().listed(twin, old, whole=False)) == (Phase.FAILED, "NotProved")


def test_an_inventory_that_never_comes_ends_the_wait() -> None:
    twin = offered()
    twin, _ = talk().reported(twin, id_of(twin), "success")
    for later in (timedelta(minutes=1), INVENTORY_TIMEOUT):
        twin = talk(now=NOW + later).asked(twin, {})
        assert phase_of(twin)[0] is Phase.PROBING
    twin = talk(now=NOW + INVENTORY_TIMEOUT + timedelta(seconds=1)).asked(twin, {})
    assert phase_of(twin) == (Phase.FAILED, "NotProved")


def test_where_installed_is_enough_its_word_is_enough_and_says_no_more() -> None:
    said = talk(Proof.INSTALLED)
    twin = offered()
    twin, _ = said.reported(twin, id_of(twin), "success")
    assert phase_of(twin) == (Phase.INSTALLED, "")


def test_a_success_whose_report_was_lost_is_told_by_the_artifacts_name() -> None:
    twin = offered()
    assert twin.job is not None
    id_, name = id_of(twin), artifact_of(id_of(twin), twin.job)
    twin = talk().listed(twin, shown(id_, report(target(1))), whole=False)
    twin = asking(twin, **provided(1, name))
    assert phase_of(twin) == (Phase.VERIFIED, "")


# ── failure, and calling off ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_failure_is_settled_by_the_log_that_explains_it() -> None:
    twin = done(offered(), 1)
    twin = asking(assigned(twin, 2, target(2)), **provided(1))
    id_ = id_of(twin)
    refused = report(target(2), Phase.FAILED, reason="ProbeMismatch", message="off by 0.4", active=None, verified=None)
    line = Evidence(nonce=id_, model=refused).to_bytes().decode()

    twin, stops = talk().reported(twin, id_, "failure")
    assert not stops
    assert phase_of(twin)[0] is not Phase.FAILED, "a rollout that halts now would be rejected for no known reason"
    assert talk().reported(twin, id_, "failure") == (twin, False), "a repeated report says nothing new"
    before = twin.sequence
    log = [LogMessage(level="info", message=f'Output (stderr) from command "/x": {line}')]
    twin = talk().logged(twin, id_, log)

    assert phase_of(twin) == (Phase.FAILED, "ProbeMismatch")
    assert twin.sequence > before, "it is news"
    assert twin.model("reader").installed == target(1)
    assert talk().logged(twin, id_, log) == twin
    assert talk().offered(asking(twin, **provided(1))) is None, "it is not tried again"


def test_a_failure_without_a_log_is_settled_when_the_client_asks_for_work_again() -> None:
    twin = asking(assigned(done(offered(), 1), 2, target(2)), **provided(1))
    id_ = id_of(twin)
    twin, _ = talk().reported(twin, id_, "failure")

    twin = asking(twin, **provided(1))

    assert phase_of(twin) == (Phase.FAILED, "InstallFailed")
    failed = twin.model("reader").failed
    assert failed is not None
    assert failed.message == "its update client says that it failed, and sent no log"
    assert talk().offered(twin) is None
    late = talk().logged(twin, id_, [LogMessage(level="error", message="no space left on device")])
    assert phase_of(late) == (Phase.FAILED, "NoSpace"), "a log that comes later explains it still"


def test_a_failure_that_is_cancelled_before_its_log_comes_has_stopped() -> None:
    twin = asking(assigned(done(offered(), 1), 2, target(2)), **provided(1))
    id_ = id_of(twin)
    twin, _ = talk().reported(twin, id_, "failure")
    twin = twins.cancel(twin, NOW)
    log = [LogMessage(level="error", message="no space left on device")]

    for ended in (talk().logged(twin, id_, log), asking(twin, **provided(1))):
        failed = ended.model("reader").failed
        assert failed is not None
        assert failed.reason == "Cancelled"
        assert ended.model("reader").installed == target(1)


def output(module: str, line: str) -> str:
    return f'Output (stderr) from command "/usr/share/mender/modules/v3/{module}": {line}'


ABNORMAL = "Update module terminated abnormally: exit status 1"


@pytest.mark.parametrize(
    ("lines", "reason", "message"),
    [
        (["Artifact install failed: write /x: no space left on device"], "NoSpace", None),
        (["installer: failed to read Artifact: reader: invalid signature"], "Rejected", None),
        (["Artifact install failed: Payload: can not install Payload: invalid checksum"], "DigestMismatch", None),
        (["Artifact Payload type 'edgewright' is not supported by this Mender Client."], "Incompatible", None),
        (["Cannot resume download: Tried maximum amount of times"], "FetchFailed", None),
        ([ABNORMAL, f"transient error: {ABNORMAL}"], "InstallFailed", ABNORMAL),
        (
            [output("directory", "tar: Cannot write: No space left on device"), ABNORMAL],
            "NoSpace",
            f"tar: Cannot write: No space left on device; {ABNORMAL}",
        ),
        (
            [
                output("edgewright", "2026-03-01 INFO reader: digest of x"),
                output("edgewright", "error: no payload"),
                ABNORMAL,
            ],
            "InstallFailed",
            f"error: no payload; {ABNORMAL}",
        ),
        (['Output (stderr) from command "/etc/script": no space left on device', "odd"], "InstallFailed", "odd"),
    ],
)
def test_the_clients_own_words_give_the_reason(lines: list[str], reason: str, message: str | None) -> None:
    twin = offered()
    id_ = id_of(twin)
    twin, _ = talk().reported(twin, id_, "failure")
    levels = ["info" if line.startswith("Output") else "error" for line in lines]
    log = [LogMessage(level=level, message=line) for level, line in zip(levels, lines, strict=True)]

    twin = talk().logged(twin, id_, [LogMessage(level="info", message="x" * 5000), *log])

    assert phase_of(twin) == (Phase.FAILED, reason)
    failed = twin.model("reader").failed
    assert failed is not None
    assert failed.message == (lines[0] if message is None else message)


def test_a_log_of_another_deployment_explains_nothing() -> None:
    twin = offered()
    twin, _ = talk().reported(twin, id_of(twin), "failure")
    assert talk().logged(twin, "1" * 36, [LogMessage(level="error", message="no space left")]) == twin
    fresh = Twin("lane-1", "mender")
    assert talk().logged(fresh, "1" * 36, []) == fresh


def test_what_is_called_off_is_told_to_stop_until_it_has_ended() -> None:
    twin = offered()
    id_ = id_of(twin)
    twin, _ = talk().reported(twin, id_, "downloading")
    twin = assigned(twin, 2, target(2))

    twin, stops = talk().reported(twin, id_, "installing")
    assert stops
    assert twin.job is not None
    assert twin.job.target == target(1), "it may have installed it already: it has to say how it ended"
    twin, stops = talk().reported(twin, id_, "failure")
    assert not stops
    assert twin.job is not None
    assert twin.job.target == target(2)
    assert twin.model("reader").failed is None


def test_what_was_installed_before_it_could_be_called_off_is_known() -> None:
    twin = offered()
    id_ = id_of(twin)
    twin = assigned(twin, 2, target(2))
    twin, stops = talk().reported(twin, id_, "success")
    assert not stops, "a client that is refused its success would undo its commit"
    twin = talk().listed(twin, shown(id_, report(target(1))), whole=False)

    assert twin.model("reader").installed == target(1)
    assert twin.job is not None
    assert twin.job.target == target(2)


def test_a_device_that_asks_again_has_stopped() -> None:
    twin = assigned(offered(), 2, target(2))
    assert twin.job is not None
    assert twin.job.stage is Stage.CANCELLING
    twin = asking(twin)
    job = talk().offered(twin)
    assert job is not None
    assert (job.target, job.number) == (target(2), 2)


def test_deployments_that_it_is_not_at_are_stopped_unless_they_have_ended() -> None:
    twin = offered()
    for status, stage in STATUSES.items():
        after, stops = talk().reported(twin, "0" * 36, status)
        assert (after, stops) == (twin, stage is not None)


# ── what a device has ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_device_that_lost_what_it_had_is_given_it_again() -> None:
    twin = asking(done(offered(), 1), **provided(1))
    assert talk().offered(twin) is None

    twin = asking(twin, artifact_name="factory")

    job = talk().offered(twin)
    assert job is not None
    assert (job.target, job.number) == (target(1), 2)
    assert twin.model("reader").installed is None


def test_what_the_client_says_it_installed_and_never_lists_is_not_given_for_ever() -> None:
    twin = done(offered(), 1)
    twin = asking(twin, artifact_name="factory")
    assert phase_of(twin) == (Phase.FAILED, "Contradiction")
    assert talk().offered(asking(twin, artifact_name="factory")) is None


def test_the_installer_says_what_is_there() -> None:
    def says(*models: ModelReport) -> dict[str, str]:
        return {"edgewright_installed": InstalledEvidence(models=models).to_bytes().decode()}

    twin = talk().listed(done(offered(), 1), says(report(target(1))), whole=False)
    assert phase_of(twin) == (Phase.VERIFIED, "")
    assert phase_of(talk().listed(twin, {"edgewright_installed": "{"}, whole=False)) == (Phase.VERIFIED, "")
    for others in ([], [report(target(2))], [report(target(1), verified=None)]):
        lost = talk().listed(twin, says(*others), whole=False)
        assert lost.model("reader").installed is None
        assert lost.job is not None
        assert lost.job.target == target(1)


def test_removing_needs_evidence_too() -> None:
    twin = asking(done(offered(), 1), **provided(1))
    twin = asking(assigned(twin, 2), **provided(1))
    id_ = id_of(twin)
    twin, _ = talk().reported(twin, id_, "success")
    gone = ModelReport(model="reader", phase=Phase.IDLE)
    twin = talk().listed(twin, shown(id_, gone), whole=False)
    assert twin.models == ()
    assert twin.job is None


def test_attributes_become_facts_within_bounds() -> None:
    twin = talk().listed(Twin("lane-1", "mender"), {"kernel": "6.1", "edgewright_installed": "{}"}, whole=False)
    twin = talk().listed(twin, {"os": "x" * 5000}, whole=False)
    assert set(twin.facts) == {"kernel", "os"}
    assert len(twin.facts["os"]) == 512
    many = {f"a{number:04}": "1" for number in range(500)}
    assert len(talk().listed(twin, many, whole=False).facts) == 200
    assert talk().listed(twin, {"b": "1"}, whole=True).facts == {"b": "1"}


# ── whatever comes ────────────────────────────────────────────────────────────────────────────────────────────────────

ids = st.sampled_from(["own", "old", "other"])
events = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 3)),
    st.tuples(st.sampled_from(sorted(STATUSES)), ids),
    st.tuples(st.just("inventory"), ids),
    st.tuples(st.just("log"), ids),
    st.tuples(st.just("assign"), st.integers(1, 3)),
    st.tuples(st.just("cancel"), st.just(0)),
    st.tuples(st.just("retire"), st.just(0)),
)


@given(st.lists(events, max_size=40))
def test_nothing_is_verified_without_evidence_of_its_own_deployment(script: list[tuple[str, object]]) -> None:
    """Reports, inventories and questions in any order, about any deployment: only what was shown is believed."""
    twin, version, proven = Twin("lane-1", "mender"), 0, set[str]()
    for kind, detail in script:
        own = id_of(twin) if twin.job is not None else "0" * 36
        old = deployment_id("prod", "lane-1", twins.Job(max(twin.jobs - 1, 0), "reader", None, 1, Stage.OFFERED, NOW))
        id_ = {"own": own, "old": old}.get(str(detail), "f" * 36)
        before = twin
        if kind == "ask":
            twin = asking(twin, **provided(int(str(detail))))
        elif kind in STATUSES:
            twin, _ = talk().reported(twin, id_, kind)
        elif kind == "inventory":
            wanted = twin.job.target if twin.job is not None else None
            said = report(wanted) if wanted is not None else ModelReport(model="reader", phase=Phase.IDLE)
            if id_ == own and wanted is not None:
                proven.add(wanted.release)
            twin = talk().listed(twin, shown(id_, said), whole=False)
        elif kind == "log":
            twin = talk().logged(twin, id_, [LogMessage(level="error", message="no")])
        elif kind == "assign":
            version += 1
            twin = assigned(twin, version, target(int(str(detail))))
        else:
            twin = twins.cancel(twin, NOW) if kind == "cancel" else twins.retire(twin, NOW)

        assert twin.sequence >= before.sequence
        json.dumps(dict(twin.memo))
        model = twin.model("reader")
        if model.proof is Proof.VERIFIED:
            assert model.installed is not None
            assert model.installed.release in proven
        assert dataclasses.asdict(twin)["system"] == "mender"
