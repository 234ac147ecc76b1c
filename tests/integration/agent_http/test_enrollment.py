"""Who agents are: keys that ask, tokens, inventories, and what operators decide; on a real store with real keys."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from devices.http_agents import csr, new_key
from edgewright.delivery.identity import enrollment
from edgewright.delivery.identity.certificates import (
    CertificateRejected,
    check_certificate,
    issue_server_certificate,
)
from edgewright.delivery.identity.credentials import create_credentials, load_devices_ca
from edgewright.ports import IdentityStatus
from edgewright_wire.enrollment import EnrollmentRequest, IssuedCertificate, PendingEnrollment, Refusal, RenewalRequest
from worlds.enrollment import NOW, World, refused


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for state in made.states:
        state.close()


def test_a_device_waits_for_an_operator_and_is_then_certified(world: World) -> None:
    key = new_key()
    for _ in range(2):
        waiting = world.ask(key, "lane-1", region="eu")
        assert (waiting.status, waiting.retry_after > 0) == (202, True)
    assert isinstance(waiting.said, PendingEnrollment)
    (pending,) = world.operators.identities(status=IdentityStatus.PENDING)
    assert (pending.device, pending.key, pending.labels) == ("lane-1", waiting.said.fingerprint, {"region": "eu"})
    assert pending.detail["peer"] == "192.0.2.1"
    assert world.state.enrolled() == {}

    world.operators.approve(pending, {"ring": "canary"})
    answer = world.ask(key, "lane-1")

    caller = world.caller(answer)
    assert (caller.device, caller.fingerprint) == ("lane-1", pending.key)
    assert caller.not_after == NOW + timedelta(days=7)
    assert world.state.enrolled() == {"lane-1": {"region": "eu", "ring": "canary"}}
    (kept,) = world.operators.identities("lane-1")
    assert isinstance(answer.said, IssuedCertificate)
    certificate = x509.load_pem_x509_certificate(answer.said.certificate.encode())
    assert kept.detail["serial"] == f"{certificate.serial_number:x}"
    assert datetime.fromisoformat(kept.detail["notAfter"]) == answer.said.not_after


def test_what_an_operator_enrolled_before_counts_more_than_what_the_device_says(world: World) -> None:
    world.state.enroll({"lane-1": {"region": "eu", "ring": "canary"}})
    world.ask(new_key(), "lane-1", region="us", camera="2")
    world.approve("lane-1")
    assert world.state.enrolled() == {"lane-1": {"region": "eu", "ring": "canary", "camera": "2"}}


def test_one_key_cannot_speak_for_two_devices(world: World) -> None:
    key = new_key()
    world.ask(key, "lane-1")
    world.approve("lane-1")
    assert refused(world.ask(key, "lane-2")) == (403, "OtherDevice")
    assert world.operators.identities("lane-2") == []


def test_a_second_key_waits_until_an_operator_gives_it_the_place_of_the_first(world: World) -> None:
    first, second = new_key(), new_key()
    world.ask(first, "lane-1")
    world.approve("lane-1")
    token = world.token(uses=5)
    world.listed = {"lane-1"}

    assert refused(world.ask(second, "lane-1", token=token)) == (403, "OtherKey")
    assert world.ask(first, "lane-1").status == 200, "the first goes on meanwhile"
    world.approve("lane-1")

    assert world.ask(second, "lane-1").status == 200
    assert refused(world.ask(first, "lane-1")) == (403, "Retired")


def test_what_was_rejected_or_retired_stays_so(world: World) -> None:
    key, other = new_key(), new_key()
    world.ask(key, "lane-1")
    world.operators.reject(world.operators.identities("lane-1")[0])
    assert refused(world.ask(key, "lane-1")) == (403, "Rejected")

    world.ask(other, "lane-2")
    world.approve("lane-2")
    caller = world.caller(world.ask(other, "lane-2"))
    third = new_key()
    world.ask(third, "lane-2")
    assert [key.device for key in world.operators.retire("lane-2")] == ["lane-2"]
    assert world.operators.retire("lane-2") == []
    assert refused(world.ask(other, "lane-2")) == (403, "Retired")
    assert refused(world.ask(third, "lane-2")) == (403, "Rejected")
    renewed = world.enrollment.renew(RenewalRequest(csr=csr(other, "lane-2")), caller)
    assert refused(renewed) == (403, "Retired")


def test_renewing_needs_the_same_key_and_name(world: World) -> None:
    key = new_key()
    world.ask(key, "lane-1")
    world.approve("lane-1")
    caller = world.caller(world.ask(key, "lane-1"))
    world.now += timedelta(days=5)

    renewed = world.enrollment.renew(RenewalRequest(csr=csr(key, "lane-1")), caller)
    assert world.caller(renewed).not_after == NOW + timedelta(days=12)
    for other in (csr(new_key(), "lane-1"), csr(key, "lane-2"), "nonsense"):
        assert world.enrollment.renew(RenewalRequest(csr=other), caller).status == 422
    world.enrollment._store.forget("agent", [caller.fingerprint])
    assert world.enrollment.renew(RenewalRequest(csr=csr(key, "lane-1")), caller).status == 401


def test_no_more_than_so_many_wait_and_those_that_ask_no_more_make_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrollment, "_COUNT_KEPT", 0.0)
    few = world.another(max_pending=3)
    waiting = new_key()
    assert world.ask(waiting, "lane-0", of=few).status == 202
    for number in (1, 2):
        world.ask(new_key(), f"lane-{number}", of=few)
    crowded = world.ask(new_key(), "lane-3", of=few)
    assert (crowded.status, crowded.retry_after > 0) == (503, True)
    assert world.ask(waiting, "lane-0", of=few).status == 202, "who waits already goes on waiting"
    assert world.ask(new_key(), "lane-4", of=few, token="ewt_wrong").status == 503
    assert world.ask(new_key(), "lane-4", of=few, token=world.token()).status == 200, "who needs nobody does not wait"
    world.listed.add("lane-5")
    assert world.ask(new_key(), "lane-5", of=few).status == 200

    world.now += timedelta(days=4)
    world.ask(waiting, "lane-0", of=few)
    world.now += timedelta(days=4)
    assert world.ask(new_key(), "lane-3", of=few).status == 202
    assert [key.device for key in world.operators.identities()] == ["lane-0", "lane-3", "lane-4", "lane-5"]


def test_what_is_malformed_is_refused_in_words(world: World) -> None:
    key = new_key()
    good = csr(key, "lane-1")
    forged = csr(key, "lane-2").splitlines()
    forged[3] = forged[3][:10] + ("A" if forged[3][10] != "A" else "B") + forged[3][11:]
    bad: list[tuple[str, str, str]] = [
        ("lane-2", good, "common name is lane-1"),
        ("lane-1", "nonsense", "no PKCS#10"),
        ("lane-1", "x" * 20_000, "longer than"),
        ("lane-1", csr(rsa.generate_private_key(65537, 2048), "lane-1"), "P-256"),
        ("lane-1", csr(ec.generate_private_key(ec.SECP384R1()), "lane-1"), "P-256"),
        ("lane-2", csr(key, "../../etc"), "not a device id"),
        ("lane-2", "\n".join(forged), "csr"),
    ]
    for device, request, words in bad:
        outcome = world.enrollment.enroll(EnrollmentRequest(device=device, csr=request), "")
        assert outcome.status == 422
        assert isinstance(outcome.said, Refusal)
        assert words in outcome.said.error, outcome
    many = EnrollmentRequest(device="lane-1", csr=good, labels={str(number): "" for number in range(100)})
    assert world.enrollment.enroll(many, "").status == 422
    assert world.operators.identities() == []


def test_certificates_of_others_say_nothing(world: World, tmp_path: Path) -> None:
    world.listed = {"lane-1"}
    answer = world.ask(new_key(), "lane-1")
    assert isinstance(answer.said, IssuedCertificate)
    create_credentials(tmp_path / "others")
    other = load_devices_ca(tmp_path / "others")

    with pytest.raises(CertificateRejected, match="not one that this server gives"):
        check_certificate(other, answer.said.certificate, NOW)
    for when in (NOW + timedelta(days=8), NOW - timedelta(days=1)):
        with pytest.raises(CertificateRejected, match="out of date"):
            check_certificate(world.authority, answer.said.certificate, when)
    server, _ = issue_server_certificate(world.authority, ["localhost"], NOW, timedelta(days=1))
    with pytest.raises(CertificateRejected, match="not for a device"):
        check_certificate(world.authority, server, NOW)
    with pytest.raises(CertificateRejected):
        check_certificate(world.authority, "nonsense", NOW)


def test_a_certificate_does_not_outlive_its_authority(world: World) -> None:
    world.listed = {"lane-1"}
    world.now = world.authority.certificate.not_valid_after_utc - timedelta(days=1)
    assert world.caller(world.ask(new_key(), "lane-1")).not_after == world.authority.certificate.not_valid_after_utc


def test_a_servers_certificate_names_hosts_and_addresses(world: World) -> None:
    hosts = ["edge.example.com", "*.site-7.example.com", "192.0.2.7", "::1"]
    chain, key = issue_server_certificate(world.authority, hosts, NOW, timedelta(days=365))
    certificate, authority = x509.load_pem_x509_certificates(chain.encode())
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == hosts[:2]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == hosts[2:]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----")
    for bad in ("http://x", "a b", "-x"):
        with pytest.raises(ValueError, match="neither a host's name"):
            issue_server_certificate(world.authority, [bad], NOW, timedelta(days=1))
