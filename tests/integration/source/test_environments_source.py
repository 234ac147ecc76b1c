"""Snapshots of environments: overlays merged, values filled in, problems where they were written."""

import json
from pathlib import Path

import pytest

from edgewright.core.address import Address
from edgewright.errors import SourceError
from edgewright.source.commits import GitSource
from edgewright.source.worktree import WorktreeSource
from samples.repositories import DATASET, HEADER, MODEL, make_repository, write
from worlds.environment_specs import ENVIRONMENTS, PATCH, REPOSITORY, SHARED, resolved, training, wrong


def test_each_environment_has_its_overlays_and_the_base_none(tmp_path: Path) -> None:
    base, staging, production = (resolved(tmp_path, name) for name in ("", "staging", "production"))
    assert [s.environment for s in (base, staging, production)] == ["", "staging", "production"]
    model = base.model("reader")
    assert model is not None
    assert model.spec.training is None
    assert base.fleet("depots") is None
    assert training(staging) == {"batchSize": 8}
    assert training(production) == {"batchSize": 32, "seed": 4}
    model = production.model("reader")
    assert model is not None
    assert (model.spec.thresholds, model.spec.task) == (None, "tabular-classification")
    assert production.fleet("depots") is not None
    resource = production.resources[Address("model", "reader")]
    assert str(resource.location) == "specs/model.yaml:1:1"
    assert [str(at) for at in resource.overlays] == [
        "environments/shared.yaml:1:1",
        "environments/production/model.yaml:1:1",
    ]
    added = production.resources[Address("fleet", "depots")]
    assert str(added.location) == "environments/production/fleet.yaml:1:1"


def test_a_work_folder_is_seen_as_an_environment_too(tmp_path: Path) -> None:
    repository = make_repository(tmp_path, ENVIRONMENTS)
    write(repository, {"environments/staging/model.yaml": PATCH + "  training: {batchSize: 9}\n"})
    with_edit, committed = (
        WorktreeSource(repository, environment="staging"),
        GitSource(repository, environment="staging"),
    )
    assert training(with_edit.snapshot()) == {"batchSize": 9}
    assert training(committed.snapshot()) == {"batchSize": 8}
    declared = with_edit.declared()
    assert declared is not None
    assert [each.name for each in declared.spec.environments] == ["staging", "production"]


def test_values_are_filled_in_with_their_types(tmp_path: Path) -> None:
    text = MODEL.replace("name: reader", 'name: reader, labels: {a: "x-${store}-${weight}-${warm}", b: "$${store}"}')
    text += '  training: {epochs: "${epochs}", warmStart: "${warm}"}\n'
    snapshot = resolved(tmp_path, "production", {"specs/model.yaml": text})
    model = snapshot.model("reader")
    assert model is not None
    assert model.metadata.labels == {"a": "x-shops-1.5-false", "b": "${store}"}
    assert training(snapshot) == {"epochs": 40, "warmStart": False, "batchSize": 32, "seed": 4}


def test_a_number_within_text_stays_as_it_is_written(tmp_path: Path) -> None:
    written = {"store": "007", "weight": "1.10", "mask": "0x1F", "much": "1e3", "name": "'1.0'", "warm": "TRUE"}
    values = ", ".join(f"{name}: {value}" for name, value in written.items())
    declared = {"edgewright.yaml": REPOSITORY.replace("epochs: 40, store: shops, weight: 1.5, warm: false", values)}
    text = MODEL.replace(
        "name: reader", 'name: reader, labels: {a: "${store}/${weight}/${mask}/${much}/${name}/${warm}"}'
    )
    text += '  training: {epochs: "${store}"}\n'
    snapshot = resolved(tmp_path, "production", {**declared, "specs/model.yaml": text})
    model = snapshot.model("reader")
    assert model is not None
    assert model.metadata.labels == {"a": "007/1.10/0x1F/1e3/1.0/true"}
    assert training(snapshot)["epochs"] == 7
    # The same number, written in another way, is not answered from what was kept.
    declared = {"edgewright.yaml": declared["edgewright.yaml"].replace("1.10", "1.1")}
    again = resolved(tmp_path, "production", {**declared, "specs/model.yaml": text}).model("reader")
    assert again is not None
    assert again.metadata.labels == {"a": "007/1.1/0x1F/1e3/1.0/true"}


def test_an_unknown_environment_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no environment 'prodution'") as caught:
        resolved(tmp_path / "a", "prodution")
    assert caught.value.hint == "did you mean production? edgewright.yaml declares staging, production"
    with pytest.raises(SourceError, match="there is no environment") as caught:
        GitSource(make_repository(tmp_path / "b"), environment="production").snapshot()
    assert "declares none" in caught.value.hint


@pytest.mark.parametrize(
    ("environment", "changes", "expected"),
    [
        pytest.param(
            "production",
            {"environments/production/model.yaml": PATCH + "  training: {batchSize: many}\n"},
            [
                "environments/production/model.yaml:5:25: spec.training.batchSize: expected a whole number, "
                "found text 'many'"
            ],
            id="a wrong type, in the overlay",
        ),
        pytest.param(
            "production",
            {"specs/model.yaml": MODEL + "  training: {epochs: many}\n"},
            ["specs/model.yaml:9:22: spec.training.epochs: expected a whole number, found text 'many'"],
            id="a wrong type, in the base beside a patch",
        ),
        pytest.param(
            "production",
            {"environments/production/model.yaml": PATCH + "  trainin: {batchSize: 1}\n"},
            ["environments/production/model.yaml:5:3: unknown field 'spec.trainin' (did you mean training?)"],
            id="an unknown field",
        ),
        pytest.param(
            "production",
            {"environments/production/model.yaml": PATCH + "  dataset: null\n"},
            ["environments/production/model.yaml:5:3: null removes field 'spec.dataset', which is needed (leave it)"],
            id="a needed field is removed",
        ),
        pytest.param(
            "production",
            {"specs/model.yaml": MODEL.replace("  dataset: tags\n", "")},
            ["specs/model.yaml:5:3: missing field 'spec.dataset' (add it)"],
            id="the base lacks a field, and so does the patch",
        ),
        pytest.param(
            "production",
            {"environments/production/model.yaml": PATCH + "  dataset: tagz\n"},
            [
                "environments/production/model.yaml:5:12: spec.dataset: there is no dataset named 'tagz' "
                "(did you mean tags?)"
            ],
            id="a dangling reference, in the overlay",
        ),
        pytest.param(
            "production",
            {"environments/production/model.yaml": PATCH + "  architecture: {use: mlpp}\n"},
            [
                "environments/production/model.yaml:5:23: spec.architecture.use: there is no built-in architecture "
                "'mlpp' (did you mean mlp?; your own: code/file.py:name)"
            ],
            id="an unknown built-in, in the overlay",
        ),
        pytest.param(
            "production",
            {
                "environments/production/fleet.yaml": HEADER
                + "kind: Fleet\nmetadata: {name: stors}\nspec: {selector: {}}\n"
            },
            [
                "environments/production/fleet.yaml:1:1: there is no fleet/stors that this could change, and it is not "
                "whole: 'spec.selector.matchLabels' missing (did you mean stores?)"
            ],
            id="a misspelt name",
        ),
        pytest.param(
            "production",
            {"environments/production/model.yaml": PATCH.replace("{name: reader}", "{labels: {a: b}}") + "  seed: 1\n"},
            [
                "environments/production/model.yaml:1:1: missing field 'metadata.name' "
                "(it says what this is merged into)"
            ],
            id="no name",
        ),
        pytest.param(
            "production",
            {"environments/production/more.yaml": HEADER + "kind: Repository\nmetadata: {name: shop}\n"},
            [
                "environments/production/more.yaml:1:1: an overlay cannot change the Repository document "
                "(say it in edgewright.yaml)"
            ],
            id="the Repository document",
        ),
        pytest.param(
            "production",
            {"environments/production/z.yaml": SHARED},
            [
                "environments/production/z.yaml:1:1: model/reader is changed twice in one overlay (the other place is "
                "environments/production/model.yaml:1:1; put both into one document)"
            ],
            id="twice in one overlay",
        ),
        pytest.param(
            "production",
            {"environments/shared.yaml": ""},
            [
                "edgewright.yaml:12:18: spec.environments[1].overlays[0]: there is no folder or file "
                "environments/shared.yaml (there is no shared.yaml in environments)"
            ],
            id="an overlay is missing",
        ),
        pytest.param(
            "staging",
            {"environments/staging/model.yaml": "", "environments/staging/README.md": "empty"},
            [
                "edgewright.yaml:8:18: spec.environments[0].overlays[0]: there is no *.yaml or *.yml file in "
                "environments/staging (add one, or take the overlay out of the list)"
            ],
            id="an overlay is empty",
        ),
        pytest.param(
            "staging",
            {
                "edgewright.yaml": REPOSITORY.replace("[environments/staging]", "[../other, /etc, .]"),
                "environments/staging/model.yaml": "",
            },
            [
                "edgewright.yaml:8:18: spec.environments[0].overlays[0]: '../other' contains '..' "
                "(name files by their path below the repository's root)",
                "edgewright.yaml:8:28: spec.environments[0].overlays[1]: '/etc' is an absolute path "
                "(name files by their path below the repository's root)",
                "edgewright.yaml:8:34: spec.environments[0].overlays[2]: an overlay cannot be the whole repository "
                "(name a folder below it)",
            ],
            id="overlays that lead out of the repository",
        ),
        pytest.param(
            "production",
            {"specs/model.yaml": MODEL + "  training: {epochs: '${epoch}'}\n"},
            ["specs/model.yaml:9:22: there is no value for ${epoch} (did you mean epochs?; write $${ for ${ itself)"],
            id="an undefined value, once",
        ),
        pytest.param(
            "production",
            {"specs/model.yaml": MODEL + "  training: {epochs: '${store}', batchSize: 'n${'}\n"},
            [
                "specs/model.yaml:9:22: spec.training.epochs: expected a whole number, found text 'shops', "
                "which ${store} stands for"
            ],
            id="a value of another type; what an overlay replaces is not looked at",
        ),
        pytest.param(
            "staging",
            {
                "specs/dataset.yaml": DATASET.replace(
                    "name: tags", "name: tags, labels: {a: 'n${', '${b}': c, d: '${ }'}"
                )
            },
            [
                "specs/dataset.yaml:3:36: ${ without a name and a } (write ${name}; write $${ for ${ itself)",
                "specs/dataset.yaml:3:43: the name of a field cannot hold ${ (write the name itself)",
                "specs/dataset.yaml:3:57: ${ without a name and a } (write ${name}; write $${ for ${ itself)",
            ],
            id="what only looks like a value",
        ),
        pytest.param(
            "",
            {"specs/dataset.yaml": DATASET.replace("name: tags", "name: tags, labels: {a: '${store}'}")},
            [
                "specs/dataset.yaml:3:36: what ${store} stands for depends on the environment: name an environment "
                "(there is staging, production)"
            ],
            id="a value without an environment",
        ),
        pytest.param(
            "staging",
            {
                "edgewright.yaml": REPOSITORY.replace("name: staging", "name: ../x"),
                "specs/dataset.yaml": DATASET.replace("name: tags", "name: tags, labels: {a: '${store}'}"),
            },
            [
                "edgewright.yaml:6:13: spec.environments[0].name: expected lower-case letters, digits, '-' and '.', "
                "at most 63 characters, found text '../x'"
            ],
            id="a name that is a path; documents with values are left alone then",
        ),
        pytest.param(
            "staging",
            {"edgewright.yaml": REPOSITORY.replace("name: production", "name: staging")},
            ["edgewright.yaml:6:5: spec.environments: 'staging' is declared twice"],
            id="two environments of one name",
        ),
        pytest.param(
            "staging",
            {
                "edgewright.yaml": REPOSITORY.replace(
                    "{branch: main}", "{branch: main}\n      delivery: {bins: 32}"
                ).replace(
                    "{tag: production}",
                    "{tag: production}\n      delivery: {reports: ./.edgewright/reports/, repository: x}",
                )
            },
            [
                "edgewright.yaml:5:3: spec: environments 'staging' and 'production' both deliver to "
                "./.edgewright/reports/"
            ],
            id="two environments that deliver to one folder",
        ),
        pytest.param(
            "staging",
            {"specs/model.yaml": MODEL + "  training: {epochs: ${epochs}}\n"},
            [
                "specs/model.yaml:9:23: malformed YAML: expected ',' or '}', but got '{' while parsing a flow mapping "
                "(between {} and [], write ${…} in quotes)"
            ],
            id="a value between braces without quotes",
        ),
        pytest.param(
            "staging",
            {"edgewright.yaml": REPOSITORY.replace("epochs: 2", "2epochs: 2")},
            [
                "edgewright.yaml:9:16: spec.environments[0].values.2epochs: expected letters, digits, '_', '.' and "
                "'-', beginning with a letter or '_', found text '2epochs'"
            ],
            id="a value that no text could name",
        ),
    ],
)
def test_problems_are_at_the_place_that_causes_them(
    tmp_path: Path, environment: str, changes: dict[str, str], expected: list[str]
) -> None:
    assert wrong(tmp_path, environment, changes) == expected


@pytest.mark.parametrize("name", [".", "..", "-a", "a/b", "A", "", "a" * 64, "a\n", "é"])
def test_names_of_environments_are_safe_as_names_of_folders(tmp_path: Path, name: str) -> None:
    (problem,) = wrong(
        tmp_path, "staging", {"edgewright.yaml": REPOSITORY.replace("name: staging", f"name: {json.dumps(name)}")}
    )
    assert problem.startswith("edgewright.yaml:6:13: spec.environments[0].name: expected lower-case letters")
