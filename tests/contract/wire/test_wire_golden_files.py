"""Messages of version 1 must be read and written the same forever: old devices and old engines live long."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from edgewright_wire.messages import Assignment, Phase, Report, WireModel

GOLDEN = Path(__file__).parent / "v1"
MESSAGES: dict[str, type[WireModel]] = {
    "assignment.json": Assignment,
    "assignment-empty.json": Assignment,
    "report.json": Report,
    "report-failed.json": Report,
    "report-untrusted.json": Report,
    "report-first.json": Report,
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
