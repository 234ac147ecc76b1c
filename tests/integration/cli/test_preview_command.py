"""``edgewright preview`` and comparisons with ``plan --base``, as CI runs them: in a checkout, without any state."""

import os
from pathlib import Path

import pytest

from edgewright.render.preview_markdown import MARKER
from harness.command_line import HEAD, WHOLE, Ran, edgewright
from harness.preview_world import ENVIRONMENTS, LOOSENED, RETRAIN
from samples.repositories import commit, make_repository, run_git, write
from servers.forge.server import ForgeServer


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A branch that lags behind main by one commit and is ahead of it by another."""
    made = make_repository(tmp_path / "repo", dict(WHOLE))
    run_git(made, "checkout", "-q", "-b", "topic")
    write(made, {**RETRAIN, **LOOSENED})
    commit(made)
    run_git(made, "checkout", "-q", "main")
    write(
        made,
        {"specs/fleet.yaml": WHOLE["specs/fleet.yaml"] + "# said by somebody else\n", "fleets/lanes.csv": "id\nl\n"},
    )
    commit(made)
    return made


@pytest.fixture(autouse=True)
def _no_forge(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("EDGEWRIGHT_FORGE", "GITHUB_", "GITLAB_", "GITEA_", "FORGEJO_", "CI")):
            monkeypatch.delenv(name)


def preview(repo: Path, *arguments: str) -> Ran:
    return edgewright(repo, "preview", "--base", "main", "--head", "topic", *arguments)


def test_a_preview_is_the_comment_and_needs_no_state(repo: Path) -> None:
    ran = preview(repo).expect(0, MARKER, "GateLoosened", "`training.epochs` 3 → 5", "as if it were applied")
    assert "start-rollout" in ran.stdout
    # What main got since the branch left it is part of the result, not taken back.
    assert "| 1: 50 % | 1 |" in ran.stdout
    assert "DevicesUnmanaged" not in ran.stdout
    preview(repo, "--detailed-exitcode").expect(2)
    edgewright(repo, "preview", "--base", "main", "--head", "main", "--detailed-exitcode").expect(0, "changes nothing")
    assert run_git(repo, "status", "--short") == ""


def test_a_preview_can_be_written_to_a_file(repo: Path, tmp_path: Path) -> None:
    ran = preview(repo, "--output", str(tmp_path / "comment.md")).expect(0)
    assert ran.stdout == ""
    assert (tmp_path / "comment.md").read_text().startswith(MARKER)


def test_without_a_token_the_comment_is_printed_and_that_is_said(repo: Path) -> None:
    ran = preview(repo, "--number", "1").expect(0, MARKER)
    assert "no token" in ran.stderr
    assert ran.stdout.startswith(MARKER)


def test_with_a_token_the_one_comment_and_the_status_are_written_and_edited(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ForgeServer("github") as forge:
        for name, value in forge.environment().items():
            monkeypatch.setenv(name, value)
        head = run_git(repo, "rev-parse", "topic")
        number = forge.open_pull_request(head=head)
        preview(repo, "--number", str(number)).expect(0, MARKER, "written to http")
        preview(repo, "--number", str(number)).expect(0)
        (comment,) = forge.comments(number)
        assert "GateLoosened" in comment.body
        status = forge.statuses(head)["edgewright/plan"]
        assert (status.state, status.description[:9]) == ("success", "1 to make")
        assert status.url


def test_two_folders_of_specs_in_one_repository_have_a_comment_and_a_status_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = HEAD + "kind: Repository\nmetadata: {name: shop}\n"
    folders = ("eu--west", "us")
    whole = {f"{folder}/{name}": text for folder in folders for name, text in WHOLE.items()}
    repo = make_repository(tmp_path / "repo", {**whole, **{f"{each}/edgewright.yaml": declared for each in folders}})
    run_git(repo, "checkout", "-q", "-b", "topic")
    write(
        repo, {"us/specs/model.yaml": "kind: Modle\n", **{f"eu--west/{name}": text for name, text in RETRAIN.items()}}
    )
    head = commit(repo)
    with ForgeServer("github") as forge:
        for name, value in forge.environment().items():
            monkeypatch.setenv(name, value)
        number = str(forge.open_pull_request(head=head))
        for _ in range(2):
            preview(repo / "us", "--number", number).expect(1, "the specs would be wrong")
            preview(repo / "eu--west", "--number", number).expect(0, "`training.epochs` 3 → 5")
        west, east = sorted((comment.body for comment in forge.comments(int(number))), reverse=True)
        assert east.startswith("<!-- edgewright:preview eu-%2Dwest -->\n### edgewright in `eu--west`: what merging")
        assert west.startswith("<!-- edgewright:preview us -->\n### edgewright in `us`: the specs would be wrong")
        states = {context: status.state for context, status in forge.statuses(head).items()}
        assert states == {"edgewright/plan (us)": "failure", "edgewright/plan (eu--west)": "success"}


def test_a_merge_group_gets_its_status_from_ci_without_a_comment(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ForgeServer("github") as forge:
        for name, value in forge.environment().items():
            monkeypatch.setenv(name, value)
        preview(repo, "--status").expect(0, "written to the commit status")
        assert forge.statuses(run_git(repo, "rev-parse", "topic"))["edgewright/plan"].state == "success"


def test_wrong_specs_and_conflicts_end_with_1_and_are_in_the_comment(repo: Path) -> None:
    run_git(repo, "checkout", "-q", "topic")
    write(repo, {"specs/model.yaml": RETRAIN["specs/model.yaml"].replace("epochs", "epoch")})
    commit(repo)
    preview(repo).expect(1, "specs/model.yaml:8:14", "the specs would be wrong")
    write(repo, {**RETRAIN, "fleets/lanes.csv": "id\nother\n"})
    commit(repo)
    preview(repo).expect(1, "- `fleets/lanes.csv`")


def test_environments_that_follow_the_base_are_previewed_or_those_named(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {**WHOLE, "edgewright.yaml": ENVIRONMENTS})
    run_git(repo, "checkout", "-q", "-b", "topic")
    write(repo, RETRAIN)
    commit(repo)
    ran = preview(repo).expect(0, "#### `staging`", "#### `production`", "archive (follows semver")
    assert "#### `archive`" not in ran.stdout
    ran = preview(repo, "--env", "archive").expect(0, "#### `archive`")
    assert "staging" not in ran.stdout
    preview(repo, "--env", "stagin").expect(1, "there is no environment 'stagin'", "did you mean staging?")
    run_git(repo, "branch", "elsewhere", "main")
    edgewright(repo, "preview", "--base", "elsewhere").expect(0, "No environment follows branch elsewhere")


def test_what_follows_a_tag_is_reviewed_against_that_tag(tmp_path: Path) -> None:
    by_tag = ENVIRONMENTS.replace("production, follow: {branch: main}", "production, follow: {tag: live}")
    repo = make_repository(tmp_path / "repo", {**WHOLE, "edgewright.yaml": by_tag})
    run_git(repo, "tag", "live")
    write(repo, LOOSENED)
    commit(repo)
    run_git(repo, "checkout", "-q", "-b", "topic")
    write(repo, RETRAIN)
    commit(repo)
    assert "#### `production`" not in preview(repo).expect(0, "production (follows tag live)").stdout
    # What reached main since the tag would reach production too.
    ran = edgewright(repo, "preview", "--base", "live", "--head", "topic", "--env", "production")
    ran.expect(0, "#### `production`", "`training.epochs` 3 → 5", "GateLoosened", "Compared with live")


def test_plan_compares_with_where_the_branch_left_its_base_and_reviews_it(repo: Path) -> None:
    compare = ("plan", "--base", "main", "--head", "topic")
    ran = edgewright(repo, *compare).expect(0, "GateLoosened", "(specs/thresholds.yaml:1)")
    assert "2 devices" in ran.stdout
    (finding,) = edgewright(repo, *compare, "-o", "json").expect(0).json()["review"]
    assert (finding["reason"], finding["path"], finding["line"]) == ("GateLoosened", "specs/thresholds.yaml", 1)
    edgewright(repo, *compare, "-o", "markdown").expect(0, "**GateLoosened**")
    assert "review" not in edgewright(repo, "plan", "--ref", "main", "-o", "json").expect(0).json()


def test_plan_compares_with_the_base_itself_where_the_two_share_no_history(repo: Path) -> None:
    run_git(repo, "checkout", "-q", "--orphan", "fresh")
    write(repo, {**WHOLE, **RETRAIN})
    commit(repo)
    ran = edgewright(repo, "plan", "--base", "main", "--head", "fresh").expect(0, "training.epochs: 3 → 5")
    assert "does not tell where the two part" in " ".join(ran.stderr.split())


def test_a_history_that_is_cut_off_is_not_guessed_from(repo: Path, tmp_path: Path) -> None:
    # The branches have an early commit in common at hand, and part at a later one that is not.
    early = run_git(repo, "rev-parse", "topic~1")
    run_git(repo, "checkout", "-q", "topic")
    run_git(repo, "merge", "-q", "--no-edit", "main")
    run_git(repo, "branch", "-f", "main", "topic")
    for branch in ("main", "topic"):
        run_git(repo, "checkout", "-q", branch)
        for number in range(3):
            commit(repo, f"{number} on {branch}")
        tree = run_git(repo, "rev-parse", "HEAD^{tree}")
        run_git(repo, "reset", "-q", "--hard", run_git(repo, "commit-tree", tree, "-p", "HEAD", "-p", early, "-m", "x"))
    write(repo, WHOLE)
    commit(repo, "take it all back")
    shallow = tmp_path / "shallow"
    run_git(tmp_path, "clone", "-q", "--no-single-branch", "--depth=3", f"file://{repo}", str(shallow))
    run_git(shallow, "branch", "-q", "--track", "main", "origin/main")
    assert run_git(shallow, "merge-base", "main", "topic") == early
    edgewright(shallow, "preview", "--base", "main", "--head", "topic").expect(1, "ends before it tells where")
    ran = edgewright(shallow, "plan", "--base", "main", "--head", "topic").expect(0)
    assert "does not tell where the two part" in " ".join(ran.stderr.split())
    run_git(shallow, "fetch", "-q", "--unshallow")
    edgewright(shallow, "preview", "--base", "main", "--head", "topic").expect(0, "training.epochs")
