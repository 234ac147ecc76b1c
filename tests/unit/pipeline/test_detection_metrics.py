"""Figures of detections: COCO's equal pycocotools', counts and alarms equal plain loops."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from edgewright.pipeline.evaluation.detection_metrics import AREAS, coco_figures, count_frames
from edgewright.pipeline.evaluation.objects import FoundObjects, TrueObjects

Pictures = tuple[list[TrueObjects], list[FoundObjects]]


def true(*objects: Sequence[float]) -> TrueObjects:
    """Make true objects of (x, y, width, height, category, crowd)."""
    table = np.array(objects, dtype=float).reshape(-1, 6)
    return TrueObjects(table[:, :4], table[:, 4].astype(np.int64), table[:, 5].astype(bool))


def found(*objects: Sequence[float]) -> FoundObjects:
    """Make detections of (x, y, width, height, category, score)."""
    table = np.array(objects, dtype=float).reshape(-1, 6)
    return FoundObjects(table[:, :4], table[:, 4].astype(np.int64), table[:, 5])


def oracle(pictures: Pictures, classes: int, most: int) -> dict[str, float | None]:
    """Compute the figures by pycocotools."""
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, (objects, detections) in enumerate(zip(*pictures, strict=True), start=1):
        for box, category, crowd in zip(objects.boxes, objects.categories, objects.crowd, strict=True):
            each = {"id": len(annotations) + 1, "image_id": image, "category_id": int(category) + 1}
            annotations.append(each | {"bbox": box.tolist(), "area": box[2] * box[3], "iscrowd": int(crowd)})
        for box, category, score in zip(detections.boxes, detections.categories, detections.scores, strict=True):
            each = {"id": len(results) + 1, "image_id": image, "category_id": int(category) + 1}
            results.append(each | {"bbox": box.tolist(), "area": box[2] * box[3], "iscrowd": 0, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for listed in (annotations, results):
            coco = COCO()
            coco.dataset = {
                "images": [{"id": image + 1} for image in range(len(pictures[0]))],
                "categories": [{"id": each + 1} for each in range(classes)],
                "annotations": listed,
            }
            coco.createIndex()
            sides.append(coco)
        evaluation = COCOeval(*sides, "bbox")
        evaluation.params.maxDets = [most]
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]

    def mean(values: Any) -> float | None:
        return float(values[values > -1].mean()) if (values > -1).any() else None

    return {
        "map": mean(precision[:, :, :, 0]),
        "ap50": mean(precision[0, :, :, 0]),
        "ap75": mean(precision[5, :, :, 0]),
        **{f"map{name}": mean(precision[:, :, :, at]) for at, name in enumerate(AREAS, start=1)},
        "ar": mean(recall[:, :, 0]),
        **{f"class {each}": mean(precision[:, :, each, 0]) for each in range(classes)},
    }


def ours(pictures: Pictures, classes: int, most: int) -> dict[str, float | None]:
    figures = coco_figures(*pictures, classes, most=most)
    return figures.overall | {f"class {each}": figures.by_class[each]["map"] for each in range(classes)}


def random_pictures(seed: int, count: int, classes: int = 4, most: int = 12) -> Pictures:
    """Draw objects of all sizes, crowds and near, tied, doubled and false detections; some pictures are empty."""
    random = np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(count):
        number = random.integers(0, most) * int(random.random() < 0.8)
        boxes = np.concatenate([random.uniform(0, 400, (number, 2)), random.uniform(2, 160, (number, 2))], axis=1)
        categories = random.integers(0, classes - 1, number)
        truths.append(TrueObjects(boxes, categories, random.random(number) < 0.15))
        kept = np.flatnonzero(random.random(number) < 0.8)
        kept = np.concatenate([kept, kept[random.random(len(kept)) < 0.2]])
        near = boxes[kept] * random.uniform(0.85, 1.2, (len(kept), 4))
        false = np.concatenate([random.uniform(0, 400, (3, 2)), random.uniform(2, 160, (3, 2))], axis=1)
        found_classes = np.concatenate([categories[kept], random.integers(0, classes, 3)])
        scores = random.integers(0, 12, len(kept) + 3) / 12
        detections.append(FoundObjects(np.concatenate([near, false]), found_classes, scores))
    return truths, detections


@pytest.mark.parametrize("seed", range(10))
def test_twenty_random_cases_are_those_of_pycocotools(seed: int) -> None:
    for case in range(20):
        pictures = random_pictures(100 * seed + case, 1 + case // 2)
        assert ours(pictures, 4, 100) == pytest.approx(oracle(pictures, 4, 100), abs=1e-6), case


ONE = true((10, 10, 40, 40, 0, 0))
SAME = (10, 10, 40, 40, 0, 0.9)
CROWDED = [(5.0 * at, 0, 4, 4, 0, 0) for at in range(150)]
NASTY: dict[str, Pictures] = {
    "crowd alone": ([true((0, 0, 100, 100, 0, 1))], [found((10, 10, 20, 20, 0, 0.9), (300, 0, 9, 9, 0, 0.8))]),
    "crowd and object": (
        [true((0, 0, 100, 100, 0, 1), (10, 10, 20, 20, 0, 0))],
        [found((10, 10, 20, 20, 0, 0.9), (50, 50, 20, 20, 0, 0.95), (12, 12, 20, 20, 0, 0.5))],
    ),
    "two of one score": ([ONE], [found(SAME, (12, 12, 40, 40, 0, 0.9), (200, 200, 5, 5, 0, 0.9))]),
    "one score across pictures": ([ONE, ONE, true()], [found((90, 90, 9, 9, 0, 0.5)), found(SAME), found(SAME)]),
    "two objects of one box": ([true((10, 10, 40, 40, 0, 0), (10, 10, 40, 40, 0, 0))], [found(SAME, SAME)]),
    "overlap of exactly a half": ([true((0, 0, 10, 10, 0, 0))], [found((0, 0, 10, 20, 0, 0.9))]),
    "area at a boundary": ([true((0, 0, 32, 32, 0, 0), (100, 0, 96, 96, 0, 0))], [found((0, 0, 32, 32, 0, 0.4))]),
    "nothing found": ([ONE, true()], [found(), found()]),
    "nothing there": ([true(), true()], [found(SAME), found()]),
    "no picture has anything": ([true()], [found()]),
    "alarms of another class": ([ONE], [found(SAME, *[(at, 0, 9, 9, 1, 0.99) for at in range(40)])]),
    "more than 100 objects": ([true(*CROWDED)], [found(*[(*each[:5], 0.5) for each in CROWDED])]),
    "box without area": ([ONE], [found((10, 10, 0, 0, 0, 0.99), SAME)]),
}


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("most", [1, 100, 300])
def test_nasty_cases_are_those_of_pycocotools(name: str, most: int) -> None:
    assert ours(NASTY[name], 2, most) == pytest.approx(oracle(NASTY[name], 2, most), abs=1e-6)


def test_all_of_150_objects_count_only_where_as_many_are_looked_at() -> None:
    assert ours(NASTY["more than 100 objects"], 2, 100)["ar"] == pytest.approx(2 / 3)
    assert ours(NASTY["more than 100 objects"], 2, 300)["ar"] == 1.0


# ── counts and alarms ─────────────────────────────────────────────────────────────────────────────────────────


def share(first: Any, second: Any) -> float:
    wide = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    high = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    shared = max(wide, 0) * max(high, 0)
    return float(shared / (first[2] * first[3] + second[2] * second[3] - shared))


def looped(pictures: Pictures, score: float) -> dict[str, float | None]:
    """Count one detection after the other."""
    off, alarms, empty = [], [], []
    for objects, detections in zip(*pictures, strict=True):
        off.append(0)
        alarms.append(0)
        empty.append(len(objects.categories) == 0)
        for category in range(4):
            mine = [i for i in range(len(objects.boxes)) if objects.categories[i] == category and not objects.crowd[i]]
            crowds = [objects.boxes[i] for i in np.flatnonzero(objects.crowd & (objects.categories == category))]
            ranked = sorted(
                (i for i in range(len(detections.boxes)) if detections.categories[i] == category),
                key=lambda i: -detections.scores[i],
            )
            left, counted = set(mine), 0
            for each in (i for i in ranked if detections.scores[i] >= score):
                box = detections.boxes[each]
                fitting = [i for i in left if share(box, objects.boxes[i]) >= 0.5]
                if fitting:
                    left.remove(max(fitting, key=lambda i: share(box, objects.boxes[i])))
                    counted += 1
                elif not any(within(box, crowd) >= 0.5 for crowd in crowds):
                    alarms[-1] += 1
                    counted += 1
            off[-1] += abs(counted - len(mine))
    without = [alarm for alarm, none in zip(alarms, empty, strict=True) if none]
    return {
        "countMae": sum(off) / len(off),
        "countExact": off.count(0) / len(off),
        "falseAlarmsPerFrame": sum(alarms) / len(alarms),
        "falseAlarmsPerEmptyFrame": sum(without) / len(without) if without else None,
    }


def within(box: Any, crowd: Any) -> float:
    wide = min(box[0] + box[2], crowd[0] + crowd[2]) - max(box[0], crowd[0])
    high = min(box[1] + box[3], crowd[1] + crowd[3]) - max(box[1], crowd[1])
    return float(max(wide, 0) * max(high, 0) / (box[2] * box[3]))


@pytest.mark.parametrize("seed", range(12))
def test_counts_and_alarms_are_those_of_a_plain_loop(seed: int) -> None:
    pictures = random_pictures(seed, 8)
    for score in (0.0, 0.5):
        assert count_frames(*pictures, 4, score=score).figures() == pytest.approx(looped(pictures, score))


def test_alarms_on_pictures_without_objects_count_where_coco_sees_none() -> None:
    pictures = ([ONE, true(), true()], [found(SAME), found(*[(0, 0, 9, 9, 1, 0.8)] * 3), found()])

    assert ours(pictures, 2, 100)["map"] == 1.0
    assert count_frames(*pictures, 2, score=0.5).figures() == {
        "countMae": 1.0,
        "countExact": pytest.approx(2 / 3),
        "falseAlarmsPerFrame": 1.0,
        "falseAlarmsPerEmptyFrame": 1.5,
    }
    assert count_frames(*pictures, 2, score=0.9).figures()["falseAlarmsPerFrame"] == 0.0
    assert count_frames([ONE], [found(SAME)], 2, score=0.5).figures()["falseAlarmsPerEmptyFrame"] is None
