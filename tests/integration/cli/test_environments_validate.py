"""``edgewright validate`` where a repository declares environments: all are checked, and told apart."""

import re
from pathlib import Path

import pytest

from edgewright.source.commits import GitSource
from harness.command_line import edgewright
from paths import ROOT
from samples.repositories import DATASET, FILES, FLEET, HEADER, MODEL, commit, make_repository, write
from servers.git_server import GitServer

ENVIRONMENTS = (
    HEADER
    + """kind: Repository
metadata: {name: shop}
spec:
  environments:
    - {name: staging, follow: {branch: main}, overlays: [environments/staging], values: {epochs: 2}}
    - {name: production, follow: {tag: production}, overlays: [environments/production], values: {epochs: 40}}
"""
)
PATCH = HEADER + "kind: Fleet\nmetadata: {name: stores}\nspec: {config: {values: {level: 3}}}\n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return make_repository(
        tmp_path / "shop",
        {
            **FILES,
            "edgewright.yaml": ENVIRONMENTS,
            "specs/model.yaml": MODEL + '  training: {epochs: "${epochs}"}\n',
            "templates/lane.toml.j2": "level = {{ values.level }}\n",
            "environments/staging/fleet.yaml": PATCH,
            "environments/production/fleet.yaml": PATCH + "---\n" + FLEET.replace("stores}", "depots}", 1),
        },
    )


def test_all_environments_are_checked(shop: Path) -> None:
    write(shop, {"environments/production/fleet.yaml": PATCH})
    found = edgewright(shop, "validate").expect(0, "environment staging: 6 resources", "environment production: 6")
    assert "without an environment it is not whole" in found.stderr
    assert edgewright(shop, "validate", "-o", "json").json() == {
        "valid": True,
        "environments": {"staging": 6, "production": 6},
        "base": {"valid": False, "resources": 0},
        "problems": [],
    }


def test_templates_are_tried_with_the_values_of_each(shop: Path) -> None:
    found = edgewright(shop, "validate").expect(1, "templates/lane.toml.j2:1:1:", "in environment production", "depots")
    assert found.stdout.count("lane.toml.j2") == 1, "the fleet of production alone has no level"
    edgewright(shop, "validate", "--env", "staging").expect(0, "environment staging: 6 resources")
    edgewright(shop, "validate", "--env", "production", "--ref", "main").expect(1, "depots")


def test_a_problem_of_all_is_said_once_and_of_some_with_their_names(shop: Path) -> None:
    write(
        shop,
        {
            "specs/dataset.yaml": DATASET.replace("slices", "slics"),
            "environments/staging/fleet.yaml": PATCH.replace("config", "confg"),
            "environments/production/fleet.yaml": PATCH,
        },
    )
    found = edgewright(shop, "validate", "-o", "json").expect(1).json()
    assert [(p["path"], p["line"], p["column"], p.get("environments")) for p in found["problems"]] == [
        ("environments/staging/fleet.yaml", 4, 8, ["staging"]),
        ("specs/dataset.yaml", 7, 3, None),
    ]
    edgewright(shop, "validate").expect(1, "unknown field 'spec.confg', in environment staging", "2 problems found")
    edgewright(shop, "validate", "--ref", "main", "--env", "staging").expect(0)


def test_an_unknown_environment_and_a_broken_declaration(shop: Path) -> None:
    edgewright(shop, "validate", "--env", "prod").expect(1, "there is no environment 'prod'", "staging, production")
    write(shop, {"edgewright.yaml": ENVIRONMENTS.replace("name: staging", "name: ../x")})
    found = edgewright(shop, "validate").expect(1, "edgewright.yaml:6:14: spec.environments[0].name")
    assert len(found.stdout.splitlines()) == 1


def test_a_remote_repository_is_fetched_and_checked(shop: Path, tmp_path: Path) -> None:
    write(shop, {"environments/production/fleet.yaml": PATCH})
    commit(shop)
    here = tmp_path / "here"
    here.mkdir()
    with GitServer(tmp_path / "served") as server:
        server.add(shop)
        for arguments in ((), ("--ref", "main")):
            options = ("--repo", server.url(), "--state", str(here / ".edgewright"), *arguments, "-o", "json")
            found = edgewright(here, "validate", *options).expect(0).json()
            assert found["environments"] == {"staging": 6, "production": 6}


def test_the_example_of_the_guide(tmp_path: Path) -> None:
    guide = (ROOT / "docs/how-to/environments.md").read_text("utf-8")
    files = {found[1]: found[2] for found in re.finditer(r"```yaml\n# (\S+)\n(.*?)```", guide, re.DOTALL)}
    assert sorted(files) == ["edgewright.yaml", "environments/production/lanes.yaml", "specs/lanes.yaml"]
    more = {
        "data/tags.csv": "weight,label\n1,x\n",
        "fleets/lab.csv": "id\nlab-1\n",
        "fleets/shops.csv": "id\nshop-1\nshop-2\n",
        "templates/lane.toml.j2": 'server = "{{ values.server }}"\nlevel = "{{ values.level }}"\n',
    }
    shop = make_repository(tmp_path, {**files, **more})
    edgewright(shop, "validate").expect(0, "environment staging: 5 resources", "environment production: 5 resources")
    production = GitSource(shop, environment="production").snapshot()
    fleet = production.fleet("lanes")
    assert fleet is not None
    assert fleet.spec.config is not None
    assert fleet.spec.config.values == {"server": "https://shops.example.com", "level": "warning"}
    assert [len(rollout.spec.waves) for rollout in production.rollouts()] == [2]
