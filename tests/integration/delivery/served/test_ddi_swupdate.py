"""The real SWUpdate polls edgewright: it installs what is assigned, and edgewright knows what came of it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from devices.swupdate_client import SwupdateClient, until
from edgewright.core.fleet import twins
from edgewright.core.fleet.twins import Stage, Twin
from edgewright.delivery.identity.credentials import create_credentials
from edgewright_schemas.delivery import Delivery
from edgewright_wire.messages import ModelAssignment, ModelReport, Phase
from rigs.base import Grounds, assignments, content_of
from rigs.ddi import AGENT
from rigs.ddi_site import DdiSite
from samples.agent_packages import OUTPUTS, SAMPLES, a_package, target

pytestmark = pytest.mark.xdist_group("swupdate")


class Fleet:
    """A controller, and devices with SWUpdate."""

    def __init__(self, folder: Path, **delivery: object) -> None:
        ways = {"type": "ddi", "installer": str(AGENT), "ddi": {"poll": "1s"}, **delivery}
        self.folder = folder
        self.grounds = Grounds(folder, Delivery.model_validate(ways))
        self.site = DdiSite(self.grounds)
        self.devices: dict[str, SwupdateClient] = {}
        self._version = 0

    def device(self, name: str, options: str = "", certificate: Path | None = None, clock: str = "") -> SwupdateClient:
        root = self.folder / name
        self.grounds.declare(name)
        way = self.grounds.delivery.model_copy(update={"root": str(root)})
        self.grounds.routes[name] = replace(self.grounds.routes[name], delivery=way)
        device = SwupdateClient(
            name, self.site.url, self.site.token(name), root, certificate or self.site.certificate, options
        )
        device.clock = clock
        self.devices[name] = device
        device.start()
        return device

    def assign(self, *targets: ModelAssignment, to: str | None = None) -> int:
        self._version += 1
        names = [to] if to else list(self.devices)
        self.site.driver.assign(assignments(self._version, names, *targets), self.grounds.configs())
        return self._version

    def said(self, name: str) -> ModelReport | None:
        report = next((each for each in self.site.driver.observe({}) if each.device == name), None)
        return report.model("reader") if report is not None else None

    def until_phase(self, name: str, phase: Phase, release: str) -> ModelReport:
        def is_so() -> bool:
            said = self.said(name)
            return said is not None and (said.phase, said.release) == (phase, release)

        try:
            until(is_so, f"{name} is {phase} with {release}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.said(name)}\n{self.devices[name].says()}") from error
        said = self.said(name)
        assert said is not None
        return said

    def until_twin(self, name: str, met: Callable[[Twin], object], what: str) -> None:
        def is_so() -> bool:
            twin = self.grounds.twins.twin(name)
            return twin is not None and bool(met(twin))

        try:
            until(is_so, f"{name} {what}")
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.grounds.twins.twin(name)}\n{self.devices[name].says()}") from error

    def until_stage(self, name: str, stage: Stage) -> None:
        self.until_twin(name, lambda twin: twin.job is not None and twin.job.stage is stage, f"is at {stage}")

    def runs(self, name: str) -> str | None:
        marker = self.devices[name].active / "release.json"
        return str(json.loads(marker.read_bytes())["assignment"]["release"]) if marker.exists() else None

    def close(self) -> None:
        for device in self.devices.values():
            device.close()
        self.site.stop()
        self.grounds.close()


MakeFleet = Callable[..., Fleet]


@pytest.fixture
def make_fleet(tmp_path: Path) -> Iterator[MakeFleet]:
    made: list[Fleet] = []

    def make(**delivery: object) -> Fleet:
        made.append(Fleet(tmp_path / f"fleet-{len(made)}", **delivery))
        return made[-1]

    yield make
    for fleet in made:
        fleet.close()


def test_devices_install_prove_update_and_remove_side_by_side(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    names = ("lane-1", "lane-2", "lane-3")
    for name in names:
        fleet.device(name)
    first, second = fleet.grounds.release(1, config=b"threshold = 0.8"), fleet.grounds.release(2)

    for wanted in (first, second):
        fleet.assign(wanted)
        for name in names:
            said = fleet.until_phase(name, Phase.VERIFIED, wanted.release)
            assert said.probe is not None
            assert said.probe.passed
            assert said.verified == wanted.package.digest
            assert fleet.runs(name) == wanted.release
    fleet.assign()
    for name in names:
        fleet.until_twin(name, lambda twin: not twin.models, "has no model")
        assert not (fleet.devices[name].root / "models/reader").exists()


def test_devices_without_an_installer_say_no_more_than_that_it_is_there(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(proof="installed")
    fleet.device("lane-1")
    wanted = fleet.grounds.release(1, config=b"threshold = 0.8")
    fleet.assign(wanted)

    said = fleet.until_phase("lane-1", Phase.INSTALLED, wanted.release)

    assert (said.active, said.verified) == (wanted.package.digest, None)
    assert fleet.runs("lane-1") == wanted.release
    assert (fleet.devices["lane-1"].active / "lane.toml").read_bytes() == b"threshold = 0.8"


def test_a_model_that_computes_something_else_there_makes_way(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    fleet.device("lane-1")
    sound = fleet.grounds.release(1)
    fleet.assign(sound)
    fleet.until_phase("lane-1", Phase.VERIFIED, sound.release)
    wrong = a_package(5, onnx=True, expected=np.full((SAMPLES, OUTPUTS), 100, np.float32))
    assert fleet.grounds.repository.publish([content_of(wrong, fleet.folder / "blobs")]) == {}
    fleet.assign(target(wrong))

    said = fleet.until_phase("lane-1", Phase.FAILED, target(wrong).release)

    assert said.reason == "ProbeMismatch"
    assert said.probe is not None
    assert not said.probe.passed
    assert said.active_release == sound.release
    assert fleet.runs("lane-1") == sound.release


def test_a_bundle_that_arrives_damaged_is_not_installed(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    fleet.device("lane-1")
    wanted = fleet.grounds.release(1)
    fleet.site.damages = (b"linear", b"lineaR")
    fleet.assign(wanted)

    said = fleet.until_phase("lane-1", Phase.FAILED, wanted.release)

    assert said.reason == "DigestMismatch"
    assert fleet.runs("lane-1") is None


def test_a_bundle_of_somebody_else_is_not_installed(make_fleet: MakeFleet, tmp_path: Path) -> None:
    fleet = make_fleet()
    create_credentials(tmp_path / "others")
    fleet.device("lane-1", certificate=tmp_path / "others/bundles.crt")
    wanted = fleet.grounds.release(1)
    fleet.assign(wanted)

    said = fleet.until_phase("lane-1", Phase.FAILED, wanted.release)

    assert said.reason == "SignatureInvalid", said
    assert fleet.runs("lane-1") is None


def test_a_board_whose_clock_was_never_set_installs(make_fleet: MakeFleet) -> None:
    # Without the installer: Python's waits with a timeout fail under libfaketime.
    fleet = make_fleet(proof="installed")
    fleet.device("lane-1", clock="1972-03-01 00:00:00")
    wanted = fleet.grounds.release(1)
    fleet.assign(wanted)

    fleet.until_phase("lane-1", Phase.INSTALLED, wanted.release)


def test_a_clock_outside_of_a_certificate_is_trouble_that_passes(
    make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twins, "TRY_AGAIN", timedelta(seconds=1))
    fleet = make_fleet()
    device = fleet.device("lane-1", clock="2090-03-01 00:00:00")
    wanted = fleet.grounds.release(1)
    fleet.assign(wanted)

    said = fleet.until_phase("lane-1", Phase.FAILED, wanted.release)

    assert said.reason == "ClockNotSet", said
    assert said.message.startswith("its clock says 2090-03-01 "), said
    device.kill()
    device.clock = ""
    device.start()
    fleet.until_phase("lane-1", Phase.VERIFIED, wanted.release)


def test_what_is_called_off_while_it_is_downloaded_never_runs(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    fleet.device("lane-1")
    before, after = fleet.grounds.release(1), fleet.grounds.release(2)
    fleet.assign(before)
    fleet.until_phase("lane-1", Phase.VERIFIED, before.release)
    fleet.site.is_slow = True
    fleet.assign(after)
    fleet.until_stage("lane-1", Stage.FETCHING)

    fleet.site.driver.cancel(["lane-1"])

    fleet.until_twin("lane-1", lambda twin: twin.job is None, "has stopped")
    said = fleet.said("lane-1")
    assert said is not None
    assert (said.phase, said.reason, said.active_release) == (Phase.FAILED, "Cancelled", before.release)
    assert any(b"cancellation acknowledged" in body for body in fleet.site.told("lane-1"))
    assert fleet.runs("lane-1") == before.release
    fleet.site.is_slow = False
    fleet.assign(after)
    assert fleet.until_phase("lane-1", Phase.VERIFIED, after.release).active_release == after.release


def test_a_power_cut_in_the_middle_costs_nothing_but_time(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    device = fleet.device("lane-1")
    for number, stage in ((1, Stage.FETCHING), (2, Stage.INSTALLING)):
        wanted = fleet.grounds.release(number)
        fleet.site.is_slow = stage is Stage.FETCHING
        fleet.assign(wanted)
        fleet.until_stage("lane-1", stage)
        device.kill()
        fleet.site.is_slow = False
        device.start()

        assert fleet.until_phase("lane-1", Phase.VERIFIED, wanted.release).active_release == wanted.release
        assert fleet.runs("lane-1") == wanted.release


@pytest.mark.parametrize("stage", [Stage.FETCHING, Stage.INSTALLING])
def test_the_server_may_restart_at_any_time(make_fleet: MakeFleet, stage: Stage) -> None:
    fleet = make_fleet()
    fleet.device("lane-1")
    fleet.site.is_slow = stage is Stage.FETCHING
    wanted = fleet.grounds.release(1)
    fleet.assign(wanted)
    fleet.until_stage("lane-1", stage)

    fleet.site.restart()
    fleet.site.is_slow = False

    fleet.until_phase("lane-1", Phase.VERIFIED, wanted.release)
    assert fleet.runs("lane-1") == wanted.release


def test_success_that_is_claimed_when_the_client_starts_does_not_count(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    device = fleet.device("lane-1")
    until(lambda: fleet.site.requests, "the device was there")
    device.kill()
    wanted = fleet.grounds.release(1)
    fleet.assign(wanted)
    device.options = "-c 2"
    device.start()
    until(lambda: any(b'"closed"' in body for body in fleet.site.told("lane-1")), "it claims success")
    assert fleet.said("lane-1").phase is not Phase.VERIFIED  # type: ignore[union-attr]

    fleet.until_phase("lane-1", Phase.VERIFIED, wanted.release)
    assert fleet.runs("lane-1") == wanted.release


def test_a_device_says_what_it_is(make_fleet: MakeFleet, tmp_path: Path) -> None:
    fleet = make_fleet()
    device = fleet.device("lane-1")
    device.kill()
    settings = tmp_path / "swupdate.cfg"
    settings.write_text(
        'globals : { }; identify : ( { name = "class"; value = "handheld"; }, { name = "site"; value = "lyon"; } );'
    )
    device.configuration = settings
    device.start()

    fleet.until_twin("lane-1", lambda twin: twin.facts, "has said what it is")

    twin = fleet.grounds.twins.twin("lane-1")
    assert twin is not None
    assert (twin.facts, twin.device_class) == ({"class": "handheld", "site": "lyon"}, "handheld")
