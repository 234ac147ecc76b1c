"""What every update system does with its devices, whatever the protocol: bring them what they are assigned, tell the
truth about it, and survive the end of the engine at any point.
"""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from edgewright.core.fleet.routes import Proof
from edgewright.errors import DeliveryError
from edgewright_wire.messages import Phase
from harness.profiles import THOROUGH
from rigs.base import Behaviour, MakeRig, Rig, assignments, work

RIGS = ("twins", "registered", "agent", "ddi", "hawkbit", "mender", "ssh", "mender_server")
"""Modules ``rigs.<name>``; each has ``make_rig(folder)``, a context manager."""
VARIANTS = ("ddi_plain", "ddi_rauc", "mender_plain", "ssh_plain")
"""Rigs with a driver of those above, and another installer on the devices, or none."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give variants the tests in which an installer decides; ``make test-all`` gives them every test."""
    if "rig" in metafunc.fixturenames:
        by_installer = metafunc.definition.get_closest_marker("by_installer") is not None
        metafunc.parametrize("rig", RIGS + VARIANTS if by_installer or THOROUGH else RIGS, indirect=True)


@pytest.fixture
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    make_rig: MakeRig = import_module(f"rigs.{request.param}").make_rig
    with make_rig(tmp_path) as made:
        yield made


def said(rig: Rig, device: str) -> tuple[Phase | None, int, str]:
    """What the engine hears of a device's model: phase, the version it has taken up, and the reason."""
    report = next((r for r in rig.driver.observe({}) if r.device == device), None)
    model = report.model("reader") if report is not None else None
    return (model.phase if model else None), (report.assignment_version if report else 0), model.reason if model else ""


def proven(rig: Rig, device: str) -> Phase:
    capability = rig.driver.capabilities([device])[device]
    return Phase.VERIFIED if capability.proof is Proof.VERIFIED else Phase.INSTALLED


def test_a_device_says_that_it_is_there_before_anything_is_assigned(rig: Rig) -> None:
    rig.add("lane-1")
    work(rig)

    assert [report.device for report in rig.driver.observe({})] == ["lane-1"]
    assert rig.runs("lane-1") is None
    assert rig.driver.assigned() == {}


@pytest.mark.by_installer
def test_what_is_assigned_runs_and_is_proven(rig: Rig) -> None:
    rig.add("lane-1", "lane-2")
    work(rig)
    release = rig.release(1, config=b"threshold = 0.8")

    rig.driver.assign(assignments(1, ["lane-1", "lane-2"], release), rig.configs())
    work(rig)

    for device in ("lane-1", "lane-2"):
        assert said(rig, device) == (proven(rig, device), 1, "")
        assert rig.runs(device) == release.release
        assert rig.file(device, "lane.toml") == b"threshold = 0.8"
    assert rig.driver.assigned() == {"lane-1": 1, "lane-2": 1}
    reports = {report.device: report for report in rig.driver.observe({})}
    for report in reports.values():
        model = report.model("reader")
        assert model is not None
        assert (model.active, model.active_release) == (release.package.digest, release.release)
        assert model.verified == (release.package.digest if model.phase is Phase.VERIFIED else None)


def test_assigning_again_installs_nothing_again(rig: Rig) -> None:
    rig.add("lane-1")
    work(rig)
    wanted = assignments(1, ["lane-1"], rig.release(1))
    for _ in range(3):
        rig.driver.assign(wanted, rig.configs())
        work(rig)

    assert rig.installs("lane-1") == 1
    assert said(rig, "lane-1") == (proven(rig, "lane-1"), 1, "")


def test_a_newer_version_of_the_same_content_is_taken_up_without_installing_again(rig: Rig) -> None:
    rig.add("lane-1")
    work(rig)
    release = rig.release(1)
    for version in (1, 2, 7):
        rig.driver.assign(assignments(version, ["lane-1"], release), rig.configs())
        work(rig)

    assert said(rig, "lane-1") == (proven(rig, "lane-1"), 7, "")
    assert rig.installs("lane-1") == 1


def test_versions_never_go_back(rig: Rig) -> None:
    rig.add("lane-1")
    work(rig)
    first, second = rig.release(1), rig.release(2)
    rig.driver.assign(assignments(3, ["lane-1"], first), rig.configs())

    with pytest.raises(DeliveryError, match=r"lane-1.*version 3"):
        rig.driver.assign(assignments(2, ["lane-1"], second), rig.configs())
    with pytest.raises(DeliveryError, match=r"lane-1.*version 3"):
        rig.driver.assign(assignments(3, ["lane-1"], second), rig.configs())
    work(rig)

    assert rig.runs("lane-1") == first.release


def test_a_device_that_was_away_catches_up_to_the_newest_alone(rig: Rig) -> None:
    rig.add("lane-1", "lane-2")
    work(rig)
    rig.behave("lane-1", Behaviour.SILENT)
    releases = [rig.release(number) for number in (1, 2, 3)]
    for version, release in enumerate(releases, start=1):
        rig.driver.assign(assignments(version, ["lane-1", "lane-2"], release), rig.configs())
        work(rig)

    assert rig.runs("lane-1") is None
    assert said(rig, "lane-1")[1] == 0
    rig.behave("lane-1", Behaviour.HONEST)
    work(rig)

    assert rig.runs("lane-1") == releases[-1].release
    assert rig.installs("lane-1") == 1
    assert said(rig, "lane-1") == (proven(rig, "lane-1"), 3, "")


def test_a_device_that_never_answers_is_never_counted(rig: Rig) -> None:
    rig.add("lane-1", "lane-2")
    rig.behave("lane-1", Behaviour.SILENT)
    release = rig.release(1)
    rig.driver.assign(assignments(1, ["lane-1", "lane-2"], release), rig.configs())
    work(rig)

    assert said(rig, "lane-1")[:2] in {(None, 0), (Phase.IDLE, 0)}
    assert said(rig, "lane-2")[0] is proven(rig, "lane-2")


@pytest.mark.by_installer
@pytest.mark.parametrize("behaviour", [Behaviour.REFUSES, Behaviour.CORRUPTS])
def test_a_failed_update_says_why_and_leaves_what_ran_before(rig: Rig, behaviour: Behaviour) -> None:
    rig.add("lane-1", "lane-2")
    work(rig)
    before, after = rig.release(1), rig.release(2)
    rig.driver.assign(assignments(1, ["lane-1", "lane-2"], before), rig.configs())
    work(rig)
    rig.behave("lane-1", behaviour)
    rig.driver.assign(assignments(2, ["lane-1", "lane-2"], after), rig.configs())
    work(rig)

    phase, taken, reason = said(rig, "lane-1")
    assert taken == 2
    assert reason
    assert rig.runs("lane-1") == before.release
    assert rig.runs("lane-2") == after.release
    assert said(rig, "lane-2")[0] is proven(rig, "lane-2")
    if behaviour is Behaviour.CORRUPTS and phase is Phase.FETCHING:
        # Agents fetch again until the bytes are right, and say meanwhile what is wrong.
        rig.behave("lane-1", Behaviour.HONEST)
        work(rig)
        assert said(rig, "lane-1") == (proven(rig, "lane-1"), 2, "")
        return
    assert phase is Phase.FAILED

    rig.behave("lane-1", Behaviour.HONEST)
    work(rig)
    assert said(rig, "lane-1")[0] is Phase.FAILED, "it is not tried again under the same version"
    rig.driver.assign(assignments(3, ["lane-1"], before), rig.configs())
    work(rig)
    assert said(rig, "lane-1") == (proven(rig, "lane-1"), 3, "")
    assert rig.runs("lane-1") == before.release


@pytest.mark.by_installer
def test_a_device_that_lies_is_not_believed_to_have_verified(rig: Rig) -> None:
    rig.add("lane-1")
    work(rig)
    rig.behave("lane-1", Behaviour.LIES)
    rig.driver.assign(assignments(1, ["lane-1"], rig.release(1)), rig.configs())
    work(rig)

    assert rig.runs("lane-1") is None
    assert said(rig, "lane-1")[0] is not Phase.VERIFIED
    report = next(r for r in rig.driver.observe({}) if r.device == "lane-1")
    assert all(model.verified is None for model in report.models)


@pytest.mark.by_installer
def test_what_is_called_off_while_it_is_fetched_never_runs(rig: Rig) -> None:
    rig.add("lane-1")
    work(rig)
    if not rig.driver.capabilities(["lane-1"])["lane-1"].cancels:
        # Agents stop for a newer assignment alone; the next test has that.
        return
    before, after = rig.release(1), rig.release(2)
    rig.driver.assign(assignments(1, ["lane-1"], before), rig.configs())
    work(rig)
    rig.behave("lane-1", Behaviour.STALLS)
    rig.driver.assign(assignments(2, ["lane-1"], after), rig.configs())
    work(rig)

    rig.driver.cancel(["lane-1"])
    rig.behave("lane-1", Behaviour.HONEST)
    work(rig)

    assert rig.runs("lane-1") == before.release
    assert said(rig, "lane-1") == (Phase.FAILED, 2, "Cancelled")


def test_what_is_superseded_while_it_is_fetched_never_runs(rig: Rig) -> None:
    rig.add("lane-1")
    work(rig)
    first, second = rig.release(1), rig.release(2)
    rig.behave("lane-1", Behaviour.STALLS)
    rig.driver.assign(assignments(1, ["lane-1"], first), rig.configs())
    work(rig)

    rig.driver.assign(assignments(2, ["lane-1"], second), rig.configs())
    rig.behave("lane-1", Behaviour.HONEST)
    work(rig)

    assert rig.runs("lane-1") == second.release
    assert rig.installs("lane-1") == 1
    assert said(rig, "lane-1") == (proven(rig, "lane-1"), 2, "")


@pytest.mark.by_installer
def test_a_model_that_is_no_longer_assigned_is_taken_off(rig: Rig) -> None:
    rig.add("lane-1")
    work(rig)
    rig.driver.assign(assignments(1, ["lane-1"], rig.release(1)), rig.configs())
    work(rig)
    if not rig.driver.capabilities(["lane-1"])["lane-1"].removes:
        return
    rig.driver.assign(assignments(2, ["lane-1"]), {})
    work(rig)

    assert rig.runs("lane-1") is None
    report = next(r for r in rig.driver.observe({}) if r.device == "lane-1")
    assert report.assignment_version == 2
    assert all(model.active is None for model in report.models)


def test_a_retired_device_keeps_what_it_runs_and_is_given_nothing_more(rig: Rig) -> None:
    rig.add("lane-1")
    work(rig)
    release = rig.release(1)
    rig.driver.assign(assignments(1, ["lane-1"], release), rig.configs())
    work(rig)
    for _ in range(2):
        rig.driver.retire(["lane-1", "never-seen"])
        work(rig)

    assert rig.runs("lane-1") == release.release
    assert rig.driver.assigned() == {}


def test_a_device_that_was_retired_and_comes_back_is_given_the_same_again(rig: Rig) -> None:
    rig.add("lane-1")
    work(rig)
    release = rig.release(1)
    rig.behave("lane-1", Behaviour.STALLS)
    rig.driver.assign(assignments(1, ["lane-1"], release), rig.configs())
    work(rig)
    rig.driver.cancel(["lane-1"])
    rig.driver.retire(["lane-1"])
    rig.behave("lane-1", Behaviour.HONEST)
    work(rig)

    rig.driver.assign(assignments(1, ["lane-1"], release), rig.configs())
    work(rig)

    assert rig.runs("lane-1") == release.release
    assert said(rig, "lane-1") == (proven(rig, "lane-1"), 1, "")


@pytest.mark.by_installer
@pytest.mark.parametrize("every", [1, 3])
def test_the_engine_may_end_at_any_point(rig: Rig, every: int) -> None:
    rig.add("lane-1", "lane-2")
    work(rig)
    first, second = rig.release(1), rig.release(2, config=b"x = 1")
    for version, release in ((1, first), (2, second)):
        rig.driver.assign(assignments(version, ["lane-1", "lane-2"], release), rig.configs())
        rig.restart()
        for number in range(1, 400):
            if not rig.step():
                break
            if number % every == 0:
                rig.restart()

    for device in ("lane-1", "lane-2"):
        assert rig.runs(device) == second.release
        assert said(rig, device) == (proven(rig, device), 2, "")
        assert rig.file(device, "lane.toml") == b"x = 1"
        assert rig.installs(device) == 2, "nothing is deployed twice"


def test_reports_count_up_and_only_news_is_told(rig: Rig) -> None:
    rig.add("lane-1")
    work(rig)
    before = {r.device: r.sequence for r in rig.driver.observe({})}
    assert list(rig.driver.observe(before)) == []
    rig.driver.assign(assignments(1, ["lane-1"], rig.release(1)), rig.configs())
    work(rig)

    (news,) = rig.driver.observe(before)
    assert news.sequence > before["lane-1"]


def test_only_what_is_published_is_assigned(rig: Rig) -> None:
    rig.add("lane-1")
    work(rig)
    there = rig.release(1)
    lost = there.model_copy(update={"package": there.package.model_copy(update={"digest": "sha256:" + "0" * 64})})

    with pytest.raises(DeliveryError, match="not published"):
        rig.driver.assign(assignments(1, ["lane-1"], lost), rig.configs())
    work(rig)

    assert rig.runs("lane-1") is None
