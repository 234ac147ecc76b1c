"""An agent on one machine, its repository on another, and a network in between that is cut, slow, late or lossy.

The machines are network namespaces, the repository's server is nginx, which counts what it sends.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edgewright_agent.handle import ModelHandle
from edgewright_agent.main import main
from edgewright_wire.canonical import hex_of
from edgewright_wire.layout import blob_path
from edgewright_wire.messages import Phase, Report
from fakes.agent_runtimes import LinearRuntime
from harness.network import WebServer, Wire, wire
from paths import TESTS
from samples.agent_packages import FEATURES, MODEL, PackageFiles, a_package, assignment, target, weights
from servers.tuf_repository import TufRepository

pytestmark = pytest.mark.xdist_group("network")

DEVICE = "lane-7"
MEGABYTE = 1_000_000
LARGE = 4 * MEGABYTE
BUFFERS = MEGABYTE // 2
"""Bytes that may be on their way when a connection is cut: they left the server and never arrived."""
PATIENCE = 90.0


class Scene:
    """A device that runs version 1; version 2 is large."""

    def __init__(self, path: Path, between: Wire, server: WebServer, repository: TufRepository) -> None:
        self.path = path
        self.wire = between
        self.server = server
        self.repository = repository
        self.large = a_package(2, padding=LARGE)
        self.blob = max(self.large.blobs, key=lambda digest: len(self.large.blobs[digest]))
        self.size = len(self.large.blobs[self.blob])
        repository.add_package(self.large)
        self._assign(1, a_package(1))
        self.init(server.url)
        with self.agent():
            self.wait(lambda report: report.models[0].verified == a_package(1).digest)
        self._assign(2, self.large)

    def _assign(self, version: int, package: PackageFiles) -> None:
        self.repository.add_package(package)
        self.repository.assign(assignment(DEVICE, version, target(package)))

    def init(self, url: str) -> None:
        (self.path / "root.json").write_bytes(self.repository.root)
        where = ["--repository", url, "--reports", str(self.path / "drop"), "--root", str(self.path / "root.json")]
        runtime = ["--runtime", "fakes.agent_runtimes:LinearRuntime", "--python-path", str(TESTS)]
        pace = ["--poll", "300ms", "--heartbeat", "500ms"]
        assert main(["init", "--dir", str(self.path / "device"), "--device", DEVICE, *where, *runtime, *pace]) == 0
        with (self.path / "device" / "agent.toml").open("a") as settings:
            settings.write('timeout = "1500ms"\nretry = "300ms"\nretry_max = "1s"\n')

    @contextmanager
    def agent(self) -> Iterator["subprocess.Popen[bytes]"]:
        """The agent, as a process on the device."""
        command = [
            sys.executable,
            "-m",
            "edgewright_agent",
            "run",
            "--config",
            str(self.path / "device" / "agent.toml"),
        ]
        with (
            (self.path / "agent.log").open("ab") as log,
            subprocess.Popen(self.wire.on_device(*command), stderr=log) as process,
        ):
            try:
                yield process
            finally:
                process.terminate()
                process.wait(30)

    def report(self) -> Report | None:
        path = self.path / "drop" / f"{DEVICE}.json"
        return Report.from_bytes(path.read_bytes()) if path.exists() else None

    def wait(self, until: Callable[[Report], bool]) -> Report:
        """Wait for a report that says something."""
        ends = time.monotonic() + PATIENCE
        while (report := self.report()) is None or not report.models or not until(report):
            assert time.monotonic() < ends, (report, (self.path / "agent.log").read_text()[-3000:])
            time.sleep(0.02)
        return report

    def wait_for_news(self, until: Callable[[Report], bool]) -> Report:
        """Wait for a report that says something, and was made after this moment."""
        before = self.report()
        assert before is not None
        return self.wait(lambda report: report.sequence > before.sequence + 1 and until(report))

    def wait_for_part(self, size: int) -> int:
        """Wait until so much of the large blob has arrived; returns how much."""
        part = self.path / "device" / "blobs" / f"{hex_of(self.blob)}.part"
        ends = time.monotonic() + PATIENCE
        while not part.exists() or part.stat().st_size < size:
            assert time.monotonic() < ends, (self.path / "agent.log").read_text()[-3000:]
            time.sleep(0.01)
        return part.stat().st_size

    def wait_for_update(self) -> Report:
        report = self.wait(lambda report: report.models[0].verified == self.large.digest)
        assert (report.models[0].phase, report.reason) == (Phase.VERIFIED, "")
        self.serves(2)
        return report

    def serves(self, version: int) -> None:
        inputs = np.ones((1, FEATURES), np.float32)
        outputs = ModelHandle(self.path / "device", MODEL, LinearRuntime()).run(inputs)
        np.testing.assert_allclose(outputs, inputs @ weights(version), rtol=1e-5)

    def sent(self) -> int:
        """Bytes of the large blob that left the server; its log speaks of a request when that has ended."""
        return sum(asked.sent for asked in self.server.asked(blob_path(self.blob)))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    repository = TufRepository(tmp_path / "repository")
    with wire() as between, between.serving(repository.path, tmp_path / "nginx") as server:
        yield Scene(tmp_path, between, server, repository)


def test_a_cut_wire_costs_no_byte_twice_and_no_model(scene: Scene) -> None:
    scene.wire.throttle(kbit=12_000)
    with scene.agent():
        scene.wait_for_part(MEGABYTE)
        scene.wire.cut()
        report = scene.wait(lambda report: report.models[0].reason != "")
        assert (report.models[0].phase, report.models[0].verified) == (Phase.FETCHING, a_package(1).digest)
        assert report.models[0].reason == "RepositoryUnreachable"
        assert "nothing came for 1.5 s" in report.models[0].message
        scene.wait(lambda report: report.reason == "RepositoryUnreachable")
        scene.serves(1)
        have = scene.wait_for_part(MEGABYTE)

        scene.wire.mend()
        scene.wait_for_update()

    offsets = [asked.offset for asked in scene.server.asked(blob_path(scene.blob)) if asked.status == 206]
    assert offsets[-1] >= have
    assert scene.size <= scene.sent() <= scene.size + BUFFERS * (len(offsets) + 1)


def test_a_wire_that_is_cut_over_and_over(scene: Scene) -> None:
    scene.wire.throttle(kbit=6_000)
    with scene.agent():
        for part in (1, 2, 3):
            scene.wait_for_part(part * LARGE // 4)
            scene.wire.cut()
            scene.wait_for_news(lambda report: report.models[0].reason != "")
            scene.wire.mend()
        scene.wait_for_update()
    tries = len(scene.server.asked(blob_path(scene.blob)))
    assert scene.sent() <= scene.size + BUFFERS * tries


def test_an_agent_that_is_killed_on_the_way_goes_on_where_it_was(scene: Scene) -> None:
    scene.wire.throttle(kbit=12_000)
    with scene.agent() as process:
        scene.wait_for_part(MEGABYTE)
        process.kill()
    have = scene.wait_for_part(MEGABYTE)
    scene.serves(1)
    with scene.agent():
        scene.wait_for_update()
    assert [asked.offset for asked in scene.server.asked(blob_path(scene.blob))] == [0, have]
    assert scene.size <= scene.sent() <= scene.size + BUFFERS


def test_a_server_that_goes_away_and_comes_back(scene: Scene) -> None:
    scene.wire.throttle(kbit=12_000)
    with scene.agent():
        scene.wait_for_part(MEGABYTE)
        scene.server.stop()
        report = scene.wait(lambda report: report.models[0].reason != "")
        assert report.models[0].verified == a_package(1).digest
        have = scene.wait_for_part(MEGABYTE)
        scene.server.start()
        scene.wait_for_update()
    last = scene.server.asked(blob_path(scene.blob))[-1]
    assert (last.offset, last.sent) == (have, scene.size - have)


def test_a_slow_wire_holds_up_no_report_and_carries_each_byte_once(scene: Scene) -> None:
    scene.wire.throttle(kbit=6_000)
    with scene.agent():
        scene.wait_for_part(MEGABYTE // 2)
        assert scene.wait_for_news(lambda _report: True).models[0].phase is Phase.FETCHING
        scene.wait_for_update()
    assert [asked.offset for asked in scene.server.asked(blob_path(scene.blob))] == [0]
    assert scene.sent() == scene.size


def test_a_wire_that_loses_packets(scene: Scene) -> None:
    """Where the kernel can lose packets at random it does; else those are lost that do not fit into a short queue."""
    if not scene.wire.spoil(delay_ms=20, loss_percent=3):
        scene.wire.throttle(kbit=20_000, queue="3ms")
    with scene.agent():
        scene.wait_for_update()
    assert scene.wire.lost() > 0
    assert scene.sent() == scene.size


def test_a_server_that_is_far_away(scene: Scene) -> None:
    """A third of a second there and back; where the kernel cannot delay packets, a relay delays bytes."""
    if scene.wire.spoil(delay_ms=300, loss_percent=0):
        with scene.agent():
            scene.wait_for_update()
    else:
        with scene.wire.relaying(delay_ms=150) as url:
            scene.init(url)
            with scene.agent():
                scene.wait_for_update()
    assert [asked.offset for asked in scene.server.asked(blob_path(scene.blob))] == [0]
    assert scene.sent() == scene.size


def test_namespaces_are_gone_afterwards() -> None:
    with wire() as between:
        names = {word for word in between.on_device() + between.on_server() if word.startswith("ew")}
        listed = subprocess.run(["ip", "-j", "netns"], capture_output=True, check=True).stdout
        assert names <= {space["name"] for space in json.loads(listed)}
    listed = subprocess.run(["ip", "-j", "netns"], capture_output=True, check=True).stdout or b"[]"
    assert not names & {space["name"] for space in json.loads(listed)}
