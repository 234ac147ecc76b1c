"""Mender's own client, as Debian packages it, asks edgewright."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from devices.mender_real import RealMender
from edgewright.core.fleet.routes import Proof
from edgewright.core.fleet.twins import Stage, Twin
from edgewright.ports import IdentityStatus
from edgewright_agent.handle import ModelHandle
from edgewright_agent.runtime import OnnxRuntime
from edgewright_schemas.delivery import Delivery
from edgewright_wire.messages import ModelAssignment, ModelReport, Phase
from rigs.base import Grounds, assignments, content_of
from rigs.mender_site import MenderSite
from samples.agent_packages import OUTPUTS, SAMPLES, a_package, target

PATIENCE = 120.0


class Lanes:
    """A site whose devices are real clients; each keeps its models where its fleet says."""

    def __init__(self, folder: Path, module: str = "edgewright") -> None:
        self.folder = folder
        self.module = module
        self.grounds = Grounds(folder, Delivery.model_validate({"type": "mender", "mender": {"module": module}}))
        self.site = MenderSite(self.grounds)
        self._devices = ExitStack()

    def add(self, name: str, verify_key: Path | None = None) -> RealMender:
        """Switch a device on, and accept it once it asks."""
        folder = self.folder / name
        own = {"type": "mender", "root": str(folder / "root"), "mender": {"module": self.module}}
        self.grounds.delivery = Delivery.model_validate(own)
        self.grounds.declare(name)
        device = self._devices.enter_context(
            RealMender(folder, self.site.url, name, verify_key or self.site.public_key)
        )
        wait(lambda: bool(self.grounds.identities.identities(system="mender", device=name)))
        assert self.grounds.twins.twin(name) is None, "nothing is believed before it is accepted"
        self.site.accept(name)
        return device

    def twin(self, name: str) -> Twin:
        return self.grounds.twins.twin(name) or Twin(name, "mender")

    def assign(self, version: int, *targets: ModelAssignment, to: tuple[str, ...] = ("lane-1",)) -> None:
        self.site.driver.assign(assignments(version, to, *targets), self.grounds.configs())

    def said(self, name: str) -> ModelReport | None:
        reports = {report.device: report for report in self.site.driver.observe({})}
        return reports[name].model("reader") if name in reports else None

    def settled(self, name: str, phase: Phase) -> ModelReport:
        """Wait until a device has got so far and is at nothing; what it says of its model."""

        def is_there() -> bool:
            said = self.said(name)
            explained = said is None or "has not come" not in said.message
            return said is not None and said.phase is phase and explained and self.twin(name).job is None

        wait(is_there, lambda: f"{name}: {self.twin(name)}")
        said = self.said(name)
        assert said is not None
        return said

    def close(self) -> None:
        self.site.sends_artifacts.set()
        self._devices.close()
        self.site.stop()
        self.grounds.close()


@pytest.fixture
def lanes(tmp_path: Path) -> Iterator[Lanes]:
    made = Lanes(tmp_path)
    yield made
    made.close()


def wait(condition: Callable[[], bool], tell: Callable[[], str] = lambda: "it did not come about") -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, tell()
        time.sleep(0.05)


def serves(device: RealMender) -> str:
    return ModelHandle(device.root, "reader", OnnxRuntime()).current.release


def wrong(grounds: Grounds) -> ModelAssignment:
    """A release whose golden samples pass nowhere."""
    package = a_package(9, onnx=True, expected=np.ones((SAMPLES, OUTPUTS), np.float32))
    assert grounds.repository.publish([content_of(package, grounds.folder / "blobs")]) == {}
    return target(package)


def test_a_client_installs_and_proves_and_applications_are_served(lanes: Lanes) -> None:
    device = lanes.add("lane-1")
    release = lanes.grounds.release(1, config=b"threshold = 0.8")
    lanes.assign(1, release)

    said = lanes.settled("lane-1", Phase.VERIFIED)

    assert (said.active_release, said.verified) == (release.release, release.package.digest)
    assert said.probe is not None
    assert said.probe.passed
    handle = ModelHandle(device.root, "reader")
    assert (handle.current.release, handle.config) == (release.release, b"threshold = 0.8")
    assert lanes.twin("lane-1").facts["mender_client_version"]

    newer = lanes.grounds.release(2)
    lanes.assign(2, newer)
    lanes.settled("lane-1", Phase.VERIFIED)
    handle.refresh()
    assert handle.current.release == newer.release

    lanes.assign(3)
    wait(lambda: not lanes.twin("lane-1").models and lanes.twin("lane-1").job is None)
    assert not (device.root / "models/reader/active").exists()


def test_what_fails_its_samples_is_rolled_back_and_says_why(lanes: Lanes) -> None:
    device = lanes.add("lane-1")
    before = lanes.grounds.release(1)
    lanes.assign(1, before)
    lanes.settled("lane-1", Phase.VERIFIED)
    lanes.assign(2, wrong(lanes.grounds))

    said = lanes.settled("lane-1", Phase.FAILED)

    assert said.reason == "ProbeMismatch"
    assert said.probe is not None
    assert not said.probe.passed
    assert said.active_release == before.release == serves(device)


def test_what_is_called_off_while_it_downloads_is_not_installed(lanes: Lanes) -> None:
    device = lanes.add("lane-1")
    before = lanes.grounds.release(1)
    lanes.assign(1, before)
    lanes.settled("lane-1", Phase.VERIFIED)
    lanes.site.sends_artifacts.clear()
    lanes.assign(2, lanes.grounds.release(2))
    asked = len(lanes.site.paths)
    wait(lambda: any(path.endswith("/artifact") for path in lanes.site.paths[asked:]))

    lanes.site.driver.cancel(["lane-1"])
    assert lanes.twin("lane-1").job is not None, "the device has still to say that it stopped"
    lanes.site.sends_artifacts.set()
    said = lanes.settled("lane-1", Phase.FAILED)

    assert said.reason == "Cancelled"
    assert said.active_release == before.release == serves(device)


def test_a_controller_may_end_while_a_client_installs(lanes: Lanes) -> None:
    device = lanes.add("lane-1")
    release = lanes.grounds.release(1)
    lanes.assign(1, release)

    def stage() -> Stage | None:
        job = lanes.twin("lane-1").job
        return job.stage if job is not None else None

    wait(lambda: stage() is Stage.INSTALLING)
    lanes.site.restart()
    said = lanes.settled("lane-1", Phase.VERIFIED)

    assert said.active_release == release.release == serves(device)
    assert lanes.twin("lane-1").jobs == 1, "nothing is deployed twice"


def test_a_device_that_loses_its_power_while_installing_goes_back(lanes: Lanes) -> None:
    device = lanes.add("lane-1")
    before = lanes.grounds.release(1)
    lanes.assign(1, before)
    lanes.settled("lane-1", Phase.VERIFIED)
    lanes.assign(2, lanes.grounds.release(2))
    wait((device.folder / "data/modules/v3/payloads/0000/tree/tmp/before").exists)
    device.kill()
    device.start()

    said = lanes.settled("lane-1", Phase.FAILED)

    assert said.active_release == before.release
    wait(lambda: serves(device) == before.release)


def test_two_clients_at_once(lanes: Lanes) -> None:
    names = ("lane-1", "lane-2")
    devices = {name: lanes.add(name) for name in names}
    good, bad = lanes.grounds.release(1), wrong(lanes.grounds)
    lanes.assign(1, good, to=("lane-1",))
    lanes.assign(1, bad, to=("lane-2",))

    assert lanes.settled("lane-1", Phase.VERIFIED).active_release == good.release
    assert lanes.settled("lane-2", Phase.FAILED).reason == "ProbeMismatch"
    assert serves(devices["lane-1"]) == good.release
    assert not (devices["lane-2"].root / "models/reader/active").exists()


def test_a_client_that_trusts_another_key_refuses(lanes: Lanes) -> None:
    stranger = lanes.folder / "stranger.pem"
    public = rsa.generate_private_key(65537, 2048).public_key()
    stranger.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    device = lanes.add("lane-1", stranger)
    lanes.assign(1, lanes.grounds.release(1))

    def failed() -> bool:
        device.wake()
        said = lanes.said("lane-1")
        return said is not None and said.phase is Phase.FAILED and "has not come" not in said.message

    wait(failed)
    said = lanes.said("lane-1")
    assert said is not None
    assert said.reason == "Rejected"
    assert "signature" in said.message
    assert not device.root.exists()


def test_menders_own_module_installs_and_proves_nothing_more(tmp_path: Path) -> None:
    lanes = Lanes(tmp_path, "directory")
    try:
        device = lanes.add("lane-1")
        for version in (1, 2):
            release = lanes.grounds.release(version)
            lanes.assign(version, release)
            said = lanes.settled("lane-1", Phase.INSTALLED)
            assert (said.active_release, said.verified) == (release.release, None)
            assert serves(device) == release.release
        assert lanes.twin("lane-1").model("reader").proof is Proof.INSTALLED
    finally:
        lanes.close()


def test_a_retired_device_is_refused_for_ever(lanes: Lanes) -> None:
    lanes.add("lane-1")
    wait(lambda: bool(lanes.twin("lane-1").facts))
    (identity,) = lanes.grounds.identities.identities(system="mender", device="lane-1")
    lanes.site.driver.retire(["lane-1"])
    lanes.grounds.identities.decide("mender", identity.key, IdentityStatus.RETIRED, lanes.grounds.now())
    asked = len(lanes.site.paths)
    wait(lambda: any(path.endswith("auth_requests") for path in lanes.site.paths[asked:]))

    at = lanes.twin("lane-1").last_seen
    refused = len(lanes.site.paths)
    wait(lambda: len(lanes.site.paths) > refused + 2)
    assert lanes.twin("lane-1").last_seen == at
