"""``edgewright status`` when how things stand now cannot be told: what the controller recorded last is shown."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgewright.core.address import Address
from edgewright.core.planning.plan import Note, Plan
from edgewright.core.rollout.state import DeviceProgress, DeviceState, RolloutState
from edgewright.core.status.conditions import conditions_of_all
from edgewright.core.status.source import SourceReason, SourceStatus, repository_address, repository_conditions
from edgewright.wiring.workspace import Workspace
from harness.command_line import HEAD, WHOLE, Ran, edgewright, edit, repository
from samples.repositories import run_git

IN_FORCE = "a" * 40
ROLLOUT = Address("rollout", "reader")
ENVIRONMENTS = (
    HEAD + "kind: Repository\nmetadata: {name: shop}\nspec:\n  environments:\n"
    "    - {name: production, follow: {tag: live}}\n"
)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return repository(tmp_path / "shop", dict(WHOLE))


def record(repo: Path, reason: SourceReason, message: str, env: str = "") -> None:
    """Keep what a controller keeps after a pass."""
    since = datetime.now(UTC) - timedelta(hours=3)
    refused = SourceStatus(IN_FORCE, "b" * 40, reason, message, since)
    plan = Plan("c", "o", "i", (), (Note(ROLLOUT, "waiting", "Soaking", "for another hour"),))
    devices = {"lane-1": DeviceProgress(DeviceState.VERIFIED), "lane-2": DeviceProgress()}
    workspace = Workspace(repo, env=env)
    with workspace.lease("a test"):
        workspace.state.accept_revision(IN_FORCE)
        workspace.state.save_rollout(ROLLOUT, RolloutState(devices=devices))
        workspace.state.set_conditions(
            {
                **conditions_of_all([Address("dataset", "tags"), ROLLOUT], plan, {}, revision=IN_FORCE, now=since),
                repository_address("shop"): repository_conditions(refused, now=since),
            }
        )


def holds_the_record(ran: Ran, reason: str) -> None:
    lines = ran.stdout.splitlines()
    assert "as recorded last (in force: aaaaaaaaaaaa)" in lines[0]
    assert lines[2].split()[:4] == ["repository/shop", "Stalled", "3h", reason]
    assert lines[3].split()[:2] == ["dataset/tags", "Ready"]
    assert lines[4].split()[:6] == ["rollout/reader", "Reconciling", "3h", "Soaking", "1/2", "verified"]


def test_when_the_newest_specs_are_wrong(shop: Path) -> None:
    edit(shop, {"specs/fleet.yaml": WHOLE["specs/fleet.yaml"].replace("inventory:", "inventroy:")})
    edgewright(shop, "status").expect(1, "inventroy")
    assert edgewright(shop, "status").stdout == ""
    record(shop, "SpecInvalid", "specs/fleet.yaml is wrong")
    ran = edgewright(shop, "status").expect(1)
    assert "specs/fleet.yaml:" in ran.stderr
    assert "inventroy" in ran.stderr
    holds_the_record(ran, "SpecInvalid")
    found = edgewright(shop, "status", "-o", "json").expect(1).json()
    assert (found["stale"], found["commit"], found["inForceCommit"]) == (True, None, IN_FORCE)
    assert "inventroy" in found["problem"]
    assert [one["address"] for one in found["resources"]] == ["repository/shop", "dataset/tags", "rollout/reader"]
    counts = found["resources"][2]["rollout"]["counts"]
    assert {state: n for state, n in counts.items() if n} == {"verified": 1, "pending": 1}


def test_when_the_followed_tag_is_gone(tmp_path: Path) -> None:
    shop = repository(tmp_path / "shop", {**WHOLE, "edgewright.yaml": ENVIRONMENTS})
    edgewright(shop, "status", "--env", "production").expect(1, "error: ", "live")
    record(shop, "RefMissing", "there is no tag live", env="production")
    ran = edgewright(shop, "status", "--env", "production").expect(1, "environment production, as recorded last")
    assert ran.stderr.startswith("warning: ")
    assert "live" in ran.stderr
    holds_the_record(ran, "RefMissing")
    edgewright(shop, "status", "--env", "prodution").expect(1, "error: there is no environment 'prodution'")


def test_when_what_is_published_cannot_be_read(shop: Path) -> None:
    record(shop, "SignatureMissing", "sign it")
    for metadata in (shop / ".edgewright/repository/metadata").iterdir():
        metadata.write_text("{")
    ran = edgewright(shop, "status").expect(1)
    assert ran.stderr.startswith("warning: ")
    holds_the_record(ran, "SignatureMissing")


def test_without_a_repository_there_is_only_the_error(tmp_path: Path) -> None:
    ran = edgewright(tmp_path, "status").expect(1, "error: ")
    assert ran.stdout == ""


def test_what_is_in_force_is_said_before_anything_was_applied(shop: Path) -> None:
    workspace = Workspace(shop)
    with workspace.lease("a test"):
        workspace.state.accept_revision(run_git(shop, "rev-parse", "HEAD").strip())
    ran = edgewright(shop, "status").expect(0, f"(in force: {run_git(shop, 'rev-parse', 'HEAD')[:12]})")
    assert "nothing applied yet" not in ran.said
