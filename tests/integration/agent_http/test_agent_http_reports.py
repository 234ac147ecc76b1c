"""Reports over HTTP: durable before they are answered, within bounds, and only from who they are of."""

import asyncio
import gzip
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from starlette.types import Message, Receive

from devices.http_agents import csr, new_key
from edgewright.server.devices import report_bodies as reports_bodies
from edgewright.server.devices import strangers
from edgewright.server.devices.report_bodies import Bodies, Refused, read_reports, unpacked
from edgewright_wire.messages import Report
from servers.agent_server import PATIENCE, AgentSite, base
from worlds.report_inbox import Place, body, report


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    site = AgentSite(tmp_path / "site")
    with site.served() as serving:
        made = Place(site, base(serving))
        yield made
        made.client.close()
    site.close()


def test_a_report_is_kept_whole_and_rollouts_are_told(place: Place) -> None:
    said = report("lane-1", 3, models=[{"model": "reader", "phase": "verified", "message": "ä\u0000\n"}], later="x")
    answer = place.post(body(said))

    assert (answer.status_code, answer.json()) == (200, {"accepted": 1})
    assert answer.headers["edgewright-poll"] == "5"
    assert place.site.inbox.newer({}) == [Report.model_validate(said)]
    assert place.site.woken.wait(PATIENCE)


def test_many_reports_come_together_packed_or_not(place: Place) -> None:
    many = body(*(report(f"lane-{number}", 1) for number in range(500)))
    assert place.post(gzip.compress(many), Content_Encoding="gzip").json() == {"accepted": 500}
    assert place.post(body(report("lane-0", 2), report("lane-0", 1), report("lane-1", 5))).json() == {"accepted": 3}
    assert place.post(body()).json() == {"accepted": 0}
    assert place.kept() == {f"lane-{number}": 1 for number in range(500)} | {"lane-0": 2, "lane-1": 5}


MALFORMED: list[tuple[bytes, str]] = [
    (b"", "the body"),
    (b"nonsense", "the body"),
    (b"[]", "the body"),
    (b"{}", "reports"),
    (b'{"reports": 3}', "reports"),
    (b"\xff\xfe", "the body"),
    (body({"device": "lane-1"}), "report 1: sequence"),
    (body(report("lane-1", 1), report("../etc", 1)), "report 2: device"),
    (body(report("lane-1", 0)), "report 1: sequence"),
    (body(report("lane-1", 2**63)), "report 1 (lane-1): sequence"),
    (body(report("lane-1", 1) | {"sentAt": "2026-03-01T12:00:00"}), "report 1: sentAt"),
    (body(report("lane-1", 1) | {"sentAt": "0001-01-01T00:00:00+14:00"}), "report 1 (lane-1): sentAt"),
    (body(report("lane-1", 1) | {"sentAt": "9999-12-31T23:59:59-12:00"}), "report 1 (lane-1): sentAt"),
    (body(report("lane-1", 1, schemaVersion=2)), "report 1: schemaVersion"),
    (body(report("lane-1", 1, models=[{"model": "reader", "phase": "flying"}])), "report 1: models.0.phase"),
    (body(*(report(f"lane-{n}", 0) for n in range(50))), "and 45 more"),
]


@pytest.mark.parametrize(("content", "words"), MALFORMED)
def test_what_is_malformed_is_refused_naming_which(place: Place, content: bytes, words: str) -> None:
    answer = place.post(content)
    assert answer.status_code == 422
    assert words in answer.json()["error"]
    assert "http" not in answer.json()["error"]
    assert place.kept() == {}


def test_bodies_are_bounded_as_sent_and_unpacked(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.post(b"x" * (reports_bodies.MOST_BYTES + 1)).status_code == 413
    assert place.post(b"x" * (reports_bodies.MOST_BYTES * 5)).status_code == 413
    bomb = gzip.compress(b"0" * (reports_bodies.MOST_UNPACKED + 1))
    assert len(bomb) < 20_000
    assert place.post(bomb, Content_Encoding="gzip").status_code == 413
    for packed in (b"", b"nonsense", gzip.compress(b"{}")[:-3], gzip.compress(b"{}") * 2):
        with pytest.raises(Refused):
            unpacked(packed)
    assert place.post(b"nonsense", Content_Encoding="gzip").status_code == 400
    assert place.post(b"x", Content_Encoding="br").status_code == 415
    assert place.post(body(), Content_Type="text/plain").status_code == 415
    monkeypatch.setattr(reports_bodies, "MOST_REPORTS", 2)
    with pytest.raises(Refused) as caught:
        read_reports(body(*(report(f"lane-{n}", 1) for n in range(3))))
    assert caught.value.status == 413
    assert place.post(body(report("lane-1", 1))).status_code == 200


def test_a_request_to_enroll_is_small_and_not_packed(place: Place) -> None:
    place.url = place.url.replace("/reports", "/enroll")
    asked = json.dumps({"device": "lane-1", "csr": csr(new_key(), "lane-1")}).encode()
    assert place.post(gzip.compress(asked), Content_Encoding="gzip").status_code == 415
    assert place.post(b"x" * (strangers.BODY_BYTES + 1)).status_code == 413
    assert place.post(b"x" * strangers.BODY_BYTES).status_code == 422
    assert place.post(asked).status_code == 202


def test_strangers_who_stop_in_the_middle_hold_no_report_up() -> None:
    async def held() -> tuple[str, bytes]:
        bodies = Bodies(strangers.HELD_BYTES, strangers.BODY_BYTES, packed=False)
        headers = {b"content-type": b"application/json"}
        never = asyncio.Event()

        def sender(size: int, *, ends: bool) -> Receive:
            messages = iter([{"type": "http.request", "body": b"x" * size, "more_body": not ends}])

            async def receive() -> Message:
                for message in messages:
                    return message
                await never.wait()
                raise AssertionError

            return receive

        begun = [
            asyncio.ensure_future(bodies.read(headers, sender(strangers.BODY_BYTES, ends=False), "192.0.2.1"))
            for _ in range(strangers.HELD_BYTES // strangers.BODY_BYTES // 4)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Refused) as refused:
            await bodies.read(headers, sender(1, ends=True), "192.0.2.1")
        other = await bodies.read(headers, sender(2, ends=True), "192.0.2.2")
        for each in begun:
            each.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        return refused.value.message, other + await bodies.read(headers, sender(3, ends=True), "192.0.2.1")

    assert asyncio.run(held()) == ("too many bodies are arriving; come again later", b"xxxxx")


def test_a_body_that_dawdles_is_given_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports_bodies, "BODY_SECONDS", 0.1)
    hold = threading.Event()

    def dawdling() -> Iterator[bytes]:
        yield b'{"reports"'
        hold.wait(PATIENCE)

    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(
            lambda: httpx.post(
                place.url, content=dawdling(), headers={"Content-Type": "application/json"}, trust_env=False
            )
        )
        assert place.post(body(report("lane-1", 1))).status_code == 200
        threading.Timer(0.5, hold.set).start()
        assert sent.result(PATIENCE).status_code == 408


def test_other_methods_and_calls_are_refused(place: Place) -> None:
    assert place.client.get(place.url).status_code == 405
    assert place.client.put(place.url).status_code == 405
    assert place.client.post(f"{place.url}/more").status_code == 404
