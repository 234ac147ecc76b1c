"""Copies of one picture: they stay in one split, and are told."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter

from edgewright.pipeline.dataset.pictures.copies import Copies
from harness.steps import run_dataset

Pixels = npt.NDArray[np.uint8]
SHARES = {"train": 0.5, "validation": 0.2, "test": 0.3, "seed": 4}


def photo(number: int, size: int = 64) -> Image.Image:
    """A picture of soft shapes, as photos have them."""
    noise = np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8)
    return Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)


def save(root: Path, name: str, picture: Image.Image, **options: Any) -> None:
    path = root / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "source": {"uri": "data", "format": "image-folder"},
        "columns": {"image": {"type": "image"}, "label": {"type": "category"}},
        "steps": [{"use": "resize", "with": {"height": 16, "width": 16}}],
        "split": SHARES,
        **changes,
    }


def splits_by_picture(built: Any) -> dict[bytes, set[str]]:
    found: dict[bytes, set[str]] = {}
    for split in ("train", "validation", "test"):
        for picture in pq.read_table(built.files[f"{split}.parquet"])["image"].to_pylist():
            found.setdefault(picture, set()).add(split)
    return found


def test_copies_under_two_names_are_in_one_split_and_move_no_other(tmp_path: Path) -> None:
    for number in range(40):
        save(tmp_path, f"{'ab'[number % 2]}/{number:02}.png", photo(number))
    before = splits_by_picture(run_dataset(tmp_path, spec()))
    for number in range(40):
        label = "ab"[number % 2]
        save(tmp_path, f"{label}/z{number}.png", photo(number))
        save(tmp_path, f"{label}/{number:02}.tif", photo(number))
    built = run_dataset(tmp_path, spec(), workdir="copies")
    after = splits_by_picture(built)
    assert after == before and all(len(splits) == 1 for splits in after.values())
    assert built.facts.copies == {"rows": 80}
    assert built.facts.notices[0].startswith("80 rows hold the same picture as another (a/00.tif = a/00.png, ")


def test_one_copy_is_one_row(tmp_path: Path) -> None:
    for number in range(10):
        save(tmp_path, f"{'ab'[number % 2]}/{number}.png", photo(number))
    save(tmp_path, "a/b0.png", photo(0))
    built = run_dataset(tmp_path, spec())
    assert built.facts.notices[0].startswith("1 row holds the same picture as another (")


def test_a_dataset_without_copies_comes_out_as_before(tmp_path: Path) -> None:
    for number in range(30):
        save(tmp_path, f"{'ab'[number % 2]}/{number:02}.png", photo(number))
    built = run_dataset(tmp_path, spec())
    assert built.facts.copies is None and built.facts.notices is None
    assert built.facts.rows == {"train": 18, "validation": 6, "test": 6}, "what versions before gave"


def test_pictures_that_steps_make_equal_are_copies_too(tmp_path: Path) -> None:
    for number in range(30):
        save(tmp_path, f"{'ab'[number % 2]}/{number:02}.png", photo(number, 16))
        save(tmp_path, f"{'ab'[number % 2]}/{number:02}-framed.png", framed(photo(number, 16)))
    steps = [{"use": "center-crop", "with": {"height": 16, "width": 16}}]
    built = run_dataset(tmp_path, spec(steps=steps))
    assert built.facts.copies == {"rows": 30}
    assert all(len(splits) == 1 for splits in splits_by_picture(built).values())


def framed(picture: Image.Image) -> Image.Image:
    frame = Image.new("RGB", (20, 20), "white")
    frame.paste(picture, (2, 2))
    return frame


def test_copies_that_a_table_names_are_found(tmp_path: Path) -> None:
    lines = ["image,label"]
    for number in range(20):
        for name in (f"{number:02}.png", f"again-{number}.png"):
            save(tmp_path, name, photo(number))
            lines.append(f"{name},{'ab'[number % 2]}")
    (tmp_path / "data/tags.csv").write_text("\n".join(lines) + "\n")
    built = run_dataset(tmp_path, spec(source={"uri": "data", "format": "csv"}))
    assert built.facts.copies == {"rows": 20}
    assert all(len(splits) == 1 for splits in splits_by_picture(built).values())


def test_copies_that_groups_or_folders_part_are_told(tmp_path: Path) -> None:
    for number in range(10):
        save(tmp_path, f"train/{'ab'[number % 2]}/{number}.png", photo(number))
        save(tmp_path, f"valid/{'ab'[number % 2]}/{number}.png", photo(number + 100))
        save(tmp_path, f"test/{'ab'[number % 2]}/{number}.png", photo(number + (0 if number < 3 else 200)))
    built = run_dataset(tmp_path, spec())
    assert built.facts.rows == {"train": 10, "validation": 10, "test": 10}
    assert built.facts.copies == {"rows": 3, "acrossSplits": 3}
    assert "3 rows hold a picture that another split has too, as the given splits have it" in built.facts.notices[-1]


def test_a_copy_with_another_label_is_told(tmp_path: Path) -> None:
    for number in range(30):
        save(tmp_path, f"{'ab'[number % 2]}/{number:02}.png", photo(number))
    save(tmp_path, "b/twin.png", photo(0))
    built = run_dataset(tmp_path, spec())
    assert built.facts.copies == {"rows": 1, "labelledOtherwise": 1}


@pytest.mark.parametrize("wanted", [False, True])
def test_near_copies_stay_together_where_that_is_asked_for(tmp_path: Path, wanted: bool) -> None:
    for number in range(30):
        label = "ab"[number % 2]
        save(tmp_path, f"{label}/{number:02}.png", photo(number))
        save(tmp_path, f"{label}/{number:02}-small.jpg", photo(number).resize((40, 40)), quality=80)
        save(tmp_path, f"{label}/{number:02}-again.jpg", photo(number), quality=60)
    built = run_dataset(tmp_path, spec(split={**SHARES, "nearCopies": wanted}))
    looks: dict[int, set[str]] = {}
    references = [np.asarray(photo(n).resize((16, 16)), np.int16).transpose(2, 0, 1).ravel() for n in range(30)]
    for picture, splits in splits_by_picture(built).items():
        found = np.frombuffer(picture, np.uint8).astype(np.int16)
        nearest = min(range(30), key=lambda n: int(np.abs(references[n] - found).sum()))
        looks.setdefault(nearest, set()).update(splits)
    parted = sum(len(splits) > 1 for splits in looks.values())
    assert (parted == 0) if wanted else (parted > 10)
    assert built.facts.copies == ({"near": 60} if wanted else None)


def near(pictures: Mapping[str, Image.Image]) -> dict[str, str]:
    copies = Copies(near=True)
    for name, picture in pictures.items():
        copies.name(name, None, np.asarray(picture), "a")
    return copies.near()


def test_what_is_near_and_what_is_not() -> None:
    first = photo(1)
    moved = first.copy()
    moved.paste((255, 255, 255), (8, 8, 24, 24))  # a shelf camera's picture with one product more
    darker = first.point(lambda level: level // 2)
    found = near(
        {
            "first": first,
            "again": first.filter(ImageFilter.GaussianBlur(1)),
            "moved": moved,
            "darker": darker,
            "other": photo(2),
            "turned": first.rotate(90),
        }
    )
    assert found == {"again": "first"}


def test_a_chain_of_near_copies_has_the_earliest_name() -> None:
    pictures = {"b": photo(1), "a": photo(1).resize((48, 48)), "c": photo(1).resize((32, 32))}
    assert near(pictures) == {"a": "b", "c": "b"}


def test_twenty_thousand_pictures_are_compared_in_seconds() -> None:
    copies = Copies(near=True)
    rng = np.random.default_rng(0)
    for number in range(20_000):
        copies._looks[str(number)] = (int(rng.integers(0, 2**63)), rng.integers(0, 255, (16, 16), np.uint8))
    copies._looks["twin"] = copies._looks["77"]
    began = time.process_time()
    assert copies.near() == {"twin": "77"}
    assert time.process_time() - began < 20


def test_bytes_that_encode_a_picture_are_compared_by_what_they_show(tmp_path: Path) -> None:
    (tmp_path / "frames.py").write_text(
        "import io\nimport numpy as np\nfrom PIL import Image\n"
        "def generate():\n"
        "    for n in range(20):\n"
        "        picture = Image.fromarray(np.full((4, 4), n * 10, np.uint8))\n"
        "        for kind in ('PNG', 'BMP'):\n"
        "            file = io.BytesIO()\n"
        "            picture.save(file, kind)\n"
        "            yield {'image': file.getvalue(), 'label': 'ab'[n % 2]}\n"
    )
    source = {"uri": "frames.py:generate", "format": "python"}
    built = run_dataset(tmp_path, spec(source=source, steps=[]))
    assert built.facts.copies == {"rows": 20}
    assert all(len(splits) == 1 for splits in splits_by_picture(built).values())
