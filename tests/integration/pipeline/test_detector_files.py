"""Detectors of other makers: each decoder beside a plain loop over what its exporter writes."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.errors import StepFailed
from edgewright.pipeline.evaluation.decoding import decode, found_objects
from edgewright.pipeline.evaluation.detection_evaluator import DetectionEvaluator
from edgewright.pipeline.imported.adapting import adapt
from edgewright_inference import decoders as inference
from edgewright_schemas.model import Interface, Nms

HEIGHT, WIDTH, CLASSES, POSITIONS = 20, 40, 3, 7
Table = npt.NDArray[np.float32]


def giving(outputs: dict[str, npt.NDArray[Any]], shapes: dict[str, list[int | str]] | None = None) -> onnx.ModelProto:
    """A detector that gives these outputs for every picture."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(values.dtype) for name, values in outputs.items()}
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{name}_"], [name]) for name in outputs],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, HEIGHT, WIDTH])],
        [
            helper.make_tensor_value_info(name, kinds[name], (shapes or {}).get(name, list(values.shape)))
            for name, values in outputs.items()
        ],
        [numpy_helper.from_array(values, f"{name}_") for name, values in outputs.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def adapted(tmp_path: Path, model: onnx.ModelProto, **interface: Any) -> Table:
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    adapt(path, "m.onnx", Interface.model_validate(interface))
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": np.zeros((1, 3, HEIGHT, WIDTH), np.float32)})
    return np.asarray(found)


def random_boxes(count: int = POSITIONS) -> list[tuple[float, float, float, float]]:
    """Left, top, width and height in pixels."""
    rng = np.random.default_rng(3)
    return [
        (float(x), float(y), float(w), float(h))
        for x, y, w, h in zip(
            rng.uniform(0, 20, count),
            rng.uniform(0, 10, count),
            rng.uniform(1, 9, count),
            rng.uniform(1, 9, count),
            strict=True,
        )
    ]


def random_scores(count: int = POSITIONS) -> list[list[float]]:
    rng = np.random.default_rng(4)
    return [[float(rng.uniform()) for _ in range(CLASSES)] for _ in range(count)]


def check(found: Table, boxes: list[tuple[float, float, float, float]], scores: list[list[float]]) -> None:
    for row, box, score in zip(found[0].tolist(), boxes, scores, strict=True):
        x, y, w, h = box
        assert row[:4] == pytest.approx([x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT], abs=1e-5)
        assert row[4:] == pytest.approx(score, abs=1e-5)


def logit(score: float) -> float:
    return float(np.log(score / (1 - score)))


@pytest.mark.parametrize("unit", ["pixels", "share"])
@pytest.mark.parametrize("activation", ["none", "sigmoid"])
def test_yolo_v8(tmp_path: Path, unit: str, activation: str) -> None:
    boxes, scores = random_boxes(), random_scores()
    columns = np.zeros((1, 4 + CLASSES, POSITIONS), np.float32)
    for at, ((x, y, w, h), score) in enumerate(zip(boxes, scores, strict=True)):
        across, down = (WIDTH, HEIGHT) if unit == "share" else (1, 1)
        columns[0, :4, at] = [(x + w / 2) / across, (y + h / 2) / down, w / across, h / down]
        columns[0, 4:, at] = [logit(each) if activation == "sigmoid" else each for each in score]

    found = adapted(tmp_path, giving({"output0": columns}), decoder="yolo-v8", boxUnit=unit, activation=activation)

    check(found, boxes, scores)


def test_yolo_v5(tmp_path: Path) -> None:
    boxes, scores = random_boxes(), random_scores()
    rows = np.zeros((1, POSITIONS, 5 + CLASSES), np.float32)
    for at, ((x, y, w, h), score) in enumerate(zip(boxes, scores, strict=True)):
        rows[0, at] = [x + w / 2, y + h / 2, w, h, 0.5, *score]

    found = adapted(tmp_path, giving({"output": rows, "more": rows}), decoder="yolo-v5", outputs={"boxes": "output"})

    check(found, boxes, [[each * 0.5 for each in score] for score in scores])


def numbered(first: int = 0) -> tuple[list[tuple[float, float, float, float]], list[float], list[int]]:
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.0, 0.0]
    return random_boxes(), scores, [first + each for each in (0, 1, 2, 2, 0, 0, 0)]


def of_class(scores: list[float], classes: list[int], first: int = 0) -> list[list[float]]:
    return [
        [score if number - first == each else 0.0 for each in range(CLASSES)]
        for score, number in zip(scores, classes, strict=True)
    ]


def test_yolo_v10_end_to_end(tmp_path: Path) -> None:
    boxes, scores, classes = numbered()
    boxes, scores, classes = boxes[:6], scores[:6], classes[:6]  # as many as 4 + classes would be raw, too
    rows = [[x, y, x + w, y + h, s, c] for (x, y, w, h), s, c in zip(boxes, scores, classes, strict=True)]

    found = adapted(tmp_path, giving({"output0": np.array([rows], np.float32)}), decoder="yolo-v8", classes=CLASSES)

    check(found, boxes, of_class(scores, classes))


def test_ssd(tmp_path: Path) -> None:
    boxes, scores, classes = numbered(first=1)
    corners = [[y / HEIGHT, x / WIDTH, (y + h) / HEIGHT, (x + w) / WIDTH] for x, y, w, h in boxes]
    model = giving(
        {
            "detection_boxes": np.array([corners], np.float32),
            "detection_scores": np.array([scores], np.float32),
            "detection_classes": np.array([classes], np.float32),
            "num_detections": np.array([5], np.float32),
        }
    )
    named = {role: f"detection_{role}" for role in ("boxes", "scores", "classes")}

    found = adapted(tmp_path, model, decoder="ssd", outputs=named, classes=CLASSES)

    check(found, boxes, of_class(scores, classes, 1))


def test_detr(tmp_path: Path) -> None:
    boxes = random_boxes()
    logits = np.random.default_rng(5).normal(size=(1, POSITIONS, CLASSES + 1)).astype(np.float32)
    shares = [[(x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH, h / HEIGHT] for x, y, w, h in boxes]
    model = giving({"logits": logits, "pred_boxes": np.array([shares], np.float32)})

    found = adapted(tmp_path, model, decoder="detr", outputs={"boxes": "pred_boxes"})

    scores = []
    for row in logits[0].astype(np.float64):
        powers = [float(np.exp(each)) for each in row]
        scores.append([power / sum(powers) for power in powers[:CLASSES]])
    check(found, boxes, scores)


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("batched", [False, True])
def test_boxes_scores_classes(tmp_path: Path, batched: bool, is_open: bool) -> None:
    boxes, scores, classes = numbered()
    corners = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes], np.float32)
    values: dict[str, npt.NDArray[Any]] = {
        "boxes": corners,
        "classes": np.array(classes, np.int64),
        "scores": np.array(scores, np.float32),
    }
    if batched:
        values = {name: each[np.newaxis] for name, each in values.items()}
    shapes: dict[str, list[int | str]] = {}
    if is_open:
        shapes = {name: [*each.shape] for name, each in values.items()}
        for shape in shapes.values():
            shape[int(batched)] = "found"

    found = adapted(tmp_path, giving(values, shapes), decoder="boxes-scores-classes", classes=CLASSES)

    assert found.shape == (1, 1000 if is_open else POSITIONS, 4 + CLASSES)
    assert not found[:, POSITIONS:].any()
    check(found[:, :POSITIONS], boxes, of_class(scores, classes))
    objects = found_objects(decode(found, (WIDTH, HEIGHT), Nms(iou=1.0)))[0]
    assert objects.categories.tolist() == [0, 1, 2, 2, 0]
    np.testing.assert_allclose(objects.boxes, boxes[:5], atol=1e-4)


def test_a_number_beyond_the_classes_does_not_vanish(tmp_path: Path) -> None:
    rows = np.array([[[1, 1, 5, 5, 0.9, CLASSES], [0, 0, 0, 0, 0.0, 90]]], np.float32)
    found = adapted(tmp_path, giving({"output0": rows}), decoder="yolo-v8", classes=CLASSES)
    assert np.isnan(found[0, 0, 4:]).all()
    assert not np.isnan(found[0, 1]).any(), "what has no score is a filled-up row"


@pytest.mark.parametrize(
    ("shape", "interface", "said"),
    [
        (
            (1, 7, 9),
            {"decoder": "yolo-v8", "classes": 2},
            r"yolo-v8 of 2 classes gives .* m.onnx gives \(1, 7, 9\)",
        ),
        ((1, 9, 8), {"decoder": "yolo-v5", "classes": 4}, r"yolo-v5 of 4 classes gives \(N, positions, 5 \+ classes\)"),
        ((1, 7, 6), {"decoder": "yolo-v8", "classes": 3}, r"may be raw or end to end"),
        ((1, 9), {"decoder": "yolo-v8"}, r"but m.onnx gives \(1, 9\)"),
        ((1, 300, 6), {"decoder": "yolo-v8"}, r"interface.classes: m.onnx gives numbers of classes"),
        (
            (1, 9, 6),
            {"decoder": "ssd"},
            r"ssd reads boxes, scores, classes of m.onnx; .* is not told",
        ),
        ((1, 9, 6), {"decoder": "yolo-v5", "outputs": {"boxes": "nothing"}}, r"there is no output nothing"),
        ((1, 9, 6), {"decoder": "yolo-v5", "outputs": {"scores": "out"}}, r"scores is none of its roles"),
    ],
)
def test_outputs_of_another_form_are_refused(
    tmp_path: Path, shape: tuple[int, ...], interface: dict[str, Any], said: str
) -> None:
    with pytest.raises(StepFailed, match=said) as caught:
        adapted(tmp_path, giving({"out": np.zeros(shape, np.float32)}), **interface)
    assert caught.value.hint


def test_scores_that_are_logits_are_refused(tmp_path: Path) -> None:
    columns = np.zeros((1, 4 + CLASSES, POSITIONS), np.float32)
    columns[0, 4:] = -3.0
    found = adapted(tmp_path, giving({"output0": columns}), decoder="yolo-v8")
    with pytest.raises(StepFailed, match=r"scores of the fp32 model go from -3 to -3") as caught:
        DetectionEvaluator(CLASSES, (WIDTH, HEIGHT), Nms()).predictions(found, "fp32")
    assert "activation: sigmoid" in caught.value.hint


def written(decoder: str) -> dict[str, npt.NDArray[Any]]:
    """Outputs as a decoder's exporters write them, of random objects."""
    rng = np.random.default_rng(11)
    pixels = rng.uniform(2, 18, (1, POSITIONS, 4)).astype(np.float32)
    scores = rng.uniform(size=(1, POSITIONS, CLASSES)).astype(np.float32)
    if decoder == "yolo-v5":
        return {"boxes": np.concatenate([pixels, scores[..., :1], scores], axis=2)}
    if decoder == "yolo-v8":
        return {"boxes": np.concatenate([pixels, scores], axis=2).transpose(0, 2, 1)}
    if decoder == "detr":
        logits = rng.normal(size=(1, POSITIONS, CLASSES + 1)).astype(np.float32)
        return {"logits": logits, "boxes": rng.uniform(size=(1, POSITIONS, 4)).astype(np.float32)}
    ssd = decoder == "ssd"
    corners = np.concatenate([pixels[..., :2], pixels[..., :2] + pixels[..., 2:]], axis=2) / (40 if ssd else 1)
    numbers = rng.integers(0, CLASSES, (1, POSITIONS)) + int(ssd)
    return {"boxes": corners, "scores": scores[..., 0], "classes": numbers.astype(np.float32)}


@pytest.mark.parametrize("decoder", ["yolo-v5", "yolo-v8", "detr", "ssd", "boxes-scores-classes"])
def test_nodes_of_a_graph_find_what_the_numpy_decoder_finds(tmp_path: Path, decoder: str) -> None:
    outputs = written(decoder)
    ours = adapted(tmp_path, giving(outputs), decoder=decoder, classes=CLASSES)
    by_graph = inference.decode({"boxes": ours}, inference.Decoding("small-detector", CLASSES), (HEIGHT, WIDTH))
    in_numpy = inference.decode(outputs, inference.Decoding(decoder, CLASSES), (HEIGHT, WIDTH))

    assert isinstance(by_graph, inference.Candidates)
    assert isinstance(in_numpy, inference.Candidates)
    np.testing.assert_allclose(by_graph.boxes, in_numpy.boxes, atol=1e-4)
    np.testing.assert_allclose(by_graph.scores, in_numpy.scores, atol=1e-6)
    np.testing.assert_array_equal(by_graph.classes, in_numpy.classes)
