"""Commands for people who write specs: validate, schema, init, help; in this process, on real repositories."""

from pathlib import Path

import pytest

from harness.command_line import HEAD, MODEL, WHOLE, converge, edgewright, edgewright_as, repository
from samples.repositories import run_git

DEVICES = ("lane-1", "lane-2")


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that is applied whole; read it, or copy it."""
    made = repository(tmp_path_factory.mktemp("applied") / "shop", WHOLE)
    outcome = converge(made, devices=DEVICES)
    assert outcome.converged, outcome
    return made


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A whole repository that was never applied."""
    return repository(tmp_path / "fresh", WHOLE)


def test_validate(applied: Path, fresh: Path) -> None:
    edgewright(applied, "validate").expect(0, "5 resources, no problems")
    assert edgewright(applied, "validate", "-o", "json").json() == {"valid": True, "resources": 5, "problems": []}
    (fresh / "specs/model.yaml").write_text(MODEL.replace("dataset: tags", "dataset: tgas").replace("epochs", "epoch"))
    found = edgewright(fresh, "validate", "-o", "json").expect(1).json()
    assert found["valid"] is False
    assert {problem["path"] for problem in found["problems"]} == {"specs/model.yaml"}
    assert all(problem["line"] for problem in found["problems"])
    edgewright(fresh, "validate").expect(1, "specs/model.yaml:", "epochs")
    edgewright(fresh, "validate", "--ref", "HEAD").expect(0)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("id = {{ device.id }}\n{% if %}\n", "templates/lane.toml.j2:2:1: Expected an expression"),
        (
            "id = {{ device.id }}\nx = {{ valeus.x }}\n",
            "templates/lane.toml.j2:2:1: 'valeus' is undefined (device lane-1",
        ),
        ("s = {{ device.labels.shelf }}\n", "templates/lane.toml.j2:1:1: 'dict object' has no attribute 'shelf'"),
    ],
)
def test_validate_tries_the_templates(fresh: Path, template: str, expected: str) -> None:
    edgewright(fresh, "validate").expect(0, "no problems")
    (fresh / "templates/lane.toml.j2").write_text(template)
    edgewright(fresh, "validate").expect(1, expected, "1 problem")
    edgewright(fresh, "validate", "--ref", "HEAD").expect(0)


def test_validate_finds_a_host_key_that_no_device_can_show(fresh: Path) -> None:
    spec = "kind: Fleet\nmetadata: {name: more}\nspec:\n  delivery: {type: ssh}\n  inventory:\n    - id: lane-9\n"
    (fresh / "specs/more.yaml").write_text(f"{HEAD}{spec}      ssh: {{hostKey: ssh-ed25519 BBBB}}\n")
    where = "specs/more.yaml:8:22: spec.inventory[0].ssh.hostKey: the ssh-ed25519 key is damaged"
    edgewright(fresh, "validate").expect(1, where)


def test_validate_finds_data_that_is_nowhere(fresh: Path) -> None:
    spec = fresh / "specs/dataset.yaml"
    written = spec.read_text()
    spec.write_text(written.replace("data/tags.csv", "data/tgas.csv"))
    expected = "spec.source.uri: there is no data/tgas.csv, neither in this revision nor beside it"
    edgewright(fresh, "validate").expect(1, "specs/dataset.yaml:", expected, "did you mean data/tags.csv?")
    edgewright(fresh, "plan", "--worktree").expect(0, "data/tgas.csv is not there, neither in this revision nor")
    spec.write_text(written.replace("data/tags.csv", "s3://bucket/tgas.csv"))
    edgewright(fresh, "validate").expect(0)
    spec.write_text(written.replace("data/tags.csv", "outside/rows.csv"))
    (fresh / ".gitignore").write_text("outside/\n")
    edgewright(fresh, "validate").expect(1, "add the file, or write a URL")
    (fresh / "outside").mkdir()
    (fresh / "outside/rows.csv").write_text("weight,label\n1,a\n")
    edgewright(fresh, "validate").expect(0, "no problems")


def test_schema() -> None:
    schema = edgewright_as(["edgewright", "schema", "model"]).expect(0).json()
    assert schema["$schema"].startswith("https://json-schema.org/")
    edgewright_as(["edgewright", "schema", "Modle"]).expect(1, "did you mean Model?")


def test_init_makes_a_repository_that_plans(tmp_path: Path) -> None:
    target = tmp_path / "my-fleet"
    made = edgewright_as(["edgewright", "init", str(target)]).expect(0, "wrote", "next:")
    edgewright(target, "plan", "--detailed-exitcode").expect(2, "train")
    edgewright(target, "validate").expect(0, "no problems")
    keys = [path for path in (target / ".edgewright/keys").iterdir() if "PRIVATE KEY" in path.read_text()]
    assert keys
    assert all(path.stat().st_mode & 0o077 == 0 for path in keys)
    secrets = [
        line for path in keys for line in path.read_text().splitlines() if "-----" not in line and len(line) > 20
    ]
    assert secrets
    for ran in (
        made,
        edgewright(target, "plan"),
        edgewright(target, "status"),
        edgewright(target, "plan", "-o", "json"),
    ):
        assert not any(secret in ran.said for secret in secrets)
    edgewright_as(["edgewright", "init", str(tmp_path / "my-fleet/README.md")]).expect(1)


def test_no_repository(tmp_path: Path) -> None:
    for command in ("plan", "validate", "status", "history"):
        edgewright(tmp_path, command).expect(1, str(tmp_path))
    edgewright(tmp_path / "missing", "plan").expect(1)


def test_an_unknown_ref_or_an_unborn_branch(tmp_path: Path, applied: Path) -> None:
    edgewright(applied, "plan", "--ref", "mian").expect(1, "mian")
    run_git(tmp_path, "init", "-q", "-b", "main")
    edgewright(tmp_path, "plan").expect(1, "commit")


def test_the_help_names_every_command() -> None:
    ran = edgewright_as(["edgewright", "--help"]).expect(0)
    for command in ("init", "validate", "plan", "apply", "status", "explain", "history", "watch", "rollout", "devices"):
        assert command in ran.stdout
