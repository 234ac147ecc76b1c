"""Reports over HTTP at their limits: refusals, floods, damage, crashes."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from devices.http_agents import csr, new_key
from edgewright.errors import StateUnavailable
from edgewright.server.devices import report_intake as reports_intake
from edgewright.server.devices.report_bodies import read_reports
from edgewright.server.devices.report_intake import Intake
from edgewright.state.store import SqlState
from edgewright.state.twins import SqlInbox
from edgewright_wire.messages import Report
from paths import TESTS
from servers.agent_server import PATIENCE, AgentSite, base
from worlds.report_inbox import Place, body, report

SRC = TESTS


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    site = AgentSite(tmp_path / "site")
    with site.served() as serving:
        made = Place(site, base(serving))
        yield made
        made.client.close()
    site.close()


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
