"""Who agents are: keys that ask, tokens, inventories, and what operators decide; on a real store with real keys."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from devices.http_agents import Key, csr, new_key
from edgewright.delivery.identity import enrollment
from edgewright.delivery.identity.admission import Admission
from edgewright.delivery.identity.certificates import (
    CertificateRejected,
    CertifiedDevice,
    check_certificate,
    issue_server_certificate,
)
from edgewright.delivery.identity.credentials import create_credentials, load_devices_ca
from edgewright.delivery.identity.enrollment import Enrollment, EnrollmentOutcome
from edgewright.ports import IdentityStatus
from edgewright.state.store import SqlState
from edgewright.state.twins import SqlIdentities
from edgewright.wiring.registry import systems_with_keys
from edgewright_wire.enrollment import EnrollmentRequest, IssuedCertificate, PendingEnrollment, Refusal, RenewalRequest

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PATIENCE = 60


class World:
    """One environment's enrollment; other controllers on the same store are made with ``another``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = NOW
        self.listed: set[str] = set()
        create_credentials(folder / "keys", NOW)
        self.authority = load_devices_ca(folder / "keys")
        self.states: list[SqlState] = []
        self.enrollment = self.another()
        self.state = self.states[0]
        self.operators = Admission(SqlIdentities(self.state), self.state, lambda: self.now, systems_with_keys())

    def another(self, max_pending: int = 1_000) -> Enrollment:
        state = SqlState(self.folder / "state.db")
        self.states.append(state)
        return Enrollment(
            SqlIdentities(state),
            state,
            lambda: self.authority,
            lambda device: device in self.listed,
            lambda: self.now,
            max_pending=max_pending,
        )

    def ask(
        self, key: Key, device: str, *, of: Enrollment | None = None, token: str | None = None, **labels: str
    ) -> EnrollmentOutcome:
        asked = EnrollmentRequest(device=device, labels=labels, csr=csr(key, device), token=token)
        return (of or self.enrollment).enroll(asked, "192.0.2.1")

    def token(
        self, uses: int = 1, life: timedelta = timedelta(hours=24), allowed: tuple[str, ...] = (), **labels: str
    ) -> str:
        text, _ = self.enrollment.tokens.make(uses=uses, life=life, labels=labels, now=self.now, allowed=allowed)
        return text.reveal()

    def approve(self, device: str) -> None:
        self.operators.approve(self.operators.find(device, None, [IdentityStatus.PENDING]), {})

    def caller(self, outcome: EnrollmentOutcome) -> CertifiedDevice:
        assert isinstance(outcome.said, IssuedCertificate), outcome
        return check_certificate(self.authority, outcome.said.certificate, self.now)

    def statuses(self, device: str) -> list[str]:
        return [key.status.value for key in self.operators.identities(device)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for state in made.states:
        state.close()


def refused(outcome: EnrollmentOutcome) -> tuple[int, str]:
    assert isinstance(outcome.said, Refusal), outcome
    return outcome.status, outcome.said.reason


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


# ── tokens and inventories ────────────────────────────────────────────────────────────────────────────────────


def test_a_token_lets_in_as_many_devices_as_it_may(world: World) -> None:
    token = world.token(uses=2, region="eu", allowed=("camera", "region"))
    first, second, third = new_key(), new_key(), new_key()

    assert world.ask(first, "lane-1", token=token, region="us", camera="2").status == 200
    assert world.ask(first, "lane-1", token=token).status == 200, "the same key uses nothing up"
    assert world.ask(second, "lane-2", token=token).status == 200
    assert world.ask(third, "lane-3", token=token).status == 202
    assert world.state.enrolled()["lane-1"] == {"region": "eu", "camera": "2"}
    (listed,) = world.enrollment.tokens.tokens()
    assert (listed.problem(world.now), sorted(listed.used.values())) == ("used up", ["lane-1", "lane-2"])
    assert token not in repr(listed)


def test_a_token_that_has_ended_leaves_the_device_to_an_operator(world: World) -> None:
    expired, revoked = world.token(life=timedelta(minutes=5)), world.token()
    world.now += timedelta(minutes=5)
    last = world.enrollment.tokens.tokens()[-1].name
    names = {token.name for token in world.enrollment.tokens.tokens()}
    assert len(names) == 2
    for name in names:
        world.enrollment.tokens.revoke(name, world.now)
    assert not world.enrollment.tokens.revoke("nobody", world.now)
    assert last in names

    for device, token in (("lane-1", expired), ("lane-2", revoked), ("lane-3", "ewt_nonsense")):
        assert world.ask(new_key(), device, token=token).status == 202
    assert world.state.enrolled() == {}


def test_why_a_token_is_not_accepted_is_kept_for_operators_and_told_to_nobody_else(world: World) -> None:
    expired = world.token(life=timedelta(minutes=5))
    used, revoked = world.token(), world.token()
    world.ask(new_key(), "lane-0", token=used)
    found = world.enrollment.tokens.find(revoked)
    assert found is not None
    world.enrollment.tokens.revoke(found.name, world.now)
    world.now += timedelta(minutes=5)
    sent = {"lane-1": (expired, "expired"), "lane-2": (used, "used up"), "lane-3": (revoked, "revoked")}
    sent["lane-4"] = ("ewt_nonsense", "unknown")

    key, said = new_key(), set()
    for device, (token, why) in sent.items():
        key = new_key()
        answer = world.ask(key, device, token=token)
        assert isinstance(answer.said, PendingEnrollment)
        said.add((answer.status, answer.retry_after, answer.said.token_accepted, answer.note))
        (pending,) = world.operators.identities(device)
        assert (pending.status, pending.detail["tokenProblem"], answer.token) == (IdentityStatus.PENDING, why, why)
    assert said == {(202, 60, False, "pending")}

    without = world.ask(key, "lane-4")
    assert b"token" not in without.said.to_bytes(), "as it was before"
    assert world.operators.identities("lane-4")[0].detail["tokenProblem"] is None
    assert world.ask(key, "lane-4", token=world.token()).status == 200


def test_an_operators_labels_count_before_the_tokens_and_the_devices_own(world: World) -> None:
    world.state.enroll({"lane-1": {"ring": "stable", "site": "a"}})
    token = world.token(uses=3, region="eu", site="b", allowed=("camera", "zone=1"))

    def ask(device: str, zone: str, token: str | None = token) -> EnrollmentOutcome:
        said = {"ring": "canary", "site": "c", "region": "us", "camera": "2", "zone": zone}
        asked = EnrollmentRequest(device=device, labels=said, csr=csr(new_key(), device), token=token)
        return world.enrollment.enroll(asked, "192.0.2.1")

    admitted = ask("lane-1", "1")
    assert world.state.enrolled()["lane-1"] == {
        "ring": "stable", "site": "a", "region": "eu", "camera": "2", "zone": "1"
    }  # fmt: skip
    assert admitted.note == "admitted; what it says of itself is not taken: region, ring, site"
    ask("lane-2", "2")
    assert world.state.enrolled()["lane-2"] == {"site": "b", "region": "eu", "camera": "2"}
    world.listed = {"lane-3"}
    ask("lane-3", "1", None)
    assert world.state.enrolled()["lane-3"] == {}
    assert [each.allowed for each in world.enrollment.tokens.tokens()] == [("camera", "zone=1")]


def test_a_listed_device_is_admitted_whatever_its_token(world: World) -> None:
    token = world.token()
    world.ask(new_key(), "lane-0", token=token)
    world.listed = {"lane-1"}
    assert world.ask(new_key(), "lane-1", token=token).status == 200


def test_tokens_that_ended_long_ago_are_forgotten(world: World) -> None:
    world.token(life=timedelta(hours=1))
    world.now += timedelta(days=40)
    world.token()
    assert [token.made_at for token in world.enrollment.tokens.tokens()] == [world.now]


def test_a_listed_device_is_admitted_where_the_inventory_is_enough_and_only_its_first_key(world: World) -> None:
    world.listed = {"lane-1", "lane-2"}
    first = new_key()
    assert world.ask(first, "lane-1").status == 200
    assert refused(world.ask(new_key(), "lane-1")) == (403, "OtherKey")
    assert world.ask(new_key(), "lane-9").status == 202

    world.operators.retire("lane-1")
    assert world.ask(new_key(), "lane-1").status == 202, "whoever was retired does not come back by name alone"
    assert world.ask(new_key(), "lane-1", token=world.token()).status == 202


def test_of_devices_that_race_for_a_tokens_last_use_one_is_let_in(world: World) -> None:
    token = world.token(uses=1)
    keys = [new_key() for _ in range(6)]
    ready = threading.Barrier(len(keys))

    def ask(at: int) -> int:
        mine = world.another()
        ready.wait(PATIENCE)
        return world.ask(keys[at], f"lane-{at}", of=mine, token=token).status

    with ThreadPoolExecutor(len(keys)) as pool:
        assert sorted(pool.map(ask, range(len(keys)))) == [200] + [202] * (len(keys) - 1)
    assert len(world.operators.identities(status=IdentityStatus.ACCEPTED)) == 1


def test_of_keys_that_race_for_one_name_one_is_let_in(world: World) -> None:
    token = world.token(uses=100)
    keys = [new_key() for _ in range(6)]
    ready = threading.Barrier(len(keys))

    def ask(key: Key) -> int:
        mine = world.another()
        ready.wait(PATIENCE)
        return world.ask(key, "lane-1", of=mine, token=token).status

    with ThreadPoolExecutor(len(keys)) as pool:
        answers = list(pool.map(ask, keys))
    assert answers.count(200) == 1
    assert world.statuses("lane-1").count("accepted") == 1
    again = [world.ask(key, "lane-1", token=token).status for key in keys]
    assert [status == 200 for status in again] == [status == 200 for status in answers]


# ── bounds ────────────────────────────────────────────────────────────────────────────────────────────────────


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
