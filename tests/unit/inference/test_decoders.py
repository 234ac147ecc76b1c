"""Decoders and suppression against independent references, written as plain loops over one box at a time."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgewright_inference.decoders import DECODERS, Array, Candidates, Decoding, decode
from edgewright_inference.errors import DecodeError, InterfaceError
from edgewright_inference.geometry import place
from edgewright_inference.nms import Suppression, suppress
from edgewright_inference.pipeline import Interface
from edgewright_inference.preprocess import Preprocessing
from edgewright_inference.results import Classification, Detections, Numbers

SIZE = (48, 64)
RANDOM = np.random.default_rng(7)
Box = tuple[float, ...]


def found(outputs: dict[str, Array], decoder: str, classes: int = 3, **more: Any) -> list[tuple[Box, float, int]]:
    said = decode(outputs, Decoding(decoder, classes, **more), SIZE)
    assert isinstance(said, Candidates)
    return [
        (tuple(map(float, box)), float(score), int(at))
        for box, score, at in zip(said.boxes, said.scores, said.classes, strict=True)
    ]


def same(left: list[Any], right: list[Any]) -> None:
    assert len(left) == len(right)
    for (a, p, c), (b, q, d) in zip(left, right, strict=True):
        assert a == pytest.approx(b, abs=1e-4)
        assert p == pytest.approx(q, abs=1e-6)
        assert c == d


def test_yolo_v5() -> None:
    rows = RANDOM.random((1, 20, 8)).astype(np.float32)
    rows[0, :, :4] *= 40
    expected = []
    for row in rows[0].tolist():
        x, y, w, h, objectness, *scores = row
        best = max(range(3), key=lambda at: scores[at])
        expected.append(((x - w / 2, y - h / 2, x + w / 2, y + h / 2), objectness * scores[best], best))
    same(found({"boxes": rows}, "yolo-v5"), expected)


def test_yolo_v8_raw_and_logits() -> None:
    columns = RANDOM.normal(size=(1, 7, 30)).astype(np.float32)
    columns[0, :4] = np.abs(columns[0, :4]) * 20
    expected = []
    for at in range(30):
        x, y, w, h = (float(columns[0, row, at]) for row in range(4))
        scores = [1 / (1 + math.exp(-float(columns[0, 4 + k, at]))) for k in range(3)]
        best = max(range(3), key=lambda k: scores[k])
        expected.append(((x - w / 2, y - h / 2, x + w / 2, y + h / 2), scores[best], best))
    same(found({"boxes": columns}, "yolo-v8", activation="sigmoid"), expected)
    with pytest.raises(DecodeError, match="no probabilities: where they are logits, declare the activation"):
        found({"boxes": columns}, "yolo-v8")


def test_yolo_v8_end_to_end() -> None:
    rows = np.array([[[1, 2, 11, 22, 0.9, 2], [0, 0, 5, 5, 0.4, 0]]], np.float32)
    same(found({"boxes": rows}, "yolo-v8", classes=80), [((1, 2, 11, 22), 0.9, 2), ((0, 0, 5, 5), 0.4, 0)])
    said = decode({"boxes": rows}, Decoding("yolo-v8", 80), SIZE)
    assert isinstance(said, Candidates)
    assert said.final
    with pytest.raises(DecodeError, match="may be raw or end-to-end"):
        found({"boxes": np.zeros((1, 6, 6), np.float32)}, "yolo-v8", classes=2)
    with pytest.raises(DecodeError, match=r"gives \(1, 7, N\)"):
        found({"boxes": np.zeros((1, 9, 20), np.float32)}, "yolo-v8")


def test_ssd_counts_from_one_and_says_how_many_rows_count() -> None:
    outputs = {
        "boxes": np.array([[[0.25, 0.5, 0.5, 0.75], [0, 0, 1, 1], [9, 9, 9, 9]]], np.float32),
        "scores": np.array([[0.8, 0.6, 0.0]], np.float32),
        "classes": np.array([[3, 1, 0]], np.float32),
        "count": np.array([2], np.float32),
    }
    same(found(outputs, "ssd"), [((32, 12, 48, 24), 0.8, 2), ((0, 0, 64, 48), 0.6, 0)])
    with pytest.raises(DecodeError, match="class 3 is beyond the 2 declared: is the first class 0 or 1"):
        found(outputs, "ssd", classes=2)


def test_boxes_scores_classes_as_exporters_write_them() -> None:
    boxes = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [1, 1, 9, 9], [0, 0, 2, 2]], np.float32)
    scores, classes = np.array([0.9, 0.5, 0.4, 0.3], np.float32), np.array([1, 2, 0, 3], np.int64)
    # torchvision has no batch axis, and 0 for the background; others have one.
    expected = [((1, 2, 3, 4), 0.9, 0), ((5, 6, 7, 8), 0.5, 1), ((0, 0, 2, 2), 0.3, 2)]
    plain: dict[str, Array] = {"boxes": boxes, "scores": scores, "classes": classes}
    same(found(plain, "boxes-scores-classes", first_class=1), expected)
    batched = {role: array[None] for role, array in plain.items()}
    same(found(batched, "boxes-scores-classes", first_class=1), expected)
    with pytest.raises(DecodeError, match="whole: are classes and scores swapped"):
        found({**plain, "classes": scores}, "boxes-scores-classes")
    with pytest.raises(DecodeError, match="are read"):
        found({**plain, "scores": scores[:2]}, "boxes-scores-classes")


def test_detr() -> None:
    logits, boxes = RANDOM.normal(size=(1, 10, 4)).astype(np.float32), RANDOM.random((1, 10, 4)).astype(np.float32)
    expected = []
    for row, (x, y, w, h) in zip(logits[0].tolist(), boxes[0].tolist(), strict=True):
        total = sum(math.exp(value) for value in row)
        best = max(range(3), key=lambda at: row[at])
        corners = ((x - w / 2) * 64, (y - h / 2) * 48, (x + w / 2) * 64, (y + h / 2) * 48)
        expected.append((corners, math.exp(row[best]) / total, best))
    same(found({"logits": logits, "boxes": boxes}, "detr"), expected)
    with pytest.raises(DecodeError, match=r"logits \(1, N, 6\)"):
        found({"logits": logits, "boxes": boxes}, "detr", classes=5)


@given(arrays.arrays(np.float32, (1, 4), elements=st.floats(-30, 30, width=32)))
def test_class_scores_become_shares(values: Array) -> None:
    shares = decode({"scores": values}, Decoding("class-scores", 4), SIZE)
    assert isinstance(shares, np.ndarray)
    assert float(shares.sum()) == pytest.approx(1.0, abs=1e-5)
    assert shares.argmax() == values.argmax() or shares[values.argmax()] == shares.max()


def test_probabilities_of_forests_pass_and_logits_do_not() -> None:
    said = decode({"scores": np.array([[1.0000001, -1e-8]])}, Decoding("probabilities", 2), SIZE)
    assert isinstance(said, np.ndarray)
    assert said.tolist() == [1.0, 0.0]
    with pytest.raises(DecodeError, match="scores are -2 to 3"):
        decode({"scores": np.array([[3.0, -2.0]])}, Decoding("probabilities", 2), SIZE)
    with pytest.raises(DecodeError, match=r"scores of 3 classes has the shape \(1, 3\), not \(1, 2\)"):
        decode({"scores": np.zeros((1, 2))}, Decoding("probabilities", 3), SIZE)


@pytest.mark.parametrize("decoder", ["yolo-v5", "boxes-scores-classes"])
def test_a_softmax_over_boxes_is_refused(decoder: str) -> None:
    boxes = {"yolo-v5": np.zeros((1, 4, 8)), "boxes-scores-classes": np.zeros((1, 4, 4))}[decoder]
    outputs = {"boxes": boxes, "scores": np.zeros((1, 4)), "classes": np.zeros((1, 4))}
    with pytest.raises(InterfaceError, match=r"softmax is over classes, and .* are one number for each box"):
        found(outputs, decoder, activation="softmax")


def test_a_softmax_over_classes_is_taken() -> None:
    said = decode({"scores": np.array([[0.0, math.log(3)]])}, Decoding("probabilities", 2, "softmax"), SIZE)
    assert isinstance(said, np.ndarray)
    assert said.tolist() == pytest.approx([0.25, 0.75])
    columns = np.zeros((1, 7, 2), np.float32)
    assert found({"boxes": columns}, "yolo-v8", activation="softmax")[0][1] == pytest.approx(1 / 3)


@pytest.mark.parametrize("decoder", sorted(DECODERS))
def test_numbers_that_are_not_finite_and_missing_outputs_are_told(decoder: str) -> None:
    outputs = dict.fromkeys(DECODERS[decoder].roles, np.full((1, 3, 8), np.nan, np.float32))
    with pytest.raises(DecodeError, match="not finite: 24 of 24"):
        decode(outputs, Decoding(decoder, 3), SIZE)
    with pytest.raises(InterfaceError, match="is missing"):
        decode({}, Decoding(decoder, 3), SIZE)


def test_an_unknown_decoder_is_told_with_those_there_are() -> None:
    with pytest.raises(InterfaceError, match="no decoder 'yolo'; known are boxes-scores-classes, class-scores, detr"):
        decode({}, Decoding("yolo", 3), SIZE)


# ── suppression ───────────────────────────────────────────────────────────────────────────────────────────────────


def iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


@given(st.integers(0, 40), st.integers(0, 1000), st.booleans(), st.sampled_from([0.3, 0.5, 1.0]))
def test_suppression_is_that_of_a_plain_loop(count: int, seed: int, agnostic: bool, bound: float) -> None:
    chance = np.random.default_rng(seed)
    corners = chance.integers(0, 12, (count, 2))
    boxes = np.concatenate([corners, corners + chance.integers(0, 8, (count, 2))], axis=1).astype(np.float32)
    scores = (chance.integers(0, 8, count) / 8).astype(np.float32)
    classes = chance.integers(0, 2, count)
    how = Suppression(bound, 0.25, 10, agnostic)

    kept: list[int] = []
    for at in sorted(range(count), key=lambda each: (-scores[each], each)):
        rivals = [other for other in kept if agnostic or classes[other] == classes[at]]
        if scores[at] >= 0.25 and all(iou(boxes[at].tolist(), boxes[other].tolist()) <= bound for other in rivals):
            kept.append(at)
    assert suppress(boxes, scores, classes, how).tolist() == kept[:10]


@pytest.mark.parametrize("wrong", [{"iou": 0.0}, {"score": 1.1}, {"max_detections": 0}])
def test_bounds_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InterfaceError, match="nms takes"):
        Suppression(**wrong)


# ── the whole way ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_detections_come_back_in_pixels_of_the_frame() -> None:
    frame = np.zeros((100, 300, 3), np.uint8)
    placement = place((100, 300), (64, 64), "letterbox")
    truth = np.array([[30, 20, 60, 50]], np.float32)
    box = placement.to_input(truth)[0]

    def run(inputs: Any) -> dict[str, Array]:
        assert inputs["images"].shape == (1, 3, 64, 64)
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        rows = [[x, y, box[2] - box[0], box[3] - box[1], 0.1, 0.9], [x, y, 20, 20, 0.0, 0.7], [5, 5, 4, 4, 0.2, 0.1]]
        return {"output0": np.array(rows, np.float32).T[None]}

    reader = Interface(
        "images", Preprocessing((64, 64), "letterbox"), Decoding("yolo-v8", 2), {"boxes": "output0"}, ("cart", "person")
    )
    seen = reader.predict(frame, run)
    assert isinstance(seen, Detections)
    np.testing.assert_allclose(seen.boxes[0], truth[0], atol=1e-3)
    assert (seen.labels[0], seen.counts()["person"]) == ("person", len(seen))


def test_classes_and_numbers() -> None:
    frame = np.zeros((8, 8, 3), np.uint8)
    reader = Interface("x", Preprocessing((4, 4)), Decoding("class-scores", 2), {"scores": "y"}, ("open", "closed"))
    seen = reader.predict(frame, lambda inputs: {"y": np.array([[0.0, 2.0]], np.float32)})
    assert isinstance(seen, Classification)
    assert seen.label == "closed"
    assert seen.score == pytest.approx(1 / (1 + math.exp(-2)))
    plain = Interface("x", Preprocessing((4, 4))).predict(frame, lambda inputs: {"y": np.array([[1.5, 2.5]])})
    assert isinstance(plain, Numbers)
    assert plain.values.tolist() == [1.5, 2.5]
