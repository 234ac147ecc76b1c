"""Drift on the command line: what --drift shows, what a saved plan may repair, what status says."""

from pathlib import Path

import pytest

from harness.command_line import WHOLE, converge, edgewright, repository

LANES = ("lane-1", "lane-2")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    made = repository(tmp_path / "repo", WHOLE)
    assert converge(made, devices=LANES).converged
    return made


def _assignment(repo: Path) -> Path:
    return next((repo / ".edgewright/repository/targets/assignments").glob("*.lane-1.json"))


def test_a_saved_plan_repairs_what_it_shows_and_only_that(repo: Path, tmp_path: Path) -> None:
    plain, deep = str(tmp_path / "plain.plan"), str(tmp_path / "deep.plan")
    assignment = _assignment(repo)
    whole = assignment.read_bytes()
    assignment.write_bytes(whole[:-1])
    edgewright(repo, "plan", "--out", plain).expect(0, "Nothing to do")
    edgewright(repo, "apply", plain).expect(0)
    assert assignment.read_bytes() != whole, "the plan was made without a look, and held to"
    edgewright(repo, "plan", "--drift", "--out", deep).expect(0, "repair", "rollout/reader", "Plan: 1 to repair.")
    edgewright(repo, "apply", deep).expect(0)
    assert assignment.read_bytes() == whole
    edgewright(repo, "apply", deep).expect(1, "stale")


def test_apply_repairs_without_being_asked_to_look(repo: Path) -> None:
    _assignment(repo).unlink()
    edgewright(repo, "apply", "--yes").expect(0, "Reality matches")
    assert _assignment(repo).exists()
    edgewright(repo, "history").expect(0, "Repaired", "assignment file")


def test_what_nobody_may_repair_is_told_by_plan_status_and_apply(repo: Path) -> None:
    edgewright(repo, "status", "--drift").expect(0, "Ready")
    timestamp = repo / ".edgewright/repository/metadata/timestamp.json"
    timestamp.write_bytes(timestamp.read_bytes().replace(b'"sig":"', b'"sig":"00').replace(b'"sig": "', b'"sig": "00'))
    _assignment(repo).unlink()
    edgewright(repo, "plan", "--drift").expect(
        0, "ConfigDrifted", "restore the newest copy", "reality does not match it"
    )
    edgewright(repo, "status", "--drift").expect(0, "ConfigDrifted: metadata")
    (told,) = edgewright(repo, "status", "--drift", "-o", "json").expect(0).json()["drift"]
    assert (told["subject"], told["remedy"]) == ("file", "person")
    edgewright(repo, "apply", "--yes").expect(0, "reality does not match it", "restore the newest copy")


def test_drift_and_a_comparison_of_revisions_exclude_each_other(repo: Path) -> None:
    edgewright(repo, "plan", "--drift", "--base", "HEAD").expect(1, "leave out one of them")
