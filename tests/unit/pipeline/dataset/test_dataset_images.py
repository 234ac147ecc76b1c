"""Datasets of images: folders, tables that name files, Python that makes arrays."""

import io
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from edgewright.errors import StepFailed, UserCodeFailed
from edgewright.pipeline.dataset.files import load_split
from edgewright.pipeline.dataset.pictures.images import decode
from harness.steps import run_dataset

Pixels = npt.NDArray[np.uint8]
ALL_TRAIN = {"train": 1, "validation": 0, "test": 0}


def png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def grey(value: int, height: int = 4, width: int = 6) -> Pixels:
    return np.full((height, width), value, dtype=np.uint8)


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "source": {"uri": "tags", "format": "image-folder"},
        "columns": {"image": {"type": "image"}, "label": {"type": "category"}},
        **changes,
    }


def folder_of(root: Path, images: dict[str, Pixels]) -> None:
    for name, pixels in images.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(pixels))


def test_a_folder_per_label(tmp_path: Path) -> None:
    folder_of(tmp_path / "tags", {f"{n % 2}/{n:02}.png": grey(n) for n in range(40)})
    (tmp_path / "tags" / "notes.txt").write_text("no image")
    built = run_dataset(tmp_path, spec())
    assert built.facts.input_shape == (1, 4, 6)
    assert built.facts.features == ("image",)
    assert built.facts.columns["label"].values == ("0", "1")
    seen: dict[int, int] = {}
    for name in ("train", "validation", "test"):
        split = load_split(built.files, built.facts, name)
        assert split.features.shape == (built.facts.rows[name], 1, 4, 6)
        assert split.features.dtype == np.float32
        seen |= {
            round(float(image.max()) * 255): int(label)
            for image, label in zip(split.features, split.labels, strict=True)
        }
    assert seen == {n: n % 2 for n in range(40)}


def test_colour_is_channels_first(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 3), dtype=np.uint8)
    pixels[0, 1] = (255, 51, 102)
    folder_of(tmp_path / "tags", {"a/1.png": pixels, "b/1.png": pixels[::-1]})
    built = run_dataset(tmp_path, spec(split=ALL_TRAIN))
    assert built.facts.input_shape == (3, 4, 6)
    image = load_split(built.files, built.facts, "train").features[0]
    assert image[:, 0, 1] == pytest.approx([1.0, 0.2, 0.4])
    assert image.sum() == pytest.approx(1.6)


def test_metadata_adds_columns_and_labels(tmp_path: Path) -> None:
    folder_of(tmp_path / "tags", {f"{n}.png": grey(n) for n in range(3)})
    (tmp_path / "tags" / "metadata.csv").write_text(
        "file,label,store,lighting\n0.png,a,s1,day\n1.png,b,s2,night\n2.png,a,s2,day\n"
    )
    built = run_dataset(tmp_path, spec(split={**ALL_TRAIN, "groupBy": "store"}, slices=["store", "lighting"]))
    train = load_split(built.files, built.facts, "train")
    assert train.labels.tolist() == [0, 1, 0]
    assert train.columns.to_pydict() == {"store": ["s1", "s2", "s2"], "lighting": ["day", "night", "day"]}
    assert built.facts.slices == {"store": ("s1", "s2"), "lighting": ("day", "night")}


def test_missing_and_damaged_images_are_all_listed(tmp_path: Path) -> None:
    folder_of(tmp_path / "tags", {f"a/{n}.png": grey(n) for n in range(3)})
    (tmp_path / "tags/a/text.png").write_text("hello")
    whole = png(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    (tmp_path / "tags/a/cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "tags/metadata.csv").write_text("file,store\na/0.png,s\na/gone.png,s\n")
    with pytest.raises(StepFailed) as caught:
        run_dataset(tmp_path, spec())
    text = str(caught.value)
    assert "dataset/goods cannot be built from tags" in text
    assert "images cannot be read (3): " in text
    assert "a/gone.png (named in metadata.csv, not there)" in text
    assert "a/text.png (no image)" in text
    assert "a/cut.png (damaged: " in text


def test_a_long_list_of_damaged_images_is_cut_and_counted(tmp_path: Path) -> None:
    (tmp_path / "tags/a").mkdir(parents=True)
    for number in range(25):
        (tmp_path / f"tags/a/{number:02}.png").write_bytes(b"")
    with pytest.raises(StepFailed, match=r"images cannot be read \(25\): .*, and 5 more") as caught:
        run_dataset(tmp_path, spec())
    assert "a/19.png" in str(caught.value) and "a/20.png" not in str(caught.value)


def test_images_of_other_shapes_need_a_step(tmp_path: Path) -> None:
    folder_of(tmp_path / "tags", {"a/1.png": grey(1), "a/2.png": grey(2, 9, 9)})
    with pytest.raises(StepFailed, match=r"(?s)shape 1x4x6 \(1\): 1x9x9 \(tags/a/2.png\).*resize"):
        run_dataset(tmp_path, spec())


def test_image_steps_make_them_alike(tmp_path: Path) -> None:
    folder_of(tmp_path / "tags", {"a/1.png": grey(100), "b/2.png": np.full((9, 9, 3), 100, dtype=np.uint8)})
    steps = [
        {"use": "grayscale"},
        {"use": "resize", "with": {"height": 8, "width": 8}},
        {"use": "center-crop", "with": {"height": 2, "width": 4}},
    ]
    built = run_dataset(tmp_path, spec(steps=steps, split=ALL_TRAIN))
    train = load_split(built.files, built.facts, "train")
    assert train.features.shape == (2, 1, 2, 4)
    assert train.features == pytest.approx(np.full((2, 1, 2, 4), 100 / 255))


def test_a_label_that_is_not_declared_is_listed(tmp_path: Path) -> None:
    folder_of(tmp_path / "tags", {"cat/1.png": grey(1), "dog/1.png": grey(2), "cta/1.png": grey(3)})
    columns = {"image": {"type": "image"}, "label": {"type": "category", "values": ["cat", "dog"]}}
    with pytest.raises(StepFailed, match=r"not among those declared \(1\): 'cta' \(tags/cta/1.png\)"):
        run_dataset(tmp_path, spec(columns=columns))


def test_images_without_a_label(tmp_path: Path) -> None:
    folder_of(tmp_path / "tags", {"1.png": grey(1), "a/2.png": grey(1)})
    with pytest.raises(StepFailed, match="rows without 'label': 1"):
        run_dataset(tmp_path, spec())


def test_one_image_added_moves_no_other(tmp_path: Path) -> None:
    folder_of(tmp_path / "tags", {f"{n % 2}/{n:02}.png": grey(n) for n in range(5, 60)})

    def splits() -> dict[int, str]:
        built = run_dataset(tmp_path, spec())
        return {
            round(float(image.max()) * 255): name
            for name in ("train", "validation", "test")
            for image in load_split(built.files, built.facts, name).features
        }

    before = splits()
    folder_of(tmp_path / "tags", {f"{n % 2}/{n:02}.png": grey(n) for n in range(5)})
    assert before.items() <= splits().items()


def test_a_folder_at_a_url(tmp_path: Path) -> None:
    bucket = f"memory://{tmp_path.name}"
    memory = fsspec.filesystem("memory")
    for number in range(4):
        memory.pipe(f"/{tmp_path.name}/{number % 2}/{number}.png", png(grey(number)))
    built = run_dataset(tmp_path, spec(source={"uri": bucket, "format": "image-folder"}, split=ALL_TRAIN))
    assert load_split(built.files, built.facts, "train").labels.tolist() == [0, 0, 1, 1]


def test_a_table_names_files_or_holds_their_bytes(tmp_path: Path) -> None:
    folder_of(tmp_path / "data", {"images/1.png": grey(10), "images/2.png": grey(20)})
    (tmp_path / "data/tags.csv").write_text("image,label\nimages/1.png,a\nimages/2.png,b\n")
    pq.write_table(
        pa.table({"image": [png(grey(10)), png(grey(20))], "label": ["a", "b"]}), tmp_path / "data/tags.parquet"
    )
    for kind in ("csv", "parquet"):
        built = run_dataset(tmp_path, spec(source={"uri": "data", "format": kind}, split=ALL_TRAIN))
        train = load_split(built.files, built.facts, "train")
        assert train.features[:, 0, 0, 0] * 255 == pytest.approx([10, 20])
        assert train.labels.tolist() == [0, 1]


def test_a_table_on_its_own_cannot_name_images_that_no_digest_covers(tmp_path: Path) -> None:
    folder_of(tmp_path / "data", {"1.png": grey(10)})
    (tmp_path / "data/tags.csv").write_text("image,label\n1.png,a\n")
    with pytest.raises(StepFailed, match=r"(?s)tags.csv:2 names the image 1.png.*make the folder"):
        run_dataset(tmp_path, spec(source={"uri": "data/tags.csv", "format": "csv"}))


def test_python_makes_the_rows(tmp_path: Path) -> None:
    (tmp_path / "frames.py").write_text(
        "import numpy as np\n"
        "def generate(count, *, height):\n"
        "    for n in range(count):\n"
        "        image = np.full((height, 5, 3), n, dtype=np.uint8)\n"
        "        yield {'image': image, 'label': np.int64(n), 'lighting': 'day' if n % 2 else 'night'}\n"
    )
    built = run_dataset(
        tmp_path,
        spec(
            source={"uri": "frames.py:generate", "format": "python", "with": {"count": 6, "height": 3}},
            columns={"image": {"type": "image"}, "label": {"type": "integer"}},
            slices=["lighting"],
            split=ALL_TRAIN,
        ),
    )
    train = load_split(built.files, built.facts, "train")
    assert train.features.shape == (6, 3, 3, 5)
    assert train.labels.dtype == np.float32 and train.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert train.columns["lighting"].to_pylist() == ["night", "day"] * 3


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("yield {'image': 1 / 0}", UserCodeFailed, r"ZeroDivisionError: division by zero in frames.py:3 \(generate\)"),
        ("return 5", StepFailed, "returned int, no rows"),
        ("return [3]", StepFailed, "yielded int as row 1; a row is a dict"),
        ("import sys; sys.exit(3)", UserCodeFailed, "SystemExit: 3 in frames.py:3"),
        ("yield {'image': np.zeros((3, 3)), 'label': 'a'}", StepFailed, "holds uint8 from 0 to 255, not float64"),
        ("yield {'image': np.zeros(3, 'uint8'), 'label': 'a'}", StepFailed, r"\(H, W\) or \(H, W, C\), not \(3,\)"),
        ("return []", StepFailed, "gave no rows"),
    ],
)
def test_python_that_goes_wrong(tmp_path: Path, body: str, error: type[StepFailed], message: str) -> None:
    (tmp_path / "frames.py").write_text(f"import numpy as np\ndef generate():\n    {body}\n")
    with pytest.raises(error, match=message) as caught:
        run_dataset(tmp_path, spec(source={"uri": "frames.py:generate", "format": "python"}))
    assert type(caught.value) is error


def test_a_syntax_error_shows_its_line(tmp_path: Path) -> None:
    (tmp_path / "frames.py").write_text("def generate(:\n    pass\n")
    with pytest.raises(UserCodeFailed, match=r"SyntaxError: .* in frames.py:1 \(generate\)"):
        run_dataset(tmp_path, spec(source={"uri": "frames.py:generate", "format": "python"}))


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "frames.py").write_text("def generate(): pass\n")
    with pytest.raises(StepFailed, match=r"(?s)no 'genrate'.*did you mean generate"):
        run_dataset(tmp_path, spec(source={"uri": "frames.py:genrate", "format": "python"}))


def test_decoding_turns_pictures_upright_and_keeps_sixteen_bits_in_scale() -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to show it upright
    Image.fromarray(grey(9, 4, 6)).save(file, "PNG", exif=exif)
    assert decode(file.getvalue()).shape == (6, 4)
    sixteen = io.BytesIO()
    Image.fromarray(np.full((2, 2), 0x80FF, dtype=np.uint16)).save(sixteen, "PNG")
    assert decode(sixteen.getvalue()).tolist() == [[0x80, 0x80], [0x80, 0x80]]
