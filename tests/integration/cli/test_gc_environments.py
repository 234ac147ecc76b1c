"""``edgewright gc`` where environments share a store: what any of them needs stays, whoever cleans up."""

from pathlib import Path

import pytest

from edgewright.wiring.workspace import Workspace
from harness.command_line import DATA_ONLY, HEAD, WHOLE, converge, edgewright, edit, repository
from samples.repositories import run_git

DEVICES = ("lane-1", "lane-2")
ENVIRONMENTS = (
    HEAD
    + """kind: Repository
metadata: {name: shop}
spec:
  environments:
    - {name: staging, follow: {branch: main}, values: {epochs: 3}}
    - {name: production, follow: {tag: production}, values: {epochs: 4}}
"""
)
ALL = ("--min-age-hours", "0", "--newest", "0", "-o", "json")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Two environments that were both applied, each with a model of its own and the dataset shared."""
    made = repository(tmp_path / "shop", DATA_ONLY)
    edit(
        made,
        {
            **WHOLE,
            "edgewright.yaml": ENVIRONMENTS,
            "specs/model.yaml": WHOLE["specs/model.yaml"].replace("epochs: 3", 'epochs: "${epochs}"'),
        },
    )
    run_git(made, "tag", "production")
    for name in ("staging", "production"):
        workspace = Workspace(made, env=name)
        workspace.repository(workspace.source.snapshot()).create()
        converge(made, devices=DEVICES, env=name)
    return made


def recorded(repo: Path) -> set[str]:
    with Workspace(repo).state as state:
        return set(state.artifacts())


def packages(repo: Path, env: str) -> set[str]:
    with Workspace(repo, env=env).state as state:
        return {model.package.digest for a in state.assignments().values() for model in a.assignment.models}


def nothing_to_do(repo: Path) -> None:
    for name in ("staging", "production"):
        edgewright(repo, "plan", "--env", name, "--detailed-exitcode").expect(0, "Nothing to do")


def test_environments_share_what_is_equal(shop: Path) -> None:
    actions = sorted(str(artifact.action) for artifact in Workspace(shop).state.artifacts().values())
    assert actions.count("build-dataset") == 1
    assert actions.count("train") == 2
    assert list(Workspace(shop).state.environments()) == ["production", "staging"]
    nothing_to_do(shop)


@pytest.mark.parametrize("arguments", [(), ("--env", "staging"), ("--env", "production")])
def test_nothing_that_any_environment_needs_goes(shop: Path, arguments: tuple[str, ...]) -> None:
    before = recorded(shop)
    found = edgewright(shop, "gc", *arguments, *ALL).expect(0).json()
    assert (found["artifacts"], found["files"], found["publishedPackages"]) == (0, 0, 0)
    assert recorded(shop) == before
    nothing_to_do(shop)


def test_what_no_environment_needs_goes(shop: Path) -> None:
    before = recorded(shop)
    edit(shop, {"edgewright.yaml": ENVIRONMENTS.replace("epochs: 3", "epochs: 5")})
    former = packages(shop, "staging")
    converge(shop, devices=DEVICES, env="staging")
    assert packages(shop, "staging").isdisjoint(former)
    would = edgewright(shop, "gc", "--dry-run", *ALL).expect(0).json()
    assert recorded(shop) > before, "a dry run removes nothing"
    assert would["artifacts"] > 0
    found = edgewright(shop, "gc", *ALL).expect(0).json()
    assert {**found, "dryRun": True} == would
    artifacts = Workspace(shop).state.artifacts().values()
    assert sorted(str(artifact.action) for artifact in artifacts).count("train") == 2
    nothing_to_do(shop)


def test_an_environment_declared_no_more_keeps_what_its_devices_run(shop: Path) -> None:
    running = packages(shop, "production")
    alone = ENVIRONMENTS.partition("    - {name: production")[0]
    edit(shop, {"edgewright.yaml": alone})
    edgewright(shop, "gc", *ALL).expect(0)
    kept = {artifact.digest for artifact in Workspace(shop).state.artifacts().values()}
    assert running <= kept
    edit(shop, {"edgewright.yaml": ENVIRONMENTS})
    edgewright(shop, "plan", "--env", "production", "-o", "json").expect(0)


def test_what_is_in_force_stays_where_the_newest_revision_is_broken(shop: Path) -> None:
    before, in_force = recorded(shop), run_git(shop, "rev-parse", "HEAD").strip()
    edit(shop, {"specs/model.yaml": WHOLE["specs/model.yaml"] + "  nonsense: [\n"})
    edgewright(shop, "gc", *ALL).expect(1, "specs/model.yaml:")
    assert recorded(shop) == before
    staging = Workspace(shop, env="staging")
    with staging.lease("edgewright serve"):
        staging.state.accept_revision(in_force)
    assert edgewright(shop, "gc", *ALL).expect(0).json()["artifacts"] == 0
    assert recorded(shop) == before


def test_an_environment_that_is_at_work_is_not_cleaned_up_under_its_hands(shop: Path) -> None:
    with Workspace(shop, env="production").lease("edgewright serve"):
        edgewright(shop, "gc", *ALL).expect(1, "the state is in use by edgewright serve (process ")
        edgewright(shop, "gc", "--env", "staging", *ALL).expect(0)
    edgewright(shop, "gc", "--env", "prod", *ALL).expect(1, "there is no environment 'prod'")
