"""Mender's own client asks a Mender server, which edgewright uses through its management API: the whole way, with real
artifacts, the real update module and the real installer.
"""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from devices.mender_real import RealMender
from edgewright.delivery.identity.credentials import create_credentials, load_bundle_keys
from edgewright.delivery.relayed.mender import MenderServerDriver
from edgewright.delivery.relayed.mender.options import Options
from edgewright.delivery.relayed.worker import Pace
from edgewright.secret import Secret
from edgewright.wiring.bundlers import ArtifactBundler
from edgewright_agent.handle import ModelHandle
from edgewright_agent.runtime import OnnxRuntime
from edgewright_wire.messages import ModelReport, Phase
from rigs.base import Grounds, assignments, content_of
from rigs.mender_server import mender_delivery
from samples.agent_packages import OUTPUTS, SAMPLES, a_package, target
from servers.mender_server import TOKEN, MenderServer

PACE = Pace(under_way=0.2, at_most=0.5, at_rest=0.5)


class Site:
    def __init__(self, folder: Path, server: MenderServer) -> None:
        settings = {"url": server.url, "token": {"secret": "mender"}, "attribute": "device"}
        root = str(folder / "lane-1" / "root")
        self.grounds = Grounds(folder, mender_delivery(server.url, root=root, menderServer=settings))
        self.grounds.declare("lane-1")
        create_credentials(self.grounds.keys)
        self.public_key = folder / "artifacts.pem"
        self.public_key.write_bytes(load_bundle_keys(self.grounds.keys).public_pem)
        self.driver = MenderServerDriver(
            self.grounds.twins,
            self.grounds.depot,
            lambda: self.grounds.routes,
            self.grounds.now,
            ArtifactBundler(folder / "cache", self.grounds.keys, self.grounds.depot),
            secrets=lambda name: Secret(TOKEN),
            pace=PACE,
            options=Options(look_every=timedelta(seconds=0.5)),
        )

    def said(self) -> ModelReport | None:
        return next((report.model("reader") for report in self.driver.observe({})), None)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Site, RealMender]]:
    with MenderServer() as server:
        made = Site(tmp_path, server)
        device = RealMender(tmp_path / "lane-1", server.url, "lane-1", made.public_key)
        with device, made.driver.attend(lambda: None):
            yield made, device
        made.grounds.close()


def wait(check: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not check():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)  # the client works at its own pace


def test_what_menders_client_installs_is_verified_and_what_it_refuses_is_not(site: tuple[Site, RealMender]) -> None:
    here, device = site
    wait(lambda: here.driver.observe({}))
    release = here.grounds.release(1, config=b"threshold = 0.8")
    here.driver.assign(assignments(1, ["lane-1"], release), here.grounds.configs())
    wait(lambda: (said := here.said()) is not None and said.phase in {Phase.VERIFIED, Phase.FAILED})

    said = here.said()
    assert said is not None
    assert (said.phase, said.verified, said.message) == (Phase.VERIFIED, release.package.digest, "")
    handle = ModelHandle(device.root, "reader", OnnxRuntime())
    assert handle.config == b"threshold = 0.8"

    wrong = a_package(2, onnx=True, expected=np.zeros((SAMPLES, OUTPUTS), np.float32))
    assert here.grounds.repository.publish([content_of(wrong, here.grounds.folder / "blobs")]) == {}
    here.driver.assign(assignments(2, ["lane-1"], target(wrong)), {})
    wait(lambda: (said := here.said()) is not None and said.phase is Phase.FAILED)

    said = here.said()
    assert said is not None
    assert said.reason == "ProbeMismatch"
    assert said.active == release.package.digest
    assert ModelHandle(device.root, "reader", OnnxRuntime()).version == handle.version
