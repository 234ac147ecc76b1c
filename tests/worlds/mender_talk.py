"""One device's conversation with Mender's server side, by hand."""

from datetime import UTC, datetime

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Proof
from edgewright.core.fleet.twins import Twin, report_of
from edgewright.delivery.served.mender.conversation import (
    DeviceConversation,
    deployment_id,
)
from edgewright_wire.evidence import Evidence
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
