"""What is believed of what devices with Mender's client say."""

from datetime import timedelta

import pytest

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Proof
from edgewright.core.fleet.twins import Stage
from edgewright.delivery.served.mender.conversation import (
    INVENTORY_TIMEOUT,
    artifact_of,
    deployment_id,
)
from edgewright.delivery.served.mender.messages import LogMessage
from edgewright_wire.evidence import Evidence
from edgewright_wire.messages import Phase
from worlds.mender_talk import (
    NOW,
    PASSED,
    asking,
    assigned,
    done,
    id_of,
    offered,
    phase_of,
    provided,
    report,
    shown,
    talk,
    target,
)


def test_a_success_counts_once_the_inventory_shows_it() -> None:
    twin = offered()
    id_ = id_of(twin)
    for status in ("downloading", "downloading", "installing", "installing"):
        twin, stops = talk().reported(twin, id_, status)
        assert not stops
    assert phase_of(twin)[0] is Phase.PROBING
    twin, _ = talk().reported(twin, id_, "success")
    assert phase_of(twin)[0] is Phase.PROBING
    assert talk().offered(asking(twin)) is None, "it is waited for, and given nothing else"

    twin = talk().listed(twin, shown(id_, report(target(1))), whole=False)

    assert phase_of(twin) == (Phase.VERIFIED, "")
    assert twin.model("reader").probe == PASSED
    assert twin.memo.get("said") is None


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"device_type": "edgewright"}, "NotProved"),
        ({"edgewright_evidence_reader": "what?"}, "NotProved"),
        (shown("another-deployment", report(target(1))), "NotProved"),
        (
            {"device_type": "x", "evidence": Evidence(nonce="x", model=report(target(1))).to_bytes().decode()},
            "NotProved",
        ),
        ("other-release", "Contradiction"),
        ("not-probed", "Contradiction"),
    ],
    ids=["nothing", "no-evidence", "of-another-deployment", "elsewhere", "other-release", "not-probed"],
)
def test_a_success_that_shows_something_else_is_not_believed(attributes: dict[str, str] | str, reason: str) -> None:
    twin = offered()
    id_ = id_of(twin)
    if attributes == "other-release":
        attributes = shown(id_, report(target(2)))
    elif attributes == "not-probed":
        attributes = shown(id_, report(target(1), probe=None, verified=None, phase=Phase.INSTALLED))
    assert isinstance(attributes, dict)
    twin, _ = talk().reported(twin, id_, "success")

    twin = talk().listed(twin, attributes, whole=False)

    assert phase_of(twin) == (Phase.FAILED, reason)
    assert twin.job is not None, "the device may have switched: what was there before is brought back"
    assert twin.job.target is None


def test_attributes_that_other_programs_send_do_not_end_the_wait() -> None:
    twin = offered()
    id_ = id_of(twin)
    twin, _ = talk().reported(twin, id_, "success")
    twin = talk().listed(twin, {"geo": "somewhere"}, whole=False)
    assert phase_of(twin)[0] is Phase.PROBING
    twin = talk().listed(twin, shown(id_, report(target(1))), whole=False)
    twin = talk().listed(twin, {"geo": "elsewhere"}, whole=False)
    assert phase_of(twin) == (Phase.VERIFIED, "")


def test_evidence_that_was_shown_before_the_success_counts() -> None:
    twin = offered()
    id_ = id_of(twin)
    twin = talk().listed(twin, shown(id_, report(target(1))), whole=False)
    assert phase_of(twin)[0] is not Phase.VERIFIED
    twin, _ = talk().reported(twin, id_, "already-installed")
    assert phase_of(twin) == (Phase.VERIFIED, "")


def test_evidence_of_an_earlier_job_of_the_same_release_does_not_count() -> None:
    twin = done(offered(), 1)
    old = shown(deployment_id("prod", "lane-1", twins.Job(1, "reader", None, 1, Stage.OFFERED, NOW)), report(target(1)))
    twin = done(asking(assigned(twin, 2, target(2)), **provided(1)), 2)
    twin = asking(assigned(twin, 3, target(1)), **provided(2))
    twin, _ = talk().reported(twin, id_of(twin), "success")

    assert phase_of(talk().listed(twin, old, whole=False)) == (Phase.FAILED, "NotProved")


def test_an_inventory_that_never_comes_ends_the_wait() -> None:
    twin = offered()
    twin, _ = talk().reported(twin, id_of(twin), "success")
    for later in (timedelta(minutes=1), INVENTORY_TIMEOUT):
        twin = talk(now=NOW + later).asked(twin, {})
        assert phase_of(twin)[0] is Phase.PROBING
    twin = talk(now=NOW + INVENTORY_TIMEOUT + timedelta(seconds=1)).asked(twin, {})
    assert phase_of(twin) == (Phase.FAILED, "NotProved")


def test_where_installed_is_enough_its_word_is_enough_and_says_no_more() -> None:
    said = talk(Proof.INSTALLED)
    twin = offered()
    twin, _ = said.reported(twin, id_of(twin), "success")
    assert phase_of(twin) == (Phase.INSTALLED, "")


def test_a_success_whose_report_was_lost_is_told_by_the_artifacts_name() -> None:
    twin = offered()
    assert twin.job is not None
    id_, name = id_of(twin), artifact_of(id_of(twin), twin.job)
    twin = talk().listed(twin, shown(id_, report(target(1))), whole=False)
    twin = asking(twin, **provided(1, name))
    assert phase_of(twin) == (Phase.VERIFIED, "")


def test_a_failure_is_settled_by_the_log_that_explains_it() -> None:
    twin = done(offered(), 1)
    twin = asking(assigned(twin, 2, target(2)), **provided(1))
    id_ = id_of(twin)
    refused = report(target(2), Phase.FAILED, reason="ProbeMismatch", message="off by 0.4", active=None, verified=None)
    line = Evidence(nonce=id_, model=refused).to_bytes().decode()

    twin, stops = talk().reported(twin, id_, "failure")
    assert not stops
    assert phase_of(twin)[0] is not Phase.FAILED, "a rollout that halts now would be rejected for no known reason"
    assert talk().reported(twin, id_, "failure") == (twin, False), "a repeated report says nothing new"
    before = twin.sequence
    log = [LogMessage(level="info", message=f'Output (stderr) from command "/x": {line}')]
    twin = talk().logged(twin, id_, log)

    assert phase_of(twin) == (Phase.FAILED, "ProbeMismatch")
    assert twin.sequence > before, "it is news"
    assert twin.model("reader").installed == target(1)
    assert talk().logged(twin, id_, log) == twin
    assert talk().offered(asking(twin, **provided(1))) is None, "it is not tried again"


def test_a_failure_without_a_log_is_settled_when_the_client_asks_for_work_again() -> None:
    twin = asking(assigned(done(offered(), 1), 2, target(2)), **provided(1))
    id_ = id_of(twin)
    twin, _ = talk().reported(twin, id_, "failure")

    twin = asking(twin, **provided(1))

    assert phase_of(twin) == (Phase.FAILED, "InstallFailed")
    failed = twin.model("reader").failed
    assert failed is not None
    assert failed.message == "its update client says that it failed, and sent no log"
    assert talk().offered(twin) is None
    late = talk().logged(twin, id_, [LogMessage(level="error", message="no space left on device")])
    assert phase_of(late) == (Phase.FAILED, "NoSpace"), "a log that comes later explains it still"


def test_a_failure_that_is_cancelled_before_its_log_comes_has_stopped() -> None:
    twin = asking(assigned(done(offered(), 1), 2, target(2)), **provided(1))
    id_ = id_of(twin)
    twin, _ = talk().reported(twin, id_, "failure")
    twin = twins.cancel(twin, NOW)
    log = [LogMessage(level="error", message="no space left on device")]

    for ended in (talk().logged(twin, id_, log), asking(twin, **provided(1))):
        failed = ended.model("reader").failed
        assert failed is not None
        assert failed.reason == "Cancelled"
        assert ended.model("reader").installed == target(1)
