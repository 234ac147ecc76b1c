"""What happens when documents move, are renamed or vanish: real Git repositories, through the command line."""

from pathlib import Path

import pytest

from harness.command_line import DATASET, HEAD, MODEL, WHOLE, converge, edgewright, edit, repository
from samples.repositories import commit, run_git

LANES = ("lane-1", "lane-2")
REPOSITORY = HEAD + "kind: Repository\nmetadata: {name: shop}\nspec:\n  paths: [specs]\n"
FILES = {**WHOLE, "edgewright.yaml": REPOSITORY}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    made = repository(tmp_path / "repo", FILES)
    assert converge(made, devices=LANES).converged
    return made


def _remove(repo: Path, *paths: str) -> None:
    run_git(repo, "rm", "-rq", *paths)
    commit(repo, "Remove")


def test_moving_documents_between_files_and_renaming_files_plans_nothing(repo: Path) -> None:
    run_git(repo, "mv", "specs/model.yaml", "specs/reader.yaml")
    run_git(repo, "rm", "-q", "specs/thresholds.yaml", "specs/dataset.yaml")
    edit(repo, {"specs/more/all.yaml": WHOLE["specs/thresholds.yaml"] + "\n---\n" + DATASET})
    edgewright(repo, "plan", "--detailed-exitcode").expect(0, "Nothing to do: reality matches")
    assert converge(repo, devices=LANES).converged
    assert "Pruned" not in edgewright(repo, "history").expect(0).stdout


def test_a_rename_is_shown_as_a_prune_with_a_hint_and_builds_nothing_again(repo: Path) -> None:
    run_git(repo, "rm", "-q", "specs/rollout.yaml")
    edit(repo, {"specs/model.yaml": FILES["specs/model.yaml"].replace("name: reader", "name: scanner")})
    shown = edgewright(repo, "plan").expect(0)
    shown.expect(0, "prune", "model/reader", "model/reader is gone and this is new", "what was built of it is used")
    assert "train" not in shown.stdout


@pytest.mark.parametrize("how", ["paths", "files"])
def test_a_repository_that_suddenly_yields_nothing_prunes_nothing(repo: Path, how: str) -> None:
    if how == "paths":
        edit(repo, {"edgewright.yaml": REPOSITORY.replace("[specs]", "[other]"), "other/README.md": "soon"})
    else:
        run_git(repo, "rm", "-rq", "specs")
        edit(repo, {"specs/README.md": "moved away"})
    edgewright(repo, "plan", "--detailed-exitcode").expect(0, "EmptySnapshot", "is kept")
    assert converge(repo, devices=LANES).plan.steps == ()


def test_every_resource_of_a_kind_at_once_is_warned_about(repo: Path) -> None:
    second = MODEL.replace("name: reader", "name: counter")
    edit(repo, {"specs/second.yaml": second})
    assert converge(repo, devices=LANES).converged
    _remove(repo, "specs/second.yaml", "specs/model.yaml", "specs/rollout.yaml")
    edgewright(repo, "plan").expect(0, "KindVanished", "every model that was managed is no longer declared (2 in all)")


def test_prune_false_keeps_everything_and_says_so(repo: Path) -> None:
    edit(repo, {"edgewright.yaml": REPOSITORY + "  reconciliation: {prune: false}\n"})
    _remove(repo, "specs/rollout.yaml", "specs/model.yaml")
    edgewright(repo, "plan", "--detailed-exitcode").expect(0, "PruneDisabled", "model/reader, rollout/reader")
    assert converge(repo, devices=LANES).converged
    edgewright(repo, "plan").expect(0, "PruneDisabled")


def test_devices_keep_what_they_run_when_they_leave_their_fleet(repo: Path) -> None:
    edit(repo, {"fleets/lanes.csv": "id,store\nlane-1,a\n"})
    assert converge(repo, devices=LANES).converged
    rows = {row["device"]: row for row in edgewright(repo, "devices", "list", "-o", "json").expect(0).json()}
    assert rows["lane-2"]["fleet"] is None
    assert rows["lane-2"]["models"][0]["assigned"] == rows["lane-1"]["models"][0]["verified"]
    edgewright(repo, "plan", "--drift").expect(0, "Nothing to do: reality matches")
