"""Preprocessing against what Pillow and plain loops compute, on frames of odd sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgewright_inference.errors import FrameError, InterfaceError
from edgewright_inference.geometry import Policy, place
from edgewright_inference.preprocess import Array, Preprocessing
from edgewright_inference.resize import resize

SIDES = st.integers(1, 90)


def frame_of(height: int, width: int, channels: int = 3, seed: int = 0) -> Array:
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from([0, 3]))
def test_resizing_is_pillows_of_rows_and_then_columns(h: int, w: int, height: int, width: int, channels: int) -> None:
    frame = frame_of(h, w, channels, seed=h * w)
    rows = Image.fromarray(frame).resize((width, h), Image.Resampling.BILINEAR)
    expected = np.asarray(rows.resize((width, height), Image.Resampling.BILINEAR))

    np.testing.assert_array_equal(resize(frame, height, width), expected)


def by_loops(frame: Array, how: Preprocessing, resized: tuple[int, int], left: int, top: int) -> Array:
    """The same by pixels: every value on its own, with Pillow for the resizing."""
    height, width = resized
    rows = Image.fromarray(frame).resize((width, frame.shape[0]), Image.Resampling.BILINEAR)
    picture = np.asarray(rows.resize((width, height), Image.Resampling.BILINEAR))
    found = np.zeros((1, 3, *how.size), np.float32)
    for y in range(how.size[0]):
        for x in range(how.size[1]):
            for c in range(3):
                inside = 0 <= y - top < height and 0 <= x - left < width
                value = float(picture[y - top, x - left, c if how.channels == "RGB" else 2 - c]) if inside else how.pad
                scaled = how.low + value / 255.0 * (how.high - how.low)
                found[0, c, y, x] = np.float32((scaled - how.mean[c]) / how.std[c])
    return found


@pytest.mark.parametrize("policy", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_a_frame_becomes_what_plain_loops_make_of_it(policy: Policy, channels: str) -> None:
    for number, (h, w) in enumerate([(31, 57), (57, 31), (17, 17), (9, 40), (64, 48)]):
        how = Preprocessing(
            (24, 32),
            policy,
            "RGB" if channels == "RGB" else "BGR",
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        )
        frame = frame_of(h, w, seed=number)
        values, placement = how.run(frame)
        # Where a picture goes, written down once more: the border's odd pixel is at the right and the bottom.
        if policy == "stretch":
            resized, left, top = (24, 32), 0, 0
        else:
            ratio = (min if policy == "letterbox" else max)(24 / h, 32 / w)
            resized = int(h * ratio + 0.5), int(w * ratio + 0.5)
            left, top = (32 - resized[1]) // 2, (24 - resized[0]) // 2
        assert (placement.resized, placement.left, placement.top) == (resized, left, top)
        np.testing.assert_array_equal(values, by_loops(frame, how, resized, left, top))


def test_layouts_and_types_hold_the_same_values() -> None:
    frame = frame_of(20, 30)
    base, _ = Preprocessing((10, 15)).run(frame)
    nhwc, _ = Preprocessing((10, 15), layout="NHWC").run(frame)
    half, _ = Preprocessing((10, 15), dtype="float16").run(frame)
    whole, _ = Preprocessing((10, 15), dtype="uint8", high=255.0).run(frame)

    assert base.shape == (1, 3, 10, 15)
    assert nhwc.shape == (1, 10, 15, 3)
    assert [each.dtype.name for each in (base, half, whole)] == ["float32", "float16", "uint8"]
    np.testing.assert_array_equal(nhwc.transpose(0, 3, 1, 2), base)
    np.testing.assert_array_equal(half, base.astype(np.float16))
    np.testing.assert_array_equal(whole.astype(np.float32) / np.float32(255), base)


def test_grey_is_pillows() -> None:
    frame = frame_of(40, 30)
    values, _ = Preprocessing((40, 30), channels="L", dtype="uint8", high=255.0).run(frame)
    np.testing.assert_array_equal(values[0, 0], np.asarray(Image.fromarray(frame).convert("L")))
    grey = frame_of(40, 30, 0)
    again, _ = Preprocessing((40, 30), dtype="uint8", high=255.0).run(grey)
    for channel in again[0]:
        np.testing.assert_array_equal(channel, grey)


@given(SIDES, SIDES, st.sampled_from(["stretch", "letterbox", "crop"]))
def test_boxes_come_back_from_where_they_went(h: int, w: int, policy: Policy) -> None:
    placement = place((h, w), (24, 32), policy)
    boxes = np.array([[0, 0, w, h], [w / 4, h / 4, w / 2, h / 2]], np.float32)
    np.testing.assert_allclose(placement.to_frame(placement.to_input(boxes)), boxes, atol=1e-3)
    covered = placement.to_input(boxes[:1])[0]
    if policy == "letterbox":
        assert covered[0] >= -1e-3
        assert covered[2] <= 32 + 1e-3
    if policy == "crop":
        assert covered[0] <= 1e-3
        assert covered[3] >= 24 - 1e-3


def test_the_shorter_side_of_a_crop() -> None:
    how = Preprocessing((224, 224), "crop", shorter_side=256)
    placement = how.run(frame_of(300, 400))[1]
    assert (placement.resized, placement.left, placement.top) == ((256, 341), -59, -16)
    with pytest.raises(FrameError, match="does not cover"):
        Preprocessing((224, 224), "crop", shorter_side=100).run(frame_of(300, 400))


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (np.zeros((4, 4, 3), np.float32), "uint8"),
        (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"\(1, 4, 4, 3\)"),
    ],
)
def test_what_is_no_picture_is_refused(frame: Array, told: str) -> None:
    with pytest.raises(FrameError, match=told):
        Preprocessing((4, 4)).run(frame)


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(InterfaceError, match="2 values for 3 channels"):
        Preprocessing((4, 4), mean=(0.5, 0.5))
    with pytest.raises(InterfaceError, match="deviation is 0"):
        Preprocessing((4, 4), std=(0.0,))
    with pytest.raises(InterfaceError, match="declare range 0 to 255"):
        Preprocessing((4, 4), dtype="uint8")
