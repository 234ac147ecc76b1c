"""What devices send, as it is read: strictly, but for what real clients are known to send."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.delivery.bundles.evidence_log import find_pieces, reassemble, without_pieces
from edgewright.delivery.bundles.failure_words import explain_failure, reason_of
from edgewright.delivery.served.ddi.messages import (
    MAX_ATTRIBUTES,
    AttributeMode,
    Attributes,
    Execution,
    Feedback,
    Finished,
    apply_attributes,
    read_attributes,
    read_feedback,
)
from edgewright.delivery.served.errors import MalformedMessage

SWUPDATE = (
    '{ "id": 7, "time": "20261127T021416", "status": { "result": { "progress": { "cnt" : 0, "of" : 1 }, '
    '"finished": "failure" }, "execution": "closed", "details" : [ %s ] } }'
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_feedback_of_swupdate_is_read() -> None:
    assert read_feedback((SWUPDATE % '"ERROR : no", "more"').encode()) == Feedback(
        Execution.CLOSED,
        Finished.FAILURE,
        details=("ERROR : no", "more"),
        number=7,
        clock=datetime(2026, 11, 27, 2, 14, 16, tzinfo=UTC),
    )


@pytest.mark.parametrize("detail", ['"ERROR : cannot open "x": no"', '"tab\there"', '"a \\ b"', '"', "\udcff"])
def test_errors_that_swupdate_quotes_as_they_are_lose_no_failure(detail: str) -> None:
    said = read_feedback((SWUPDATE % detail).encode("utf-8", "surrogateescape"))

    assert (said.execution, said.finished, said.number) == (Execution.CLOSED, Finished.FAILURE, 7)


@pytest.mark.parametrize(
    ("progress", "everything"),
    [
        ({"cnt": 1, "of": 1}, True),
        ({"cnt": 0, "of": 1}, False),
        ({"cnt": 0, "of": 0}, False),
        (5, False),
        (None, False),
    ],
)
def test_everything_is_installed_where_n_of_n_parts_are(progress: object, everything: bool) -> None:
    body = {"status": {"execution": "proceeding", "result": {"finished": "none", "progress": progress}}}

    assert read_feedback(json.dumps(body).encode()).everything is everything


@pytest.mark.parametrize(
    "body",
    [b"", b"no", b"[]", b"{}", b'{"status": 3}', b'{"status": {"execution": "flying"}}', b"[" * 100_000],
)
def test_what_is_no_feedback_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_feedback(body)


@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_body_is_more_than_refused(body: bytes) -> None:
    for read in (read_feedback, read_attributes):
        try:
            read(body)
        except MalformedMessage:
            continue


@given(JSON, JSON, JSON)
def test_no_status_is_more_than_refused(execution: object, result: object, details: object) -> None:
    body = json.dumps({"status": {"execution": execution, "result": result, "details": details}}).encode()
    try:
        said = read_feedback(body)
    except MalformedMessage:
        return
    assert all(isinstance(detail, str) for detail in said.details)


def test_attributes_are_merged_replaced_and_removed() -> None:
    known = {"a": "1", "b": "2"}

    assert apply_attributes(known, Attributes(AttributeMode.MERGE, {"b": "3"})) == {"a": "1", "b": "3"}
    assert apply_attributes(known, Attributes(AttributeMode.REPLACE, {"c": "4"})) == {"c": "4"}
    assert apply_attributes(known, Attributes(AttributeMode.REMOVE, {"a": ""})) == {"b": "2"}
    assert read_attributes(b'{"data": {"n": 3, "t": true, "z": null}}') == Attributes(
        AttributeMode.MERGE, {"n": "3", "t": "true", "z": ""}
    )


def test_attributes_are_bounded() -> None:
    many = {f"name-{number}": "x" for number in range(MAX_ATTRIBUTES)}
    bad: list[dict[str, object]] = [{**many, "one": "more"}, {"k" * 129: ""}, {"k": "v" * 257}, {"": "v"}, {"k": []}]
    for data in bad:
        with pytest.raises(MalformedMessage):
            read_attributes(json.dumps({"data": data}).encode())
    with pytest.raises(MalformedMessage):
        apply_attributes(many, Attributes(AttributeMode.MERGE, {"one": "more"}))


def test_evidence_is_put_together_whatever_became_of_its_pieces() -> None:
    lines = [
        f"ERROR : edgewright-evidence 42 {number}/3 {part}" for number, part in enumerate(("eyJh", "Ijox", "fQ=="), 1)
    ]
    said = [lines[2], "noise", lines[0], lines[0], "edgewright-evidence 9 1/2 eyJh", lines[1], lines[2]]

    assert reassemble(find_pieces(said)) == ('{"a":1}',)
    assert reassemble(find_pieces(lines[:2])) == ()
    assert without_pieces(said) == ("noise",)


@given(st.lists(st.text(max_size=60) | st.just("edgewright-evidence 1 1/1 ////"), max_size=10))
def test_no_text_is_more_than_no_evidence(texts: list[str]) -> None:
    reassemble(find_pieces(texts))


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        ("19720301T000003", "ClockNotSet"),
        ("20260302T120000", "SignatureInvalid"),
        ("20260301T110000", "SignatureInvalid"),
        ("20991231T235959", "ClockNotSet"),
        ("yesterday", "SignatureInvalid"),
        (None, "SignatureInvalid"),
    ],
)
def test_a_clock_that_is_days_off_is_why_no_signature_is_trusted(time: str | None, reason: str) -> None:
    body = {"id": 1, "status": {"execution": "closed", "result": {"finished": "failure"}}}
    feedback = read_feedback(json.dumps(body | ({"time": time} if time else {})).encode())
    words = "Authentication of all signatures failed"
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    found, explained = explain_failure(words, feedback.clock, now)
    assert found == reason
    assert explained.endswith(words)
    assert explain_failure("No space left on device", feedback.clock, now)[0] == "NoSpace"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("Not enough free space to extract 000 (needed 5, got 3)", "NoSpace"),
        ("Authentication of all signatures failed; Compatible SW not found", "SignatureInvalid"),
        ("HASH mismatch : aa <--> bb; Channel operation returned error (23)", "DigestMismatch"),
        ("SW not compatible with hardware", "Incompatible"),
        ("Installation error: Compatible mismatch: Expected 'a'", "Incompatible"),
        ("Channel operation returned error (7): 'Couldn't connect to server'", "FetchFailed"),
        ("signature verification failed: Verify error: certificate is not yet valid", "ClockNotSet"),
        ("something else", "InstallFailed"),
    ],
)
def test_clients_words_have_reasons(words: str, reason: str) -> None:
    assert reason_of(words) == reason
