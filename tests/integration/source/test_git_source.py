"""Snapshots of commits, from real Git repositories."""

from pathlib import Path

import pytest

from edgewright.core.address import Address
from edgewright.errors import SourceError, SpecError
from edgewright.ports import SnapshotSource
from edgewright.source.commits import GitSource
from edgewright_schemas.dataset import Dataset
from samples.repositories import DATASET, FILES, FLEET, HEADER, MODEL, ROLLOUT, commit, make_repository, run_git, write


def problems(source: SnapshotSource) -> list[str]:
    with pytest.raises(SpecError) as caught:
        source.snapshot()
    return [str(problem) for problem in caught.value.problems]


def broken(folder: Path, changes: dict[str, str | bytes]) -> list[str]:
    return problems(GitSource(make_repository(folder, {**FILES, **changes})))


def test_a_snapshot_has_everything_with_its_place(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    source = GitSource(repository)
    snapshot = source.snapshot()
    assert snapshot.revision == source.revision() == run_git(repository, "rev-parse", "main")
    assert sorted(map(str, snapshot.resources)) == [
        "dataset/tags",
        "fleet/stores",
        "model/reader",
        "rollout/reader",
        "thresholds/reader",
    ]
    resource = snapshot.resources[Address("dataset", "tags")]
    assert isinstance(resource.document, Dataset)
    assert str(resource.location) == "specs/dataset.yaml:1:1"
    assert resource.blob == run_git(repository, "rev-parse", "main:specs/dataset.yaml")
    assert snapshot.content == {
        "data/tags.csv": "git:" + run_git(repository, "rev-parse", "main:data/tags.csv"),
        "fleets/stores.csv": "git:" + run_git(repository, "rev-parse", "main:fleets/stores.csv"),
        "templates/lane.toml.j2": "git:" + run_git(repository, "rev-parse", "main:templates/lane.toml.j2"),
    }
    assert [device.id for device in snapshot.inventories["fleets/stores.csv"]] == ["d1", "d2"]


def test_only_commits_are_read_and_nothing_is_touched(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    write(repository, {"specs/dataset.yaml": "broken: [", "untracked.yaml": DATASET})
    run_git(repository, "add", "untracked.yaml")
    before = run_git(repository, "status", "--porcelain"), (repository / ".git/index").read_bytes()
    assert len(GitSource(repository).snapshot().resources) == 5
    assert (run_git(repository, "status", "--porcelain"), (repository / ".git/index").read_bytes()) == before


def test_branches_tags_and_commits(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    first = run_git(repository, "rev-parse", "HEAD")
    run_git(repository, "tag", "-a", "v1", "-m", "one")
    run_git(repository, "checkout", "-q", "-b", "next")
    write(repository, {"specs/dataset.yaml": DATASET.replace("name: tags", "name: tags, labels: {a: b}")})
    second = commit(repository)
    run_git(repository, "checkout", "-q", "main")
    for ref, expected in (("v1", first), ("main", first), ("next", second), (second[:10], second), ("next~1", first)):
        assert GitSource(repository, ref).snapshot().revision == expected
    document = GitSource(repository, "next").snapshot().dataset("tags")
    assert document is not None
    assert document.metadata.labels == {"a": "b"}


def test_a_bare_repository(tmp_path: Path) -> None:
    work = make_repository(tmp_path / "work")
    run_git(tmp_path, "clone", "-q", "--bare", str(work), "bare.git")
    files = sorted(path.name for path in (tmp_path / "bare.git").iterdir())
    for location in (tmp_path / "bare.git", (tmp_path / "bare.git").as_uri()):
        assert len(GitSource(location).snapshot().resources) == 5
    assert sorted(path.name for path in (tmp_path / "bare.git").iterdir()) == files


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="in no Git repository"):
        GitSource(tmp_path)
    with pytest.raises(SourceError, match="there is no folder"):
        GitSource(tmp_path / "missing")
    with pytest.raises(SourceError, match="is a remote repository") as caught:
        GitSource("https://user:secret@example.com/specs.git")
    assert "secret" not in str(caught.value)


def test_an_unborn_branch(tmp_path: Path) -> None:
    run_git(tmp_path, "init", "-q", "-b", "trunk")
    with pytest.raises(SourceError, match="branch 'trunk' has no commit yet"):
        GitSource(tmp_path).snapshot()
    with pytest.raises(SourceError, match="no branch, tag or commit 'main'"):
        GitSource(tmp_path, "main").revision()


@pytest.mark.parametrize("ref", ["mian", "--all", "main\nx", "deadbeef" * 5, "main:specs"])
def test_an_unknown_ref_names_the_nearest(tmp_path: Path, ref: str) -> None:
    repository = make_repository(tmp_path)
    with pytest.raises(SourceError, match="there is no branch, tag or commit") as caught:
        GitSource(repository, ref).snapshot()
    assert "main" in caught.value.hint


def test_a_damaged_object_is_a_source_error(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    blob = run_git(repository, "rev-parse", "HEAD:specs/model.yaml")
    path = repository / ".git/objects" / blob[:2] / blob[2:]
    path.unlink()
    with pytest.raises(SourceError, match=f"Git object {blob} cannot be read"):
        GitSource(repository).snapshot()


def test_a_folder_of_a_larger_repository(tmp_path: Path) -> None:
    nested: dict[str, str | bytes] = {f"stores/{path}": text for path, text in FILES.items()}
    nested["stores/edgewright.yaml"] = HEADER + "kind: Repository\nmetadata: {name: a}\n"
    nested["elsewhere.yaml"] = DATASET
    repository = make_repository(tmp_path, nested)
    source = GitSource(repository / "stores" / "specs")
    assert source.root == (repository / "stores").resolve()
    assert len(source.snapshot().resources) == 6
    assert source.read(source.revision(), "data/tags.csv").startswith(b"store,")


def test_problems_of_all_files_come_together(tmp_path: Path) -> None:
    found = broken(
        tmp_path,
        {
            "specs/dataset.yaml": DATASET.replace("slices", "slics"),
            "specs/more.yaml": HEADER + "kind: Model\nmetadata: {name: x",
            "specs/again.yaml": ROLLOUT,
            "specs/rollout.yaml": ROLLOUT.replace("fleet: stores", "fleet: store"),
            "fleets/stores.csv": "id\nd1\nd1\n",
        },
    )
    assert found == [
        "fleets/stores.csv:3:1: device 'd1' is listed twice (first on line 2; remove one of them)",
        "specs/dataset.yaml:7:3: unknown field 'spec.slics' (did you mean slices?)",
        "specs/more.yaml:3:19: malformed YAML: expected ',' or '}', but got '<stream end>' "
        "while parsing a flow mapping",
        "specs/rollout.yaml:1:1: rollout/reader is declared twice "
        "(the other one is at specs/again.yaml:1:1; rename or remove one)",
    ]


def test_dangling_references_name_the_nearest(tmp_path: Path) -> None:
    found = broken(
        tmp_path,
        {
            "specs/model.yaml": MODEL.replace("dataset: tags", "dataset: tag").replace(": reader\n", ": raeder\n"),
            "specs/rollout.yaml": ROLLOUT.replace("model: reader", "model: gone"),
        },
    )
    assert found == [
        "specs/model.yaml:6:12: spec.dataset: there is no dataset named 'tag' (did you mean tags?)",
        "specs/model.yaml:8:15: spec.thresholds: there is no thresholds named 'raeder' (did you mean reader?)",
        "specs/rollout.yaml:5:10: spec.model: there is no model named 'gone' (known: reader)",
    ]


@pytest.mark.parametrize(
    "model",
    [
        MODEL.replace("name: reader", "nmae: reader"),
        MODEL.replace("kind: Model", "kind: Modle"),
        MODEL.replace("task: ", "task "),
        b"\xff" + MODEL.encode(),
    ],
    ids=["its name", "its kind", "its YAML", "its bytes"],
)
def test_what_a_broken_document_may_have_declared_does_not_dangle(tmp_path: Path, model: str | bytes) -> None:
    found = broken(tmp_path, {"specs/model.yaml": model})
    assert found
    assert {text.partition(":")[0] for text in found} == {"specs/model.yaml"}


def test_a_broken_document_hides_no_reference_to_another_kind(tmp_path: Path) -> None:
    changes: dict[str, str | bytes] = {
        "specs/model.yaml": MODEL.replace("task", "tusk"),
        "specs/rollout.yaml": ROLLOUT.replace("stores", "x"),
    }
    assert "specs/rollout.yaml:6:10: spec.fleet: there is no fleet named 'x' (known: stores)" in broken(
        tmp_path, changes
    )


def test_a_gate_that_can_never_pass(tmp_path: Path) -> None:
    assert broken(tmp_path, {"specs/dataset.yaml": DATASET.replace("[store]", "[stores]")}) == [
        "specs/thresholds.yaml:6:41: spec.gates[0].slice.store: dataset 'tags' has no slice 'store', "
        "so this gate can never pass (did you mean stores?)"
    ]


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("../data", "'../data' contains '..'"),
        ("data/../../x", "'data/../../x' contains '..'"),
        ("/etc/passwd", "'/etc/passwd' is an absolute path"),
        ("C:\\data", "'C:\\\\data' is an absolute path"),
        ("out", "a link on 'out' leads out of the repository"),
        ("inside/out", "a link on 'inside/out' leads out of the repository"),
        ("folder", "a link on 'folder/etc' leads out of the repository"),
        ("loop", "links on 'loop' lead in a circle"),
    ],
)
def test_paths_out_of_the_repository_are_refused_where_they_are_named(tmp_path: Path, uri: str, reason: str) -> None:
    make_repository(tmp_path)
    (tmp_path / "out").symlink_to("/etc")
    (tmp_path / "inside").symlink_to("data")
    (tmp_path / "data/out").symlink_to("../../other")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/etc").symlink_to("/etc")
    (tmp_path / "loop").symlink_to("loop")
    write(tmp_path, {"specs/dataset.yaml": DATASET.replace("data/tags.csv", f"'{uri}'")})
    commit(tmp_path)
    source = GitSource(tmp_path)
    (found,) = problems(source)
    assert found.startswith(f"specs/dataset.yaml:5:17: spec.source.uri: {reason} (")
    with pytest.raises(SourceError):
        source.materialize("HEAD", [uri], tmp_path.parent / "never")
    assert not (tmp_path.parent / "never" / "etc").exists()


def test_missing_files_name_the_nearest(tmp_path: Path) -> None:
    found = broken(
        tmp_path,
        {
            "specs/fleet.yaml": FLEET.replace("fleets/stores", "fleets/store").replace("lane.toml.j2", "lan.toml.j2"),
            "specs/dataset.yaml": DATASET.replace("tags.csv", "kept-elsewhere.csv"),
        },
    )
    assert found == [
        "specs/fleet.yaml:5:14: spec.inventory: there is no file fleets/store.csv in this revision "
        "(did you mean fleets/stores.csv?)",
        "specs/fleet.yaml:6:22: spec.config.template: there is no templates/lan.toml.j2 in this revision "
        "(did you mean templates/lane.toml.j2?)",
    ]


def test_missing_files_of_host_keys_are_named_where_they_are_declared(tmp_path: Path) -> None:
    fleet = FLEET + "  delivery: {type: ssh, ssh: {knownHosts: fleets/known_host}}\n"
    fleet += "  overrides:\n    - select: {matchLabels: {ring: far}}\n"
    fleet += "      delivery: {type: ssh, ssh: {knownHosts: fleets/far}}\n"
    assert broken(tmp_path, {"specs/fleet.yaml": fleet, "fleets/known_hosts": "# none\n"}) == [
        "specs/fleet.yaml:7:43: spec.delivery.ssh.knownHosts: there is no fleets/known_host in this revision "
        "(did you mean fleets/known_hosts?)",
        "specs/fleet.yaml:10:47: spec.overrides[0].delivery.ssh.knownHosts: there is no fleets/far in this revision "
        "(there is no far in fleets)",
    ]


def test_missing_templates_of_bundles_are_named_where_they_are_declared(tmp_path: Path) -> None:
    fleet = FLEET + "  delivery: {type: ddi, ddi: {bundle: {template: templates/sw.j2}}}\n"
    assert broken(tmp_path, {"specs/fleet.yaml": fleet}) == [
        "specs/fleet.yaml:7:50: spec.delivery.ddi.bundle.template: there is no templates/sw.j2 in this revision "
        "(there is no sw.j2 in templates)",
    ]
