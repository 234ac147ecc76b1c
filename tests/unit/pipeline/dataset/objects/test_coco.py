"""COCO instances: what is kept, what is counted and what is refused, with its line."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.objects.json_places import read_members
from samples.labelled_pictures import SIZE, Box, build, coco, draw, spec, stored, write

PICTURES: dict[str, list[Box]] = {
    "a.png": [("bottle", 3, 4, 2, 3), ("box", 10, 10, 20, 5)],
    "b.png": [],
    "c.png": [("box", 0, 0, 64, 48), ("bottle", 63, 47, 1, 1)],
}


def refused(root: Path, document: dict[str, Any], **with_: Any) -> str:
    write(root / "data", document)
    with pytest.raises(StepFailed) as caught:
        build(root, spec("coco", with_=with_))
    return caught.value.message


def test_boxes_are_stored_as_they_are_in_the_form_that_models_read(tmp_path: Path) -> None:
    document = coco(tmp_path / "data", PICTURES)
    document["annotations"][1]["iscrowd"] = 1
    write(tmp_path / "data", document)

    built = build(tmp_path, spec("coco"))

    assert stored(built) == list(PICTURES.values())
    assert built.facts.label_values == ("bottle", "can", "box"), "by ids, with their gap, and one without objects"
    assert built.facts.objects["train"] == {"bottle": 2, "can": 0, "box": 2}
    assert built.facts.negatives["train"] == 1
    table = pq.read_table(built.files["train.parquet"])
    numbers = [(name, pa.float32()) for name in ("x", "y", "width", "height")]
    assert table.schema.field("objects").type.value_type == pa.struct(
        [("category", pa.int32()), *numbers, ("crowd", pa.bool_())]
    )
    assert [each["crowd"] for each in table["objects"][0].as_py()] == [False, True]


def test_declared_values_give_the_order(tmp_path: Path) -> None:
    write(tmp_path / "data", coco(tmp_path / "data", PICTURES))
    columns = {"image": {"type": "image"}, "objects": {"type": "boxes", "values": ["box", "bottle"]}}

    built = build(tmp_path, {**spec("coco"), "columns": columns})

    assert built.facts.label_values == ("box", "bottle")
    assert stored(built) == list(PICTURES.values())


def test_a_category_that_is_not_declared_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "data", coco(tmp_path / "data", PICTURES))
    columns = {"image": {"type": "image"}, "objects": {"type": "boxes", "values": ["box"]}}
    with pytest.raises(StepFailed, match=r"not declared.*'bottle'"):
        build(tmp_path, {**spec("coco"), "columns": columns})


def test_everything_wrong_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    document = coco(tmp_path / "data", PICTURES)
    extra: list[dict[str, Any]] = [
        {"bbox": [60, 10, 10, 10]},
        {"bbox": [5, 5, 0, 4]},
        {"bbox": [5, 5, float("nan"), 4]},
        {"bbox": [5, 5, "4", 4]},
        {"bbox": [5, 5, 4, 4], "category_id": 7},
        {"bbox": [5, 5, 4, 4], "image_id": 99},
        {"bbox": [5, 5, 4, 4], "segmentation": [[5, 5, 9, 9]]},
        {"bbox": [5, 5, 4, 4], "segmentation": [[5, 5, 9, 9, 5]]},
        {"bbox": [5, 5, 4, 4], "attributes": {"rotation": 30}},
        {},
    ]
    for number, each in enumerate(extra):
        document["annotations"].append({"id": 100 + number, "image_id": 0, "category_id": 1, **each})
    document["images"].append({"id": 0, "file_name": "b.png", "width": 64, "height": 48})
    document["images"].append({"id": 5, "file_name": "gone.png", "width": 64, "height": 48})
    document["images"].append({"id": 6, "file_name": "c.png", "width": 64, "height": 48})
    document["categories"].append({"id": 1, "name": "jar"})

    message = refused(tmp_path, document)

    text = (tmp_path / "data/instances.json").read_text().splitlines()
    line = 1 + next(at for at, each in enumerate(text) if '"id": 100,' in each)
    assert f"data/instances.json:{line - 1}:3 (annotation 100)" in message
    for words in (
        "boxes stick out of their pictures (1)",
        "boxes have no area (1)",
        "boxes have numbers that are not finite (1)",
        "boxes are no four numbers (1)",
        "annotations have unknown categories (1)",
        "annotations are of pictures that are not listed (1)",
        "polygons cannot be closed (2)",
        "boxes are turned (1)",
        "annotations have neither a box nor an outline (1)",
        "two pictures have one id (1)",
        "annotations name pictures that are not there (1): gone.png",
        "one picture is there twice (1): images/c.png",
        "two categories have one id (1)",
    ):
        assert words in message, words


def test_less_than_a_pixel_out_is_rounding_which_is_counted(tmp_path: Path) -> None:
    document = coco(tmp_path / "data", PICTURES)
    document["annotations"][0]["bbox"] = [-0.5, 4, 3, 44.75]
    write(tmp_path / "data", document)

    built = build(tmp_path, spec("coco"))

    assert stored(built)[0][0] == ("bottle", 0, 4, 2.5, 44)
    assert "1 box sticks less than a pixel out of the picture and cut off" in " ".join(built.facts.notices)


def test_options_clip_leave_out_and_enclose_with_counts(tmp_path: Path) -> None:
    document = coco(tmp_path / "data", PICTURES)
    first: dict[str, Any] = {"image_id": 1, "category_id": 1}
    document["annotations"] += [
        {**first, "id": 50, "bbox": [60, 10, 10, 10]},
        {**first, "id": 51, "bbox": [80, 10, 10, 10]},
        {**first, "id": 52, "bbox": [5, 5, 0, 10]},
        {**first, "id": 53, "bbox": [20, 20, 10, 4], "attributes": {"rotation": 90}},
    ]
    write(tmp_path / "data", document)

    options = {"outside": "clip", "withoutArea": "leave-out", "turned": "enclose"}
    built = build(tmp_path, spec("coco", with_=options))

    kept = stored(built)[1]
    assert [list(each[1:]) for each in kept] == [[60, 10, 4, 10], pytest.approx([23, 17, 4, 10], abs=1e-5)]
    assert built.facts.left_out == {"outside of the picture": 1, "without area": 1}
    assert "1 box sticks out of the picture and cut off" in " ".join(built.facts.notices)
    assert "turned boxes, kept as the upright boxes around them" in " ".join(built.facts.notices)


def test_pictures_without_annotations_are_no_negatives(tmp_path: Path) -> None:
    write(tmp_path / "data", coco(tmp_path / "data", PICTURES))
    draw(tmp_path / "data/images/unmarked.png", [("can", 1, 1, 5, 5)], seed=9)

    built = build(tmp_path, spec("coco"))

    assert built.facts.rows["train"] == 3
    assert built.facts.left_out == {"pictures that no annotations name": 1}


@pytest.mark.parametrize("stated", ["stored", "upright", "nothing"])
def test_labels_of_a_picture_that_exif_turns(tmp_path: Path, stated: str) -> None:
    document = coco(tmp_path / "data", PICTURES)
    exif = Image.Exif()
    exif[0x0112] = 6
    draw(tmp_path / "data/images/a.png", [], seed=20, exif=exif)
    sizes = {"stored": SIZE, "upright": SIZE[::-1], "nothing": (None, None)}
    document["images"][0]["width"], document["images"][0]["height"] = sizes[stated]
    write(tmp_path / "data", document)
    if stated == "upright":
        build(tmp_path, spec("coco", steps=[{"use": "resize", "with": {"height": 32, "width": 32}}]))
        return
    assert "may be meant for them unturned" in refused(tmp_path, document)


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    document = coco(tmp_path / "data", PICTURES)
    document["images"][1]["width"] = 128
    assert "images/b.png is 64x48, its labels are for 128x48" in refused(tmp_path, document)


def test_names_of_annotation_files_give_the_splits(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for split, names in (("train2017", ("a.png", "b.png")), ("val2017", ("c.png",))):
        document = coco(data / split, {name: PICTURES[name] for name in names})
        write(data, document, f"annotations/instances_{split}.json")

    shares = {"train": 0.8, "validation": 0.2, "test": 0}
    built = build(tmp_path, spec("coco", split=shares))

    assert stored(built, "validation") == [PICTURES["c.png"]]
    assert built.facts.rows == {"train": 2, "validation": 1, "test": 0}
    assert any("source.with {layout: merged}" in each for each in built.facts.notices)


def test_one_name_in_two_folders_needs_the_folder(tmp_path: Path) -> None:
    document = coco(tmp_path / "data", PICTURES)
    draw(tmp_path / "data/other/a.png", [], seed=8)
    assert "there more than once (1): a.png is images/a.png, other/a.png" in refused(tmp_path, document)

    assert stored(build(tmp_path, spec("coco", with_={"images": "images"}))) == list(PICTURES.values())


def test_a_source_without_any_object_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "data", coco(tmp_path / "data", {"a.png": [], "b.png": []}))
    with pytest.raises(StepFailed, match="no picture has an object"):
        build(tmp_path, spec("coco"))


def test_damaged_json_is_told_with_its_line(tmp_path: Path) -> None:
    draw(tmp_path / "data/a.png", [])
    (tmp_path / "data/instances.json").write_text('{"images": [],\n "annotations": [1 2]}')
    with pytest.raises(StepFailed, match=r"instances\.json:2:20 is no JSON"):
        build(tmp_path, spec("coco"))


def test_a_step_sees_and_changes_objects_by_name(tmp_path: Path) -> None:
    write(tmp_path / "data", coco(tmp_path / "data", PICTURES))
    (tmp_path / "steps.py").write_text(
        "def only_boxes(row):\n"
        "    row['objects'] = [each for each in row['objects'] if each['category'] == 'box']\n"
        "    return row\n"
    )
    built = build(tmp_path, spec("coco", steps=[{"use": "steps.py:only_boxes"}]))
    assert [[each[0] for each in row] for row in stored(built)] == [["box"], [], ["box"]]


@pytest.mark.parametrize("text", ["{}", '{"a": [1, {"b": [2]}, "]"], "c": {"d": []}}', ' {"a" :\n[ ] , "b": NaN} '])
def test_members_are_those_of_the_json_module(text: str) -> None:
    plain = {
        key: [entry for _, entry in value] if isinstance(value, list) else value
        for key, value in read_members(text).items()
    }
    assert repr(plain) == repr(json.loads(text))


@pytest.mark.parametrize("text", ["", "{", '{"a": [1,]}', '{"a": [1}', '{"a": 1,}', '{"a" 1}', "{} x", '{1: "a"}'])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        read_members(text)
