"""Whatever is sent to Mender's device API is answered, within bounds, and never with an error of ours."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices.mender_client import MenderDevice
from edgewright_schemas.delivery import Delivery
from harness.profiles import examples
from rigs.base import Grounds, assignments
from rigs.mender_site import MenderSite

API = "/api/devices"
REQUESTS = (
    ("POST", f"{API}/v1/authentication/auth_requests"),
    ("PATCH", f"{API}/v1/inventory/device/attributes"),
    ("PUT", f"{API}/v1/inventory/device/attributes"),
    ("POST", f"{API}/v2/deployments/device/deployments/next"),
    ("GET", f"{API}/v1/deployments/device/deployments/next"),
    ("PUT", f"{API}/v1/deployments/device/deployments/ID/status"),
    ("PUT", f"{API}/v1/deployments/device/deployments/ID/log"),
    ("GET", f"{API}/v1/deployments/device/deployments/ID/artifact"),
)
SAMPLES: dict[str, Any] = {
    "id_data": '{"device":"lane-1"}',
    "pubkey": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n",
    "tenant_token": "",
    "device_provides": {"device_type": "edgewright", "artifact_name": "x"},
    "status": "success",
    "substate": "",
    "messages": [{"level": "error", "message": '{"evidence":1,'}],
    "name": "edgewright_evidence_reader",
    "value": '{"evidence":1,"nonce":"x","model":{}}',
}
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from([*SAMPLES.values()])
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(sorted(SAMPLES)), st.text(max_size=8)), inner, max_size=4),
        st.fixed_dictionaries({}, optional=dict.fromkeys(SAMPLES, inner)),
    ),
    max_leaves=12,
)
bodies = st.one_of(
    st.binary(max_size=200),
    values.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(
        [b"[" * 50_000, b'{"a":' * 20_000, b'"\\ud800"', b"\xff\xfe", b"9" * 5000, b'{"status":"' + b"x" * 70_000]
    ),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MenderSite]:
    grounds = Grounds(tmp_path_factory.mktemp("hostile"), Delivery.model_validate({"type": "mender"}))
    made = MenderSite(grounds)
    yield made
    made.stop()
    grounds.close()


@pytest.fixture(scope="module")
def device(site: MenderSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MenderDevice]:
    """An accepted device that is at something."""
    site.grounds.declare("lane-1")
    folder = tmp_path_factory.mktemp("device")
    made = MenderDevice(lambda: site.url, folder, {"device": "lane-1"}, site.public_key, folder)
    made.authorize()
    site.accept("lane-1")
    assert made.authorize()
    site.driver.assign(assignments(1, ["lane-1"], site.grounds.release(1)), {})
    while made.at is None:
        assert made.step()
    yield made
    made.close()


@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    request=st.sampled_from(REQUESTS),
    body=bodies,
    id_=st.one_of(st.just("own"), st.text("abc-0123/%.", min_size=1, max_size=40)),
    query=st.one_of(st.just(""), st.text("token=ab.%&0", max_size=30)),
    wanted=st.one_of(st.just(""), st.text("bytes=0-9,", max_size=30)),
)
def test_anything_is_answered(
    site: MenderSite, device: MenderDevice, request: tuple[str, str], body: bytes, id_: str, query: str, wanted: str
) -> None:
    assert device.at is not None
    method, path = request
    url = f"{site.url}{path.replace('ID', device.at.id if id_ == 'own' else id_)}?{query}"
    headers = {"Authorization": f"Bearer {device.token}", "Range": wanted, "X-MEN-Signature": "AAAA"}
    try:
        answer = device.http.request(method, url, content=body, headers=headers)
    except httpx.InvalidURL:
        return
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert set(answer.json()) == {"error"}
        assert len(answer.content) < 1000


@settings(max_examples=examples(200), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.fixed_dictionaries({}, optional={"id_data": values, "tenant_token": values, "more": values}))
def test_any_identity_that_is_signed_is_answered(site: MenderSite, device: MenderDevice, asked: dict[str, Any]) -> None:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    body = json.dumps({**asked, "pubkey": public}).encode()
    headers = {"X-MEN-Signature": base64.b64encode(key.sign(body)).decode()}

    answer = device.http.post(f"{site.url}{API}/v1/authentication/auth_requests", content=body, headers=headers)

    assert answer.status_code in {400, 401}, answer.text
    pending = site.grounds.identities.identities(system="mender")
    site.grounds.identities.forget("mender", [each.key for each in pending if each.device != "lane-1"])


@pytest.mark.parametrize(("method", "path"), REQUESTS)
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_without_end_is_cut_off(
    site: MenderSite, device: MenderDevice, method: str, path: str, chunked: bool
) -> None:
    """Nobody makes the server hold more than it has set aside for one body, nor read on for ever."""
    block, sent = b"x" * 65_536, 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(4096):
            sent += len(block)
            yield block

    length = {} if chunked else {"Content-Length": str(len(block) * 4096)}
    headers = {"Authorization": f"Bearer {device.token}", **length}
    try:
        answer = device.http.request(method, f"{site.url}{path}", content=endless(), headers=headers)
        assert answer.status_code == 413
    except httpx.TransportError:
        pass  # it closed the connection while it was written to
    assert sent < 40 << 20


def test_strangers_are_sent_away_before_they_have_sent_anything(site: MenderSite, device: MenderDevice) -> None:
    def never() -> Iterator[bytes]:
        yield b"x" * 100
        raise AssertionError("it was waited for")

    path = f"{site.url}{API}/v1/deployments/device/deployments/{'0' * 8}/log"
    with pytest.raises((AssertionError, httpx.TransportError)):
        device.http.put(path, content=never(), headers={"Authorization": "Bearer a.b.c"})
    answer = device.http.put(path, content=b"x", headers={"Authorization": "Bearer a.b.c"})
    assert answer.status_code == 401
