"""Overlays and values of environments where they are broken, hidden or hostile."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgewright.core.planning.observed import Observed
from edgewright.core.planning.plan import BuildStep, step_id
from edgewright.core.planning.planner import plan
from edgewright.source.commits import GitSource
from edgewright.source.specs.load import ParsedFile, parse_file
from harness.applied import build
from samples.repositories import DATASET, FLEET, HEADER, MODEL, ROLLOUT, commit, make_repository, write
from worlds.environment_specs import ENVIRONMENTS, PATCH, REPOSITORY, resolved, training, wrong


def test_a_patch_completes_what_is_unfinished_in_the_base(tmp_path: Path) -> None:
    changes = {
        "specs/model.yaml": MODEL.replace("  dataset: tags\n", ""),
        "environments/staging/model.yaml": PATCH + "  dataset: tags\n",
    }
    model = resolved(tmp_path / "a", "staging", changes).model("reader")
    assert model is not None
    assert model.spec.dataset == "tags"
    assert wrong(tmp_path / "b", "", changes) == ["specs/model.yaml:5:3: missing field 'spec.dataset' (add it)"]


def test_what_a_value_holds_is_not_looked_through_again(tmp_path: Path) -> None:
    text = REPOSITORY.replace("store: lab", "store: 'a ${weight}'")
    dataset = DATASET.replace("name: tags", "name: tags, labels: {a: '${store}', b: '<${store}>'}")
    found = resolved(tmp_path, "staging", {"edgewright.yaml": text, "specs/dataset.yaml": dataset}).dataset("tags")
    assert found is not None
    assert found.metadata.labels == {"a": "a ${weight}", "b": "<a ${weight}>"}


def test_a_name_may_come_from_a_value_and_still_be_patched(tmp_path: Path) -> None:
    changes = {
        "specs/rollout.yaml": ROLLOUT.replace("fleet: stores", "fleet: '${store}'"),
        "specs/fleet.yaml": FLEET.replace("name: stores", "name: '${store}'"),
        "environments/staging/fleet.yaml": HEADER
        + "kind: Fleet\nmetadata: {name: '${store}'}\nspec: {config: {values: {a: 1}}}\n",
    }
    staging = resolved(tmp_path, "staging", changes)
    fleet = staging.fleet("lab")
    assert fleet is not None
    assert fleet.spec.config is not None
    assert fleet.spec.config.values == {"a": 1}
    assert resolved(tmp_path, "production", changes).fleet("shops") is not None


def test_values_cannot_blow_a_document_up(tmp_path: Path) -> None:
    text = REPOSITORY.replace("store: lab", f"store: {'x' * 1000}")
    label = "${store}" * 2000
    changes = {
        "edgewright.yaml": text,
        "specs/dataset.yaml": DATASET.replace("name: tags", f"name: tags, labels: {{a: '{label}'}}"),
    }
    assert wrong(tmp_path, "staging", changes) == [
        "specs/dataset.yaml:1:1: larger than 1,048,576 characters once its values are filled in "
        "(use shorter values, or fewer)"
    ]


def test_a_broken_overlay_does_not_hide_other_problems_nor_invent_any(tmp_path: Path) -> None:
    changes = {
        "environments/production/fleet.yaml": "kind: [",
        "specs/dataset.yaml": DATASET.replace("slices", "slics"),
    }
    found = wrong(tmp_path, "production", changes)
    assert [problem.split(": ")[0] for problem in found] == [
        "environments/production/fleet.yaml:1:8",
        "specs/dataset.yaml:7:3",
    ]


def test_a_missing_overlay_is_not_blamed_on_those_who_need_it(tmp_path: Path) -> None:
    changes = {
        "environments/production/fleet.yaml": "",
        "environments/production/model.yaml": "",
        "specs/rollout.yaml": ROLLOUT.replace("fleet: stores", "fleet: depots"),
    }
    (problem,) = wrong(tmp_path, "production", changes)
    assert problem.startswith("edgewright.yaml:12:44: spec.environments[1].overlays[1]: there is no folder or file")


def test_the_file_of_overlays_may_be_hidden_or_a_link(tmp_path: Path) -> None:
    changes = {
        "edgewright.yaml": REPOSITORY.replace("environments/staging", ".lab"),
        ".lab/model.yaml": PATCH + "  training: {seed: 9}\n",
        "environments/staging/model.yaml": "",
    }
    assert training(resolved(tmp_path, "staging", changes)) == {"seed": 9}


def test_unchanged_files_are_not_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    label = DATASET.replace("name: tags", "name: tags, labels: {a: '${store}'}")
    shared = DATASET.replace("name: tags", "name: same, labels: {a: '${weight}'}").replace("${weight}", "w${weight}")
    repository = make_repository(tmp_path, {**ENVIRONMENTS, "specs/dataset.yaml": label, "specs/same.yaml": shared})
    parsed: list[str] = []

    def noted(path: str, data: bytes, *, required: bool = False) -> ParsedFile:
        parsed.append(path)
        return parse_file(path, data, required=required)

    monkeypatch.setattr("edgewright.source.specs.resolving.parse_file", noted)
    monkeypatch.setattr("edgewright.source.specs.patches.parse_file", noted)

    def reads(environment: str) -> list[str]:
        parsed.clear()
        GitSource(repository, environment=environment).snapshot()
        return sorted(set(parsed) - {"edgewright.yaml"})

    assert "specs/fleet.yaml" in reads("staging")
    assert reads("staging") == []
    assert reads("production") == [
        "environments/production/fleet.yaml",
        "environments/production/model.yaml",
        "environments/shared.yaml",
        "specs/dataset.yaml",
        "specs/model.yaml",
    ], "plain documents and those that ask for equal values are shared"
    write(repository, {"specs/rollout.yaml": ROLLOUT + "\n"})
    commit(repository)
    assert reads("production") == ["specs/rollout.yaml"]
    assert reads("staging") == []
    write(repository, {"environments/production/model.yaml": PATCH + "  training: {batchSize: 64}\n"})
    commit(repository)
    assert reads("production") == ["environments/production/model.yaml", "specs/model.yaml"]
    assert training(GitSource(repository, environment="production").snapshot()) == {"batchSize": 64, "seed": 4}
    write(repository, {"edgewright.yaml": REPOSITORY.replace("store: lab", "store: hall")})
    commit(repository)
    assert reads("staging") == ["specs/dataset.yaml"]
    dataset = GitSource(repository, environment="staging").snapshot().dataset("tags")
    assert dataset is not None
    assert dataset.metadata.labels == {"a": "hall"}


def test_environments_that_resolve_to_the_same_share_what_is_built(tmp_path: Path) -> None:
    """Promotion moves a pointer: what staging built, production has."""
    now = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    changes = {
        "environments/staging/model.yaml": PATCH + "  training: {epochs: 40, batchSize: 32, seed: 4}\n",
        "environments/production/model.yaml": PATCH + "  training: {batchSize: 32, epochs: '${epochs}'}\n",
        "specs/rollout.yaml": ROLLOUT + '  suspend: "${warm}"\n',
    }
    staging = resolved(tmp_path, "staging", changes)
    production = resolved(tmp_path, "production", changes)
    assert training(staging) == training(production)
    built = build(staging, Observed(), now)
    assert built.artifacts
    planned = plan(production, replace(Observed(), artifacts=built.artifacts), now)
    assert [step_id(step) for step in planned.steps if isinstance(step, BuildStep)] == []
    assert planned.steps, "it is yet to be published and rolled out"
    assert [rollout.spec.suspend for each in (staging, production) for rollout in each.rollouts()] == [True, False]
    other = resolved(
        tmp_path, "production", {**changes, "environments/production/model.yaml": PATCH + "  training: {seed: 5}\n"}
    )
    again = plan(other, replace(Observed(), artifacts=built.artifacts), now)
    assert any(isinstance(step, BuildStep) for step in again.steps)
