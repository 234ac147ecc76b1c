"""Files and values that somebody will have: odd EXIF, damaged files, names spelled otherwise, texts among numbers."""

import io
import struct
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from edgewright.errors import StepFailed, UserCodeFailed
from edgewright.pipeline.dataset.files import load_split
from edgewright.pipeline.dataset.pictures.images import decode
from harness.steps import run_dataset

ALL_TRAIN = {"train": 1, "validation": 0, "test": 0}
NFC = "caf\u00e9"
NFD = unicodedata.normalize("NFD", NFC)


def exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    """EXIF as a camera writes it: (tag, type, count, the four bytes of its value)."""
    ifd = b"".join(struct.pack(">HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, len(entries)) + ifd + struct.pack(">I", 0)


def jpeg(value: int, *, tags: bytes = b"", height: int = 8, width: int = 8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(file, "JPEG", exif=tags)
    return file.getvalue()


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "source": {"uri": "data", "format": "image-folder"},
        "columns": {"image": {"type": "image"}, "label": {"type": "category"}},
        "split": ALL_TRAIN,
        **changes,
    }


def table(**changes: Any) -> dict[str, Any]:
    columns = {"x": {"type": "number"}, "label": {"type": "category"}}
    return spec(**{"source": {"uri": "data.csv", "format": "csv"}, "columns": columns, **changes})


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


ORIENTATION_6 = (0x0112, 3, 1, struct.pack(">HH", 6, 0))


@pytest.mark.parametrize(
    "odd",
    [
        (0x011A, 2, 4, b"72\0\0"),  # the resolution as a text
        (0x8769, 4, 1, struct.pack(">I", 0xFFFF)),  # a directory beyond the end
        (0x9286, 7, 4000, struct.pack(">I", 0xFFFF)),  # a comment beyond the end
        (0x0103, 0, 1, bytes(4)),  # a type that is none
    ],
)
def test_odd_exif_turns_the_picture_and_does_no_harm(tmp_path: Path, odd: tuple[int, int, int, bytes]) -> None:
    tall = jpeg(60, tags=exif(ORIENTATION_6, odd), height=4, width=8)
    write(tmp_path / "data", {"cat/1.jpg": tall, "dog/1.jpg": jpeg(200, height=8, width=4)})
    assert run_dataset(tmp_path, spec()).facts.input_shape == (3, 8, 4)


@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_as_viewers_show_it(orientation: int) -> None:
    from PIL import ImageOps

    file = io.BytesIO()
    tags = Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6)).save(file, "PNG", exif=tags)
    assert decode(file.getvalue()).tolist() == np.asarray(ImageOps.exif_transpose(Image.open(file))).tolist()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_whatever_a_decoder_raises_belongs_to_its_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = {kind: io.BytesIO() for kind in ("png", "tiff", "webp", "avif", "gif")}
    for kind, stream in whole.items():
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(stream, kind)
    files = {"a/good.jpg": jpeg(1), "b/good.jpg": jpeg(2)}
    for kind, stream in whole.items():
        for number in range(8):
            data = bytearray(stream.getvalue())
            for place in rng.integers(4, len(data), 6):
                data[place] = rng.integers(0, 255)
            files[f"a/{kind}{number}.{kind}"] = bytes(data[: len(data) - number * 3])
    write(tmp_path / "data", files)
    with pytest.raises(StepFailed) as caught:
        run_dataset(tmp_path, spec())
    text = str(caught.value)
    assert "images cannot be read (" in text and "a/png7.png (damaged: " in text
    assert type(caught.value) is StepFailed
    assert not any("good.jpg" in line for line in text.splitlines() if "images cannot be read" in line)


def test_names_are_found_however_their_letters_are_composed(tmp_path: Path) -> None:
    write(tmp_path / "data", {f"{NFD}-1.jpg": jpeg(1), f"{NFD}-2.jpg": jpeg(2)})
    (tmp_path / "data/metadata.csv").write_text(f"file,label\n{NFC}-1.jpg,a\n{NFC}-2.jpg,b\n")
    assert run_dataset(tmp_path, spec(), workdir="one").facts.rows["train"] == 2
    (tmp_path / "data/metadata.csv").rename(tmp_path / "data/tags.csv")
    columns = {"file": {"type": "image"}, "label": {"type": "category"}}
    built = run_dataset(tmp_path, spec(source={"uri": "data", "format": "csv"}, columns=columns), workdir="two")
    assert built.facts.rows["train"] == 2


def test_values_are_the_same_however_their_letters_are_composed(tmp_path: Path) -> None:
    write(tmp_path / "data", {f"{NFD}/1.jpg": jpeg(1), "tea/1.jpg": jpeg(2), f"{NFC}/2.jpg": jpeg(3)})
    found = run_dataset(tmp_path, spec(), workdir="one").facts
    assert found.label_values is not None and len(found.label_values) == 2
    columns = {"image": {"type": "image"}, "label": {"type": "category", "values": [NFC, "tea"]}}
    declared = run_dataset(tmp_path, spec(columns=columns), workdir="two").facts
    assert declared.class_rows == {
        "train": {NFC: 2, "tea": 1},
        "validation": {NFC: 0, "tea": 0},
        "test": {NFC: 0, "tea": 0},
    }


def test_one_class_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    write(tmp_path / "data", {f"fruit/{kind}/{n}.jpg": jpeg(n) for kind in ("apple", "pear") for n in range(3)})
    with pytest.raises(StepFailed, match=r"every row has the label 'fruit'\n.*two classes or more"):
        run_dataset(tmp_path, spec())


def test_own_steps_get_values_that_have_no_type_yet(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(
        "def mend(row):\n"
        "    x = row['x']\n"
        "    row['x'] = None if x == 'NA' else float(x.replace(',', '.')) if isinstance(x, str) else x\n"
        "    return row\n"
    )
    write(tmp_path, {"data.csv": b'x,label\n"1,5",a\nNA,b\n3.5,b\n"4,5",a\n'})
    steps = [{"use": "steps.py:mend"}, {"use": "drop-missing"}]
    built = run_dataset(tmp_path, table(steps=steps))
    assert load_split(built.files, built.facts, "train").features[:, 0].tolist() == [1.5, 3.5, 4.5]
    assert built.facts.dropped == {"drop-missing": 1}
    with pytest.raises(
        StepFailed, match=r"values of 'x' are no number \(3\): '1,5' is no number; decimal commas need `decimal"
    ):
        run_dataset(tmp_path, table(), workdir="raw")


def test_decimal_commas_are_read_where_they_are_declared(tmp_path: Path) -> None:
    source = {"uri": "data.csv", "format": "csv", "with": {"delimiter": ";", "decimal": ","}}
    write(tmp_path, {"data.csv": b"x;label\n1,5;a,b\n-2;c.d\n1e3;c.d\n"})
    built = run_dataset(tmp_path, table(source=source))
    assert load_split(built.files, built.facts, "train").features[:, 0].tolist() == [1.5, -2.0, 1000.0]
    assert built.facts.label_values == ("a,b", "c.d"), "texts stay as they are"
    write(tmp_path, {"data.csv": b"x;label\n1.234,5;a\n1.5;b\n2,0;b\n"})
    with pytest.raises(
        StepFailed, match=r"a point where decimal is a comma \(2\): data.csv:2 x: 1.234,5, data.csv:3 x"
    ):
        run_dataset(tmp_path, table(source=source), workdir="points")
    semicolons = {**source, "with": {"decimal": ";"}}
    with pytest.raises(StepFailed, match="csv: decimal is ';'"):
        run_dataset(tmp_path, table(source=semicolons), workdir="other")


def test_texts_that_stand_for_no_value(tmp_path: Path) -> None:
    write(tmp_path, {"data.csv": b"x,label\n1,a\nNA,b\n3,b\n4,-\n"})
    source = {"uri": "data.csv", "format": "csv", "with": {"missing": ["NA", "-"]}}
    built = run_dataset(tmp_path, table(source=source, steps=[{"use": "drop-missing"}]))
    assert built.facts.rows["train"] == 2 and built.facts.dropped == {"drop-missing": 2}


def test_numbers_are_not_read_as_python_writes_them(tmp_path: Path) -> None:
    write(tmp_path, {"data.csv": b"x,label\n1_000,a\n2,b\n"})
    for type_ in ("number", "integer"):
        with pytest.raises(StepFailed, match="'1_000' is no number"):
            run_dataset(tmp_path, table(columns={"x": {"type": type_}, "label": {"type": "category"}}))


def test_an_own_step_that_raises_tells_the_row(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text("def half(row):\n    row['x'] = 1 / row['x']\n    return row\n")
    write(tmp_path, {"data.csv": b"x,label\n1,a\n0,b\n"})
    with pytest.raises(UserCodeFailed, match=r"(?s)ZeroDivisionError.*in the row data.csv:3"):
        run_dataset(tmp_path, table(steps=[{"use": "steps.py:half"}]))


def test_built_in_steps_name_the_files_they_cannot_handle(tmp_path: Path) -> None:
    write(tmp_path / "data", {f"{label}/{n}.jpg": jpeg(n, height=4 + n % 2 * 8) for label in "ab" for n in range(4)})
    steps = [{"use": "center-crop", "with": {"height": 6, "width": 6}}]
    with pytest.raises(StepFailed, match=r"6 x 6, and an image has 4 x 8 \(4\): data/a/0.jpg, data/a/2.jpg, data/b/0"):
        run_dataset(tmp_path, spec(steps=steps))


def test_rows_of_other_lengths_are_all_told(tmp_path: Path) -> None:
    write(tmp_path, {"data.csv": b"x,label\n1,a\n2\n3,b\n4,a,b\nNA,a\n"})
    with pytest.raises(StepFailed) as caught:
        run_dataset(tmp_path, table())
    text = str(caught.value)
    assert "(2): data.csv:3 has 1 values for 2 columns, data.csv:5 has 3 values for 2 columns" in text
    assert "'NA' is no number (data.csv:6)" in text


def test_damage_inside_a_table_tells_where(tmp_path: Path) -> None:
    write(tmp_path, {"data.csv": b"x,label\n1,a\n" * 2000 + b"\xff,b\n"})
    with pytest.raises(StepFailed, match=r"data.csv is not utf-8 after line \d{3,}"):
        run_dataset(tmp_path, table())
    pq.write_table(pa.table({"x": pa.array([2**62], pa.timestamp("us")), "label": ["a"]}), tmp_path / "data.parquet")
    with pytest.raises(StepFailed, match=r"data.parquet cannot be read"):
        run_dataset(tmp_path, table(source={"uri": "data.parquet", "format": "parquet"}))
