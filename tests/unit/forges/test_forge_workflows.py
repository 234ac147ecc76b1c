"""The CI files: of the structure their forges document, safe for forks, with commands that exist."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from edgewright.cli.catalogue import load
from edgewright.cli.installed import installed_commit
from edgewright_templates.ci import PLACES, workflow
from harness.command_line import edgewright_as
from paths import ROOT
from samples.repositories import make_repository, run_git

GITHUB_KEYS = {"name", "run-name", "on", "permissions", "env", "defaults", "concurrency", "jobs"}
JOB_KEYS = {"name", "runs-on", "permissions", "needs", "if", "env", "container", "timeout-minutes", "steps"}
STEP_KEYS = {"name", "id", "if", "uses", "with", "run", "env", "shell", "working-directory"}
GITLAB_KEYS = {"stage", "image", "rules", "interruptible", "timeout", "variables", "script", "artifacts"}
FORGES = sorted(PLACES)
COMMIT = "0123456789" * 4


def parsed(forge: str) -> Any:
    return YAML(typ="safe").load(workflow(forge, COMMIT).text)


def scripts(forge: str) -> str:
    """All that is run."""
    if forge == "gitlab":
        return "\n".join(parsed(forge)["edgewright"]["script"])
    return "\n".join(step["run"] for step in steps(forge) if "run" in step)


def steps(forge: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parsed(forge)["jobs"]["preview"]["steps"]
    return found


def commands(forge: str) -> Iterator[list[str]]:
    """Each call of edgewright, as words."""
    for line in scripts(forge).splitlines():
        if (found := re.match(r"(?:\S*/)?edgewright (.*)", line.strip())) is not None:
            yield shlex.split(found[1])


@pytest.mark.parametrize("forge", ["github", "forgejo"])
def test_actions_are_of_the_documented_structure(forge: str) -> None:
    file = parsed(forge)

    assert set(file) <= GITHUB_KEYS
    assert set(file["on"]) == {"pull_request"} | ({"merge_group"} if forge == "github" else set())
    (job,) = file["jobs"].values()
    assert set(job) <= JOB_KEYS
    for step in job["steps"]:
        assert set(step) <= STEP_KEYS
        assert ("run" in step) != ("uses" in step)


def test_gitlabs_job_is_of_the_documented_structure() -> None:
    job = parsed("gitlab")["edgewright"]

    assert set(job) <= GITLAB_KEYS
    assert job["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "merge_request_event"'}]
    assert all(isinstance(line, str) for line in job["script"])
    assert job["variables"]["GIT_DEPTH"] == "0"
    assert job["artifacts"]["paths"] == ["edgewright-preview.md"]


def test_github_grants_no_more_than_is_needed() -> None:
    file = parsed("github")

    assert file["permissions"] == {}
    granted = file["jobs"]["preview"]["permissions"]
    assert granted == {"contents": "read", "pull-requests": "write", "statuses": "write"}


@pytest.mark.parametrize("forge", ["github", "forgejo"])
def test_actions_are_pinned_by_commit_and_keep_no_credentials(forge: str) -> None:
    used = [step for step in steps(forge) if "uses" in step]

    assert used
    assert all(re.search(r"@[0-9a-f]{40}$", step["uses"]) for step in used)
    (checkout,) = (step for step in used if "checkout" in step["uses"])
    assert checkout["with"]["persist-credentials"] is False
    assert checkout["with"]["fetch-depth"] == 0


@pytest.mark.parametrize("forge", ["github", "forgejo"])
def test_forks_get_no_token_and_no_secret(forge: str) -> None:
    text = workflow(forge, COMMIT).text
    (token,) = (
        value
        for step in steps(forge)
        for name, value in step.get("env", {}).items()
        if name.endswith("_TOKEN") and value and "merge_group" not in step.get("if", "")
    )

    assert "pull_request_target" not in text
    assert "secrets." not in text
    assert token == "${{ github.event.pull_request.head.repo.full_name == github.repository && github.token || '' }}"


@pytest.mark.parametrize("forge", FORGES)
def test_nothing_from_outside_is_pasted_into_a_script(forge: str) -> None:
    assert "${{" not in scripts(forge)


@pytest.mark.parametrize("forge", FORGES)
def test_this_version_is_installed(forge: str) -> None:
    source = f"git+https://github.com/edgewright/edgewright@{COMMIT}"
    assert f'="{source}"' in scripts(forge)
    (line,) = [line for line in scripts(forge).splitlines() if "edgewright @" in line]
    words = shlex.split(line)
    assert words[-2].startswith("edgewright-agent @ $")
    assert words[-2].endswith("#subdirectory=fleet")
    assert words[-1].startswith("edgewright @ $")


@pytest.mark.parametrize("forge", FORGES)
def test_the_commands_and_their_options_exist(forge: str) -> None:
    called = list(commands(forge))

    assert [words[0] for words in called] == ["validate", "preview", *(["preview"] if forge == "github" else [])]
    for name, *words in called:
        known = {option for parameter in load(name).params for option in parameter.opts}
        options = {word for word in words if word.startswith("--")}
        assert options <= known, (name, options - known)
    assert {"--base", "--head", "--number", "--output"} <= set(called[1])


def test_nothing_is_installed_by_a_name_that_is_not_ours_on_pypi() -> None:
    installs = re.compile(r"\b(?:pip|pipx|uv|uvx)\b[^`]*?\binstall\b(?P<what>[^`]*)")
    named = re.compile(r"(?:^|[\s'\"])edgewright(?:-agent)?(?:\[\w+\])?(?:[=<>~]=?[\w.]+)?(?=$|[\s'\"),])(?! @)")

    def by_name(line: str) -> bool:
        return any(named.search(each["what"].split(" if ")[0]) for each in installs.finditer(line))

    files = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("fleet/*.md"), *ROOT.glob("examples/**/*.md")]
    files += [path for path in ROOT.glob("templates/edgewright_templates/**/*") if path.is_file()]
    files += ROOT.glob("engine/**/*.py")
    found = {
        str(path.relative_to(ROOT)): line
        for path in files
        if path.suffix != ".pyc"
        for line in path.read_text(errors="replace").splitlines()
        if by_name(line)
    }
    assert found == {}
    assert by_name("pip install 'edgewright[postgresql]'")
    assert by_name('pip install "edgewright==1.0"')
    assert by_name("(`pip install edgewright-agent`)")


@pytest.mark.parametrize(
    ("noted", "expected"),
    [
        ({"url": "https://example.com/x", "vcs_info": {"vcs": "git", "commit_id": COMMIT}}, COMMIT),
        ({"url": "https://example.com/x", "vcs_info": {"vcs": "git", "commit_id": "main"}}, None),
        ({"url": "https://example.com/x.whl"}, None),
        ({}, None),
    ],
)
def test_the_commit_that_is_installed_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: dict[str, Any], expected: str | None
) -> None:
    info = tmp_path / "edgewright-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edgewright\nVersion: 0.1.0\n")
    (info / "direct_url.json").write_text(json.dumps(noted))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert installed_commit() == expected
    if expected is None:
        edgewright_as(["edgewright", "workflow", "github"]).expect(1, "--commit")
    edgewright_as(["edgewright", "workflow", "github", "--commit", "main"]).expect(1, "is no commit")


def test_the_commit_of_a_clone_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = make_repository(tmp_path / "a clone", {"readme.txt": "here"})
    info = tmp_path / "edgewright-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edgewright\nVersion: 0.1.0\n")
    (info / "direct_url.json").write_text(json.dumps({"url": clone.as_uri(), "dir_info": {"editable": True}}))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert installed_commit() == run_git(clone, "rev-parse", "HEAD").strip()


@pytest.mark.parametrize("forge", FORGES)
def test_it_is_printed(forge: str) -> None:
    edgewright_as(["edgewright", "workflow", forge, "--commit", COMMIT]).expect(0, workflow(forge, COMMIT).text)


@pytest.mark.parametrize("forge", FORGES)
def test_it_is_written_to_its_place_once(forge: str, tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"specs/readme.txt": "here"})
    below = ["edgewright", "workflow", forge, "--commit", COMMIT, "--write", "--repo", str(repo / "specs")]

    edgewright_as(below).expect(0, "wrote", PLACES[forge], "next:")
    edgewright_as(below).expect(0, "unchanged")

    assert (repo / PLACES[forge]).read_text() == workflow(forge, COMMIT).text


def test_a_file_that_says_something_else_is_left_alone(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {PLACES["github"]: "name: mine\n"})

    edgewright_as(["edgewright", "workflow", "github", "--commit", COMMIT, "--write", "--repo", str(repo)]).expect(
        1, PLACES["github"], "something else"
    )
    assert (repo / PLACES["github"]).read_text() == "name: mine\n"


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"readme.txt": "here"})
    (tmp_path / "elsewhere").mkdir()
    (repo / ".github").symlink_to(tmp_path / "elsewhere")

    edgewright_as(["edgewright", "workflow", "github", "--commit", COMMIT, "--write", "--repo", str(repo)]).expect(
        1, "symbolic link"
    )
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_outside_a_repository_nothing_is_written(tmp_path: Path) -> None:
    edgewright_as(["edgewright", "workflow", "gitlab", "--commit", COMMIT, "--write", "--repo", str(tmp_path)]).expect(
        1, "Git work tree"
    )
