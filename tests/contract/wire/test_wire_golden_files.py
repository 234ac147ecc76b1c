"""Messages of version 1 must be read and written the same forever: old devices and old engines live long."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from edgewright_wire.evidence import Evidence, InstalledEvidence
from edgewright_wire.messages import Assignment, Phase, Report, WireModel

GOLDEN = Path(__file__).parent / "v1"
MESSAGES: dict[str, type[WireModel]] = {
    "assignment.json": Assignment,
    "assignment-empty.json": Assignment,
    "report.json": Report,
    "report-failed.json": Report,
    "report-untrusted.json": Report,
    "report-first.json": Report,
    "evidence.json": Evidence,
    "evidence-failed.json": Evidence,
    "evidence-removed.json": Evidence,
    "installed.json": InstalledEvidence,
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_golden_message_is_read_and_written_back_byte_for_byte(name: str) -> None:
    data = (GOLDEN / name).read_bytes().rstrip(b"\n")
    assert MESSAGES[name].from_bytes(data).to_bytes() == data


def test_every_golden_file_is_covered() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == set(MESSAGES)


def test_what_a_report_means_stays() -> None:
    failed = Report.from_bytes((GOLDEN / "report-failed.json").read_bytes()).models[0]
    assert failed.phase is Phase.FAILED
    assert failed.installed != failed.active == failed.verified
    assert failed.probe is not None
    assert failed.probe.max_error is None
    assert failed.reason == "ProbeMismatch"


def test_what_evidence_means_stays() -> None:
    evidence = Evidence.from_bytes((GOLDEN / "evidence.json").read_bytes())
    assert (evidence.nonce, evidence.model.phase) == ("rollout-price-tag-reader-7.3f9a", Phase.VERIFIED)
    removed = Evidence.from_bytes((GOLDEN / "evidence-removed.json").read_bytes()).model
    assert (removed.phase, removed.installed, removed.active, removed.verified) == (Phase.IDLE, None, None, None)
    installed = InstalledEvidence.from_bytes((GOLDEN / "installed.json").read_bytes())
    assert {model.model: model.phase for model in installed.models} == {
        "price-tag-reader": Phase.VERIFIED,
        "queue-length": Phase.INSTALLED,
    }


@pytest.mark.parametrize("message", [Evidence, InstalledEvidence])
def test_evidence_of_another_version_is_refused(message: type[WireModel]) -> None:
    with pytest.raises(ValidationError):
        message.from_bytes(b'{"evidence":2,"nonce":"","model":{"model":"x","phase":"idle"},"models":[]}')


@pytest.mark.parametrize("name", MESSAGES)
def test_a_field_of_a_later_minor_version_is_ignored(name: str) -> None:
    data = (GOLDEN / name).read_bytes()
    later = {**json.loads(data), "somethingNew": {"a": 1}}
    assert MESSAGES[name].from_bytes(json.dumps(later).encode()) == MESSAGES[name].from_bytes(data)


@pytest.mark.parametrize(
    "change",
    [{"schemaVersion": 2}, {"version": 0}, {"device": "../x"}, {"models": [{"model": "Not A Name"}]}, {"device": None}],
)
def test_what_is_no_assignment_is_refused(change: dict[str, object]) -> None:
    data = json.loads((GOLDEN / "assignment.json").read_bytes())
    with pytest.raises(ValidationError):
        Assignment.from_bytes(json.dumps({**data, **change}).encode())
