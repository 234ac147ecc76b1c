"""Steps move boxes with their picture: to where its pixels go, cut at edges by a share, counted."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.objects.moving import moved_object, tiles
from edgewright.pipeline.dataset.transforms import scaled
from edgewright_inference.geometry import Placement
from samples.labelled_pictures import COLOURS, Box, build, coco, pictures, spec, stored, write


def made(root: Path, boxes: dict[str, list[Box]], *steps: dict[str, Any], **others: Any) -> Any:
    write(root / "data", coco(root / "data", boxes))
    return build(root, spec("coco", steps=list(steps), **others))


def seen(picture: Any, category: str) -> list[int]:
    """Find the pixels that are mostly of a category's colour, by looking at every one."""
    columns, rows = [], []
    for y in range(picture.shape[1]):
        for x in range(picture.shape[2]):
            off = [abs(int(picture[c, y, x]) - COLOURS[category][c]) for c in range(3)]
            if max(off) < 80:
                columns.append(x)
                rows.append(y)
    return [min(columns), min(rows), max(columns) + 1, max(rows) + 1]


@pytest.mark.parametrize(
    "step",
    [
        {"use": "resize", "with": {"height": 96, "width": 96}},
        {"use": "resize", "with": {"height": 24, "width": 32}},
        {"use": "letterbox", "with": {"height": 64, "width": 64}},
        {"use": "letterbox", "with": {"height": 33, "width": 101}},
        {"use": "crop", "with": {"x": 5, "y": 3, "height": 40, "width": 50}},
        {"use": "center-crop", "with": {"height": 41, "width": 49}},
    ],
)
def test_a_box_is_where_its_pixels_are(tmp_path: Path, step: dict[str, Any]) -> None:
    boxes: list[Box] = [("bottle", 12, 10, 8, 6), ("can", 30, 8, 4, 20), ("box", 24, 32, 24, 8)]
    built = made(tmp_path, {"a.png": boxes}, step)
    (picture,), (found,) = pictures(built), stored(built)
    assert [each[0] for each in found] == ["bottle", "can", "box"]
    for category, x, y, width, height in found:
        assert [x, y, x + width, y + height] == pytest.approx(seen(picture, category), abs=0.8), category
    assert built.facts.left_out is None


def test_boxes_cut_by_an_edge_are_kept_by_their_share_and_counted(tmp_path: Path) -> None:
    boxes: list[Box] = [("bottle", 0, 0, 10, 10), ("can", 6, 6, 10, 10), ("box", 40, 40, 5, 5), ("box", 12, 12, 9, 9)]
    built = made(tmp_path, {"a.png": boxes}, {"use": "crop", "with": {"x": 8, "y": 8, "height": 16, "width": 16}})
    assert stored(built) == [[("can", 0, 0, 8, 8), ("box", 4, 4, 9, 9)]]
    assert built.facts.left_out == {"cut by crop to less than 30%": 1, "outside of what crop keeps": 1}


def test_tiles_are_rows_that_know_their_place_and_stay_together(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    taken: dict[str, list[Box]] = {}
    for number in range(12):
        x, y = int(random.integers(0, 60)), int(random.integers(0, 44))
        taken[f"{number}.png"] = [("can", x, y, 3, 2)]
    tile = {"use": "tile", "with": {"height": 32, "width": 32, "overlap": 0.25}}
    shares = {"train": 0.5, "validation": 0.25, "test": 0.25, "stratify": True}
    built = made(tmp_path, taken, tile, split=shares)

    sides: dict[str, str] = {}
    for split in ("train", "validation", "test"):
        for row in pq.read_table(built.files[f"{split}.parquet"]).to_pylist():
            name = Path(row["tileSource"]).name
            assert sides.setdefault(name, split) == split
            x, y, width, height = map(int, taken[name][0][1:])
            left, top = max(x, row["tileX"]), max(y, row["tileY"])
            right = min(x + width, row["tileX"] + row["tileWidth"])
            bottom = min(y + height, row["tileY"] + row["tileHeight"])
            share = max(right - left, 0) * max(bottom - top, 0) / (width * height)
            expected = [left - row["tileX"], top - row["tileY"], right - left, bottom - top] if share >= 0.3 else None
            found = [[each["x"], each["y"], each["width"], each["height"]] for each in row["objects"]]
            assert found == ([expected] if expected else [])
    assert sum(built.facts.rows.values()) == 12 * 6
    assert len(set(sides.values())) == 3
    assert "in no tile" not in (built.facts.left_out or {})
    assert built.facts.copies is None, "tiles of one picture are no copies"


def test_a_picture_smaller_than_a_tile_is_padded(tmp_path: Path) -> None:
    tile = {"use": "tile", "with": {"height": 64, "width": 80}}
    built = made(tmp_path, {"a.png": [("can", 60, 40, 4, 8)]}, tile)
    (picture,) = pictures(built)
    assert picture.shape == (3, 64, 80) and (picture[:, 48:] == 114).all() and (picture[:, :, 64:] == 114).all()
    assert stored(built) == [[("can", 60, 40, 4, 8)]]


def test_a_step_that_does_not_move_boxes_is_told(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(
        "def half(row):\n    row['image'] = row['image'][:24, :32].copy()\n    return row\n"
    )
    with pytest.raises(StepFailed, match="steps leave boxes outside of their pictures"):
        made(tmp_path, {"a.png": [("can", 50, 40, 4, 4)]}, {"use": "steps.py:half"})


def test_objects_that_shrink_below_a_pixel_are_told(tmp_path: Path) -> None:
    built = made(tmp_path, {"a.png": [("can", 8, 8, 4, 4)]}, {"use": "resize", "with": {"height": 6, "width": 8}})
    assert "less than a pixel wide or high after the steps: 1" in " ".join(built.facts.notices)


def test_stratify_gives_each_category_its_share(tmp_path: Path) -> None:
    kinds = ["can"] * 20 + ["bottle"] * 10 + ["box"] * 5
    taken: dict[str, list[Box]] = {f"{at}.png": [(kind, at % 50, 3, 6, 6)] for at, kind in enumerate(kinds)}
    taken |= {f"none-{at}.png": [] for at in range(5)}
    split = {"train": 0.6, "validation": 0.2, "test": 0.2, "stratify": True}
    built = made(tmp_path, taken, split=split)
    assert built.facts.objects["test"] == {"bottle": 2, "can": 4, "box": 1}
    assert built.facts.negatives == {"train": 3, "validation": 1, "test": 1}


sizes = st.integers(1, 300)


@given(size=sizes, tile=sizes, overlap=st.floats(0, 0.95))
def test_tiles_cover_a_side_and_none_sticks_out(size: int, tile: int, overlap: float) -> None:
    starts = list(tiles(size, tile, overlap))
    assert starts == sorted(set(starts)) and starts[0] == 0
    covered: Counter[int] = Counter()
    for start in starts:
        assert start + tile <= max(size, tile)
        covered.update(range(start, min(start + tile, size)))
    assert len(covered) == size
    for one, other in pairwise(starts):
        assert one + tile - other >= int(tile * overlap) or tile == 1


edges, lengths = st.integers(0, 40), st.integers(1, 9)


@given(
    corner=st.tuples(edges, edges), size=st.tuples(lengths, lengths), cut=st.tuples(edges, edges, st.integers(1, 40))
)
def test_a_cut_box_is_that_of_its_pixels(
    corner: tuple[int, int], size: tuple[int, int], cut: tuple[int, int, int]
) -> None:
    (x, y), (width, height), (left, top, side) = corner, size, cut
    found = {"category": "can", "x": float(x), "y": float(y), "width": float(width), "height": float(height)}
    place = Placement((90, 90), (90, 90), (side, side), -left, -top)
    result, share = moved_object({**found, "crowd": False}, place)
    inside = [
        (column - left, row - top)
        for column in range(x, x + width)
        for row in range(y, y + height)
        if left <= column < left + side and top <= row < top + side
    ]
    assert share == pytest.approx(len(inside) / (width * height))
    if not inside:
        assert result is None
        return
    assert result is not None
    columns, rows = [each[0] for each in inside], [each[1] for each in inside]
    assert [result["x"], result["y"]] == [min(columns), min(rows)]
    assert [result["width"], result["height"]] == [max(columns) - min(columns) + 1, max(rows) - min(rows) + 1]


@pytest.mark.parametrize(("height", "width"), [(7, 90), (90, 7), (31, 45), (1, 1), (60, 40)])
def test_colours_scale_as_their_channels_do(height: int, width: int) -> None:
    picture = np.random.default_rng(height).integers(0, 256, (60, 40, 3), dtype=np.uint8)
    apart = np.stack([scaled(picture[..., at], height, width) for at in range(3)], axis=-1)
    assert np.array_equal(scaled(picture, height, width), apart)
    assert np.array_equal(scaled(picture[..., :2], height, width), apart[..., :2])
