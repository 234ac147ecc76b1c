"""Whether a device enrolls, renews or reports; clocks may be wrong, and certificates lost."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_agent.errors import CertificateRefused, NotEnrolled, TransportError
from edgewright_agent.identity.enrollment import (
    LOOK_AGAIN,
    Certificate,
    EnrollmentStep,
    next_step,
    parse_enrollment_response,
    renewal_pause,
    report_error,
)
from edgewright_wire.enrollment import EnrollmentRequest, IssuedCertificate, PendingEnrollment

BEGINS = datetime(2026, 3, 1, tzinfo=UTC)
LIFE = timedelta(days=90)
URL = "https://edgewright.example/agent/default/enroll"
DATES = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


def certificate(obtained_at: datetime | None = BEGINS) -> Certificate:
    return Certificate(BEGINS, BEGINS + LIFE, obtained_at)


def step(days: float, obtained_at: datetime | None = BEGINS, *, refused: bool = False) -> EnrollmentStep:
    return next_step(certificate(obtained_at), refused=refused, now=BEGINS + timedelta(days=days))


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (0, EnrollmentStep.REPORT),
        (59.9, EnrollmentStep.REPORT),
        (60, EnrollmentStep.RENEW),
        (89.9, EnrollmentStep.RENEW),
        (90, EnrollmentStep.ENROLL),
        (900, EnrollmentStep.ENROLL),
    ],
)
@pytest.mark.parametrize("obtained_at", [BEGINS, None])
def test_a_certificate_is_renewed_after_two_thirds_of_its_life(
    days: float, obtained_at: datetime | None, expected: EnrollmentStep
) -> None:
    assert step(days, obtained_at) is expected


@given(st.integers(60, 90 * 86400), st.floats(0, 0.9), st.floats(0, 1))
def test_a_certificate_that_was_dated_back_is_renewed_between_its_coming_and_its_end(
    life: int, back: float, passed: float
) -> None:
    came = Certificate(BEGINS, BEGINS + timedelta(seconds=life), BEGINS + timedelta(seconds=life) * back)
    assert came.obtained_at is not None
    assert came.obtained_at < came.renew_at < came.not_after
    now = came.obtained_at + (came.renew_at - came.obtained_at) * passed * 0.999
    assert next_step(came, refused=False, now=now) is EnrollmentStep.REPORT


def test_without_a_certificate_or_with_one_that_is_refused_a_device_enrolls() -> None:
    assert next_step(None, refused=False, now=BEGINS) is EnrollmentStep.ENROLL
    assert step(1, refused=True) is EnrollmentStep.ENROLL


def test_a_clock_that_fell_back_does_not_make_a_good_certificate_bad() -> None:
    """After a power cut many devices begin in 1970; the server's clock counts."""
    assert next_step(certificate(), refused=False, now=datetime(1970, 1, 1, tzinfo=UTC)) is EnrollmentStep.REPORT


def test_a_certificate_that_came_while_the_clock_was_wrong_is_not_asked_for_over_and_over() -> None:
    future = datetime(2040, 1, 1, tzinfo=UTC)
    came = certificate(obtained_at=future)
    assert next_step(came, refused=False, now=future + timedelta(days=1)) is EnrollmentStep.REPORT
    assert next_step(came, refused=False, now=future + timedelta(days=61)) is EnrollmentStep.RENEW
    past = certificate(obtained_at=datetime(1970, 1, 1, tzinfo=UTC))
    assert next_step(past, refused=False, now=datetime(1970, 1, 2, tzinfo=UTC)) is EnrollmentStep.REPORT
    assert next_step(past, refused=False, now=BEGINS) is EnrollmentStep.RENEW, "once, when the clock is set right"


@given(DATES, st.integers(1, 365))
def test_whatever_the_clock_says_a_certificate_that_just_came_is_used(now: datetime, days: int) -> None:
    came = Certificate(BEGINS, BEGINS + timedelta(days=days), now)
    assert next_step(came, refused=False, now=now) is EnrollmentStep.REPORT


@given(st.integers(1, 1000), st.timedeltas(timedelta(seconds=-1000), timedelta(seconds=1e7)))
def test_a_failed_renewal_is_tried_several_times_before_the_end_and_never_hammered(
    failures: int, left: timedelta
) -> None:
    pause = renewal_pause(failures, left)
    assert 1.0 <= pause <= 3600.0
    if left > timedelta(minutes=10):
        assert pause <= left.total_seconds() / 10


def answer(status: int, body: object, wait: float = 0.0) -> object:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_enrollment_response(URL, status, data, data.decode(errors="replace"), wait)


def test_answers_to_an_enrollment_mean_what_the_contract_says() -> None:
    issued = answer(200, {"certificate": "C", "ca": "A", "notAfter": "2026-06-01T00:00:00Z", "later": "field"})
    assert issued == IssuedCertificate(certificate="C", ca="A", not_after=datetime(2026, 6, 1, tzinfo=UTC))
    assert answer(202, {"status": "pending", "fingerprint": "sha256:ab"}) == PendingEnrollment(fingerprint="sha256:ab")


@pytest.mark.parametrize("reason", LOOK_AGAIN)
def test_a_refusal_is_for_long_and_says_what_to_do(reason: str) -> None:
    refused = answer(403, {"error": "no", "reason": reason}, wait=5.0)
    assert isinstance(refused, NotEnrolled)
    assert (refused.reason, refused.retry_after) == (reason, LOOK_AGAIN[reason])
    assert URL in refused.message


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b"<html>it works</html>", "ServerUnreachable"),
        (200, {"certificate": 1}, "ServerUnreachable"),
        (202, {"status": "done"}, "ServerUnreachable"),
        (403, {"reason": "Elsewise"}, "ServerUnreachable"),
        (403, b"[]", "ServerUnreachable"),
        (404, b"", "ServerUnreachable"),
        (500, b"\xff", "ServerUnreachable"),
        (503, b"", "ServerBusy"),
        (429, b"", "ServerBusy"),
    ],
)
def test_whatever_else_is_answered_may_pass(status: int, body: object, reason: str) -> None:
    trouble = answer(status, body, wait=7.0)
    assert isinstance(trouble, TransportError)
    assert not isinstance(trouble, NotEnrolled)
    assert (trouble.reason, trouble.retry_after) == (reason, 7.0)


def test_a_refused_certificate_is_told_from_a_device_that_may_not_report() -> None:
    refused = report_error(URL, 401, b"", "", 0.0)
    retired = report_error(URL, 403, b'{"reason": "Retired"}', "", 0.0)
    assert isinstance(refused, CertificateRefused)
    assert isinstance(retired, NotEnrolled)
    assert report_error(URL, 200, b'{"accepted": 1}', "", 0.0) is None


def test_a_token_is_not_shown() -> None:
    asked = EnrollmentRequest(device="dev-1", csr="PEM", token="s3cret")
    assert "s3cret" not in repr(asked)
    assert b"s3cret" in asked.to_bytes()
    assert b"token" not in EnrollmentRequest(device="dev-1", csr="PEM").to_bytes()
