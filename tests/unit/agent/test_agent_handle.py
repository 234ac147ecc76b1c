"""ModelHandle: inference that never fails or mixes versions while the agent switches beneath it."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edgewright_agent.durable import Disk
from edgewright_agent.handle import ModelHandle, NotActive
from edgewright_agent.models.packages import read_package
from edgewright_agent.models.slots import ModelSlots
from edgewright_agent.repository.blobs import Blobs
from edgewright_agent.runtime import Array
from edgewright_wire.canonical import digest_bytes
from edgewright_wire.messages import ModelAssignment
from edgewright_wire.slots import Slot
from fakes.agent_ports import Device
from fakes.agent_runtimes import LinearRuntime, LinearSession
from samples.agent_packages import FEATURES, MODEL, a_package, assignment, target, weights
from servers.tuf_repository import TufRepository

DEVICE = "dev-1"
VERSIONS = range(1, 22)


@pytest.fixture
def repository(tmp_path: Path) -> TufRepository:
    return TufRepository(tmp_path / "repository")


@pytest.fixture
def device(tmp_path: Path, repository: TufRepository) -> Device:
    return Device(tmp_path / "device", repository.path, repository.root)


def switch(device: Device, repository: TufRepository, version: int) -> str:
    package = a_package(version)
    config = f"version = {version}\n".encode()
    repository.add_package(package)
    repository.add_blob(config)
    repository.assign(assignment(DEVICE, version, target(package, config=config)))
    assert device.poll().models[0].verified == package.digest
    return package.digest


def prepare(blobs: Blobs, version: int) -> ModelAssignment:
    """Have a version's blobs at hand."""
    package = a_package(version)
    config = b"version = %d\n" % version
    for data in (package.manifest, config, *package.blobs.values()):
        blobs.put(digest_bytes(data), data)
    return target(package, config=config)


def put(slots: ModelSlots, blobs: Blobs, wanted: ModelAssignment) -> None:
    """Stage and switch, as the agent does."""
    active = slots.active()
    slot = Slot.A if active is None else active.other
    package = read_package(blobs.read(wanted.package.digest) or b"")
    slots.stage(slot, wanted, package, blobs)
    slots.switch(slot)


def test_without_an_active_package_there_is_no_handle(tmp_path: Path) -> None:
    with pytest.raises(NotActive, match="nothing is active"):
        ModelHandle(tmp_path, MODEL, LinearRuntime())


def test_serves_outputs_labels_configuration_and_version(device: Device, repository: TufRepository) -> None:
    digest = switch(device, repository, 1)
    handle = ModelHandle(device.directory, MODEL, LinearRuntime())
    inputs = np.ones((3, FEATURES), np.float32)

    np.testing.assert_allclose(handle.run(inputs), inputs @ weights(1))
    assert handle.labels == ("v1-0", "v1-1", "v1-2")
    assert handle.config == b"version = 1\n"
    assert handle.version == digest


def test_four_threads_see_whole_versions_through_twenty_switches(tmp_path: Path) -> None:
    disk = Disk(sync=lambda _: None)
    slots = ModelSlots(tmp_path / "models" / MODEL, disk)
    blobs = Blobs(tmp_path / "blobs", disk)
    targets = [prepare(blobs, version) for version in VERSIONS]
    put(slots, blobs, targets[0])
    handle = ModelHandle(tmp_path, MODEL, LinearRuntime())
    inputs = np.random.default_rng(0).normal(size=(2, FEATURES)).astype(np.float32)
    expected = {version: inputs @ weights(version) for version in VERSIONS}
    problems: list[str] = []
    seen: set[int] = set()
    calls = [0] * 4
    stop = threading.Event()

    def infer(number: int) -> None:
        while not stop.is_set():
            current = handle.current
            outputs = current.run(inputs)
            matches = [version for version, wanted in expected.items() if np.allclose(outputs, wanted)]
            said = {f"v{version}-0" for version in matches}
            if len(matches) != 1 or current.labels[0] not in said or current.config != b"version = %d\n" % matches[0]:
                problems.append(f"{matches} {current.labels} {current.config!r}")
            seen.update(matches)
            handle.run(inputs)
            calls[number] += 1

    def guarded(number: int) -> None:
        try:
            infer(number)
        except Exception as error:  # noqa: BLE001 - any failure of a request is what this test looks for
            problems.append(repr(error))

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for wanted in targets[1:]:
        put(slots, blobs, wanted)
        until = time.monotonic() + 30
        while handle.version != wanted.package.digest and time.monotonic() < until:
            os.sched_yield()
        assert handle.version == wanted.package.digest, "applications get the new version without asking for it"
    stop.set()
    for thread in threads:
        thread.join()

    assert not problems
    assert all(count > 20 for count in calls)
    assert len(seen) > 3
    np.testing.assert_allclose(handle.run(inputs), expected[VERSIONS[-1]], rtol=1e-5)


def test_a_switch_back_to_the_same_slot_is_noticed(device: Device, repository: TufRepository) -> None:
    switch(device, repository, 1)
    handle = ModelHandle(device.directory, MODEL, LinearRuntime())
    switch(device, repository, 2)
    third = switch(device, repository, 3)  # in the slot version 1 was in

    handle.refresh()

    assert handle.version == third


class GatedRuntime(LinearRuntime):
    """Loads only when let."""

    def __init__(self) -> None:
        self.loading = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def load(self, model: Path) -> LinearSession:
        self.loading.set()
        assert self.gate.wait(30)
        return super().load(model)


def test_requests_are_served_by_the_old_version_while_the_new_one_loads(
    device: Device, repository: TufRepository
) -> None:
    first = switch(device, repository, 1)
    runtime = GatedRuntime()
    handle = ModelHandle(device.directory, MODEL, runtime)
    runtime.gate.clear()
    runtime.loading.clear()
    second = switch(device, repository, 2)
    inputs: Array = np.ones((1, FEATURES), np.float32)

    np.testing.assert_allclose(handle.run(inputs), inputs @ weights(1))
    assert runtime.loading.wait(30)
    assert handle.version == first
    runtime.gate.set()
    handle.refresh()
    assert handle.version == second


class PickyRuntime(LinearRuntime):
    """Refuses to load, once told to."""

    refuse = False

    def load(self, model: Path) -> LinearSession:
        if self.refuse:
            raise RuntimeError("out of accelerator memory")
        return super().load(model)


def test_a_new_version_that_cannot_be_loaded_leaves_the_old_one_serving(
    device: Device, repository: TufRepository
) -> None:
    first = switch(device, repository, 1)
    runtime = PickyRuntime()
    handle = ModelHandle(device.directory, MODEL, runtime)
    runtime.refuse = True
    switch(device, repository, 2)

    with pytest.raises(NotActive, match="out of accelerator memory"):
        handle.refresh()
    inputs = np.ones((1, FEATURES), np.float32)
    np.testing.assert_allclose(handle.run(inputs), inputs @ weights(1))
    assert handle.version == first


def test_an_application_goes_on_when_its_model_is_taken_away(device: Device, repository: TufRepository) -> None:
    switch(device, repository, 1)
    handle = ModelHandle(device.directory, MODEL, LinearRuntime())
    repository.assign(assignment(DEVICE, 2))
    device.poll()
    assert not (device.directory / "models" / MODEL).exists()

    assert handle.run(np.ones((1, FEATURES), np.float32)).shape == (1, 3)


def test_a_regression_names_what_it_computes(device: Device, repository: TufRepository) -> None:
    switch(device, repository, 1)
    labels = device.directory / "models" / MODEL / "active" / "labels.json"
    labels.unlink()
    labels.write_text('{"target": "queue_length"}')
    assert ModelHandle(device.directory, MODEL, LinearRuntime()).labels == ("queue_length",)
