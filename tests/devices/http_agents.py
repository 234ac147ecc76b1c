"""Agents at the other end of the agent API: real ones by halves, and strangers who say what they like."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgewright.delivery.identity.certificates import issue_certificate, parse_request
from edgewright_agent.durable import Disk
from edgewright_agent.errors import NotEnrolled
from edgewright_agent.http_wiring import HttpOpener
from edgewright_agent.limits import FetchLimits
from edgewright_agent.repository.http_transport import HttpReports
from edgewright_agent.settings import Settings
from edgewright_wire.messages import Report
from servers.agent_server import PATIENCE, AgentSite

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def csr(key: Key, device: str) -> str:
    """A certificate request, PEM."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, device)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def opener(site: AgentSite, folder: Path, server: str, device: str = "lane-1", **settings: Any) -> HttpOpener:
    """Return the configuration by which a real agent of this device reaches a server."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Settings(
        directory=folder,
        device=device,
        repository=settings.pop("repository", f"{server}/repository"),
        reports=f"{server}/reports",
        server=server,
        ca=site.keys / "devices-ca.crt",
        **settings,
    )
    return HttpOpener(made, Disk(sync=lambda _: None), FetchLimits(), lambda: False)


def said(device: str, sequence: int = 1) -> bytes:
    return Report(device=device, sequence=sequence, sent_at=datetime.now(UTC), agent_version="1").to_bytes()


class Reporter:
    """The reporting half of a real agent."""

    def __init__(self, opener: HttpOpener, device: str = "lane-1") -> None:
        self.device = device
        self.sequence = 0
        self.opener = opener
        self.drop: HttpReports = opener.reports()

    def send(self) -> None:
        self.sequence += 1
        self.drop.send(self.device, said(self.device, self.sequence))

    def refused(self) -> str:
        with pytest.raises(NotEnrolled) as caught:
            self.send()
        return caught.value.reason

    def again(self) -> None:
        """As after a restart of the agent: it does not wait out what it was told before."""
        self.drop = self.opener.reports()


def kept(site: AgentSite) -> dict[str, int]:
    return {each.device: each.sequence for each in site.inbox.newer({})}


class Stranger:
    """Somebody with a certificate, who says what they like."""

    def __init__(
        self, site: AgentSite, url: str, device: str = "lane-1", *, asks: bool = True, now: datetime | None = None
    ) -> None:
        key = new_key()
        request = parse_request(csr(key, device))
        self.site, self.url, self.fingerprint = site, url, request.fingerprint
        folder = site.folder / f"stranger-{request.fingerprint[7:15]}"
        folder.mkdir()
        pem = issue_certificate(site.authority, request, now or datetime.now(UTC), timedelta(days=1)).chain
        self.pem = pem
        (folder / "crt").write_text(pem)
        (folder / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        context = ssl.create_default_context(cafile=str(site.keys / "devices-ca.crt"))
        context.load_cert_chain(folder / "crt", folder / "key")
        self.client = httpx.Client(verify=context, timeout=PATIENCE, trust_env=False)
        if asks:
            body = {"device": device, "csr": csr(key, device)}
            assert self.client.post(f"{url}/enroll", json=body).status_code == 202

    def report(self, device: str = "lane-1", **headers: str) -> httpx.Response:
        named = {"Content-Type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return self.client.post(f"{self.url}/reports", content=b'{"reports":[%s]}' % said(device), headers=named)
