"""Ends of Mender deployments: words of the client, cancelling, removing, inventories of any kind."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Proof
from edgewright.core.fleet.twins import Stage, Twin
from edgewright.delivery.served.mender.conversation import (
    STATUSES,
    deployment_id,
)
from edgewright.delivery.served.mender.messages import LogMessage
from edgewright_wire.evidence import InstalledEvidence
from edgewright_wire.messages import ModelReport, Phase
from worlds.mender_talk import (
    NOW,
    asking,
    assigned,
    done,
    id_of,
    offered,
    phase_of,
    provided,
    report,
    shown,
    talk,
    target,
)


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
