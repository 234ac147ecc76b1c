"""The scaffold of a spec repository."""

import csv
import json
import resource
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from edgewright.source.commits import GitSource
from edgewright.source.specs.load import load_file
from edgewright_templates.devices import render_config
from edgewright_templates.scaffold import ScaffoldRefused, write_scaffold
from harness.command_line import ended, spawn
from samples.repositories import commit, run_git


def test_the_scaffold_is_a_valid_repository(tmp_path: Path) -> None:
    files = write_scaffold(tmp_path / "new", "my-shelves")
    assert all(path.is_file() for path in files)
    run_git(tmp_path / "new", "init", "-q")
    commit(tmp_path / "new")
    snapshot = GitSource(tmp_path / "new").snapshot()
    assert sorted(address.kind for address in snapshot.resources) == [
        "dataset",
        "fleet",
        "model",
        "repository",
        "rollout",
        "thresholds",
    ]
    assert set(snapshot.content) == {"data/shelf-stock.csv", "fleets/stores.csv", "templates/shelf.toml.j2"}
    devices = snapshot.inventories["fleets/stores.csv"]
    assert len(devices) == 4
    (rollout,) = snapshot.rollouts()
    select = rollout.spec.waves[0].select
    assert select is not None
    assert [device.id for device in devices if select.matches(device.labels)] == ["shelf-lyon-1"]
    fleet = snapshot.fleet("stores")
    assert fleet is not None
    assert fleet.spec.config is not None
    rendered = render_config(
        (tmp_path / "new/templates/shelf.toml.j2").read_text(),
        device_id="d",
        labels=devices[0].labels,
        model="m",
        fleet="stores",
        values=fleet.spec.config.values,
        template_name="t",
    )
    assert rendered.endswith(b'store = "lyon"\nmodel = "m"\nalert_below = 0.25\n')


def test_editors_find_the_schema_offline_and_it_accepts_every_spec(tmp_path: Path) -> None:
    specs = [path for path in write_scaffold(tmp_path, "a") if path.suffix == ".yaml"]
    assert len(specs) == 6
    for path in specs:
        modeline = path.read_text().splitlines()[0]
        assert modeline.startswith("# yaml-language-server: $schema=")
        schema = json.loads((path.parent / modeline.partition("=")[2]).read_text())
        (loaded,) = load_file(path.name, path.read_bytes()).documents
        assert list(Draft202012Validator(schema).iter_errors(json.loads(loaded.body))) == []


def test_the_data_fits_its_declaration(tmp_path: Path) -> None:
    write_scaffold(tmp_path, "a")
    with (tmp_path / "data/shelf-stock.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) >= 200
    assert min(Counter(row["label"] for row in rows).values()) >= 20
    assert {row["store"] for row in rows} == {"lyon", "porto", "turin"}


def test_keys_and_state_are_ignored_by_git(tmp_path: Path) -> None:
    write_scaffold(tmp_path, "a")
    run_git(tmp_path, "init", "-q")
    secret = [".edgewright/keys/root.pem", "elsewhere/root.pem", "tls/server.key"]
    shared = ["tls/server.crt", "tls/ca.crt"]
    assert run_git(tmp_path, "check-ignore", *secret, *shared).splitlines() == secret


def test_it_can_be_repeated_and_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    files = write_scaffold(tmp_path, "a")
    files[3].unlink()
    assert write_scaffold(tmp_path, "a") == files
    assert files[3].is_file()
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("is_written", "longest", "words"),
    [
        pytest.param(False, 300, "cannot write new: File too large", id="while files are written"),
        pytest.param(True, 10, "git cannot make a repository of new", id="while Git makes its folder"),
        pytest.param(True, 300, "git cannot make a repository of new", id="while Git keeps the files"),
    ],
)
def test_on_a_full_disk_init_says_so_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_written: bool, longest: int, words: str
) -> None:
    (tmp_path / "gitconfig").write_text("[init]\n  templateDir =\n")  # else it writes hooks, of any length
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    new = tmp_path / "new"
    if is_written:
        write_scaffold(new, "new")
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (longest, longest))
    ran = ended(spawn(tmp_path, "init", "new", preexec_fn=limit)).expect(1, words, "space")
    assert ran.said.count("\n") == 2, ran.said
    assert not (new / ".git").exists()
    assert list(new.rglob("*.part")) == []

    ended(spawn(tmp_path, "init", "new")).expect(0, "next: cd new && edgewright plan")
    assert run_git(new, "status", "--porcelain") == ""


def test_where_init_may_not_write_it_says_where(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    ended(spawn(tmp_path, "init", "notes/new")).expect(1, "cannot write notes/new", "name another")
    assert (tmp_path / "notes").read_text() == "mine"


def test_init_that_did_not_get_to_the_keys_does_not_ask_for_a_second_commit(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new/.edgewright").write_text("in the way")
    ended(spawn(tmp_path, "init", "new")).expect(1, "cannot write keys")
    (tmp_path / "new/.edgewright").unlink()
    ran = ended(spawn(tmp_path, "init", "new")).expect(0)
    assert "git commit" not in ran.said


def test_files_in_the_way_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "edgewright.yaml").write_text("mine")
    (tmp_path / "models").write_text("a file")
    with pytest.raises(ScaffoldRefused, match=r"already has edgewright\.yaml, models/shelf-stock\.yaml"):
        write_scaffold(tmp_path, "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edgewright.yaml", "models"]


@pytest.mark.parametrize("name", ["", "A", "a/b", "-a", "a" * 300])
def test_a_bad_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ScaffoldRefused, match="is not a name"):
        write_scaffold(tmp_path / "x", name)
    assert not (tmp_path / "x").exists()
