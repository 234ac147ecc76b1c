"""hawkBit's device API over real HTTP: who is let in, what is answered, and what no body can bring about."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewright.core.fleet.twins import Twin
from edgewright.delivery.served.ddi.authentication import SYSTEM, issue_gateway_token
from edgewright.errors import DeliveryError
from edgewright.ports import IdentityStatus
from edgewright_schemas.delivery import Delivery
from edgewright_wire.messages import ModelAssignment
from harness.profiles import examples
from rigs.base import Grounds, assignments
from rigs.ddi_site import DdiSite

FEEDBACK = {"status": {"execution": "proceeding", "result": {"finished": "none"}, "details": []}}


class Place:
    """A controller with one device, ``lane-1``, that has a token."""

    def __init__(self, folder: Path, **delivery: object) -> None:
        self.grounds = Grounds(folder, Delivery.model_validate({"type": "ddi", **delivery}))
        self.site = DdiSite(self.grounds)
        self.grounds.declare("lane-1")
        self.token = self.site.token("lane-1")
        self.http = httpx.Client(base_url=f"{self.site.url}/DEFAULT/controller/v1", timeout=30)

    def get(self, path: str, token: str | None = None, kind: str = "TargetToken", **headers: str) -> httpx.Response:
        return self.http.get(path, headers={"Authorization": f"{kind} {token or self.token}", **headers})

    def send(self, method: str, path: str, content: bytes | object) -> httpx.Response:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.http.request(method, path, content=body, headers={"Authorization": f"TargetToken {self.token}"})

    def assign(self, version: int = 1) -> ModelAssignment:
        wanted = self.grounds.release(version)
        self.site.driver.assign(assignments(version, ["lane-1"], wanted), self.grounds.configs())
        return wanted

    def artifact(self) -> dict[str, object]:
        self.get("/lane-1")
        answer = self.get("/lane-1/deploymentBase/1").json()
        found: dict[str, object] = answer["deployment"]["chunks"][0]["artifacts"][0]
        return found

    def twin(self) -> Twin:
        twin = self.grounds.twins.twin("lane-1")
        assert twin is not None
        return twin

    def close(self) -> None:
        self.http.close()
        self.site.stop()
        self.grounds.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.fixture
def behind_a_gateway(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, ddi={"tokens": "gateway", "poll": "1h"})
    yield made
    made.close()


def test_nobody_is_let_in_without_a_token_of_this_device(place: Place) -> None:
    place.grounds.declare("lane-2")
    other = place.site.token("lane-2")

    assert place.http.get("/lane-1").status_code == 401
    for token, kind in ((other, "TargetToken"), ("x", "TargetToken"), (place.token, "GatewayToken"), ("x", "Basic")):
        assert place.get("/lane-1", token, kind).status_code == 401
    assert place.get("/lane-9").status_code == 401
    assert place.get("/lane-1").status_code == 200


def test_a_new_token_ends_the_one_before_and_none_is_kept(place: Place) -> None:
    newer = place.site.token("lane-1")

    assert place.get("/lane-1").status_code == 401
    assert place.get("/lane-1", newer).status_code == 200
    assert newer.encode() not in (place.grounds.folder / "state.db").read_bytes()


def test_a_gateway_brings_its_fleet_and_others_wait(behind_a_gateway: Place) -> None:
    place = behind_a_gateway
    gateway = issue_gateway_token(place.grounds.identities, "site-7", place.grounds.now()).reveal()

    known = place.get("/lane-1", gateway, "GatewayToken")
    unknown = place.get("/lane-9", gateway, "GatewayToken")

    assert known.json()["config"]["polling"]["sleep"] == "01:00:00"
    assert unknown.status_code == 200
    assert list(unknown.json()["_links"]) == ["configData"]
    told = place.http.put(
        "/lane-9/configData",
        json={"mode": "merge", "data": {"class": "handheld"}},
        headers={"Authorization": f"GatewayToken {gateway}"},
    )
    assert told.status_code == 200
    (waiting,) = place.grounds.identities.identities(system=SYSTEM, status=IdentityStatus.PENDING)
    assert (waiting.device, waiting.labels) == ("lane-9", {"class": "handheld"})
    place.grounds.identities.decide(SYSTEM, waiting.key, IdentityStatus.REJECTED, place.grounds.now())
    assert place.get("/lane-9", gateway, "GatewayToken").status_code == 403


def test_a_gateway_does_not_speak_for_devices_with_tokens_of_their_own(place: Place) -> None:
    gateway = issue_gateway_token(place.grounds.identities, "site-7", place.grounds.now()).reveal()

    assert place.get("/lane-1", gateway, "GatewayToken").status_code == 401


def test_a_device_that_another_system_reaches_is_left_to_it(place: Place) -> None:
    way = Delivery.model_validate({"type": "ssh"})
    place.grounds.routes["lane-1"] = replace(place.grounds.routes["lane-1"], delivery=way)
    place.grounds.twins.change("lane-1", "ssh", lambda twin: replace(twin, jobs=5))

    for refused in (place.get("/lane-1"), place.send("PUT", "/lane-1/configData", {"data": {"a": "b"}})):
        assert (refused.status_code, refused.json()) == (401, place.get("/lane-1", "x").json())
    assert (place.twin().system, place.twin().jobs) == ("ssh", 5)


def test_a_token_of_a_device_that_no_fleet_has_any_more_counts_no_more(place: Place) -> None:
    route = place.grounds.routes.pop("lane-1")
    assert place.get("/lane-1").status_code == 401
    place.grounds.routes["lane-1"] = route
    assert place.get("/lane-1").status_code == 200


def test_only_what_is_due_is_linked(place: Place) -> None:
    assert list(place.get("/lane-1").json()["_links"]) == ["configData"]
    place.send("PUT", "/lane-1/configData", {"data": {"class": "lane"}})
    assert place.get("/lane-1").json()["_links"] == {}
    place.assign()

    assert list(place.get("/lane-1").json()["_links"]) == ["deploymentBase"]
    place.artifact()
    place.site.driver.cancel(["lane-1"])
    assert list(place.get("/lane-1").json()["_links"]) == ["cancelAction"]
    assert place.get("/lane-1/cancelAction/1").json() == {"id": "1", "cancelAction": {"stopId": "1"}}
    assert place.get("/lane-1/deploymentBase/1").status_code == 410


def test_actions_that_are_not_open_are_refused(place: Place) -> None:
    place.assign()
    place.get("/lane-1")

    for number in ("2", "0", "-1", "x", "9" * 30, "1.0"):
        assert place.send("POST", f"/lane-1/deploymentBase/{number}/feedback", FEEDBACK).status_code == 404
    assert place.send("POST", "/lane-1/cancelAction/1/feedback", FEEDBACK).status_code == 404
    rejected = {"status": {"execution": "rejected", "result": {"finished": "none"}}}
    assert place.send("POST", "/lane-1/deploymentBase/1/feedback", {**rejected, "id": "2"}).status_code == 400
    assert place.send("POST", "/lane-1/deploymentBase/1/feedback", rejected).status_code == 200
    assert place.send("POST", "/lane-1/deploymentBase/1/feedback", rejected).status_code == 410
    failed = place.twin().model("reader").failed
    assert failed is not None
    assert failed.reason == "Rejected"


def test_bundles_are_sent_whole_in_parts_and_not_again(place: Place) -> None:
    place.assign()
    artifact = place.artifact()
    href = artifact["_links"]["download"]["href"]  # type: ignore[index]
    size = artifact["size"]
    assert isinstance(size, int)

    head = place.http.head(href, headers={"Authorization": f"TargetToken {place.token}"})
    assert (head.status_code, int(head.headers["content-length"]), head.content) == (200, size, b"")
    assert not place.twin().memo.get("notes", {}).get("fetched")
    whole = place.get(href)
    assert len(whole.content) == size
    tag = whole.headers["etag"]
    for asked, start, end in (("0-99", 0, 100), (f"{size - 5}-", size - 5, size), ("-7", size - 7, size)):
        part = place.get(href, Range=f"bytes={asked}")
        assert (part.status_code, part.content) == (206, whole.content[start:end])
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    assert place.get(href, Range=f"bytes={size}-").status_code == 416
    assert place.get(href, **{"If-None-Match": tag}).status_code == 304
    assert place.get(href, Range="bytes=0-9", **{"If-Range": '"other"'}).status_code == 200
    assert place.get(f"{href}x").status_code == 404
    assert place.http.get(href).status_code == 401
    assert place.twin().memo["notes"]["fetched"]


def test_a_bundle_that_was_lost_or_damaged_is_built_again(place: Place) -> None:
    place.assign()
    artifact = place.artifact()
    (bundle,) = place.site.cache.glob("signed/*/*.swu")
    data = bytearray(bundle.read_bytes())
    data[2000] ^= 0xFF
    bundle.write_bytes(data)
    place.site.renew()

    assert place.get(artifact["_links"]["download"]["href"]).status_code in {200, 404}  # type: ignore[index]
    again = place.artifact()
    sent = place.get(again["_links"]["download"]["href"])  # type: ignore[index]
    assert sent.content != bytes(data)
    assert len(sent.content) == again["size"]


def test_what_is_wrong_with_bundles_is_told_when_they_are_assigned(tmp_path: Path) -> None:
    place = Place(tmp_path, ddi={"bundle": {"template": "templates/sw.j2"}})
    place.site.files["templates/sw.j2"] = b"software = {\n  version = {{ verson }};\n};\n"
    try:
        with pytest.raises(DeliveryError, match=r"templates/sw\.j2:2: .*verson"):
            place.assign()
    finally:
        place.close()


def test_a_device_without_a_bundle_is_told_nothing_and_people_are(place: Place) -> None:
    place.assign()
    for path in (place.grounds.keys / "bundles.pem", *place.site.cache.glob("signed/*/*.swu")):
        path.unlink()

    for _ in range(3):
        assert "deploymentBase" not in place.get("/lane-1").json()["_links"]
    assert place.twin().reason == "BundleFailed"
    assert "bundles.pem" in place.twin().message
    assert place.twin().sequence < 6, "a trouble that lasts is no news each time"


def test_large_bodies_are_refused(place: Place) -> None:
    place.assign()
    place.get("/lane-1")

    assert place.send("POST", "/lane-1/deploymentBase/1/feedback", b"x" * (1 << 20)).status_code == 413


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(
        ["configData", "deploymentBase/1/feedback", "cancelAction/1/feedback", "deploymentBase/%00/feedback"]
    ),
    body=st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), lambda s: st.dictionaries(st.text(), s) | st.lists(s)).map(
        lambda value: json.dumps({"status": value, "data": value, "mode": value}).encode()
    ),
)
def test_no_body_is_an_error_of_ours(place: Place, path: str, body: bytes) -> None:
    if place.grounds.twins.twin("lane-1") is None:
        place.assign()
        place.artifact()
    method = "PUT" if path == "configData" else "POST"

    assert place.send(method, f"/lane-1/{path}", body).status_code < 500
