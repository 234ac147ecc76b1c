"""Models that keep weights in other files: pinned with the model, confined to its folder, taken into one file."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.external_data_helper import convert_model_to_external_data
from pydantic import ValidationError

from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.core.planning.fingerprint import origin_components
from edgewright.durable import digest_file
from edgewright.errors import StepFailed
from edgewright.pipeline.imported.step import build
from edgewright.pipeline.imported.weight_files import beside
from edgewright.pipeline.runner.tasks import StagedTask
from edgewright.ports import Built
from edgewright_schemas.model import ImportSource, ModelSpec
from samples.onnx_exports import linear
from samples.training_data import start

NAME = "parts/weights.bin"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a model, and its weights in a folder beside it."""
    folder = tmp_path / "repo/models"
    (folder / "parts").mkdir(parents=True)
    model = linear()
    convert_model_to_external_data(model, location=NAME, size_threshold=0)
    onnx.save(model, str(folder / "m.onnx"))
    return tmp_path / "repo"


def source(repository: Path, *names: str) -> dict[str, Any]:
    files = [{"path": name, "digest": digest_file(repository / "models" / name)} for name in names]
    return {"uri": "models/m.onnx", "digest": digest_file(repository / "models/m.onnx"), "files": files}


def imported(repository: Path, declared: dict[str, Any]) -> Built[Any]:
    spec = {"task": "regression", "dataset": "d", "source": declared}
    work = repository.parent / "work"
    return build(start(StagedTask(Action.IMPORT, Address("model", "m"), "f" * 64, spec, repository, {}, {}, work, {})))


def test_weights_of_other_files_are_taken_in(repository: Path) -> None:
    built = imported(repository, source(repository, NAME))

    assert set(built.files) == {"model.onnx"}
    session = onnxruntime.InferenceSession(built.files["model.onnx"].read_bytes())
    assert session.run(None, {"x0": np.ones((1, 3), np.float32)})[0].tolist() == [[6.0, 9.0]]
    assert built.facts.parameters == 8
    assert not (repository.parent / "work/weights").exists()
    assert imported(repository, source(repository, NAME)).digest == built.digest


def test_a_file_that_is_not_declared_or_not_named_is_refused(repository: Path) -> None:
    (repository / "models/other.bin").write_bytes(b"x")
    with pytest.raises(StepFailed, match=r"keeps weights in other files: "):
        imported(repository, source(repository))
    with pytest.raises(StepFailed, match=rf"source.files does not name {NAME}"):
        imported(repository, source(repository, "other.bin"))
    with pytest.raises(StepFailed, match=r"source.files names, and the model does not, other.bin"):
        imported(repository, source(repository, NAME, "other.bin"))


def test_another_a_missing_and_a_cut_off_file_are_refused(repository: Path) -> None:
    declared = source(repository, NAME)
    weights = repository / "models" / NAME
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"\xff")
    with pytest.raises(StepFailed, match=r"models/parts/weights.bin is not the file the spec pins") as caught:
        imported(repository, declared)
    assert "source.files[0].digest" in caught.value.hint
    weights.write_bytes(whole[:-1])
    with pytest.raises(StepFailed, match=rf"{NAME}, which holds weights of models/m.onnx, is cut off"):
        imported(repository, source(repository, NAME))
    weights.unlink()
    with pytest.raises(StepFailed, match=r"models/parts/weights.bin is not there"):
        imported(repository, declared)


@pytest.mark.parametrize("path", ["/etc/passwd", "../weights.bin", "a/../../b", "..", "a\\b", ""])
def test_a_path_out_of_the_models_folder_is_refused(path: str) -> None:
    digest = "sha256:" + "0" * 64
    with pytest.raises(ValidationError):
        ImportSource.model_validate({"uri": "m.onnx", "digest": digest, "files": [{"path": path, "digest": digest}]})


def test_files_lie_beside_the_model() -> None:
    assert beside("models/m.onnx", "a/w.bin") == "models/a/w.bin"
    assert beside("m.onnx", "w.bin") == "w.bin"
    assert beside("https://example.com/a/m.onnx?token=1", "w.bin") == "https://example.com/a/w.bin?token=1"


def test_the_digest_of_each_file_is_part_of_the_fingerprint() -> None:
    digest = "sha256:" + "0" * 64
    declared = {"uri": "m.onnx", "digest": digest, "files": [{"path": "w.bin", "digest": digest}]}
    spec = ModelSpec.model_validate({"task": "regression", "dataset": "d", "source": declared})
    assert origin_components(spec, "", {}, {}, {})["source.files:w.bin"] == digest
