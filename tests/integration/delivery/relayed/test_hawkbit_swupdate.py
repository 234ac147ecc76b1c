"""SWUpdate asks a hawkBit, which edgewright uses through its management API: the whole way, with real bundles, the
script that edgewright puts into them, and the real installer.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from clients import require_client
from edgewright.delivery.bundles.maker import BundleMaker
from edgewright.delivery.identity.credentials import create_credentials
from edgewright.delivery.relayed.hawkbit import HawkbitDriver
from edgewright.delivery.relayed.worker import Pace
from edgewright.secret import Secret
from edgewright.wiring.bundlers import SoftwareBundler
from edgewright_agent.handle import ModelHandle
from edgewright_agent.runtime import OnnxRuntime
from edgewright_wire.messages import ModelReport, Phase
from rigs.base import Grounds, assignments, content_of
from rigs.hawkbit import hawkbit_delivery
from samples.agent_packages import OUTPUTS, SAMPLES, a_package, target
from servers.hawkbit.server import PASSWORD, HawkbitServer
from servers.hawkbit.state import Target

PACE = Pace(under_way=0.2, at_most=0.5, at_rest=0.5)


def _no_templates(path: str) -> bytes:
    raise AssertionError("no fleet here names one")


class Site:
    def __init__(self, folder: Path, server: HawkbitServer) -> None:
        self.folder = folder
        self.server = server
        self.root = folder / "root"
        installer = Path(sys.executable).with_name("edgewright-agent")
        delivery = hawkbit_delivery(server.url, root=str(self.root), installer=str(installer))
        self.grounds = Grounds(folder, delivery)
        self.grounds.declare("lane-1")
        create_credentials(self.grounds.keys)
        maker = BundleMaker(folder / "cache", self.grounds.keys, self.grounds.depot, _no_templates)
        self.driver = HawkbitDriver(
            self.grounds.twins,
            self.grounds.depot,
            lambda: self.grounds.routes,
            self.grounds.now,
            SoftwareBundler(maker, self.grounds.keys, _no_templates),
            secrets=lambda name: Secret(PASSWORD),
            pace=PACE,
        )

    def messages(self) -> list[str]:
        """What hawkBit was told of actions."""
        every = list(self.server.state.actions.values())
        return [words for action in every for status in list(action.history) for words in status.messages]

    def said(self) -> ModelReport | None:
        return next((report.model("reader") for report in self.driver.observe({})), None)

    @contextmanager
    def swupdate(self) -> Iterator[None]:
        """A device with SWUpdate, as Debian packages it, left alone from here on."""
        program = require_client("swupdate")
        token = self.server.state.targets["lane-1"].token
        suricatta = f"-t DEFAULT -u {self.server.url} -i lane-1 -k {token} -p 1"
        trusted = self.grounds.keys / "bundles.crt"
        command = [program, "-H", "edge:1.0", "-k", str(trusted), "-l", "4", "-u", suricatta]
        (self.folder / "tmp").mkdir(exist_ok=True)
        path = self.folder / f"swupdate-{time.monotonic_ns()}.log"
        with path.open("wb") as log:
            # SIGPIPE stays ignored, as systemd has it for services: one part of SWUpdate may go away before another.
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env={**os.environ, "TMPDIR": str(self.folder / "tmp")},
                restore_signals=False,
            )
            try:
                yield
            finally:
                process.terminate()
                process.wait(timeout=30)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with HawkbitServer() as server:
        server.polling = "00:00:01"
        made = Site(tmp_path, server)
        with made.driver.attend(lambda: None):
            wait(lambda: "lane-1" in server.state.targets)
            yield made
        made.grounds.close()


def _has_polled(target: Target, since: int | None) -> bool:
    return target.asked_at != since


def wait(check: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not check():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)  # the client works at its own pace


def test_what_swupdate_installs_is_verified_and_what_it_refuses_is_not(site: Site) -> None:
    with site.swupdate():
        wait(lambda: site.driver.observe({}))
        release = site.grounds.release(1, config=b"threshold = 0.8")
        site.driver.assign(assignments(1, ["lane-1"], release), site.grounds.configs())
        wait(lambda: (said := site.said()) is not None and said.phase in {Phase.VERIFIED, Phase.FAILED})
        said = site.said()
        assert said is not None
        assert (said.phase, said.verified, said.message) == (Phase.VERIFIED, release.package.digest, "")
        handle = ModelHandle(site.root, "reader", OnnxRuntime())
        assert handle.config == b"threshold = 0.8"
        device = site.server.state.targets["lane-1"]
        wait(lambda: not site.server.state.open_of("lane-1"))
        installed = sum("All Chunks Installed" in words for words in site.messages())
        for _ in range(3):
            wait(partial(_has_polled, device, device.asked_at))
        assert sum("All Chunks Installed" in words for words in site.messages()) == installed <= 3
        assert site.said() == said

        wrong = a_package(2, onnx=True, expected=np.zeros((SAMPLES, OUTPUTS), np.float32))
        assert site.grounds.repository.publish([content_of(wrong, site.grounds.folder / "blobs")]) == {}
        site.driver.assign(assignments(2, ["lane-1"], target(wrong)), {})
        wait(lambda: (said := site.said()) is not None and said.phase is Phase.FAILED)

    said = site.said()
    assert said is not None
    assert said.reason == "ProbeMismatch"
    assert said.active == release.package.digest
    assert ModelHandle(site.root, "reader", OnnxRuntime()).version == handle.version
