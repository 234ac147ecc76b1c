"""Files that others ship under free licences, and exports by skl2onnx: skipped where their packages are not installed.

rapidocr-onnxruntime and magika are Apache-2.0, silero-vad is MIT: ``pip install --no-deps`` is enough, for of theirs
the files alone are used.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edgewright.pipeline.export.onnx_runtime import OnnxModel
from edgewright.pipeline.imported.adapting import adapt
from edgewright.pipeline.imported.inspection import inspect_file
from edgewright.pipeline.imported.onnx_checks import check_onnx
from edgewright_schemas.model import Interface

pytestmark = pytest.mark.slow


def file_of(package: str, name: str) -> Path:
    """Find a file of a package without importing it."""
    found = find_spec(package)
    if found is None or found.submodule_search_locations is None:
        pytest.skip(f"{package} is not installed: pip install --no-deps {package.replace('_', '-')}")
    return Path(next(iter(found.submodule_search_locations))) / name


def taken(tmp_path: Path, file: Path, interface: dict[str, Any]) -> OnnxModel:
    copy = tmp_path / "model.onnx"
    copy.write_bytes(file.read_bytes())
    adapt(copy, file.name, Interface.model_validate(interface))
    check_onnx(copy, file.name, None)
    return OnnxModel(copy)


def directly(file: Path, values: Any) -> Any:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: values})[0]


def test_the_classifier_of_rapidocr_gets_pictures_as_its_own_code_gives_them(tmp_path: Path) -> None:
    """Its code reads pictures by OpenCV, in the order blue, green, red, and brings them to -1 to 1."""
    file = file_of("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx")
    found = inspect_file(file)
    assert (found["problems"], found["interface"]) == ([], {"input": {"layout": "NCHW"}, "decoder": "probabilities"})
    pixels = np.random.default_rng(1).integers(0, 256, (3, 3, 48, 192), dtype=np.uint8)
    own = (pixels[:, ::-1].astype(np.float32) / 255 - 0.5) / 0.5

    model = taken(
        tmp_path, file, {**found["interface"], "input": {"range": [-1, 1], "channelOrder": "bgr"}, "output": None}
    )

    scores = model.run((pixels / np.float32(255)).astype(np.float32))
    np.testing.assert_allclose(scores, directly(file, own), atol=1e-5)


@pytest.mark.parametrize("name", ["ch_PP-OCRv4_det_infer.onnx", "ch_PP-OCRv4_rec_infer.onnx"])
def test_what_no_decoder_reads_is_told(name: str) -> None:
    found = inspect_file(file_of("rapidocr_onnxruntime", f"models/{name}"))
    assert found["problems"] == []
    assert found["inputs"][0]["shape"][1] == 3
    assert any(each.startswith("decoder: ") and "not (N, classes)" in each for each in found["unknown"])


def test_magika_takes_whole_numbers(tmp_path: Path) -> None:
    file = next(iter(file_of("magika", "models").glob("standard_*/model.onnx")))
    assert inspect_file(file)["problems"] == []
    rows = np.random.default_rng(2).integers(0, 257, (3, 2048)).astype(np.int32)

    scores = taken(tmp_path, file, {"decoder": "probabilities"}).run(rows.astype(np.float32))

    np.testing.assert_allclose(scores, directly(file, rows), atol=1e-6)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-3)


def test_a_model_with_a_state_is_refused_with_its_inputs() -> None:
    found = inspect_file(file_of("silero_vad", "data/silero_vad.onnx"))
    assert "has 3 inputs (input, state, sr)" in found["problems"][0]["message"]
    assert "control flow (If)" in found["notes"][0]


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("kind", ["logistic regression", "forest", "pipeline"])
def test_exports_of_scikit_learn(tmp_path: Path, kind: str, zipmap: bool) -> None:
    skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx is not installed")
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(3)
    rows = rng.normal(size=(90, 4)).astype(np.float32)
    labels = np.array(["pear", "apple", "fig"])[np.argmax(rows[:, :3], axis=1)]
    estimator = {
        "logistic regression": LogisticRegression(),
        "forest": RandomForestClassifier(7, max_depth=3, random_state=0),
        "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
    }[kind].fit(rows, labels)
    options = None if zipmap else {id(estimator): {"zipmap": False}}
    file = tmp_path / "export.onnx"
    file.write_bytes(skl2onnx.to_onnx(estimator, rows[:1], options=options, target_opset=18).SerializeToString())

    found = inspect_file(file)
    assert (found["interface"], found["problems"]) == ({"decoder": "sklearn"}, [])
    assert found["classes"] == ["apple", "fig", "pear"]
    scores = taken(tmp_path, file, found["interface"]).run(rows)

    np.testing.assert_allclose(scores, estimator.predict_proba(rows), atol=1e-5)
