"""``edgewright-agent`` over HTTPS, as a process of its own: from nothing to a verified update, and what may go wrong.

The server is a fake with real TLS, which counts what it is asked.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from edgewright_agent.main import main
from edgewright_wire.canonical import hex_of
from edgewright_wire.layout import blob_path
from edgewright_wire.messages import Phase, Report
from paths import TESTS
from samples.agent_packages import MODEL, a_package, assignment, target
from servers.agent_api import AgentServer, tls_server
from servers.tuf_repository import TufRepository

DEVICE = "lane-7"
TIMESTAMP = "metadata/timestamp.json"
COMMAND = [sys.executable, "-m", "edgewright_agent"]
PADDING = 1_000_000


@pytest.fixture
def repository(tmp_path: Path) -> TufRepository:
    made = TufRepository(tmp_path / "repository")
    made.publish()
    return made


@pytest.fixture
def server(tmp_path: Path, repository: TufRepository) -> Iterator[AgentServer]:
    with tls_server(repository.path, tmp_path / "tls") as server:
        yield server


class Machine:
    """A device that is set up for a server."""

    def __init__(self, home: Path, server: AgentServer, repository: TufRepository) -> None:
        self.home = home
        self.server = server
        self.repository = repository
        (home / "root.json").write_bytes(repository.root)
        where = ["--server", server.url, "--ca", str(home / "tls" / "ca.crt"), "--root", str(home / "root.json")]
        runtime = ["--runtime", "fakes.agent_runtimes:LinearRuntime", "--python-path", str(TESTS)]
        assert main(["init", "--dir", str(home / "device"), "--device", DEVICE, *where, *runtime]) == 0
        self.set(heartbeat="300ms", retry="100ms", retry_max="300ms")

    @property
    def config(self) -> Path:
        return self.home / "device" / "agent.toml"

    def set(self, **settings: str) -> None:
        """Write (more) settings."""
        lines = [line for line in self.config.read_text().splitlines() if line.split(" ")[0] not in settings]
        lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        self.config.write_text("\n".join(lines) + "\n")

    def assign(self, version: int, number: int, padding: int = 0) -> str:
        package = a_package(number, padding=padding)
        self.repository.add_package(package)
        self.repository.assign(assignment(DEVICE, version, target(package)))
        self.server.tell()
        return package.digest

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[bytes]"]:
        with (
            (self.home / "log").open("ab") as log,
            subprocess.Popen([*COMMAND, "run", "--config", str(self.config)], stderr=log) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    def log(self) -> str:
        return (self.home / "log").read_text()

    def report(self) -> Report | None:
        return self.server.report(DEVICE)

    def model(self) -> tuple[str, str, str | None]:
        report = self.report()
        if report is None or not report.models:
            return "", "", None
        model = report.models[0]
        return model.phase, model.reason, model.verified

    def verified(self, digest: str) -> None:
        self.server.until(lambda: self.model() == (Phase.VERIFIED, "", digest), 60)

    def settled(self, digest: str) -> None:
        """Enrolled, and running what is assigned."""
        self.server.tokens = {"t"}
        assert main(["enroll", "--config", str(self.config), "--token", "t"]) == 0
        with self.running():
            self.verified(digest)


@pytest.fixture
def machine(tmp_path: Path, server: AgentServer, repository: TufRepository) -> Machine:
    return Machine(tmp_path, server, repository)


def test_a_device_enrolls_by_itself_updates_in_no_time_and_stops(machine: Machine) -> None:
    """Nothing but init was typed; the operator approves; a long-poll brings what is published at once."""
    machine.set(long_poll="30s")
    first = machine.assign(1, 1)
    server = machine.server
    with machine.running() as process:
        server.until(lambda: DEVICE in server.devices)
        assert machine.report() is None
        active = machine.home / "device" / "models" / MODEL / "active"
        server.until(active.is_symlink)
        server.decide(DEVICE, "enrolled")
        machine.verified(first)
        server.until(lambda: server.waiting > 0)
        polls = len(server.asked(TIMESTAMP))

        second = machine.assign(2, 2)
        begun = time.monotonic()
        machine.verified(second)
        assert time.monotonic() - begun < 20, "it did not wait for a poll, which is every 60 s"
        assert len(server.asked(TIMESTAMP)) - polls <= 4

        server.until(lambda: server.waiting > 0)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert time.monotonic() - begun < 8, "the server would have held it for 30 s"
    assert "Traceback" not in machine.log()


def test_an_unchanged_repository_costs_one_conditional_request_per_poll(machine: Machine) -> None:
    machine.settled(machine.assign(1, 1))
    server = machine.server
    server.poll = 1.0
    with machine.running():
        server.until(lambda: len([seen for seen in server.asked(TIMESTAMP) if seen.status == 304]) >= 3, 60)
        server.seen.clear()
        begun = time.monotonic()
        server.until(lambda: len(server.asked(TIMESTAMP)) >= 4)
        took = time.monotonic() - begun
        asked = server.asked("", "GET")
    assert {(seen.path.rpartition("/")[2], seen.status) for seen in asked} == {("timestamp.json", 304)}
    assert len({seen.connection for seen in asked}) == 1
    assert took > 4 * 0.8 - 1.0, "the server's pace is kept, within its jitter"


def test_a_server_without_long_polls_is_polled_and_not_hammered(machine: Machine) -> None:
    machine.settled(machine.assign(1, 1))
    machine.set(long_poll="30s")
    server = machine.server
    server.long_polls = False
    server.poll = 3600.0
    server.seen.clear()
    with machine.running():
        server.until(lambda: len(server.asked("/reports", "POST")) >= 8, 60)
        polls = [seen for seen in server.asked(TIMESTAMP) if "Prefer" in seen.headers]
    assert len(polls) == 2, "once to learn what is there, once to learn that the server does not wait"


def test_reports_go_on_while_the_server_holds_a_long_poll(machine: Machine) -> None:
    machine.settled(machine.assign(1, 1))
    machine.set(long_poll="60s")
    server = machine.server
    with machine.running():
        server.until(lambda: server.waiting > 0)
        before = len(server.asked("/reports", "POST"))
        server.until(lambda: len(server.asked("/reports", "POST")) >= before + 5)
        assert server.waiting > 0


def test_a_stop_is_heard_while_the_server_says_nothing(machine: Machine) -> None:
    machine.settled(machine.assign(1, 1))
    machine.server.silent.set()
    with machine.running() as process:
        log = machine.home / "log"
        machine.server.until(lambda: log.read_text().count(" runs; ") == 2)
        time.sleep(0.5)  # it asks now, and nothing tells of that
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert time.monotonic() - begun < 8, "a read times out after 20 s"


def test_backpressure_is_obeyed_and_the_newest_report_is_what_comes(machine: Machine) -> None:
    machine.settled(machine.assign(1, 1))
    server = machine.server
    server.instead["/reports"] = (429, {"Retry-After": "2"}, b"")
    server.seen.clear()
    second = machine.assign(2, 2)
    with machine.running():
        server.until(lambda: machine.log().count("verified, release") == 2, 60)
        server.until(lambda: len(server.asked("/reports", "POST")) >= 2, 60)
        del server.instead["/reports"]
        machine.verified(second)
    posted = server.asked("/reports", "POST")
    turned_away = [seen.at for seen in posted if seen.status == 429]
    gaps = [after - before for before, after in itertools.pairwise([*turned_away, posted[len(turned_away)].at])]
    assert min(gaps) >= 2.0, "the server's pause is kept, though there was news"
    assert max(gaps) < 10.0


def test_a_slow_download_leaves_the_device_alive_and_goes_on_after_a_kill(machine: Machine) -> None:
    machine.settled(machine.assign(1, 1))
    machine.set(bandwidth="300KiB/s", heartbeat="200ms")
    digest = machine.assign(2, 2, PADDING)
    package = a_package(2, padding=PADDING)
    large = max(package.blobs, key=lambda blob: len(package.blobs[blob]))
    part = machine.home / "device" / "blobs" / f"{hex_of(large)}.part"
    server = machine.server
    with machine.running() as process:
        server.until(lambda: part.exists() and part.stat().st_size > PADDING // 3, 60)
        process.kill()
        process.wait()
    have = part.stat().st_size
    before = len(server.asked("/reports", "POST"))
    begun = time.monotonic()
    with machine.running():
        machine.verified(digest)
    took = time.monotonic() - begun
    asked = server.asked(blob_path(large))
    assert [seen.headers.get("Range") for seen in asked] == [None, f"bytes={have}-"]
    assert took >= (PADDING - have) / (300 * 1024) - 1.5, "a second's burst is free"
    assert len(server.asked("/reports", "POST")) - before > 3, "it reported meanwhile"


def test_outside_its_window_a_device_fetches_nothing_and_goes_back_to_what_it_has(machine: Machine) -> None:
    server = machine.server
    old = machine.assign(1, 1)
    machine.settled(old)
    new = machine.assign(2, 2)
    with machine.running():
        machine.verified(new)
    later = datetime.now() + timedelta(hours=2)
    window = f"{later:%H:%M}-{later + timedelta(hours=1):%H:%M}"
    machine.set(window=window)
    server.poll = 1.0
    server.seen.clear()
    with machine.running() as process:
        machine.assign(3, 3)
        server.until(lambda: machine.model() == (Phase.FETCHING, "OutsideWindow", new), 60)
        report = machine.report()
        assert report is not None
        assert window in report.models[0].message
        machine.assign(4, 1)
        machine.verified(old)
        assert not [seen for seen in server.seen if "/blobs/" in seen.path]
        assert process.poll() is None
    machine.set(window=f"{datetime.now() - timedelta(hours=1):%H:%M}-{later:%H:%M}")
    third = machine.assign(5, 3)
    with machine.running():
        machine.verified(third)


def test_a_retired_device_goes_on_serving_and_says_why_it_is_silent(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = machine.assign(1, 1)
    machine.settled(digest)
    server = machine.server
    server.poll = 1.0
    server.decide(DEVICE, "retired")
    with machine.running() as process:
        server.until(lambda: "Retired" in machine.log(), 60)
        reports = len(server.asked("/reports", "POST"))
        machine.assign(2, 2)
        active = machine.home / "device" / "models" / MODEL / "active"
        before = active.readlink()
        server.until(lambda: active.readlink() != before, 60)
        assert len(server.asked("/reports", "POST")) == reports
        assert process.poll() is None
    capsys.readouterr()
    assert main(["status", "--config", str(machine.config)]) == 0
    assert "server: Retired since" in capsys.readouterr().out


def test_enrolling_by_hand_shows_the_key_and_waits_for_the_operator(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["enroll", "--config", str(machine.config)]
    capsys.readouterr()
    assert main([*command, "--label", "region=eu", "-o", "json"]) == 1
    said = json.loads(capsys.readouterr().out)
    known = machine.server.devices[DEVICE]
    assert (said["state"], said["fingerprint"]) == ("EnrollmentPending", known.fingerprint)
    assert known.labels == {"region": "eu"}

    assert main(command) == 1
    text = capsys.readouterr().out
    assert f"key {known.fingerprint}" in text
    assert known.labels == {"region": "eu"}, "what was said before still holds"

    assert main(["status", "--config", str(machine.config), "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["enrollment"]["state"] == "pending"

    asked = len(machine.server.asked("/enroll", "POST"))
    waiting = [*COMMAND, *command, "--wait"]
    with subprocess.Popen(waiting, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        machine.server.until(lambda: len(machine.server.asked("/enroll", "POST")) >= asked + 2)
        machine.server.decide(DEVICE, "enrolled")
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "is enrolled until" in out
    assert out.count("not enrolled") == 1, "while it waits, it says so once"
    assert main(command) == 0
    assert "is enrolled until" in capsys.readouterr().out


def test_waiting_to_be_enrolled_can_be_stopped(machine: Machine) -> None:
    waiting = [*COMMAND, "enroll", "--config", str(machine.config), "--wait"]
    with subprocess.Popen(waiting, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        machine.server.until(lambda: DEVICE in machine.server.devices)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert b"Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--label", "region"], "KEY=VALUE"),
        (["--token-file", "/nowhere/token"], "cannot be read"),
    ],
)
def test_wrong_words_about_a_device_are_refused(
    machine: Machine, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(["enroll", "--config", str(machine.config), *arguments]) == 2
    assert says in capsys.readouterr().err
    assert not machine.server.seen


def test_a_device_without_a_server_has_nobody_to_ask(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    text = machine.config.read_text().replace("server = ", "# server = ")
    machine.config.write_text(text)
    machine.set(repository="/mnt/r", reports="/mnt/d")
    assert main(["enroll", "--config", str(machine.config)]) == 2
    assert "server is not set" in capsys.readouterr().err


def test_once_does_everything_that_is_due_however_slowly_it_comes(machine: Machine) -> None:
    machine.server.tokens = {"t"}
    (machine.home / "token").write_text("t\n")
    machine.set(bandwidth="400KiB/s", token_file=str(machine.home / "token"))
    digest = machine.assign(1, 1, PADDING)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*COMMAND, "run", "--once", "--config", str(machine.config)]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert machine.model() == (Phase.VERIFIED, "", digest)


def test_once_before_anybody_approved_says_so(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.assign(1, 1)
    assert main(["run", "--once", "--config", str(machine.config)]) == 1
    assert "approve key sha256:" in capsys.readouterr().err
    assert (machine.home / "device" / "models" / MODEL / "active").is_symlink()
