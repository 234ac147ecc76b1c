"""Drift, from the outside: real agents on real repositories, damage as it happens, and the commands a user types."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.fleet import Fleet, wait_for

MODEL = "wine-bought"
FLEET = """apiVersion: edgewright.dev/v1alpha1
kind: Fleet
metadata: {name: analysers}
spec:
  inventory: [{id: line-1, labels: {class: analyser}}, {id: line-2, labels: {class: analyser}}]
  config: {template: templates/line.toml.j2, path: line.toml, values: {threshold: 0.5}}
"""
THRESHOLDS = """---
apiVersion: edgewright.dev/v1alpha1
kind: Thresholds
metadata: {name: wines}
spec: {gates: [{metric: accuracy, min: 0.85}]}
"""

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("drift")]


def _small(root: Path) -> None:
    """Leave what is quick: one bought model, two devices, a configuration."""
    (root / "specs/own.yaml").unlink()
    (root / "specs/fleet.yaml").write_text(FLEET + THRESHOLDS)
    (root / "templates").mkdir()
    (root / "templates/line.toml.j2").write_text("line = '{{ device.id }}'\nthreshold = {{ values.threshold }}\n")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.of_example("bring-your-own", tmp_path, edits=_small) as made:
        made.edgewright("plan").expect(0)
        made.start_agents()
        made.edgewright("apply", "--yes", "--timeout", "120s").expect(0)
        made.wait_verified(MODEL)
        yield made


def _repository(fleet: Fleet) -> Path:
    return fleet.root / ".edgewright/repository"


def _other_bytes(path: Path) -> None:
    """Put a file of the same size in its place, as a copy that went wrong does; never through a hard link."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def _largest(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def _drift(fleet: Fleet) -> list[dict[str, Any]]:
    return [one for step in fleet.plan("--drift")["steps"] for one in step.get("drift", [])]


def _apply(fleet: Fleet) -> None:
    fleet.edgewright("apply", "--yes", "--timeout", "120s").expect(0)


def _settle(fleet: Fleet) -> None:
    assert "Nothing to do: reality matches" in fleet.edgewright("plan", "--drift").expect(0).stdout
    fleet.wait_verified(MODEL)


def test_published_files_and_blobs_are_made_whole_again(fleet: Fleet) -> None:
    repository = _repository(fleet)
    blob = _largest(repository / "blobs")
    blob.unlink()
    (publish,) = fleet.plan()["steps"]
    assert publish["action"] == "publish"
    assert "missing" in publish["reasons"][0]["old"]
    _apply(fleet)
    assert blob.exists()

    _other_bytes(blob)
    assert fleet.plan()["steps"] == [], "only a deep look reads bytes"
    (found,) = _drift(fleet)
    assert (found["subject"], found["remedy"]) == ("file", "publish")
    assert found["expected"] == f"sha256:{blob.name}"
    shown = fleet.edgewright("plan", "--drift", "--detailed-exitcode").expect(2).stdout
    assert f"repair        model/{MODEL}" in shown
    assert "status" not in shown
    _apply(fleet)
    assert any(blob.name in event["message"] for event in fleet.happened("Repaired"))
    _settle(fleet)

    assignment = next((repository / "targets/assignments").glob("*.line-1.json"))
    config = min((repository / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    _other_bytes(assignment)
    _other_bytes(config)
    assert {found["field"] for found in _drift(fleet)} >= {"assignment file", "configuration file"}
    _apply(fleet)
    _settle(fleet)

    stored = _largest(fleet.root / ".edgewright/blobs/sha256")
    stored.unlink()
    assert fleet.plan()["steps"], "a lost blob is seen without a deep look"
    _apply(fleet)
    _other_bytes(stored)
    assert fleet.plan()["steps"] == []
    assert {step["action"] for step in fleet.plan("--drift")["steps"]} & {
        "import",
        "export",
        "package",
        "build-dataset",
    }
    _apply(fleet)
    _settle(fleet)


def test_without_self_heal_everything_is_reported_and_nothing_touched(fleet: Fleet) -> None:
    edit = fleet.root / "edgewright.yaml"
    edit.write_text(edit.read_text() + "  reconciliation: {selfHeal: false}\n")
    fleet.commit("Only report")
    _apply(fleet)
    blob = _largest(_repository(fleet) / "blobs")
    _other_bytes(blob)
    damaged = blob.read_bytes()
    plan = fleet.plan("--drift")
    assert plan["steps"] == []
    (note,) = plan["notes"]
    assert (note["reason"], note["severity"]) == ("ConfigDrifted", "warning")
    assert blob.name[:12] in note["message"]
    _apply(fleet)
    assert blob.read_bytes() == damaged
    assert [event["address"] for event in fleet.happened("ConfigDrifted")] == [f"model/{MODEL}"]
    _apply(fleet)
    assert len(fleet.happened("ConfigDrifted")) == 1, "what is known is told once"

    blob.unlink()
    plan = fleet.plan()
    assert plan["steps"] == []
    assert "selfHeal is false" in plan["notes"][0]["message"]
    shown = fleet.edgewright("plan").expect(0).stdout
    assert "reality does not match" in shown
    assert not blob.exists()


def test_an_older_copy_of_the_repository_is_reported_not_signed_over(fleet: Fleet, tmp_path: Path) -> None:
    repository, older, newest = _repository(fleet), tmp_path / "older", tmp_path / "newest"
    shutil.copytree(repository, older)
    fleet.edit("specs/fleet.yaml", "threshold: 0.5", "threshold: 0.6")
    fleet.commit("Another threshold")
    _apply(fleet)
    fleet.wait_verified(MODEL)
    repository.rename(newest)
    shutil.copytree(older, repository)
    plan = fleet.plan("--drift")
    (note,) = [note for note in plan["notes"] if note["reason"] == "ConfigDrifted"]
    assert "older copy" in note["message"]
    assert "restore the newest copy" in note["message"]
    assert not [step for step in plan["steps"] if step["action"] == "repair"]

    shutil.rmtree(repository)
    newest.rename(repository)
    _settle(fleet)


def test_devices_that_lost_what_they_had_are_brought_back(fleet: Fleet, tmp_path: Path) -> None:
    line = fleet.devices["line-1"]
    line.stop()
    shutil.copytree(line.folder, tmp_path / "disk", symlinks=True)
    line.start()
    fleet.edit("specs/fleet.yaml", "threshold: 0.5", "threshold: 0.6")
    fleet.commit("Another threshold")
    _apply(fleet)
    fleet.wait_verified(MODEL)

    line.stop()
    shutil.rmtree(line.folder)
    shutil.copytree(tmp_path / "disk", line.folder, symlinks=True)
    line.start()
    _apply(fleet)
    wait_for("the older disk to be brought up to date", lambda: _configured(line.folder) == {"0.6"} or None)
    _settle(fleet)

    # The model's bytes go bad on the device, and so does what it could fetch them from again.
    line.stop()
    for model in line.folder.rglob("model.onnx"):
        _other_bytes(model)
    line.start()
    wait_for("the agent to say so, or to have mended it", lambda: _spoke(fleet))
    _apply(fleet)
    _settle(fleet)


def _configured(folder: Path) -> set[str]:
    """Thresholds of the configuration that is active."""
    return {path.read_text().partition("threshold = ")[2].strip() for path in folder.rglob("active/line.toml")}


def _spoke(fleet: Fleet) -> bool:
    return any(row["device"] == "line-1" and row["models"][0]["phase"] is not None for row in fleet.listed())
