"""The driver for customers' hawkBits: what is there already, what others do there, and how devices are stopped."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from edgewright.core.fleet.routes import Proof
from edgewright_wire.messages import Phase
from rigs.base import Behaviour, Grounds, work
from rigs.hawkbit import HawkbitRig, hawkbit_delivery
from rigs.servers import assign, model_of
from servers.api_server import Question, Reply
from servers.hawkbit.server import ALL_PERMISSIONS, HawkbitServer
from servers.hawkbit.state import Action, Module, Target


class ForcingRig(HawkbitRig):
    force_after = timedelta(minutes=10)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[HawkbitRig]:
    with HawkbitServer() as server:
        made = ForcingRig(Grounds(tmp_path, hawkbit_delivery(server.url)), server)
        try:
            yield made
        finally:
            made.close()


def action_of(rig: HawkbitRig) -> Action:
    (action,) = rig.server.state.open_of("lane-1")
    return action


def test_what_is_made_in_hawkbit_is_named_by_model_and_release(rig: HawkbitRig) -> None:
    rig.add("lane-1")
    work(rig)
    release = assign(rig, 1, 1)
    work(rig)

    (module,), (made,) = rig.server.state.modules.values(), rig.server.state.sets.values()
    assert (module.name, made.name, module.version) == ("reader", "reader", made.version)
    assert made.version.startswith("".join(c for c in release if c.isalnum())[:12])
    assert (module.type, made.type) == ("application", "app")
    (artifact,) = module.artifacts
    assert artifact.name == f"reader-{module.version}.swu"


def test_targets_that_are_there_are_used_and_others_are_made(rig: HawkbitRig) -> None:
    rig.server.state.targets["lane-1"] = Target("lane-1", token="as it was")
    rig.add("lane-1", "lane-2")
    work(rig)
    assert rig.server.state.targets["lane-1"].token == "as it was"
    assert set(rig.server.state.targets) == {"lane-1", "lane-2"}
    assert {r.device for r in rig.driver.observe({})} == {"lane-1", "lane-2"}


def test_targets_are_made_by_hand_where_that_is_wanted(rig: HawkbitRig) -> None:
    rig.grounds.delivery = hawkbit_delivery(rig.server.url, {"createTargets": False})
    rig.add("lane-1")
    release = assign(rig, 1, 1)
    work(rig)
    assert (rig.reason(), rig.server.state.targets) == ("UnknownDevice", {})

    rig.server.state.targets["lane-1"] = Target("lane-1")
    work(rig)
    assert (rig.reason(), rig.runs("lane-1")) == ("", release)


def test_a_device_that_was_last_there_long_ago_is_not_taken_for_present(rig: HawkbitRig) -> None:
    a_week_ago = rig.grounds.now() - timedelta(days=7)
    rig.server.state.targets["lane-1"] = Target("lane-1", asked_at=int(a_week_ago.timestamp() * 1000))
    rig.grounds.declare("lane-1")
    rig.pushing.step()
    (report,) = rig.driver.observe({})
    assert abs(report.sent_at - a_week_ago) < timedelta(seconds=1)


def test_what_another_controller_makes_at_the_same_time_is_used(rig: HawkbitRig) -> None:
    rig.add("lane-1")
    work(rig)
    answer = rig.server.answer

    def meanwhile(question: Question) -> Reply:
        """Someone is quicker with everything that is to be created."""
        if question.method == "POST" and question.path.endswith(("/softwaremodules", "/distributionsets")):
            answer(question)
        return answer(question)

    rig.server.answer = meanwhile  # type: ignore[method-assign]  # the other controller
    release = assign(rig, 1, 1)
    work(rig)
    assert rig.runs("lane-1") == release
    assert len(rig.server.state.modules) == len(rig.server.state.sets) == 1


def test_a_module_that_was_left_without_its_file_is_completed(rig: HawkbitRig) -> None:
    rig.add("lane-1")
    work(rig)
    rig.server.fail("error", method="POST", path="/artifacts")
    release = assign(rig, 1, 1)
    with pytest.raises(Exception, match="500"):
        work(rig)
    (module,) = rig.server.state.modules.values()
    assert module.artifacts == []
    work(rig)
    assert len(module.artifacts) == 1
    assert rig.runs("lane-1") == release


def test_names_of_things_that_were_deleted_are_not_used_again(rig: HawkbitRig) -> None:
    rig.add("lane-1")
    work(rig)
    assign(rig, 1, 1)
    work(rig)
    for module in rig.server.state.modules.values():
        module.deleted = True
    for made in rig.server.state.sets.values():
        made.deleted = True
    release = assign(rig, 2, 2)
    work(rig)
    first = assign(rig, 3, 1)
    rig.restart()
    work(rig)
    assert rig.runs("lane-1") == first != release
    assert model_of(rig).phase is Phase.VERIFIED


def test_the_same_release_can_be_given_again_after_it_failed(rig: HawkbitRig) -> None:
    rig.add("lane-1")
    work(rig)
    rig.behave("lane-1", Behaviour.REFUSES)
    assign(rig, 1, 1)
    work(rig)
    assert (model_of(rig).phase, model_of(rig).reason) == (Phase.FAILED, "ProbeMismatch")
    assert "5 of 5" in model_of(rig).message

    rig.behave("lane-1", Behaviour.HONEST)
    release = assign(rig, 2, 1)
    work(rig)
    assert rig.runs("lane-1") == release
    versions = sorted(each.version for each in rig.server.state.sets.values())
    assert versions == [versions[0], f"{versions[0]}.2"]
    assert len(rig.server.state.modules) == 1, "the bundle is uploaded once"
    assert rig.bundler.built == [rig.bundler.built[0]]


def test_going_back_and_forth_between_releases_always_gets_there(rig: HawkbitRig) -> None:
    rig.add("lane-1")
    work(rig)
    for version in range(1, 7):
        release = assign(rig, version, 1 + version % 2)
        work(rig)
        assert rig.runs("lane-1") == release
        assert model_of(rig).phase is Phase.VERIFIED
    assert rig.installs("lane-1") == 6


def test_what_somebody_calls_off_in_hawkbit_has_failed(rig: HawkbitRig) -> None:
    rig.add("lane-1")
    work(rig)
    rig.behave("lane-1", Behaviour.SILENT)
    assign(rig, 1, 1)
    work(rig)
    action = action_of(rig)
    assert rig.server.state.cancel(action) and rig.server.state.quit(action)
    work(rig)
    assert (model_of(rig).phase, model_of(rig).reason) == (Phase.FAILED, "Cancelled")
    assert "in hawkBit" in model_of(rig).message
    assert rig.server.state.open_of("lane-1") == [], "it is not given again"


def test_a_target_that_somebody_deletes_comes_back_with_the_next_version(rig: HawkbitRig) -> None:
    rig.add("lane-1")
    work(rig)
    rig.behave("lane-1", Behaviour.SILENT)
    assign(rig, 1, 1)
    work(rig)
    rig.server.state.targets.clear()
    rig.server.state.actions.clear()
    work(rig)
    assert model_of(rig).reason == "Cancelled"
    rig.behave("lane-1", Behaviour.HONEST)
    release = assign(rig, 2, 1)
    work(rig)
    assert rig.runs("lane-1") == release


def test_a_device_that_does_not_stop_is_done_without_in_the_end(rig: HawkbitRig) -> None:
    rig.add("lane-1")
    work(rig)
    rig.behave("lane-1", Behaviour.SILENT)
    assign(rig, 1, 1)
    work(rig)
    rig.driver.cancel(["lane-1"])
    work(rig)
    action = action_of(rig)
    assert action.status == "canceling"
    assert [each.ask("force") for each in rig.server.asked("DELETE")] == [""], "it is asked to stop once"

    rig.ahead = timedelta(minutes=11)
    work(rig)
    assert action.status == "canceled"
    assert (model_of(rig).phase, model_of(rig).reason) == (Phase.FAILED, "Cancelled")
    twin = rig.grounds.twins.twin("lane-1")
    assert twin is not None and twin.job is None


def test_a_device_that_had_begun_when_it_was_done_without_gets_back_what_ran_before(rig: HawkbitRig) -> None:
    rig.add("lane-1")
    work(rig)
    before = assign(rig, 1, 1)
    work(rig)
    rig.behave("lane-1", Behaviour.STALLS)
    assign(rig, 2, 2)
    work(rig)
    assert model_of(rig).phase is Phase.FETCHING
    rig.behave("lane-1", Behaviour.SILENT)
    rig.driver.cancel(["lane-1"])
    work(rig)
    rig.ahead = timedelta(minutes=11)
    work(rig)
    assert (model_of(rig).reason, model_of(rig).active) == ("Cancelled", None), "nobody knows what runs there"
    action = action_of(rig)
    assert rig.server.state.sets[action.set_id].version.endswith(".2"), "it is given again what ran before"

    rig.behave("lane-1", Behaviour.HONEST)
    work(rig)
    assert rig.runs("lane-1") == before
    assert model_of(rig).active_release == before
    assert model_of(rig).phase is Phase.FAILED


def test_a_device_that_says_done_and_shows_nothing_gets_back_what_ran_before(rig: HawkbitRig) -> None:
    rig.add("lane-1")
    work(rig)
    before = assign(rig, 1, 1)
    work(rig)
    rig.behave("lane-1", Behaviour.LIES)
    assign(rig, 2, 2)
    while [each.status for each in rig.server.state.actions.values()] != ["finished", "finished"]:
        assert rig.step()
    rig.behave("lane-1", Behaviour.HONEST)
    work(rig)
    assert (model_of(rig).phase, model_of(rig).reason) == (Phase.FAILED, "NotProved")
    assert model_of(rig).active_release == before == rig.runs("lane-1")


def test_where_installation_is_all_that_is_asked_hawkbits_word_counts(tmp_path: Path) -> None:
    with HawkbitServer() as server:
        rig = HawkbitRig(Grounds(tmp_path, hawkbit_delivery(server.url, proof="installed")), server)
        rig.add("lane-1", "lane-2")
        work(rig)
        rig.behave("lane-1", Behaviour.LIES)
        assign(rig, 1, 1, "lane-1", "lane-2")
        work(rig)
        assert rig.driver.capabilities(["lane-1"])["lane-1"].proof is Proof.INSTALLED
        assert (model_of(rig, "lane-1").phase, model_of(rig, "lane-1").verified) == (Phase.INSTALLED, None)
        assert model_of(rig, "lane-2").phase is Phase.VERIFIED, "evidence counts where there is some"
        rig.close()


def test_what_hawkbit_has_no_room_for_fails_the_devices_it_concerns(rig: HawkbitRig) -> None:
    rig.add("lane-1")
    work(rig)
    rig.server.most_targets_assigned = 0
    assign(rig, 1, 1)
    work(rig)
    assert (model_of(rig).phase, model_of(rig).reason) == (Phase.FAILED, "Rejected")
    assert "Too many entries" in model_of(rig).message
    assert rig.server.url in model_of(rig).message


def test_a_type_that_hawkbit_lacks_is_said(rig: HawkbitRig) -> None:
    rig.server.module_types = {"firmware"}
    rig.add("lane-1")
    work(rig)
    assign(rig, 1, 1)
    work(rig)
    assert model_of(rig).reason == "Rejected"
    assert "application" in model_of(rig).message

    rig.grounds.delivery = hawkbit_delivery(rig.server.url, {"moduleType": "firmware", "setType": "os"})
    rig.grounds.declare("lane-1")
    release = assign(rig, 2, 1)
    work(rig)
    assert rig.runs("lane-1") == release


@pytest.mark.parametrize("lacking", ["CREATE_TARGET", "READ_TARGET"])
def test_a_user_who_may_not_do_it_is_named_with_what_is_lacking(rig: HawkbitRig, lacking: str) -> None:
    rig.server.permissions = ALL_PERMISSIONS - {lacking}
    rig.add("lane-1")
    with pytest.raises(Exception, match=r"forbids the user DEFAULT\\edgewright") as caught:
        rig.step()
    assert "permission" in str(caught.value).lower() or "_TARGET" in str(caught.value)


def test_a_user_who_may_not_upload_keeps_devices_waiting(rig: HawkbitRig) -> None:
    rig.add("lane-1")
    work(rig)
    rig.server.permissions = ALL_PERMISSIONS - {"CREATE_REPOSITORY"}
    release = assign(rig, 1, 1)
    with pytest.raises(Exception, match="forbids"):
        work(rig)
    assert model_of(rig).phase is Phase.IDLE
    rig.server.permissions = ALL_PERMISSIONS
    work(rig)
    assert rig.runs("lane-1") == release


def test_lists_longer_than_a_page_are_read_whole(rig: HawkbitRig) -> None:
    for number in range(1200):
        rig.server.state.targets[f"other-{number}"] = Target(f"other-{number}", asked_at=10**12 + number)
        module = Module(rig.server.state.next_id(), "reader", f"x{number}", "application")
        rig.server.state.modules[module.id] = module
    rig.add("lane-1")
    work(rig)
    release = assign(rig, 1, 1)
    work(rig)
    assert rig.runs("lane-1") == release


@pytest.mark.parametrize("called_off", [False, True])
def test_an_action_that_swupdate_never_closes_is_ended_and_counts(tmp_path: Path, called_off: bool) -> None:
    with HawkbitServer() as server:
        rig = HawkbitRig(Grounds(tmp_path, hawkbit_delivery(server.url, proof="installed")), server)
        rig.add("lane-1")
        work(rig)
        rig.behave("lane-1", Behaviour.STALLS)
        release = assign(rig, 1, 1)
        work(rig)
        action = action_of(rig)
        server.state.say(action, "running", ["Installed.", "All Chunks Installed."])
        if called_off:  # as after a crash between the server's word and ours
            server.state.cancel(action)
            server.state.close(action, "canceled", ["cancellation acknowledged"])
        work(rig)
        assert (model_of(rig).phase, model_of(rig).active_release) == (Phase.INSTALLED, release)
        assert (action.status, server.state.open_of("lane-1")) == ("canceled", [])
        rig.behave("lane-1", Behaviour.HONEST)
        after = assign(rig, 2, 2)
        work(rig)
        assert rig.runs("lane-1") == model_of(rig).active_release == after
        rig.close()


def test_installations_without_evidence_are_waited_out_and_then_prove_nothing(rig: HawkbitRig) -> None:
    rig.add("lane-1")
    work(rig)
    rig.behave("lane-1", Behaviour.STALLS)
    assign(rig, 1, 1)
    work(rig)
    action = action_of(rig)
    for _ in range(3):
        rig.server.state.say(action, "running", ["All Chunks Installed."])
        work(rig)
        assert action.active
    rig.server.state.say(action, "running", ["All Chunks Installed."])
    work(rig)
    assert not action.active
    assert (model_of(rig).phase, model_of(rig).reason) == (Phase.FAILED, "NotProved")
