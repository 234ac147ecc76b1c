"""Mender's device API once a device is let in: deployments, artifacts, inventories."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from edgewright.delivery.served.mender.service import LINK_LIFE
from edgewright.errors import DeliveryError
from edgewright_schemas.delivery import Delivery
from edgewright_wire.layout import blob_path
from rigs.base import assignments
from worlds.mender_api import INVENTORY, Api, path_of

DEPLOYMENTS = "/api/devices/v1/deployments/device/deployments"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    made = Api(tmp_path)
    yield made
    made.close()


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
