"""The driver for customers' Mender servers: whose devices are whose, evidence that comes late, and who is stopped."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from edgewright.core.fleet.routes import Proof
from edgewright.delivery.relayed.mender.options import Options
from edgewright_wire.messages import Phase
from rigs.base import Behaviour, Grounds, work
from rigs.mender_server import MenderServerRig, mender_delivery
from rigs.servers import assign, model_of
from servers.mender_server import Deployment, MenderServer


@contextmanager
def opened(folder: Path, *, legacy: bool = False, **delivery: object) -> Iterator[MenderServerRig]:
    with MenderServer(legacy=legacy) as server:
        rig = MenderServerRig(Grounds(folder, mender_delivery(server.url, **delivery)), server)
        try:
            yield rig
        finally:
            rig.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[MenderServerRig]:
    with opened(tmp_path) as made:
        yield made


def by_somebody_else(rig: MenderServerRig, *devices: str) -> Deployment:
    """A deployment that another user of the server has made."""
    ids = [rig.devices[device].known.id for device in devices]
    made = Deployment("operating system 7", "os-7", ids, force=False)
    rig.server.deployments[made.id] = made
    return made


def test_one_deployment_is_for_all_devices_that_are_given_the_same(rig: MenderServerRig) -> None:
    rig.add("lane-1", "lane-2", "lane-3")
    work(rig)
    release = assign(rig, 1, 1, "lane-1", "lane-2", "lane-3")
    work(rig)
    (deployment,) = rig.server.deployments.values()
    assert len(deployment.devices) == 3
    assert deployment.artifact in deployment.name
    assert deployment.artifact.startswith(f"reader-{''.join(c for c in release if c.isalnum())[:12]}")
    assert deployment.force, "Mender shall not skip it because of the artifact's name"


def test_a_server_without_version_2_of_the_deployments_api_will_do(tmp_path: Path) -> None:
    with opened(tmp_path, legacy=True) as rig:
        rig.add("lane-1", "lane-2")
        work(rig)
        release = assign(rig, 1, 1, "lane-1", "lane-2")
        rig.server.lose(8, "/api/management", done=True)
        with pytest.raises(Exception, match="does not answer"):
            work(rig)
        rig.restart()
        work(rig)
        assert [rig.runs(device) for device in ("lane-1", "lane-2")] == [release, release]
        assert len(rig.server.deployments) == len(rig.server.artifacts) == 1


@pytest.mark.parametrize("scope", ["identity", "tags"])
def test_the_attribute_may_be_one_of_the_identity_or_a_tag(rig: MenderServerRig, scope: str) -> None:
    rig.server.accept("till-1", scope=scope)
    rig.grounds.declare("till-1")
    rig.pushing.step()
    assert rig.reason("till-1") == ""
    assert rig.driver.observe({})


def test_devices_that_cannot_be_worked_with_say_why(rig: MenderServerRig) -> None:
    rig.add("lane-1", "twice", "pending")
    rig.server.accept("twice")
    rig.devices["pending"].known.attributes["identity", "status"] = "pending"
    rig.grounds.declare("lost")
    release = assign(rig, 1, 1, "lane-1", "twice", "pending", "lost")
    work(rig)
    assert [rig.reason(name) for name in ("twice", "pending", "lost")] == [
        "AmbiguousDevice",
        "NotAccepted",
        "UnknownDevice",
    ]
    assert rig.runs("lane-1") == release, "they hold nobody up"

    rig.devices["pending"].known.attributes["identity", "status"] = "accepted"
    work(rig)
    assert (rig.reason("pending"), rig.runs("pending")) == ("", release)


def test_success_counts_once_the_inventory_shows_it(rig: MenderServerRig) -> None:
    rig.add("lane-1")
    work(rig)
    device = rig.devices["lane-1"]
    assign(rig, 1, 1)
    rig.pushing.step()
    while device._inventory is None:
        device.step()
    (deployment,) = rig.server.deployments.values()
    assert deployment.rows[device.known.id].status == "success"
    for _ in range(3):
        rig.pushing.step()
    assert model_of(rig).phase is Phase.PROBING
    assert model_of(rig).verified is None

    work(rig)
    assert model_of(rig).phase is Phase.VERIFIED


def test_success_that_the_inventory_never_shows_is_not_believed_for_ever(rig: MenderServerRig) -> None:
    rig.options = Options(look_every=timedelta(0))
    rig.add("lane-1")
    work(rig)
    before = assign(rig, 1, 1)
    work(rig)
    rig.behave("lane-1", Behaviour.LIES)
    assign(rig, 2, 2)
    work(rig)
    assert model_of(rig).phase is Phase.PROBING
    rig.restart()
    rig.ahead = timedelta(hours=16, minutes=59)
    rig.pushing.step()
    assert model_of(rig).phase is Phase.PROBING, "the next inventory may be taken as late as two intervals from now"
    rig.ahead = timedelta(hours=17, minutes=1)
    rig.pushing.step()
    assert (model_of(rig).phase, model_of(rig).reason) == (Phase.FAILED, "NotProved")
    rig.behave("lane-1", Behaviour.HONEST)
    work(rig)
    assert model_of(rig).active_release == before == rig.runs("lane-1")


def test_evidence_of_an_earlier_time_does_not_count_for_this_one(rig: MenderServerRig) -> None:
    rig.add("lane-1")
    work(rig)
    assign(rig, 1, 1)
    work(rig)
    other = assign(rig, 2, 2)
    work(rig)
    shown = dict(rig.devices["lane-1"].known.attributes)
    first = assign(rig, 3, 1)
    work(rig)
    rig.devices["lane-1"].known.attributes |= shown
    rig.behave("lane-1", Behaviour.LIES)
    assign(rig, 4, 2)
    work(rig)
    assert rig.runs("lane-1") == first != other
    assert (model_of(rig).phase, model_of(rig).active_release) == (Phase.PROBING, first)


def test_a_failure_says_what_the_devices_log_says(rig: MenderServerRig) -> None:
    rig.add("lane-1", "lane-2")
    work(rig)
    rig.behave("lane-1", Behaviour.CORRUPTS)
    rig.behave("lane-2", Behaviour.REFUSES)
    assign(rig, 1, 1, "lane-1", "lane-2")
    work(rig)
    assert model_of(rig, "lane-1").reason == "InstallFailed"
    assert "checksum does not match" in model_of(rig, "lane-1").message
    assert model_of(rig, "lane-2").reason == "ProbeMismatch"
    assert model_of(rig, "lane-2").message == "5 of 5 samples differ"


def test_a_device_without_a_fitting_artifact_is_incompatible(rig: MenderServerRig) -> None:
    rig.add("lane-1")
    work(rig)
    rig.behave("lane-1", Behaviour.STALLS)
    assign(rig, 1, 1)
    work(rig)
    (deployment,) = rig.server.deployments.values()
    deployment.rows[rig.devices["lane-1"].known.id].status = "noartifact"
    rig.pushing.step()
    assert (model_of(rig).phase, model_of(rig).reason) == (Phase.FAILED, "Incompatible")


def test_what_somebody_aborts_in_mender_has_failed(rig: MenderServerRig) -> None:
    rig.add("lane-1", "lane-2")
    work(rig)
    rig.behave("lane-1", Behaviour.STALLS)
    rig.behave("lane-2", Behaviour.SILENT)
    assign(rig, 1, 1, "lane-1", "lane-2")
    work(rig)
    (deployment,) = rig.server.deployments.values()
    deployment.aborted = True
    deployment.rows[rig.devices["lane-1"].known.id].status = "aborted"
    work(rig)
    for device in ("lane-1", "lane-2"):
        assert (model_of(rig, device).phase, model_of(rig, device).reason) == (Phase.FAILED, "Cancelled")
    assert len(rig.server.deployments) == 1, "it is not given again"


def driven(rig: MenderServerRig) -> None:
    """Let the driver alone work."""
    while rig.pushing.step():
        pass


def two_stalled(rig: MenderServerRig) -> Deployment:
    """Two devices that do not get on with their deployment."""
    rig.add("lane-1", "lane-2")
    work(rig)
    for device in ("lane-1", "lane-2"):
        rig.behave(device, Behaviour.STALLS)
    assign(rig, 1, 1, "lane-1", "lane-2")
    work(rig)
    (deployment,) = rig.server.deployments.values()
    return deployment


def test_what_nobody_wants_any_more_is_aborted_as_a_whole(rig: MenderServerRig) -> None:
    ours = two_stalled(rig)
    theirs = by_somebody_else(rig, "lane-1")
    rig.driver.cancel(["lane-1", "lane-2"])
    driven(rig)
    assert ours.aborted
    assert not theirs.aborted and theirs.rows == {}
    for device in ("lane-1", "lane-2"):
        assert (model_of(rig, device).phase, model_of(rig, device).reason) == (Phase.FAILED, "Cancelled")


def test_one_of_several_devices_is_taken_out_alone(rig: MenderServerRig) -> None:
    ours = two_stalled(rig)
    first = rig.release(1).release
    second = assign(rig, 2, 2, "lane-1")
    driven(rig)
    assert not ours.aborted
    assert [row.status for row in ours.rows.values()] == ["aborted", "downloading"]
    for device in ("lane-1", "lane-2"):
        rig.behave(device, Behaviour.HONEST)
    work(rig)
    assert (rig.runs("lane-1"), rig.runs("lane-2")) == (second, first)
    assert (rig.installs("lane-1"), rig.installs("lane-2")) == (1, 1)


def test_deployments_of_others_are_never_aborted_along(rig: MenderServerRig) -> None:
    ours = two_stalled(rig)
    theirs = by_somebody_else(rig, "lane-1")
    second = assign(rig, 2, 2, "lane-1")
    driven(rig)
    assert rig.server.asked("DELETE") == []
    assert "aborted" not in {row.status for row in (*ours.rows.values(), *theirs.rows.values())}

    theirs.aborted = True  # its owner ends it
    for device in ("lane-1", "lane-2"):
        rig.behave(device, Behaviour.HONEST)
    work(rig)
    assert rig.runs("lane-1") == second, "it was finished with the first, and then brought to the second"
    assert rig.installs("lane-1") == 2


def test_a_device_that_was_stopped_while_it_installed_gets_back_what_ran_before(rig: MenderServerRig) -> None:
    rig.add("lane-1")
    work(rig)
    before = assign(rig, 1, 1)
    work(rig)
    rig.behave("lane-1", Behaviour.STALLS)
    assign(rig, 2, 2)
    work(rig)
    device = rig.devices["lane-1"]
    ours = rig.server.of_device(device.known.id)[-1]
    ours.rows[device.known.id].status = "installing"
    driven(rig)
    assert model_of(rig).phase is Phase.PROBING
    rig.driver.cancel(["lane-1"])
    driven(rig)
    assert ours.aborted
    assert (model_of(rig).reason, model_of(rig).active) == ("Cancelled", None), "nobody knows what runs there"
    rig.behave("lane-1", Behaviour.HONEST)
    work(rig)
    assert model_of(rig).active_release == before == rig.runs("lane-1")


def test_the_plain_update_module_proves_no_more_than_installation(tmp_path: Path) -> None:
    with opened(tmp_path) as rig:
        settings = {"url": rig.server.url, "token": {"secret": "mender"}, "module": "directory"}
        rig.grounds.delivery = type(rig.grounds.delivery).model_validate(
            {"type": "mender-server", "menderServer": settings}
        )
        rig.add("lane-1")
        work(rig)
        rig.behave("lane-1", Behaviour.LIES)
        assign(rig, 1, 1)
        work(rig)
        assert rig.driver.capabilities(["lane-1"])["lane-1"].proof is Proof.INSTALLED
        assert (model_of(rig).phase, model_of(rig).verified) == (Phase.INSTALLED, None)


def test_a_token_that_may_not_deploy_is_said_with_what_it_needs(rig: MenderServerRig) -> None:
    rig.add("lane-1")
    work(rig)
    rig.server.forbidden = {"/deployments/artifacts"}
    release = assign(rig, 1, 1)
    with pytest.raises(Exception, match="forbids the token") as caught:
        work(rig)
    assert "Release manager" in str(caught.value)
    assert model_of(rig).phase is Phase.IDLE
    rig.server.forbidden = set()
    work(rig)
    assert rig.runs("lane-1") == release
