"""Mender's device API of two environments, called without a network."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI

from edgewright.core.fleet.twins import Twin
from edgewright.delivery.identity.credentials import create_credentials
from edgewright.delivery.served.mender.driver import MenderDriver
from edgewright.delivery.served.mender.service import MenderService
from edgewright.ports import Identity, IdentityStatus
from edgewright.server.devices.mender_routes import mender_router
from edgewright.server.serving import Serving
from edgewright_schemas.delivery import Delivery
from rigs.base import Grounds, assignments

NEXT = "/api/devices/v2/deployments/device/deployments/next"
INVENTORY = "/api/devices/v1/inventory/device/attributes"
AUTH = "/api/devices/v1/authentication/auth_requests"
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Api:
    """The API of two environments, called without a network; time passes only when told."""

    def __init__(self, folder: Path) -> None:
        self.grounds = Grounds(folder, Delivery.model_validate({"type": "mender"}))
        create_credentials(self.grounds.keys)
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        self.news = 0
        self.service = self._service("prod")
        self.other = self._service("test")
        grounds, routes = self.grounds, self.grounds.routes
        self.driver = MenderDriver(grounds.twins, grounds.depot, lambda: routes, lambda: self.now)
        app = FastAPI(openapi_url=None)
        app.include_router(mender_router({"prod": self.service, "": self.service, "test": self.other}.get))
        self._serving = Serving(app, stop_seconds=1)
        self.url = self._serving.start().url
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=30)

    def close(self) -> None:
        self.http.close()
        self._serving.stop()
        self.grounds.close()

    def _service(self, environment: str) -> MenderService:
        grounds, routes = self.grounds, self.grounds.routes
        return MenderService(
            environment,
            grounds.twins,
            grounds.identities,
            lambda: routes,
            grounds.depot,
            grounds.keys,
            lambda: self.now,
            self._wake,
        )

    def _wake(self) -> None:
        self.news += 1

    def ask(self, key: Key, tenant: str | None = None, **identity: str) -> httpx.Response:
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        asks: dict[str, Any] = {"id_data": json.dumps(identity), "pubkey": public}
        if tenant is not None:
            asks["tenant_token"] = tenant
        body = json.dumps(asks).encode()
        return self.http.post(AUTH, content=body, headers={"X-MEN-Signature": signed(key, body)})

    def waiting(self) -> list[Identity]:
        return list(self.grounds.identities.identities(system="mender", status=IdentityStatus.PENDING))

    def accept(self, device: str) -> None:
        (waiting,) = self.grounds.identities.identities(system="mender", device=device, status=IdentityStatus.PENDING)
        self.grounds.identities.decide("mender", waiting.key, IdentityStatus.ACCEPTED, self.now)

    def enter(self, device: str, tenant: str | None = None) -> dict[str, str]:
        """Declare a device, and let it in; its authorization."""
        self.grounds.declare(device)
        key = ed25519.Ed25519PrivateKey.generate()
        assert self.ask(key, tenant, device=device).status_code == 401
        self.accept(device)
        return {"Authorization": f"Bearer {self.ask(key, tenant, device=device).text}"}

    def next(self, headers: dict[str, str], **provides: str) -> httpx.Response:
        body = {"device_provides": {"device_type": "edgewright", "artifact_name": "factory", **provides}}
        return self.http.post(NEXT, json=body, headers=headers)

    def offer(self, device: str = "lane-1") -> tuple[dict[str, str], dict[str, Any]]:
        """Assign a release to a new device; its authorization and what it is offered."""
        headers = self.enter(device)
        release = self.grounds.release(1)
        self.driver.assign(assignments(1, [device], release), self.grounds.configs())
        found = self.next(headers)
        assert found.status_code == 200, found.text
        return headers, found.json()

    def twin(self, device: str = "lane-1") -> Twin:
        found = self.grounds.twins.twin(device)
        assert found is not None
        return found


def signed(key: Key, body: bytes) -> str:
    match key:
        case rsa.RSAPrivateKey():
            signature = key.sign(body, PKCS1v15(), SHA256())
        case ec.EllipticCurvePrivateKey():
            signature = key.sign(body, ec.ECDSA(SHA256()))
        case ed25519.Ed25519PrivateKey():
            signature = key.sign(body)
    return base64.b64encode(signature).decode()


def path_of(uri: str) -> str:
    return uri[uri.index("/api/") :]
