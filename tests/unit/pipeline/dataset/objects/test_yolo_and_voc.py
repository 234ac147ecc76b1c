"""YOLO folders and Pascal VOC: to the pixel as the pictures show it, and refused with file and line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.objects.xml_trees import XmlFault, parse
from samples.labelled_pictures import COLOURS, SIZE, Box, build, coco, draw, pictures, spec, stored, voc, write, yolo

PICTURES: dict[str, list[Box]] = {
    "a.png": [("bottle", 3, 4, 2, 3), ("box", 10, 10, 20, 5)],
    "b.png": [],
    "c.png": [("can", 0, 0, 1, 1), ("bottle", 62, 46, 2, 2)],
}


def refused(root: Path, format_: str, **others: Any) -> str:
    with pytest.raises(StepFailed) as caught:
        build(root, spec(format_, **others))
    return caught.value.message


def random_pictures(count: int) -> dict[str, list[Box]]:
    """Make pictures with one box of a few pixels for each category, none over another."""
    random = np.random.default_rng(3)
    found = {}
    for number in range(count):
        boxes: list[Box] = []
        for at, category in enumerate(COLOURS):
            width, height = (int(each) for each in random.integers(1, 6, 2))
            x, y = int(random.integers(20 * at, 20 * at + 20 - width)), int(random.integers(0, SIZE[1] - height))
            boxes.append((category, x, y, width, height))
        found[f"{number}.png"] = boxes
    return found


def seen(picture: Any, category: str) -> Box:
    """Find the box of a category's colour by looking at every pixel."""
    columns, rows = [], []
    for y in range(picture.shape[1]):
        for x in range(picture.shape[2]):
            if tuple(int(each) for each in picture[:, y, x]) == COLOURS[category]:
                columns.append(x)
                rows.append(y)
    left, top = min(columns), min(rows)
    return category, left, top, max(columns) - left + 1, max(rows) - top + 1


@pytest.mark.parametrize("format_", ["coco", "yolo", "voc"])
def test_boxes_are_where_the_pixels_are(tmp_path: Path, format_: str) -> None:
    made, data = random_pictures(8), tmp_path / "data"
    if format_ == "coco":
        write(data, coco(data, made))
    elif format_ == "yolo":
        yolo(data, {"train": made})
    else:
        voc(data, made)

    built = build(tmp_path, spec(format_))

    for boxes, picture in zip(stored(built), pictures(built), strict=True):
        for box in boxes:
            assert [*box[1:]] == pytest.approx([*seen(picture, box[0])[1:]], abs=2e-4), box
        assert sorted(box[0] for box in boxes) == sorted(COLOURS)


def test_yolo_keeps_splits_negatives_and_the_order_of_names(tmp_path: Path) -> None:
    yolo(tmp_path / "data", {"train": PICTURES, "valid": {"d.png": [("box", 5, 5, 4, 4)]}})

    built = build(tmp_path, spec("yolo", split={"train": 0.8, "validation": 0.2, "test": 0}))

    assert built.facts.rows == {"train": 3, "validation": 1, "test": 0}
    assert built.facts.label_values == tuple(COLOURS)
    assert built.facts.negatives == {"train": 1, "validation": 0, "test": 0}
    assert "without objects: 1" in " ".join(built.facts.notices)


def test_yolo_outlines_become_boxes_aloud(tmp_path: Path) -> None:
    yolo(tmp_path / "data", {"train": {"a.png": [("box", 5, 5, 4, 4)]}})
    (tmp_path / "data/train/labels/a.txt").write_text("2 0.25 0.25 0.5 0.25 0.375 0.75\n")
    built = build(tmp_path, spec("yolo"))
    assert stored(built) == [[("box", 16, 12, 16, 24)]]
    assert "objects with outlines, of which the boxes around them are read: 1" in " ".join(built.facts.notices)


def test_yolo_turned_boxes_are_refused_or_enclosed(tmp_path: Path) -> None:
    yolo(tmp_path / "data", {"train": {"a.png": [("box", 5, 5, 4, 4)]}})
    corners = [(20, 10), (30, 20), (25, 25), (15, 15)]  # a rectangle turned by 45 degrees
    words = " ".join(f"{x / SIZE[0]:.6f} {y / SIZE[1]:.6f}" for x, y in corners)
    (tmp_path / "data/train/labels/a.txt").write_text(f"2 {words}\n")
    assert "boxes are turned (1): data/train/labels/a.txt:1" in refused(tmp_path, "yolo")

    built = build(tmp_path, spec("yolo", with_={"turned": "enclose"}))
    assert [*stored(built)[0][0][1:]] == pytest.approx([15, 10, 15, 15], abs=1e-3)


def test_everything_wrong_in_yolo_is_told_with_its_line(tmp_path: Path) -> None:
    yolo(tmp_path / "data", {"train": PICTURES})
    labels = tmp_path / "data/train/labels"
    lines = ["7 .5 .5 .1 .1", "0 .5 .5 .1", "0 .5 .5 .1 .1 .9", "0 x .5 .1 .1", "0 nan .5 .1 .1", "0 .5 .5 0 .1"]
    (labels / "a.txt").write_text(
        "\n".join([*lines, "0 .99 .5 .2 .1", "0 .1 .1 .2 .2 .1 .1", "0 .1 .1 .2 .2 .3 .3 .4"])
    )
    (labels / "gone.txt").write_text("0 .5 .5 .1 .1\n")
    message = refused(tmp_path, "yolo")
    for words in (
        "labels have unknown categories (1): 7 (data/train/labels/a.txt:1)",
        "cut short (1): data/train/labels/a.txt:2",
        "a model's detections and no labels (1): data/train/labels/a.txt:3",
        "hold what is no number (1): data/train/labels/a.txt:4",
        "not finite (1): data/train/labels/a.txt:5",
        "no area (1): data/train/labels/a.txt:6",
        "stick out of their pictures (1): data/train/labels/a.txt:7",
        "polygons cannot be closed (2): data/train/labels/a.txt:8, data/train/labels/a.txt:9",
        "labels are of pictures that are not there (1): data/train/labels/gone.txt",
    ):
        assert words in message, words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: images\nnames: [a\n", r"data/data\.yaml:3:1 is no YAML"),
        ("train: images\n", "no names of categories"),
        ("train: images\nnames: [a, a]\n", "lists a name twice: a"),
        ("train: images\nnames: {1: a}\nnc: 3\n", "has 1 names, and nc is 3"),
        ("train: elsewhere\nnames: [a]\n", "folders have no pictures"),
        ("train: images\nnames: [a]\nkpt_shape: [17, 3]\n", "poses"),
        ("names: [a]\n", "names no pictures"),
        ("[]", "is no mapping"),
    ],
)
def test_a_data_yaml_that_does_not_say_what_is_where_is_refused(tmp_path: Path, text: str, words: str) -> None:
    draw(tmp_path / "data/images/a.png", [])
    (tmp_path / "data/data.yaml").write_text(text)
    with pytest.raises(StepFailed, match=words):
        build(tmp_path, spec("yolo"))


def test_yolo_reads_lists_and_folders_below_its_path(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("a", "b"):
        draw(data / f"set/images/{name}.png", [], seed=ord(name))
        (data / "set/labels").mkdir(exist_ok=True)
        (data / f"set/labels/{name}.txt").write_text("1 .5 .5 .25 .25\n")
    (data / "set/train.txt").write_text("./images/a.png\n\n./images/b.png\n")
    (data / "data.yaml").write_text("path: set\ntrain: train.txt\nnames: {0: bottle, 1: can}\n")
    assert stored(build(tmp_path, spec("yolo"))) == [[("can", 24, 18, 16, 12)]] * 2


def test_voc_keeps_lists_and_counts_parts(tmp_path: Path) -> None:
    data = tmp_path / "data"
    voc(data, PICTURES)
    lists = data / "ImageSets/Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\n")
    (lists / "val.txt").write_text("c\n")
    annotation = data / "Annotations/a.xml"
    annotation.write_text(annotation.read_text().replace("</object>", "<part><name>cap</name></part></object>", 1))

    built = build(tmp_path, spec("voc", split={"train": 0.8, "validation": 0.2, "test": 0}))

    assert built.facts.rows == {"train": 2, "validation": 1, "test": 0}
    assert built.facts.label_values == ("bottle", "box", "can"), "as found"
    assert built.facts.left_out == {"parts of objects": 1}
    assert stored(built, "validation") == [PICTURES["c.png"]]


def test_voc_of_tools_that_count_from_zero(tmp_path: Path) -> None:
    voc(tmp_path / "data", {"a.png": [("can", 9, 9, 10, 10)]})
    file = tmp_path / "data/Annotations/a.xml"
    file.write_text(file.read_text().replace("<xmin>10<", "<xmin>0<"))
    assert "begin at pixel 0, and VOC counts from 1 (1): data/Annotations/a.xml:4:3" in refused(tmp_path, "voc")

    built = build(tmp_path, spec("voc", with_={"coordinates": "zero-based"}))
    assert stored(built) == [[("can", 0, 10, 19, 9)]]


def test_everything_wrong_in_voc_is_told_with_its_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    voc(data, PICTURES)
    body = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>{}</xmax><ymax>9</ymax></bndbox>"
    turned = "<robndbox><cx>20</cx><cy>20</cy><w>10</w><h>4</h><angle>0.5</angle></robndbox>"
    attribute = "<attributes><attribute><name>rotation</name><value>30.0</value></attribute></attributes>"
    objects = [
        f"<object><name>can</name>{body.format(90)}</object>",
        f"<object><name>can</name>{body.format(1)}</object>",
        f"<object><name>can</name>{body.format('x')}</object>",
        f"<object>{body.format(8)}</object>",
        "<object><name>can</name></object>",
        f"<object><name>can</name>{turned}</object>",
        f"<object><name>can</name>{attribute}{body.format(8)}</object>",
    ]
    text = (data / "Annotations/a.xml").read_text()
    (data / "Annotations/a.xml").write_text(text.replace("</annotation>", "\n".join([*objects, "</annotation>"])))
    (data / "Annotations/d.xml").write_text("<annotation><filename>gone.png</filename></annotation>")
    (data / "Annotations/e.xml").write_text("<annotation><filename>b.png</filename></annotation>")
    (data / "Annotations/f.xml").write_text("<annotation>\n  <filename>")
    (data / "Annotations/g.xml").write_text('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>\n<annotation/>')
    (data / "Annotations/h.xml").write_text("<annotation></annotation>")
    message = refused(tmp_path, "voc")
    for words in (
        "stick out of their pictures (1): data/Annotations/a.xml:6:1",
        "no area (1): data/Annotations/a.xml:7:1",
        "boxes are no numbers (1): data/Annotations/a.xml:8:1",
        "unknown categories (1): data/Annotations/a.xml:9:1 has no name",
        "have no box (1): data/Annotations/a.xml:10:1",
        "boxes are turned (2): data/Annotations/a.xml:11:1, data/Annotations/a.xml:12:1",
        "not there (1): gone.png",
        "one picture is there twice (1): JPEGImages/b.png",
        "data/Annotations/f.xml:2:13 is no XML",
        "has a document type, which is not read",
        "name no picture (1): data/Annotations/h.xml:1:1 has no filename",
    ):
        assert words in message, (words, message)


@pytest.mark.parametrize("text", ["<a>" * 60 + "</a>" * 60, "<a></b>", "", "<a>&b;</a>"])
def test_xml_that_is_odd_is_refused(text: str) -> None:
    with pytest.raises(XmlFault):
        parse(text.encode())


def test_labels_of_yolo_for_a_turned_picture_are_refused_or_confirmed(tmp_path: Path) -> None:
    yolo(tmp_path / "data", {"train": {"a.png": [("box", 5, 5, 4, 4)]}})
    exif = Image.Exif()
    exif[0x0112] = 3
    draw(tmp_path / "data/train/images/a.png", [], exif=exif)
    assert "may be meant for them unturned (1): train/images/a.png" in refused(tmp_path, "yolo")
    build(tmp_path, spec("yolo", with_={"orientation": "upright"}))
