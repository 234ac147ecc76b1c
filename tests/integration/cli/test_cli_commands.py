"""Commands that read, steer and refuse: text, JSON, exit codes; in this process, on real stores."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from edgewright.core.artifact import Action
from edgewright.state.store import SqlState
from edgewright.wiring.workspace import Workspace
from fakes.builder import FakeBuilder
from harness.command_line import MODEL, WHOLE, converge, edgewright, edit, failing, repository
from harness.ordinary_user import as_ordinary_user

DEVICES = ("lane-1", "lane-2")


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that is applied whole; read it, or copy it."""
    made = repository(tmp_path_factory.mktemp("applied") / "shop", WHOLE)
    outcome = converge(made, devices=DEVICES)
    assert outcome.converged, outcome
    return made


@pytest.fixture
def shop(applied: Path, tmp_path: Path) -> Path:
    """A copy of the applied repository, to change."""
    shutil.copytree(applied, tmp_path / "shop", symlinks=True)
    return tmp_path / "shop"


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A whole repository that was never applied."""
    return repository(tmp_path / "fresh", WHOLE)


def test_plan_tells_by_its_exit_code_whether_there_is_something_to_do(fresh: Path, shop: Path) -> None:
    edgewright(fresh, "plan").expect(0, "build-dataset dataset/tags", "1 to build, 1 to make, 1 to package")
    edgewright(fresh, "plan", "--detailed-exitcode").expect(2)
    assert not (fresh / ".edgewright/state.db").exists(), "planning changes nothing"
    edgewright(shop, "plan", "--detailed-exitcode").expect(0, "Nothing to do: reality matches commit")
    edit(shop, {"specs/model.yaml": MODEL + "  nonsense: [\n"})
    edgewright(shop, "plan", "--detailed-exitcode").expect(1, "specs/model.yaml:")


def test_plan_as_json_and_markdown(shop: Path) -> None:
    head = edit(shop, {"specs/model.yaml": WHOLE["specs/model.yaml"].replace("epochs: 3", "epochs: 4")})
    found = edgewright(shop, "plan", "-o", "json").expect(0).json()
    assert found["formatVersion"] == 1
    assert found["commit"] == head
    assert found["steps"][0]["action"] == "train"
    assert found["steps"][0]["reasons"] == [{"field": "training.epochs", "old": "3", "new": "4"}]
    assert found["summary"]["devices"] == 2
    markdown = edgewright(shop, "plan", "-o", "markdown").expect(0).stdout
    assert markdown.startswith("<!-- edgewright:plan -->\n")
    assert "| ~ | train `model/reader` |" in markdown


def test_plan_between_revisions_needs_no_state_and_cannot_be_saved(fresh: Path, tmp_path: Path) -> None:
    edit(fresh, {"specs/model.yaml": WHOLE["specs/model.yaml"].replace("epochs: 3", "epochs: 4")})
    found = edgewright(fresh, "plan", "--base", "HEAD~1", "-o", "json").expect(0).json()
    assert [s["action"] for s in found["steps"]][:2] == ["train", "export"]
    assert found["summary"]["build"] == 0
    out = tmp_path / "next.plan"
    edgewright(fresh, "plan", "--base", "HEAD~1", "--out", str(out)).expect(1, "cannot be saved")
    edgewright(fresh, "plan", "--head", "HEAD").expect(1, "--head needs --base")
    edgewright(fresh, "plan", "--base", "nowhere").expect(1, "nowhere")


def test_plan_of_uncommitted_edits(shop: Path) -> None:
    (shop / "specs/model.yaml").write_text(WHOLE["specs/model.yaml"].replace("epochs: 3", "epochs: 9"))
    edgewright(shop, "plan").expect(0, "Nothing to do")
    edgewright(shop, "plan", "--worktree").expect(0, "training.epochs: 3 → 9", "Plan for the work tree")


def test_plan_reads_a_state_it_may_not_write(shop: Path) -> None:
    folder = shop / ".edgewright"
    (folder / "state.db").chmod(0o444)
    folder.chmod(0o555)
    try:
        ran = as_ordinary_user(lambda: edgewright(shop, "plan", "--detailed-exitcode"))
        ran.expect(0, "Nothing to do")
        edit(shop, {"specs/model.yaml": WHOLE["specs/model.yaml"].replace("epochs: 3", "epochs: 4")})
        as_ordinary_user(lambda: edgewright(shop, "status")).expect(0, "model/reader")
    finally:
        folder.chmod(0o755)


def test_a_saved_plan_is_used_once(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "next.plan"
    edgewright(shop, "plan", "--out", str(out)).expect(0)
    edgewright(shop, "apply", str(out)).expect(0, "Reality matches commit")
    edgewright(shop, "apply", str(out)).expect(1, "this plan was used before", "edgewright plan --out")


def test_a_saved_plan_of_another_commit_or_a_changed_reality_is_refused(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "next.plan"
    edit(shop, {"specs/model.yaml": WHOLE["specs/model.yaml"].replace("epochs: 3", "epochs: 4")})
    edgewright(shop, "plan", "--out", str(out)).expect(0)
    builder = FakeBuilder()
    builder.failures[Action.EXPORT, "reader"] = failing("no")
    converge(shop, builder=builder)
    edgewright(shop, "apply", str(out)).expect(1, "is stale: reality has changed since it was made")
    edgewright(shop, "plan", "--out", str(out)).expect(0)
    edit(shop, {"README.md": "words\n"})
    edgewright(shop, "apply", str(out)).expect(1, "was made for commit")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "it is no saved plan"),
        ("[1, 2]", "it is no saved plan"),
        ("\udcff", "it is no saved plan"),
        ('{"formatVersion": 1}', "it is no saved plan"),
        ('{"formatVersion": 99, "commit": "x", "observedDigest": "y", "planId": "z"}', "has format 99"),
    ],
)
def test_what_is_no_plan_is_refused(shop: Path, tmp_path: Path, content: str | None, message: str) -> None:
    out = tmp_path / "next.plan"
    if content is not None:
        out.write_bytes(content.encode("utf-8", "surrogateescape"))
    edgewright(shop, "apply", str(out)).expect(1, message, "edgewright plan --out")


def test_a_plan_that_cannot_be_saved_says_where(fresh: Path, tmp_path: Path) -> None:
    edgewright(fresh, "plan", "--out", str(tmp_path / "no/such/folder/x.plan")).expect(1, "cannot write", "--out")


def test_apply_asks_somebody_or_nobody(fresh: Path, shop: Path) -> None:
    edgewright(fresh, "apply").expect(1, "must be confirmed, and the input is no terminal", "--yes")
    edgewright(shop, "apply").expect(0, "Reality matches commit")
    found = edgewright(shop, "apply", "--yes", "-o", "json").expect(0).json()
    assert found["converged"] is True
    assert found["exitCode"] == 0
    edgewright(shop, "apply", "--yes", "--timeout", "soon").expect(1, "--timeout soon", "30m")


def test_apply_that_waits_for_devices_or_people_ends_with_4(fresh: Path) -> None:
    waiting = WHOLE["specs/rollout.yaml"].replace("waves:", "approval: {beforeWave: 1}, waves:")
    edit(fresh, {"specs/rollout.yaml": waiting})
    converge(fresh, devices=DEVICES)
    edgewright(fresh, "apply", "--yes").expect(4, "AwaitingApproval", "edgewright rollout approve reader")
    edgewright(fresh, "status").expect(0, "AwaitingApproval")
    edgewright(fresh, "rollout", "approve", "reader", "--wave", "2").expect(0, "approved")
    outcome = converge(fresh, devices=DEVICES)
    assert outcome.converged, outcome
    edgewright(fresh, "apply", "--yes").expect(0)


def test_apply_that_a_gate_stops_ends_with_3_and_says_the_figures(fresh: Path) -> None:
    builder = FakeBuilder()
    builder.metrics["reader"] = {"accuracy": 0.5}
    converge(fresh, builder=builder)
    edgewright(fresh, "apply", "--yes").expect(3, "GateFailed", "accuracy ≥ 0.9: 0.5")
    edgewright(fresh, "plan", "--detailed-exitcode").expect(0, "Nothing can be done now")
    edgewright(fresh, "status").expect(0, "Stalled", "GateFailed")


def test_two_applies_at_once(fresh: Path) -> None:
    with Workspace(fresh).lease("edgewright apply of a colleague"):
        edgewright(fresh, "apply", "--yes").expect(
            1, "the state is in use by edgewright apply of a colleague", "process"
        )
        edgewright(fresh, "plan").expect(0)


def test_a_state_of_a_newer_version_is_refused_and_left_alone(shop: Path) -> None:
    file = shop / ".edgewright/state.db"
    connection = sqlite3.connect(file)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = file.read_bytes()
    for command in (["plan"], ["apply", "--yes"], ["status"], ["history"]):
        edgewright(shop, *command).expect(1, "newer")
    assert file.read_bytes() == before


def test_status(applied: Path, fresh: Path) -> None:
    found = edgewright(applied, "status", "-o", "json").expect(0).json()
    assert found["appliedCommit"] == found["commit"]
    ready = {r["address"]: r["conditions"][0] for r in found["resources"]}
    assert {c["status"] for c in ready.values()} == {"True"}
    rollout = next(r for r in found["resources"] if r["address"] == "rollout/reader")
    assert {state: n for state, n in rollout["rollout"]["counts"].items() if n} == {"verified": 2}
    edgewright(applied, "status").expect(0, "2/2 verified", "applied last:")
    edgewright(fresh, "status").expect(0, "nothing applied yet", "Reconciling")


def test_history(applied: Path) -> None:
    found = edgewright(applied, "history", "-o", "json").expect(0).json()
    reasons = [event["reason"] for event in found]
    assert reasons.index("RolloutSucceeded") < reasons.index("RolloutStarted") < reasons.index("StepDone")
    edgewright(applied, "history", "rollout/reader", "--limit", "3").expect(0, "RolloutSucceeded")
    assert len(edgewright(applied, "history", "-n", "2", "-o", "json").json()) == 2


def test_explain(shop: Path) -> None:
    edgewright(shop, "explain", "model/reader").expect(0, "= train is up to date", "training.epochs=3")
    edit(shop, {"specs/model.yaml": WHOLE["specs/model.yaml"].replace("epochs: 3", "epochs: 4")})
    edgewright(shop, "explain", "model/reader").expect(0, "training.epochs: 3 → 4")
    found = edgewright(shop, "explain", "dataset/tags", "-o", "json").expect(0).json()
    assert found["steps"] == []
    assert [a["action"] for a in found["reused"]] == ["build-dataset"]
    edgewright(shop, "explain", "model/raeder").expect(1, "is not declared", "model/reader")
    edgewright(shop, "explain", "reader").expect(1, "is no address")


def test_explain_says_what_was_lost(shop: Path) -> None:
    for blob in (shop / ".edgewright/blobs").rglob("*"):
        if blob.is_file():
            blob.unlink()
    edgewright(shop, "explain", "dataset/tags").expect(0, "build-dataset")
    edgewright(shop, "plan").expect(0, "build-dataset dataset/tags")


def test_devices(applied: Path) -> None:
    rows = edgewright(applied, "devices", "list", "-o", "json").expect(0).json()
    assert [row["device"] for row in rows] == ["lane-1", "lane-2"]
    (model,) = rows[0]["models"]
    assert model["verified"] == model["assigned"]
    edgewright(applied, "devices", "list").expect(0, "store=a", "verified")
    edgewright(applied, "devices", "list", "--fleet", "lnes").expect(1, "no fleet/lnes", "did you mean lanes?")


def test_rollout_steering(shop: Path) -> None:
    edgewright(shop, "rollout", "status", "reader").expect(0, "rollout/reader: succeeded", "lane-1")
    found = edgewright(shop, "rollout", "status", "rollout/reader", "-o", "json").expect(0).json()
    assert found["counts"]["verified"] == 2
    edgewright(shop, "rollout", "status", "raeder").expect(1, "has not started", "reader")
    edgewright(shop, "rollout", "pause", "reader").expect(1, "has succeeded already")


def test_a_rollout_is_paused_resumed_and_aborted(fresh: Path) -> None:
    converge(fresh, seconds=3)  # no device answers
    edgewright(fresh, "rollout", "pause", "reader").expect(0, "paused")
    edgewright(fresh, "plan").expect(0, "a pause was asked for")
    edgewright(fresh, "rollout", "status", "reader").expect(0, "waiting", "pause was requested")
    found = edgewright(fresh, "rollout", "status", "reader", "-o", "json").expect(0).json()
    assert found["requested"] == {"paused": True, "aborted": False, "approvedWaves": 0}
    edgewright(fresh, "apply", "--yes", "--timeout", "20s").expect(4, "Paused", "edgewright rollout resume reader")
    found = edgewright(fresh, "rollout", "status", "reader", "-o", "json").expect(0).json()
    assert found["requested"] is None, "it was taken up"
    edgewright(fresh, "rollout", "resume", "reader").expect(0, "resumed")
    edgewright(fresh, "rollout", "status", "reader").expect(0, "resume was requested")
    edgewright(fresh, "apply", "--yes", "--timeout", "0s").expect(4, "Time is up")
    edgewright(fresh, "rollout", "abort", "reader").expect(0, "to be aborted")
    edgewright(fresh, "apply", "--yes", "--timeout", "20s").expect(3, "ReleaseRejected", "Aborted")
    edgewright(fresh, "rollout", "status", "reader").expect(0, "rollout/reader: aborted", "rejected:")
    edgewright(fresh, "explain", "rollout/reader").expect(0, "aborted, package", "was rejected", "is tried again once")
    told = edgewright(fresh, "explain", "rollout/reader", "-o", "json").expect(0).json()["rollout"]
    assert (told["phase"], [each["reason"] for each in told["rejected"]]) == ("aborted", ["Aborted"])


def test_errors_are_json_where_results_are(fresh: Path) -> None:
    found = edgewright(fresh, "status", "--env", "nowhere", "-o", "json").expect(1, "error:").json()["error"]
    assert (found["kind"], found["problems"]) == ("SourceError", [])
    edit(fresh, {"specs/thresholds.yaml": WHOLE["specs/thresholds.yaml"].replace("gates:", "gatess:")})
    found = edgewright(fresh, "plan", "-o", "json").expect(1, "1 problem found").json()["error"]
    assert found["kind"] == "SpecError"
    (problem,) = found["problems"]
    assert (problem["path"], problem["hint"]) == ("specs/thresholds.yaml", "did you mean gates?")
    assert edgewright(fresh, "plan").expect(1).stdout == ""


def test_a_copy_of_the_state_file_alone_is_a_backup(shop: Path, tmp_path: Path) -> None:
    head = edit(shop, {"specs/extra.yaml": WHOLE["specs/thresholds.yaml"].replace("name: ", "name: other-")})
    edgewright(shop, "apply", "--yes", "--timeout", "20s").expect(0)
    log = shop / ".edgewright/state.db-wal"
    assert not log.exists() or log.stat().st_size == 0, "the command closed the store"

    (tmp_path / "backup").mkdir()
    copy = shutil.copy(shop / ".edgewright/state.db", tmp_path / "backup/state.db")

    with SqlState(Path(copy)) as state:
        assert state.last_revision() == head
    for beside in (shop / ".edgewright").glob("state.db*"):
        beside.unlink()
    shutil.copy(copy, shop / ".edgewright/state.db")
    edgewright(shop, "plan", "--detailed-exitcode").expect(0, "Nothing to do")


def test_gc_keeps_what_is_referred_to(shop: Path) -> None:
    edgewright(shop, "gc", "--dry-run").expect(0, "would remove 0 artifacts")
    for epochs in (4, 5):
        edit(shop, {"specs/model.yaml": WHOLE["specs/model.yaml"].replace("epochs: 3", f"epochs: {epochs}")})
        converge(shop, devices=DEVICES)
    found = edgewright(shop, "gc", "--min-age-hours", "0", "--newest", "0", "-o", "json").expect(0).json()
    assert found["artifacts"] > 0
    edgewright(shop, "plan", "--detailed-exitcode").expect(0, "Nothing to do")
