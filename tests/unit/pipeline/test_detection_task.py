"""Object detection as a task: labels as arrays, decoded outputs, what is learned where, and what is measured."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
import torch

from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.boxes import join_tables, object_table
from edgewright.pipeline.dataset.files import load_split
from edgewright.pipeline.evaluation.decoding import decode
from edgewright.pipeline.tasks.registry import task_of
from edgewright.pipeline.training.data import load_rows
from edgewright.pipeline.training.detector import detection_loss
from edgewright.pipeline.training.module import make_module, shape_of
from edgewright_schemas.model import EarlyStopping, ModelSpec, Nms
from edgewright_schemas.tasks import LOWER_IS_BETTER
from samples.shapes import BOX, shapes

SPEC = ModelSpec.model_validate(
    {
        "task": "object-detection",
        "dataset": "shapes",
        "architecture": {"use": "small-detector", "with": {"width": 4}},
        "nms": {"maxDetections": 20},
    }
)


def rows(*pictures: list[tuple[float, ...]] | None) -> pa.Array:
    """Make a column of objects (category, x, y, width, height, crowd)."""
    named = [
        None
        if objects is None
        else [
            dict(zip([*("category", "x", "y", "width", "height")], each, strict=False)) | {"crowd": each[5:] == (1,)}
            for each in objects
        ]
        for objects in pictures
    ]
    return pa.array(named, pa.list_(BOX))


ONE = (1, 10.0, 20.0, 8.0, 6.0)


def test_lists_of_objects_become_one_array_with_empty_places() -> None:
    table = object_table(rows([ONE, (0, 1, 2, 3, 4, 1)], [], None))

    assert table[0].tolist() == [[1, 10, 20, 8, 6, 0], [0, 1, 2, 3, 4, 1]]
    assert table[1, :, 0].tolist() == [-1, -1]
    assert np.isnan(table[2, 0]).all()
    wide = join_tables([table[:, :1], table])
    assert wide.shape == (6, 2, 6)
    assert wide[0, :, 0].tolist() == [1, -1]
    assert join_tables([]).shape == (0, 1, 6)


def test_a_split_of_objects_is_read_with_its_pictures(tmp_path: Path) -> None:
    data = shapes(tmp_path, (5, 3, 2))

    split = load_split(data.files, data.facts, "train", limit=4)

    assert split.features.shape == (4, 3, 64, 64)
    assert split.labels.shape[0] == 4
    assert split.labels.shape[2] == 6


@pytest.mark.parametrize(
    ("objects", "wrong"),
    [
        ([ONE], False),
        ([], False),
        (None, True),
        ([(2, 1, 1, 4, 4)], True),
        ([ONE, (0, 1, 1, 0, 4)], True),
        ([(0, float("nan"), 1, 4, 4)], True),
        ([(0, 1, 1, float("inf"), 4)], True),
    ],
)
def test_labels_that_cannot_be_learned_from_are_marked(objects: Any, wrong: bool) -> None:
    marked = task_of("object-detection").unusable(object_table(rows([ONE], objects)), 2)
    assert marked.tolist() == [False, wrong]


def test_a_picture_without_a_label_stops_the_training(tmp_path: Path) -> None:
    data = shapes(tmp_path, (3, 3, 3))
    import pyarrow.parquet as pq

    table = pq.read_table(data.files["train.parquet"])
    pq.write_table(table.set_column(1, "objects", rows(None, [], [ONE])), data.files["train.parquet"])
    with pytest.raises(StepFailed, match=r"objects \(1 rows\)"):
        load_rows(data.files, data.facts, "train", shape_of(SPEC, data.facts))


# ── outputs ───────────────────────────────────────────────────────────────────────────────────────────────────


def output_of(*found: tuple[float, ...], classes: int = 2) -> Any:
    """Make one picture's output of (x, y, width, height, scores …) in shares."""
    return np.array([found], dtype=np.float32).reshape(1, -1, 4 + classes)


def test_boxes_are_decoded_to_pixels_by_score() -> None:
    output = output_of((0.1, 0.2, 0.2, 0.1, 0.9, 0.3), (0.11, 0.2, 0.2, 0.1, 0.8, 0.005), (0.6, 0.5, 0.1, 0.1, 0, 0.7))

    table = decode(output, (200, 100), Nms())

    assert table[0] == pytest.approx(np.array([[0, 20, 20, 40, 10, 0.9], [1, 120, 50, 20, 10, 0.7]]), abs=1e-4)
    assert len(decode(output, (200, 100), Nms.model_validate({"maxDetections": 1}))[0]) == 1
    assert decode(np.zeros((2, 3, 6), np.float32), (9, 9), Nms())[:, :, 0].tolist() == [[-1], [-1]]
    assert np.isnan(decode(output * np.nan, (200, 100), Nms())).all()


def test_scores_that_are_no_shares_are_refused() -> None:
    with pytest.raises(StepFailed, match="to 3, no probabilities"):
        decode(output_of((0.1, 0.2, 0.2, 0.1, 3.0, -2.0)), (200, 100), Nms())


def test_an_output_of_another_shape_says_what_is_expected(tmp_path: Path) -> None:
    evaluator = task_of("object-detection").configured(SPEC, shapes(tmp_path, (1, 1, 1)).facts).evaluator(2)
    with pytest.raises(StepFailed, match=r"expected is \(5, \?, 6\)"):
        evaluator.predictions(np.zeros((5, 64)), "fp32")


def test_what_the_task_declares_it_measures_and_watches(tmp_path: Path) -> None:
    task = task_of("object-detection").configured(SPEC, shapes(tmp_path, (1, 1, 1)).facts)
    sides = (0.1, 0.7, 2.0)
    labels = torch.from_numpy(object_table(rows([(0, 5, 5, 32 * side, 30 * side) for side in sides], [])))
    output = np.zeros((2, 3, 6), dtype=np.float32)
    output[0] = [(5 / 64, 5 / 64, side / 2, side * 30 / 64, 0.9, 0.0) for side in sides]
    evaluator = task.evaluator(2)

    predictions = evaluator.predictions(output, "fp32")
    figures = evaluator.figures(predictions, labels)

    assert tuple(figures) == task.declaration.metric_names
    expected = {name: 0.0 if name in LOWER_IS_BETTER else 1.0 for name in figures} | {"mapLarge": None}
    assert figures == pytest.approx(expected)
    weighed = evaluator.weigh(predictions, labels, np.array([[1.0, 1.0], [2.0, 0.0]]), ["countMae", "countExact"])
    assert {name: values.tolist() for name, values in weighed.items()} == {"countMae": [0, 0], "countExact": [1, 1]}
    watched = task.validation_figures(torch.from_numpy(output), labels)
    assert set(watched) == set(task.declaration.watched_names)
    assert set(watched) <= set(get_args(EarlyStopping.model_fields["metric"].annotation))
    assert "map" not in task.validation_figures(torch.from_numpy(output[1:]), labels[1:])


def test_two_variants_agree_as_far_as_they_report_the_same_objects() -> None:
    evaluator = task_of("object-detection").evaluator(2)
    first = evaluator.predictions(output_of((0.1, 0.1, 0.2, 0.2, 0.9, 0), (0.6, 0.6, 0.2, 0.2, 0, 0.9)), "int8")
    second = evaluator.predictions(output_of((0.1, 0.1, 0.2, 0.19, 0.8, 0), (0.6, 0.6, 0.2, 0.2, 0, 0.4)), "fp32")

    assert evaluator.agreement(first, first) == {"sameObjects": 1.0, "sameCounts": 1.0}
    assert evaluator.agreement(first, second) == {"sameObjects": 0.5, "sameCounts": 0.0}


def test_golden_pictures_are_spread_over_how_much_they_show() -> None:
    labels = object_table(rows([], [ONE] * 4, [], [ONE], [ONE] * 9, []))
    assert task_of("object-detection").golden_rows(labels, 3).tolist() == [0, 4, 5]


# ── learning ──────────────────────────────────────────────────────────────────────────────────────────────────


def grid(classes: int = 2) -> torch.Tensor:
    """Make a detector's output for pictures of 64 x 64 at a stride of 8, unsure everywhere."""
    output = torch.full((1, 64, 4 + classes), 0.2)
    return output.requires_grad_()


def pulled(labels: pa.Array) -> Any:
    """Return in which positions the score of each class would rise."""
    output = grid()
    detection_loss(output, torch.from_numpy(object_table(labels)), (64, 64)).backward()  # type: ignore[no-untyped-call]  # torch has no type for it
    assert output.grad is not None
    return np.argwhere(output.grad[0, :, 4:].numpy() < 0).tolist()


def test_positions_near_an_objects_middle_learn_it() -> None:
    # The middle of the object is that of the cell in row 2, column 1.
    assert pulled(rows([(1, 8, 16, 8, 8)])) == [[2 * 8 + 1, 1]]
    assert [17, 1] in pulled(rows([(1, 4, 12, 16, 16)]))
    assert len(pulled(rows([(1, 0, 8, 24, 24)]))) == 9
    assert pulled(rows([(0, 33, 33, 2, 2)])) == [[4 * 8 + 4, 0]]
    assert pulled(rows([])) == []


def test_of_two_objects_at_one_place_the_smaller_is_learned() -> None:
    both = pulled(rows([(0, 0, 0, 48, 48), (1, 16, 16, 16, 16)]))
    assert [[position, kind] for position, kind in both if kind == 1] == [[18, 1], [19, 1], [26, 1], [27, 1]]


def test_within_a_crowd_no_score_of_its_class_is_taught_to_fall() -> None:
    output = grid()
    detection_loss(output, torch.from_numpy(object_table(rows([(1, 0, 0, 32, 64, 1)]))), (64, 64)).backward()  # type: ignore[no-untyped-call]  # torch has no type for it
    assert output.grad is not None
    falling = (output.grad[0, :, 4:] > 0).reshape(8, 8, 2).numpy()
    assert falling[:, :, 0].all()
    assert not falling[:, :4, 1].any()
    assert falling[:, 4:, 1].all()


def test_the_loss_of_many_pictures_is_of_each_object(tmp_path: Path) -> None:
    data = shapes(tmp_path, (70, 1, 1))
    shape = shape_of(SPEC, data.facts)
    loaded = load_rows(data.files, data.facts, "train", shape)
    with torch.no_grad():
        outputs = make_module(SPEC, tmp_path, shape).eval()(loaded.features)
        once = detection_loss(outputs, loaded.labels, (64, 64))
        twice = detection_loss(outputs.repeat(2, 1, 1), loaded.labels.repeat(2, 1, 1), (64, 64))

    assert twice.item() == pytest.approx(once.item(), rel=1e-5)


def test_positions_that_are_no_grid_are_refused() -> None:
    with pytest.raises(StepFailed, match="63 positions for pictures of 64 x 64"):
        detection_loss(grid()[:, :63], torch.zeros((1, 1, 6)), (64, 64))


@pytest.mark.parametrize("size", [(64, 64), (61, 90), (33, 17)])
@pytest.mark.parametrize("stride", [4, 8, 16])
def test_pictures_of_odd_sizes_have_a_grid(size: tuple[int, int], stride: int, tmp_path: Path) -> None:
    facts = shapes(tmp_path, (1, 1, 1)).facts
    from dataclasses import replace

    spec = SPEC.model_copy(
        update={"architecture": SPEC.architecture.model_copy(update={"with_": {"width": 2, "stride": stride}})}  # type: ignore[union-attr]  # it is trained
    )
    shape = shape_of(spec, replace(facts, input_shape=(3, *size)))
    output = make_module(spec, tmp_path, shape)(torch.zeros((2, 3, *size)))

    loss = shape.task.loss(output, torch.from_numpy(object_table(rows([ONE], []))), 1.0)

    assert output.shape == (2, -(-size[0] // stride) * -(-size[1] // stride), 6)
    assert torch.isfinite(loss)
