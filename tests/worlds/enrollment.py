"""The enrollment of one environment, on a real store with real keys."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from devices.http_agents import Key, csr
from edgewright.delivery.identity.admission import Admission
from edgewright.delivery.identity.certificates import (
    CertifiedDevice,
    check_certificate,
)
from edgewright.delivery.identity.credentials import create_credentials, load_devices_ca
from edgewright.delivery.identity.enrollment import Enrollment, EnrollmentOutcome
from edgewright.ports import IdentityStatus
from edgewright.state.store import SqlState
from edgewright.state.twins import SqlIdentities
from edgewright.wiring.registry import systems_with_keys
from edgewright_wire.enrollment import EnrollmentRequest, IssuedCertificate, Refusal

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


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


def refused(outcome: EnrollmentOutcome) -> tuple[int, str]:
    assert isinstance(outcome.said, Refusal), outcome
    return outcome.status, outcome.said.reason
