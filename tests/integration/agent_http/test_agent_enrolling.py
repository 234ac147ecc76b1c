"""A device that becomes known to a server, stays so, and what comes of keys, certificates and clocks that are lost.

The server is a fake with real TLS: it asks for client certificates as the real one does.
"""

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edgewright_agent.background import directly
from edgewright_agent.durable import Disk
from edgewright_agent.errors import CertificateRefused, NotEnrolled, TransportError
from edgewright_agent.http.client import HttpClient
from edgewright_agent.identity import keys as device_keys
from edgewright_agent.identity.enrollment_client import Enroller
from edgewright_agent.identity.files import IdentityFiles
from edgewright_agent.repository.http_transport import HttpReports
from edgewright_wire.enrollment import EnrollmentRequest, IssuedCertificate
from fakes.agent_ports import HandClock
from servers.agent_api import AgentServer, tls_server
from servers.authority import Authority

DEVICE = "lane-7"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AgentServer]:
    with tls_server(tmp_path, tmp_path / "tls") as server:
        yield server


class Enrolling:
    """The device's side, with a clock moved by hand."""

    def __init__(self, home: Path, server: AgentServer, disk: Disk | None = None) -> None:
        self.home = home
        self.server = server
        self.disk = disk or Disk(sync=lambda _: None)
        self.clock = HandClock()
        self.labels = {"region": "eu"}
        self.start()

    def start(self) -> None:
        """As after a restart: nothing but the files is left."""
        self.home.mkdir(parents=True, exist_ok=True)
        ca = self.server.authority.write(self.home / f"{id(self.server)}.crt")
        self.files = IdentityFiles(self.home, DEVICE, self.disk)
        self.enroller = Enroller(
            self.server.url,
            self.files,
            lambda identity: HttpClient("ServerUnreachable", 10.0, ca, identity, directly),
            lambda csr: EnrollmentRequest(device=DEVICE, labels=self.labels, device_class="camera", csr=csr),
            self.clock.now,
            self.clock.monotonic,
        )
        self.drop = HttpReports(
            f"{self.server.url}/reports",
            self.enroller,
            lambda identity: HttpClient("ReportsUnreachable", 10.0, ca, identity, directly),
        )

    def report(self) -> None:
        self.drop.send(DEVICE, b'{"device": "lane-7"}')

    def enrolled(self) -> None:
        """Become it."""
        with pytest.raises(NotEnrolled):
            self.report()
        self.server.decide(DEVICE, "enrolled")
        self.report()

    def path(self, name: str) -> Path:
        return self.home / "identity" / name

    def asked(self, what: str) -> int:
        return len(self.server.asked(f"/{what}", "POST"))


@pytest.fixture
def device(tmp_path: Path, server: AgentServer) -> Enrolling:
    return Enrolling(tmp_path / "device", server)


def test_a_device_asks_waits_shows_its_key_and_reports_when_it_was_approved(device: Enrolling) -> None:
    device.server.asked_again = {"Retry-After": "30"}
    for _ in range(2):
        with pytest.raises(NotEnrolled, match="approve key sha256:") as caught:
            device.report()
        assert (caught.value.reason, caught.value.retry_after) == ("EnrollmentPending", 30.0)
    known = device.server.devices[DEVICE]
    assert known.fingerprint in caught.value.message
    assert (known.labels, known.device_class) == ({"region": "eu"}, "camera")
    bodies = {seen.body for seen in device.server.asked("/enroll", "POST")}
    assert len(bodies) == 1, "the same is asked until there is an answer"
    standing = device.files.standing()
    assert standing is not None
    assert (standing.state, standing.fingerprint) == ("pending", known.fingerprint)

    device.server.decide(DEVICE, "enrolled")
    device.report()
    assert device.server.reports
    standing = device.files.standing()
    assert standing is not None
    assert standing.state == "enrolled"
    assert not device.path("request.json").exists()
    assert device.path("ca.crt").read_text() == device.server.authority.pem


def test_the_key_is_private_from_its_first_byte(device: Enrolling) -> None:
    before = os.umask(0)
    try:
        with pytest.raises(NotEnrolled):
            device.report()
    finally:
        os.umask(before)
    for name in ("device.key", "request.json"):
        assert stat.S_IMODE(device.path(name).stat().st_mode) == 0o600
    assert not any(b"PRIVATE" in seen.body for seen in device.server.seen)


def test_a_token_lets_a_device_in_at_once_and_is_not_kept(device: Enrolling) -> None:
    device.server.tokens = {"s3cret"}
    device.enroller.say({"ring": "canary"}, "s3cret")
    device.report()
    assert device.server.devices[DEVICE].labels == {"region": "eu", "ring": "canary"}
    assert not any(b"s3cret" in path.read_bytes() for path in device.home.rglob("*") if path.is_file())


def test_a_token_that_lets_nobody_in_is_told_from_having_none(device: Enrolling) -> None:
    with pytest.raises(NotEnrolled, match=r"/enroll: waits for an operator"):
        device.enroller.enroll()
    device.enroller.say({}, "wrong")
    with pytest.raises(NotEnrolled, match="the token was not accepted; waits for an operator") as caught:
        device.enroller.enroll()
    assert caught.value.reason == "EnrollmentPending"
    standing = device.files.standing()
    assert standing is not None
    assert standing.message == caught.value.message


def test_what_was_said_by_hand_outlives_a_restart(device: Enrolling) -> None:
    device.enroller.say({"ring": "canary"}, "wrong")
    with pytest.raises(NotEnrolled):
        device.enroller.enroll()
    device.start()
    device.labels = {"region": "us"}
    device.server.tokens = {"wrong"}
    device.report()
    assert device.server.devices[DEVICE].labels == {"region": "us", "ring": "canary"}


def test_one_certificate_and_one_connection_serve_many_reports(device: Enrolling) -> None:
    device.enrolled()
    for _ in range(3):
        device.report()
    posted = device.server.asked("/reports", "POST")
    assert len(posted) == 4
    assert len({seen.connection for seen in posted}) == 1
    assert device.asked("enroll") == 2


def test_a_certificate_is_renewed_in_time_without_missing_a_report(device: Enrolling) -> None:
    device.server.life = timedelta(days=3)
    device.enrolled()
    before = device.path("device.crt").read_bytes()
    key = device.path("device.key").read_bytes()
    device.clock.seconds += timedelta(days=1, hours=23).total_seconds()
    device.report()
    assert device.asked("renew") == 0
    device.clock.seconds += timedelta(hours=2).total_seconds()
    device.report()
    device.report()
    assert device.asked("renew") == 1
    assert device.path("device.crt").read_bytes() != before
    assert device.path("device.key").read_bytes() == key
    assert len(device.server.asked("/reports", "POST")) == 4


def test_a_renewal_that_fails_holds_no_report_up_and_is_not_hammered(device: Enrolling) -> None:
    device.server.life = timedelta(days=3)
    device.enrolled()
    device.server.instead["/renew"] = (500, {}, b"")
    device.clock.seconds += timedelta(days=2, hours=1).total_seconds()
    for _ in range(10):
        device.report()
        device.clock.seconds += 10.0
    assert device.asked("renew") == 2
    del device.server.instead["/renew"]
    device.clock.seconds += 3600.0
    device.report()
    assert device.asked("renew") == 3
    assert device.files.certificate() is not None


def test_a_device_that_was_off_past_the_end_of_its_certificate_enrolls_again_with_its_key(device: Enrolling) -> None:
    device.server.life = timedelta(days=3)
    device.enrolled()
    device.start()
    device.clock.seconds += timedelta(days=30).total_seconds()
    device.report()
    assert device.asked("enroll") == 3
    assert device.asked("renew") == 0


def test_a_server_that_forgot_a_certificate_is_asked_for_another(tmp_path: Path, device: Enrolling) -> None:
    """Its authority was replaced: the handshake fails, or the certificate counts for nothing."""
    device.enrolled()
    device.server.instead["/reports"] = (401, {}, b"")
    with pytest.raises(CertificateRefused):
        device.report()
    del device.server.instead["/reports"]
    device.report()
    assert device.asked("enroll") == 3


def test_an_authority_the_server_does_not_know_any_more_leads_to_a_new_certificate(
    tmp_path: Path, device: Enrolling
) -> None:
    device.enrolled()
    known = device.server.devices
    with tls_server(tmp_path, tmp_path / "new", Authority("another authority")) as other:
        other.devices = known
        device.server = other
        device.start()
        with pytest.raises(TransportError):
            device.report()
        device.report()
        assert device.asked("enroll") == 1
        assert other.reports


def test_a_retired_device_says_so_once_and_reports_no_more(device: Enrolling) -> None:
    device.enrolled()
    device.server.decide(DEVICE, "retired")
    for _ in range(3):
        with pytest.raises(NotEnrolled, match="retired") as caught:
            device.report()
        assert caught.value.reason == "Retired"
        device.clock.seconds += 3600.0
    assert len(device.server.asked("/reports", "POST")) == 2
    assert device.asked("enroll") == 2
    standing = device.files.standing()
    assert standing is not None
    assert standing.state == "Retired"

    device.server.decide(DEVICE, "enrolled")
    device.clock.seconds += 86400.0
    device.report()
    assert len(device.server.asked("/reports", "POST")) == 3


@pytest.mark.parametrize("state", ["rejected", "retired"])
def test_a_device_nobody_wants_asks_rarely(device: Enrolling, state: str) -> None:
    with pytest.raises(NotEnrolled):
        device.report()
    device.server.decide(DEVICE, state)
    for _ in range(5):
        with pytest.raises(NotEnrolled, match=state):
            device.report()
        device.clock.seconds += 60.0
    assert device.asked("enroll") == 2


def test_a_lost_certificate_is_asked_for_with_the_same_key(device: Enrolling) -> None:
    device.enrolled()
    key = device.path("device.key").read_bytes()
    for damage in (b"", b"\0" * 700, device.server.authority.pem.encode()):
        device.path("device.crt").write_bytes(damage)
        device.report()
        assert device.path("device.key").read_bytes() == key
    assert device.asked("enroll") == 5


@pytest.mark.parametrize(
    "damage", [b"", b"\0" * 200, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_key_is_set_aside_and_a_new_one_is_a_new_request(device: Enrolling, damage: bytes) -> None:
    device.enrolled()
    device.path("device.key").write_bytes(damage)
    with pytest.raises(NotEnrolled) as caught:
        device.report()
    assert caught.value.reason == "OtherKey"
    assert caught.value.message.endswith(device.files.fingerprint())
    assert device.path("device.key.unreadable").exists() is bool(damage)
    del device.server.devices[DEVICE]
    device.clock.seconds += 700.0
    device.enrolled()


def test_a_certificate_for_somebody_else_is_not_kept(device: Enrolling) -> None:
    with pytest.raises(NotEnrolled):
        device.report()
    other = device_keys.certificate_request(device_keys.new_key(), "lane-8")
    issued = device.server.authority.sign(x509.load_pem_x509_csr(other.encode()), timedelta(days=1))
    pem = issued.public_bytes(Encoding.PEM).decode()
    answer = IssuedCertificate(certificate=pem, ca="", not_after=issued.not_valid_after_utc)
    device.server.instead["/enroll"] = (200, {}, answer.to_bytes())
    with pytest.raises(TransportError, match="another key") as caught:
        device.report()
    assert caught.value.reason == "CertificateUnusable"
    assert not device.path("device.crt").exists()


@pytest.mark.parametrize("years", [-30, 30])
def test_a_clock_that_is_decades_wrong_neither_stops_reports_nor_asks_over_and_over(
    device: Enrolling, years: int
) -> None:
    device.clock.seconds += timedelta(days=365 * years).total_seconds() + 1e9 * (years < 0)
    device.enrolled()
    for _ in range(5):
        device.clock.seconds += 600.0
        device.report()
    assert (device.asked("enroll"), device.asked("renew")) == (2, 0)


def test_a_certificate_that_is_not_valid_yet_by_the_devices_clock_is_used(device: Enrolling) -> None:
    """The battery of its clock is empty: after a restart it is 1970 again."""
    device.enrolled()
    device.start()
    device.clock._start = datetime(1970, 1, 2, tzinfo=UTC)
    device.report()
    assert device.asked("enroll") == 2


def test_a_power_cut_at_any_moment_of_enrolling_leaves_a_device_that_enrolls(
    tmp_path: Path, server: AgentServer
) -> None:
    operations: list[str] = []
    server.tokens = {"t"}

    def enroll(home: Path, disk: Disk) -> None:
        device = Enrolling(home, server, disk)
        device.enroller.say({}, "t")
        device.report()

    enroll(tmp_path / "whole", Disk(operations.append, sync=lambda _: None))
    assert len(operations) > 8
    for point in range(len(operations)):
        server.devices.clear()
        server.reports.clear()
        home = tmp_path / str(point) / "device"
        with pytest.raises(KeyboardInterrupt):
            enroll(home, _cut(point))
        enroll(home, Disk(sync=lambda _: None))
        assert server.reports, operations[point]


def _cut(point: int) -> Disk:
    done: list[str] = []

    def before(operation: str) -> None:
        if len(done) == point:
            raise KeyboardInterrupt  # nothing of the agent catches it, as nothing survives a power cut
        done.append(operation)

    return Disk(before, sync=lambda _: None)
