"""Mender's device API, request by request: who is believed, what links and tokens are worth, what is sent."""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI

from edgewright.core.fleet.twins import Twin
from edgewright.delivery.identity.admission import accept_as
from edgewright.delivery.identity.credentials import create_credentials
from edgewright.delivery.served.mender import service as service_module
from edgewright.delivery.served.mender.driver import MenderDriver
from edgewright.delivery.served.mender.service import LINK_LIFE, TOKEN_LIFE, MenderService
from edgewright.errors import DeliveryError
from edgewright.ports import Identity, IdentityStatus
from edgewright.server.devices.mender_routes import mender_router
from edgewright.server.serving import Serving
from edgewright_schemas.delivery import Delivery
from edgewright_wire.layout import blob_path
from rigs.base import Grounds, assignments

NEXT = "/api/devices/v2/deployments/device/deployments/next"
DEPLOYMENTS = "/api/devices/v1/deployments/device/deployments"
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


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    made = Api(tmp_path)
    yield made
    made.close()


def signed(key: Key, body: bytes) -> str:
    match key:
        case rsa.RSAPrivateKey():
            signature = key.sign(body, PKCS1v15(), SHA256())
        case ec.EllipticCurvePrivateKey():
            signature = key.sign(body, ec.ECDSA(SHA256()))
        case ed25519.Ed25519PrivateKey():
            signature = key.sign(body)
    return base64.b64encode(signature).decode()


def a_key(kind: str = "ed25519") -> Key:
    match kind:
        case "rsa":
            return rsa.generate_private_key(65537, 2048)
        case "ecdsa":
            return ec.generate_private_key(ec.SECP256R1())
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def path_of(uri: str) -> str:
    return uri[uri.index("/api/") :]


# ── who is believed ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_a_device_is_let_in_once_its_key_is_accepted(api: Api, kind: str) -> None:
    api.grounds.declare("lane-1")
    key = a_key(kind)
    for _ in range(2):
        answer = api.ask(key, device="lane-1")
        assert answer.status_code == 401
        assert "waits to be accepted" in answer.json()["error"]
    (waiting,) = api.waiting()
    assert (waiting.device, waiting.labels) == ("lane-1", {"device": "lane-1"})
    assert waiting.detail["peer"] == "127.0.0.1"
    assert api.http.patch(INVENTORY, json=[], headers={"Authorization": "Bearer"}).status_code == 401

    api.accept("lane-1")
    answer = api.ask(key, device="lane-1")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/jwt"
    assert api.next({"Authorization": f"Bearer {answer.text}"}).status_code == 204


def test_nobody_speaks_with_a_key_that_is_not_theirs(api: Api) -> None:
    own, stolen = a_key(), a_key()
    public = stolen.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    body = json.dumps({"id_data": '{"device":"lane-1"}', "pubkey": public}).encode()
    for signature in (signed(own, body), signed(stolen, body + b" "), "", "%%%", "é".encode().decode("latin-1")):
        answer = api.http.post(AUTH, content=body, headers={b"X-MEN-Signature": signature.encode("latin-1")})
        assert answer.status_code == 401, answer.text
    weak = rsa.generate_private_key(65537, 1024)
    assert "2048" in api.ask(weak, device="lane-1").json()["error"]
    assert api.waiting() == []


def test_another_key_of_an_accepted_device_waits(api: Api) -> None:
    api.enter("lane-1")
    assert api.ask(a_key(), device="lane-1").status_code == 401
    assert len(api.waiting()) == 1


def test_a_retired_device_is_refused_with_its_token_its_link_and_its_key(api: Api) -> None:
    headers, offered = api.offer()
    (identity,) = api.grounds.identities.identities(system="mender", device="lane-1")
    api.grounds.identities.decide("mender", identity.key, IdentityStatus.RETIRED, api.now)

    assert api.next(headers).status_code == 401
    assert api.http.patch(INVENTORY, json=[], headers=headers).status_code == 401
    assert api.http.get(path_of(offered["artifact"]["source"]["uri"])).status_code == 401


@pytest.mark.parametrize(
    ("identity", "device"),
    [
        ({"edgewright_id": "lane-1", "mac": "02:00"}, "lane-1"),
        ({"device": "lane-2"}, "lane-2"),
        ({"mac": "02:00"}, "lane-1"),
        ({"class": "lane"}, "lane"),
        ({"mac": "02:99:00:aa"}, "02-99-00-aa"),
        ({"device": "../../etc"}, "etc"),
        ({"serial": "///"}, "unknown"),
    ],
)
def test_an_identity_names_a_device_by_id_or_by_a_label(api: Api, identity: dict[str, str], device: str) -> None:
    api.grounds.declare("lane-1", labels={"class": "lane", "mac": "02:00"})
    api.grounds.declare("lane-2", labels={"class": "lane", "mac": "02:01"})
    api.ask(a_key(), **identity)
    (waiting,) = api.waiting()
    assert waiting.device == device


def test_an_operator_may_say_which_device_it_is(api: Api) -> None:
    api.grounds.declare("lane-1")
    first, second = a_key(), a_key()
    for key in (first, second):
        api.ask(key, mac="02:00")
        (waiting,) = api.waiting()
        accepted = accept_as(api.grounds.identities, waiting.key, "lane-1", api.now)
        assert (accepted.device, accepted.status) == ("lane-1", IdentityStatus.ACCEPTED)
    assert api.ask(first, mac="02:00").status_code == 401, "its device has another key now"
    assert api.ask(second, mac="02:00").status_code == 200
    with pytest.raises(DeliveryError, match="not known"):
        accept_as(api.grounds.identities, "sha256:none", "lane-1", api.now)


def test_strangers_do_not_fill_the_store(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "MAX_PENDING", 2)
    for number in range(3):
        answer = api.ask(a_key(), device=f"lane-{number}")
    assert "too many" in answer.json()["error"]
    assert len(api.waiting()) == 2
    api.now += timedelta(days=8)
    assert "waits to be accepted" in api.ask(a_key(), device="lane-9").json()["error"]
    assert [waiting.device for waiting in api.waiting()] == ["lane-9"]


def test_the_tenant_token_names_the_environment(api: Api) -> None:
    assert api.ask(a_key(), "nowhere", device="lane-1").status_code == 401
    assert api.waiting() == []
    headers = api.enter("lane-1", "test")
    assert api.next(headers).status_code == 204
    claims = json.loads(base64.urlsafe_b64decode(headers["Authorization"].split(".")[1] + "=="))
    assert claims["env"] == "test"


def test_tokens_run_out_and_cannot_be_made_or_bent(api: Api) -> None:
    headers, offered = api.offer()
    token = headers["Authorization"].removeprefix("Bearer ")
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    bent = base64.urlsafe_b64encode(json.dumps({**claims, "exp": claims["exp"] + 9999}).encode()).decode().rstrip("=")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    link = offered["artifact"]["source"]["uri"].partition("token=")[2]
    for other in (
        f"{head}.{bent}.{signature}",
        f"{none}.{body}.",
        f"{head}.{body}.AAAA",
        link,
        "x",
        "",
        "a.b.c",
        "é.é.é",
    ):
        answer = api.http.post(NEXT, headers={b"Authorization": f"Bearer {other}".strip().encode()}, json={})
        assert answer.status_code == 401, other
    api.now += TOKEN_LIFE
    assert api.next(headers).status_code == 401


# ── what is sent ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_deployment_has_what_clients_look_for(api: Api) -> None:
    headers, offered = api.offer()
    artifact = offered["artifact"]
    assert artifact["device_types_compatible"] == ["edgewright"]
    assert artifact["artifact_name"].startswith("reader-")
    assert datetime.fromisoformat(artifact["source"]["expire"]) == api.now + LINK_LIFE
    assert artifact["source"]["uri"].startswith(f"{api.url}/api/devices/v1/")
    assert api.next(headers).json()["id"] == offered["id"], "asked again, it is the same deployment"
    older = api.http.get(f"{DEPLOYMENTS}/next?artifact_name=x&device_type=edgewright", headers=headers)
    assert older.json()["id"] == offered["id"]


def test_an_artifact_is_sent_whole_or_in_parts(api: Api) -> None:
    _, offered = api.offer()
    path = path_of(offered["artifact"]["source"]["uri"])
    whole = api.http.get(path)
    assert whole.status_code == 200
    assert int(whole.headers["content-length"]) == len(whole.content)
    tag, size = whole.headers["etag"], len(whole.content)

    def part(wanted: str, **headers: str) -> httpx.Response:
        return api.http.get(path, headers={"Range": wanted, **headers})

    for wanted, start, end in (
        ("bytes=0-", 0, size),
        ("bytes=1000-", 1000, size),
        ("bytes=5-9", 5, 10),
        ("bytes=-7", size - 7, size),
    ):
        answer = part(wanted)
        assert answer.status_code == 206
        assert answer.content == whole.content[start:end]
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    assert part("bytes=5-", **{"If-Range": tag}).status_code == 206
    for wanted, more in (
        ("bytes=5-", {"If-Range": '"other"'}),
        ("bytes=1-2,5-6", {}),
        ("lines=1-2", {}),
        ("bytes=-", {}),
    ):
        assert part(wanted, **more).content == whole.content
    for wanted in (f"bytes={size}-", "bytes=9-5", "bytes=-0"):
        answer = part(wanted)
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}")


def test_a_link_counts_for_its_own_deployment_while_it_lasts(api: Api) -> None:
    headers, offered = api.offer("lane-1")
    _, others = api.offer("lane-2")
    path, token = path_of(offered["artifact"]["source"]["uri"]).split("?token=")
    other, _ = path_of(others["artifact"]["source"]["uri"]).split("?token=")
    assert api.http.get(path).status_code == 401
    assert api.http.get(f"{other}?token={token}").status_code == 410
    bearer = headers["Authorization"].removeprefix("Bearer ")
    assert api.http.get(f"{path}?token={bearer}").status_code == 401

    api.now += LINK_LIFE
    assert api.http.get(f"{path}?token={token}").status_code == 401
    api.now -= LINK_LIFE
    api.http.put(f"{DEPLOYMENTS}/{offered['id']}/status", json={"status": "failure"}, headers=headers)
    assert api.http.get(f"{path}?token={token}").status_code == 410


def test_where_the_repository_is_damaged_devices_come_again(api: Api) -> None:
    _, offered = api.offer()
    job = api.twin().job
    assert job is not None
    assert job.target is not None
    manifest = next(f for f in api.grounds.depot.payload(job.target) if f.name == "model.onnx")
    (api.grounds.folder / "repository" / blob_path(manifest.digest)).write_bytes(b"short")

    answer = api.http.get(path_of(offered["artifact"]["source"]["uri"]))

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert "short" not in answer.text
    assert str(api.grounds.folder) not in answer.text


def test_a_device_of_another_type_is_not_given_what_it_would_refuse(api: Api) -> None:
    headers = api.enter("lane-1")
    api.driver.assign(assignments(1, ["lane-1"], api.grounds.release(1)), {})
    assert api.next(headers, device_type="toaster").status_code == 204
    failed = api.twin().model("reader").failed
    assert failed is not None
    assert failed.reason == "Incompatible"
    assert "toaster" in failed.message


def test_devices_of_other_update_systems_are_left_alone(api: Api) -> None:
    headers, offered = api.offer()
    before = api.twin()
    api.grounds.delivery = Delivery.model_validate({"type": "ssh"})
    api.grounds.declare("lane-1")

    assert api.next(headers).status_code == 204
    status = {"status": "installing"}
    assert api.http.put(f"{DEPLOYMENTS}/{offered['id']}/status", json=status, headers=headers).status_code == 409
    assert api.http.patch(INVENTORY, json=[{"name": "a", "value": "b"}], headers=headers).status_code == 200
    assert api.http.get(path_of(offered["artifact"]["source"]["uri"])).status_code == 410
    assert api.twin() == before


def test_a_device_of_no_fleet_is_known_and_given_nothing(api: Api) -> None:
    headers = api.enter("lane-1")
    api.grounds.routes.clear()
    assert api.next(headers).status_code == 204
    assert api.twin().last_seen is not None


# ── what devices say ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_inventory_is_answered_as_clients_want_it(api: Api) -> None:
    headers = api.enter("lane-1")
    attributes = [{"name": "mac", "value": ["a", "b"]}, {"name": "cpus", "value": 4}]
    answer = api.http.patch(INVENTORY, json=attributes, headers=headers)
    assert (answer.status_code, answer.content) == (200, b"")
    assert api.twin().facts == {"cpus": "4", "mac": "a\nb"}
    api.http.put(INVENTORY, json=[{"name": "os", "value": "debian"}], headers=headers)
    assert api.twin().facts == {"os": "debian"}


def test_reports_may_be_repeated_and_ends_are_never_refused(api: Api) -> None:
    headers, offered = api.offer()

    def say(status: str, id_: str = offered["id"]) -> int:
        answer = api.http.put(f"{DEPLOYMENTS}/{id_}/status", json={"status": status, "substate": "x"}, headers=headers)
        return answer.status_code

    assert [say("downloading"), say("downloading"), say("installing"), say("failure"), say("failure")] == [204] * 5
    assert say("installing") == 409
    assert say("success") == 204
    assert say("flying") == 400
    assert say("success", "not-an-id") == 404
    log = {"messages": [{"level": "error", "message": "no space left on device", "timestamp": "2026-03-01T00:00:00Z"}]}
    assert api.http.put(f"{DEPLOYMENTS}/{offered['id']}/log", json=log, headers=headers).status_code == 204
    failed = api.twin().model("reader").failed
    assert failed is not None
    assert failed.reason == "NoSpace"


def test_rollouts_are_woken_by_news_alone(api: Api) -> None:
    headers, offered = api.offer()
    heard = api.news
    api.next(headers)
    api.http.patch(INVENTORY, json=[{"name": "uptime", "value": "1"}], headers=headers)
    assert api.news == heard
    api.http.put(f"{DEPLOYMENTS}/{offered['id']}/status", json={"status": "downloading"}, headers=headers)
    assert api.news == heard + 1


def test_names_that_clients_refuse_are_refused_when_they_are_assigned(api: Api) -> None:
    api.enter("lane-1")
    release = api.grounds.release(1, config=b"x")
    assert release.config is not None
    odd = release.model_copy(update={"config": release.config.model_copy(update={"path": "lane box.toml"})})
    with pytest.raises(DeliveryError, match=r"lane box\.toml"):
        api.driver.assign(assignments(1, ["lane-1"], odd), api.grounds.configs())
    assert api.grounds.twins.twin("lane-1") is None
