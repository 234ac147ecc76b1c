"""Reports over HTTP: durable before they are answered, within bounds, and only from who they are of."""

import asyncio
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive
from structlog.testing import capture_logs

from devices.http_agents import csr, new_key
from edgewright.errors import StateUnavailable
from edgewright.server.devices import report_bodies as reports_bodies
from edgewright.server.devices import report_intake as reports_intake
from edgewright.server.devices import strangers
from edgewright.server.devices.report_bodies import Bodies, Refused, read_reports, unpacked
from edgewright.server.devices.report_intake import Intake
from edgewright.state.store import SqlState
from edgewright.state.twins import SqlInbox
from edgewright_wire.messages import Report
from paths import TESTS
from servers.agent_server import PATIENCE, AgentSite, base

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SRC = TESTS


def report(device: str, sequence: int, **fields: Any) -> dict[str, Any]:
    return {"device": device, "sequence": sequence, "sentAt": NOW.isoformat(), "agentVersion": "1", **fields}


def body(*reports: dict[str, Any]) -> bytes:
    return json.dumps({"reports": reports}).encode()


class Place:
    def __init__(self, site: AgentSite, url: str) -> None:
        self.site = site
        self.url = f"{url}/reports"
        self.client = httpx.Client(timeout=PATIENCE, trust_env=False)

    def post(self, content: bytes, **headers: str) -> httpx.Response:
        named = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        return self.client.post(self.url, content=content, headers=named)

    def kept(self) -> dict[str, int]:
        return {each.device: each.sequence for each in self.site.inbox.newer({})}


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


def test_a_refusal_is_logged_once_without_what_was_sent(tmp_path: Path) -> None:
    site = AgentSite(tmp_path / "site")
    with capture_logs() as lines, site.served() as serving:
        place = Place(site, base(serving))
        for _ in range(3):
            place.post(b'{"reports": "canary-4711"}')
        place.post(b"", Content_Type="text/plain")
    refused = [line for line in lines if line["event"] == "an agent was refused"]
    assert [(line["call"], line["status"], line["peer"]) for line in refused] == [
        ("reports", 422, "127.0.0.1"),
        ("reports", 415, "127.0.0.1"),
    ]
    assert "canary" not in repr(lines)
    place.client.close()
    site.close()


def test_a_token_that_was_not_accepted_is_logged_with_the_reason_and_without_the_token(tmp_path: Path) -> None:
    site = AgentSite(tmp_path / "site")
    with capture_logs() as lines, site.served() as serving:
        asked = {"device": "lane-1", "csr": csr(new_key(), "lane-1"), "token": "ewt_canary"}
        with httpx.Client(trust_env=False) as client:
            answer = client.post(f"{base(serving)}/enroll", json=asked)
    assert (answer.status_code, answer.json()["tokenAccepted"]) == (202, False)
    (line,) = (line for line in lines if line["event"] == "enrollment")
    assert (line["device"], line["outcome"], line["token"]) == ("lane-1", "pending", "not accepted: unknown")
    assert "canary" not in repr(lines)
    assert "unknown" not in answer.text
    site.close()


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────


class Gated(SqlInbox):
    """An inbox whose transactions wait until they may; a real one otherwise."""

    def __init__(self, state: SqlState) -> None:
        super().__init__(state)
        self.begun, self.may = threading.Event(), threading.Event()
        self.batches: list[int] = []
        self.error: Exception | None = None

    def put(self, reports: Sequence[Report], now: datetime | None = None) -> None:
        self.begun.set()
        assert self.may.wait(PATIENCE)
        self.batches.append(len(reports))
        if self.error is not None and any(each.device == "bad" for each in reports):
            raise self.error
        super().put(reports, now)


def gated(site: AgentSite) -> Gated:
    inbox = Gated(site.state)
    site.inbox = inbox
    return inbox


def test_what_comes_while_one_transaction_is_written_goes_together_into_the_next(tmp_path: Path) -> None:
    site = AgentSite(tmp_path / "site")
    inbox = gated(site)
    with site.served() as serving, ThreadPoolExecutor(41) as pool:
        place = Place(site, base(serving))
        first = pool.submit(place.post, body(report("lane-0", 1)))
        assert inbox.begun.wait(PATIENCE)
        others = [pool.submit(place.post, body(report(f"lane-{n}", 1))) for n in range(1, 41)]
        until = time.monotonic() + PATIENCE
        while _waiting() < 40:
            assert time.monotonic() < until
        assert not any(each.done() for each in (first, *others)), "nobody is answered before the transaction"
        inbox.may.set()
        assert {each.result(PATIENCE).status_code for each in (first, *others)} == {200}
    assert inbox.batches == [1, 40]
    assert len(place.kept()) == 41
    place.client.close()
    site.close()


def _waiting() -> int:
    import gc

    return sum(len(each._waiting) for each in gc.get_objects() if isinstance(each, Intake))


def test_more_than_can_wait_are_sent_away_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports_intake, "MOST_WAITING", 5)
    site = AgentSite(tmp_path / "site")
    inbox = gated(site)
    with site.served() as serving, ThreadPoolExecutor(20) as pool:
        place = Place(site, base(serving))
        first = pool.submit(place.post, body(report("first", 1)))
        assert inbox.begun.wait(PATIENCE)
        sent = {f"lane-{n}": pool.submit(place.post, body(report(f"lane-{n}", 1))) for n in range(12)}
        until = time.monotonic() + PATIENCE
        while sum(each.done() for each in sent.values()) < 7:
            assert time.monotonic() < until
        inbox.may.set()
        answers = {device: each.result(PATIENCE) for device, each in sent.items()}
        assert first.result(PATIENCE).status_code == 200
    refused = [answer for answer in answers.values() if answer.status_code == 503]
    assert len(refused) == 7
    assert all(1 <= int(answer.headers["retry-after"]) <= 10 for answer in refused)
    assert place.kept().keys() == {"first"} | {d for d, answer in answers.items() if answer.status_code == 200}
    place.client.close()
    site.close()


def test_a_database_that_is_away_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    site = AgentSite(tmp_path / "site")
    inbox = gated(site)
    inbox.may.set()
    inbox.error = StateUnavailable("the database does not answer")
    with site.served() as serving:
        place = Place(site, base(serving))
        away = place.post(body(report("bad", 1)))
        assert (away.status_code, "retry-after" in away.headers) == (503, True)
        assert "database" not in away.text
        inbox.error = None
        assert place.post(body(report("bad", 1))).status_code == 200
    assert place.kept() == {"bad": 1}
    place.client.close()
    site.close()


def test_what_no_check_has_foreseen_spoils_nobody_elses_report(tmp_path: Path) -> None:
    site = AgentSite(tmp_path / "site")
    inbox = gated(site)
    inbox.error = OverflowError("out of range")
    with site.served() as serving, ThreadPoolExecutor(12) as pool:
        place = Place(site, base(serving))
        first = pool.submit(place.post, body(report("first", 1)))
        assert inbox.begun.wait(PATIENCE)
        others = {n: pool.submit(place.post, body(report(n, 1))) for n in ("lane-1", "bad", "lane-2")}
        until = time.monotonic() + PATIENCE
        while _waiting() < 3:
            assert time.monotonic() < until
        inbox.may.set()
        assert first.result(PATIENCE).status_code == 200
        assert {n: each.result(PATIENCE).status_code for n, each in others.items()} == {
            "lane-1": 200,
            "bad": 500,
            "lane-2": 200,
        }
    assert place.kept().keys() == {"first", "lane-1", "lane-2"}
    place.client.close()
    site.close()


def test_stopping_writes_what_was_taken(tmp_path: Path) -> None:
    site = AgentSite(tmp_path / "site")
    inbox = gated(site)
    with ThreadPoolExecutor(10) as pool:
        with site.served() as serving:
            place = Place(site, base(serving))
            first = pool.submit(place.post, body(report("first", 1)))
            assert inbox.begun.wait(PATIENCE)
            others = [pool.submit(place.post, body(report(f"lane-{n}", 1))) for n in range(5)]
            until = time.monotonic() + PATIENCE
            while _waiting() < 5:
                assert time.monotonic() < until
            inbox.may.set()
        answers = [each.result(PATIENCE).status_code for each in (first, *others)]
    assert answers == [200] * 6
    assert len(place.kept()) == 6
    place.client.close()
    site.close()


def test_one_wake_up_for_many_reports(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[float] = []

    async def send() -> None:
        intake = Intake(place.site.inbox, place.site.identities, lambda: woken.append(time.monotonic()))
        intake.start()
        for number in range(50):
            reports = read_reports(body(report("lane-1", number + 1)))
            assert (await intake.put(reports, None)).status == 200
        await asyncio.to_thread(intake.close)

    begun = time.monotonic()
    asyncio.run(send())
    assert 1 <= len(woken) <= 2 + 2 * (time.monotonic() - begun)


@pytest.mark.parametrize("after", [0.2, 0.6])
def test_whatever_was_answered_is_there_after_kill_9(tmp_path: Path, after: float) -> None:
    folder = tmp_path / "site"
    AgentSite(folder).close()
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    server = subprocess.Popen(
        [sys.executable, "-m", "servers.agent_server", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    )
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    acknowledged: dict[str, int] = {}
    lock = threading.Lock()

    def work(device: str) -> None:
        with httpx.Client(timeout=PATIENCE, trust_env=False) as client:
            for sequence in range(1, 100_000):
                try:
                    answer = client.post(f"{url}/reports", json={"reports": [report(device, sequence)]})
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    with lock:
                        acknowledged[device] = sequence

    with ThreadPoolExecutor(16) as pool:
        working = [pool.submit(work, f"lane-{number}") for number in range(16)]
        until = time.monotonic() + PATIENCE
        while sum(acknowledged.values()) < 50:
            assert time.monotonic() < until
        threading.Event().wait(after)
        server.send_signal(signal.SIGKILL)
        server.wait(PATIENCE)
        for each in working:
            each.result(PATIENCE)
    server.stdout.close()

    site = AgentSite(folder)
    kept = {each.device: each.sequence for each in site.inbox.newer({})}
    site.close()
    assert sum(acknowledged.values()) >= 50
    lost = {
        device: (sequence, kept.get(device))
        for device, sequence in acknowledged.items()
        if kept.get(device, 0) < sequence
    }
    assert lost == {}
