"""Mender's device API, request by request: who is believed, what links and tokens are worth, what is sent."""

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgewright.delivery.identity.admission import accept_as
from edgewright.delivery.served.mender import service as service_module
from edgewright.delivery.served.mender.service import TOKEN_LIFE
from edgewright.errors import DeliveryError
from edgewright.ports import IdentityStatus
from worlds.mender_api import AUTH, INVENTORY, NEXT, Api, Key, path_of, signed


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    made = Api(tmp_path)
    yield made
    made.close()


def a_key(kind: str = "ed25519") -> Key:
    match kind:
        case "rsa":
            return rsa.generate_private_key(65537, 2048)
        case "ecdsa":
            return ec.generate_private_key(ec.SECP256R1())
        case _:
            return ed25519.Ed25519PrivateKey.generate()


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
