"""The agent as a process against the real server with TLS, store and authority: nothing in between is a fake.

What either does alone is in its own tests; here is what only both together can show.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from edgewright.ports import IdentityStatus
from edgewright.server.devices.peers import Peers
from edgewright_agent.durable import Disk
from edgewright_agent.errors import NotEnrolled
from edgewright_agent.http.client import HttpClient
from edgewright_agent.identity.enrollment_client import Enroller
from edgewright_agent.identity.files import IdentityFiles
from edgewright_agent.main import main
from edgewright_wire.enrollment import EnrollmentRequest
from edgewright_wire.messages import Phase, Report
from fakes.agent_ports import HandClock
from paths import TESTS
from rigs.base import content_of
from samples.agent_packages import a_package, assignment, target
from servers.agent_server import AgentSite, base

DEVICE = "lane-7"


class Together:
    """A server that can be stopped and started on the same port, and a device that is set up for it."""

    def __init__(self, home: Path, life: timedelta) -> None:
        self.home = home
        self.site = AgentSite(home / "site", life=life)
        self.port = 0
        self.assign(1, 1)
        (home / "ca.crt").write_bytes(self.site.authority.certificate_pem)

    @contextmanager
    def served(self) -> Iterator[str]:
        with self.site.served(Peers(), tls=True, port=self.port) as serving:
            self.port = serving.address.port
            yield base(serving)

    def init(self, url: str) -> None:
        root = self.site.published / "metadata" / "1.root.json"
        where = ["--server", url, "--ca", str(self.home / "ca.crt"), "--root", str(root)]
        pace = ["--long-poll", "30s", "--heartbeat", "300ms"]
        runtime = ["--runtime", "fakes.agent_runtimes:LinearRuntime", "--python-path", str(TESTS)]
        assert main(["init", "--dir", str(self.home / "device"), "--device", DEVICE, *where, *pace, *runtime]) == 0
        with self.config.open("a") as settings:
            settings.write('retry = "100ms"\nretry_max = "500ms"\n')

    @property
    def config(self) -> Path:
        return self.home / "device" / "agent.toml"

    def assign(self, version: int, number: int) -> str:
        package = a_package(number)
        assert self.site.repository.publish([content_of(package, self.home / "blobs")]) == {}
        self.site.repository.assign([assignment(DEVICE, version, target(package))], {})
        return package.digest

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[bytes]"]:
        command = [sys.executable, "-m", "edgewright_agent", "run", "--config", str(self.config)]
        with (self.home / "log").open("ab") as log, subprocess.Popen(command, stderr=log) as process:
            try:
                yield process
            finally:
                process.terminate()
                process.wait(30)

    def log(self) -> str:
        return (self.home / "log").read_text()

    def until(self, holds: Callable[[], bool]) -> None:
        ends = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < ends, self.log()[-3000:]
            time.sleep(0.02)

    def reported(self) -> Report | None:
        return next(iter(self.site.inbox.newer({})), None)

    def verified(self, digest: str) -> None:
        def holds() -> bool:
            report = self.reported()
            return report is not None and bool(report.models) and report.models[0].verified == digest

        self.until(holds)
        report = self.reported()
        assert report is not None
        assert (report.reason, report.models[0].phase) == ("", Phase.VERIFIED)

    def enroll(self, *more: str) -> int:
        return main(["enroll", "--config", str(self.config), *more])


@pytest.fixture
def together(tmp_path: Path) -> Iterator[Together]:
    made = Together(tmp_path, timedelta(days=7))
    yield made
    made.site.close()


def test_from_nothing_to_an_update_that_nobody_polled_for(
    together: Together, capsys: pytest.CaptureFixture[str]
) -> None:
    with together.served() as url:
        together.init(url)
        capsys.readouterr()
        assert together.enroll("-o", "json") == 1
        said = json.loads(capsys.readouterr().out)
        (key,) = together.site.identities.identities(system="agent", device=DEVICE)
        assert said["fingerprint"] == key.key, "what the device shows is what the operator sees"
        together.site.decide(DEVICE)
        with together.running():
            together.verified(a_package(1).digest)
            begun = time.monotonic()
            together.verified(together.assign(2, 2))
            assert time.monotonic() - begun < 20


def test_a_server_that_was_away_is_found_again_and_nothing_is_enrolled_twice(together: Together) -> None:
    with ExitStack() as agent:
        with together.served() as url:
            together.init(url)
            assert together.enroll() == 1
            together.site.decide(DEVICE)
            agent.enter_context(together.running())
            together.verified(a_package(1).digest)
        certificate = (together.home / "device" / "identity" / "device.crt").read_bytes()
        digest = together.assign(2, 2)
        together.until(lambda: "refused: does the server run" in together.log())
        with together.served():
            together.verified(digest)
            assert (together.home / "device" / "identity" / "device.crt").read_bytes() == certificate


def test_a_certificate_is_renewed_with_the_one_before(together: Together) -> None:
    with together.served() as url:
        clock, ca = HandClock(), together.home / "ca.crt"
        files = IdentityFiles(together.home / "by-hand", DEVICE, Disk(sync=lambda _: None))
        enroller = Enroller(
            url,
            files,
            lambda identity: HttpClient("ServerUnreachable", 10.0, ca, identity),
            lambda csr: EnrollmentRequest(device=DEVICE, csr=csr),
            clock.now,
            clock.monotonic,
        )
        with pytest.raises(NotEnrolled, match="approve"):
            enroller.current()
        together.site.decide(DEVICE)
        first = enroller.current()
        assert enroller.current() == first
        clock.seconds += timedelta(days=5).total_seconds()
        second = enroller.current()
        assert second != first
        assert enroller.current() == second
        (key,) = together.site.identities.identities(system="agent", device=DEVICE)
        assert key.key == files.fingerprint()


def test_a_retired_device_is_silent_and_one_that_is_believed_again_speaks(together: Together) -> None:
    with together.served() as url:
        together.init(url)
        assert together.enroll() == 1
        together.site.decide(DEVICE)
        with together.running():
            together.verified(a_package(1).digest)
            together.site.decide(DEVICE, IdentityStatus.RETIRED)
            together.until(lambda: "Retired" in together.log())
        assert together.enroll() == 1
        together.site.decide(DEVICE)
        assert together.enroll() == 0
        with together.running():
            together.verified(together.assign(2, 2))
