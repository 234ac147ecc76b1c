"""Pictures deeper than eight bits: what is kept, what is refused, and what a range makes of them."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.files import load_split
from edgewright.pipeline.dataset.pictures.images import Decoder, decode
from edgewright_schemas.dataset import Range
from harness.steps import run_dataset

RAMP = np.arange(64).reshape(8, 8) * 10 + 600
"""A depth camera's millimetres."""
METRES = Range(min=0.6, max=1.23)
MILLIMETRES = Range(min=600, max=1230)
EIGHT = np.rint((RAMP - 600) / 630 * 255).astype(np.uint8)
"""What the ranges make of it."""


def png(values: npt.NDArray[Any]) -> bytes:
    """A PNG of 16 bits: (H, W) or (H, W, channels)."""
    planes = values.reshape(*values.shape[:2], -1)
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[planes.shape[2]]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in planes)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def tiff(values: npt.NDArray[Any]) -> bytes:
    """A grey TIFF of the array's own type."""
    sample = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    height, width = values.shape
    data = values.tobytes()
    tags = [
        *((256, width), (257, height), (258, values.dtype.itemsize * 8), (259, 1), (262, 1), (273, 8)),
        *((277, 1), (278, height), (279, len(data)), (339, sample)),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def pgm(largest: int) -> bytes:
    return b"P5 8 8 %d\n" % largest + RAMP.astype(">u2").tobytes()


def jpeg2000() -> bytes:
    file = io.BytesIO()
    Image.fromarray(RAMP.astype(np.uint16)).save(file, "JPEG2000")
    return file.getvalue()


DEEP: dict[str, tuple[bytes, Range]] = {
    "png": (png(RAMP), MILLIMETRES),
    "tiff16": (tiff(RAMP.astype("<u2")), MILLIMETRES),
    "tiff32": (tiff((RAMP + 2**31).astype("<u4")), Range(min=600 + 2**31, max=1230 + 2**31)),
    "signed16": (tiff((RAMP - 1000).astype("<i2")), Range(min=-400, max=230)),
    "signed32": (tiff((RAMP - 10**6).astype("<i4")), Range(min=600 - 10**6, max=1230 - 10**6)),
    "float": (tiff((RAMP / 1000).astype("<f4")), METRES),
    "pgm": (pgm(65535), MILLIMETRES),
    "pgm12": (pgm(4095), MILLIMETRES),
    "jp2": (jpeg2000(), MILLIMETRES),
}


def build(root: Path, files: dict[str, bytes], scale: dict[str, float] | None = None) -> Any:
    for name, data in files.items():
        (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "data" / name).write_bytes(data)
    image = {"type": "image", **({"range": scale} if scale else {})}
    columns = {"image": image, "label": {"type": "category"}}
    source = {"uri": "data", "format": "image-folder"}
    split = {"train": 1, "validation": 0, "test": 0}
    return run_dataset(root, {"source": source, "columns": columns, "split": split})


@pytest.mark.parametrize("kind", DEEP)
def test_a_range_says_what_is_black_and_white(kind: str) -> None:
    data, scale = DEEP[kind]
    assert np.abs(Decoder(scale).decode(data).astype(int) - EIGHT).max() <= 1


@pytest.mark.parametrize("kind", ["tiff32", "signed16", "signed32", "float"])
def test_numbers_without_a_scale_are_refused_with_what_they_hold(tmp_path: Path, kind: str) -> None:
    data, scale = DEEP[kind]
    with pytest.raises(StepFailed) as caught:
        build(tmp_path, {"a/1.tif": data, "b/1.tif": data})
    text = str(caught.value)
    assert "images cannot be read (2): a/1.tif (" in text and "no range says what is black" in text
    assert f"{{type: image, range: {{min: {scale.min:g}, max: {scale.max:g}}}}}" in text


@pytest.mark.parametrize("kind", ["png", "tiff16", "pgm", "jp2"])
def test_sixteen_bits_that_eight_do_not_tell_apart_are_refused(tmp_path: Path, kind: str) -> None:
    data, _ = DEEP[kind]
    with pytest.raises(StepFailed) as caught:
        build(tmp_path, {f"a/1.{kind}"[:7]: data, f"b/1.{kind}"[:7]: data})
    text = str(caught.value)
    assert "16-bit greys keep 3 of 64 levels" in text or "16-bit greys keep 3 of 63 levels" in text
    assert "nearly all are from 600 to 1230" in text and "range: {min: 600, max: 1230}" in text


def test_a_mask_of_small_numbers_is_refused_and_one_in_black_and_white_is_not(tmp_path: Path) -> None:
    mask = np.eye(8, dtype=int)
    with pytest.raises(StepFailed, match="16-bit greys keep 1 of 2 levels"):
        build(tmp_path / "one", {"a/1.png": png(mask), "b/1.png": png(1 - mask)})
    built = build(tmp_path / "two", {"a/1.png": png(mask * 65535), "b/1.png": png((1 - mask) * 65535)})
    assert set(load_split(built.files, built.facts, "train").features.ravel()) == {0.0, 1.0}


def test_sixteen_bits_in_full_use_keep_their_high_byte(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (64, 64))
    values[:32] = 0  # much background
    built = build(tmp_path, {"a/1.png": png(values), "b/1.png": png(values[::-1])})
    train = load_split(built.files, built.facts, "train")
    assert (train.features[0, 0] * 255).round().tolist() == (values >> 8).tolist()
    assert built.facts.notices is None


def test_sixteen_bit_colour_is_judged_by_what_is_left(tmp_path: Path) -> None:
    dark = np.stack([RAMP] * 3, axis=-1)
    with pytest.raises(StepFailed, match="16-bit colours keep 3 levels"):
        build(tmp_path / "one", {"a/1.png": png(dark), "b/1.png": png(dark)})
    full = np.random.default_rng(0).integers(0, 65536, (32, 32, 3))
    assert build(tmp_path / "two", {"a/1.png": png(full), "b/1.png": png(full)}).facts.input_shape == (3, 32, 32)
    with pytest.raises(StepFailed, match="16-bit colour, which cannot be stretched"):
        build(tmp_path / "three", {"a/1.png": png(full)}, {"min": 0, "max": 4095})


def test_grey_with_transparency_is_one_channel(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (32, 32))
    both = png(np.stack([values, np.full_like(values, 65535)], axis=-1))
    assert decode(both).tolist() == (values >> 8).tolist()


def test_what_a_range_cuts_off_is_told(tmp_path: Path) -> None:
    metres = (RAMP / 1000).astype("<f4")
    metres[0, :2] = np.nan, np.inf
    built = build(tmp_path, {"a/1.tif": tiff(metres), "b/1.tif": tiff(metres)}, {"min": 0.7, "max": 1.23})
    first = load_split(built.files, built.facts, "train").features[0, 0]
    assert first[0, :3].tolist() == [0, 0, 0] and first[-1, -1] == 1
    assert built.facts.notices[:2] == (
        "12.50% of the deep greys' pixels are outside the range and cut off",
        "3.12% of the deep greys' pixels are no number and black",
    )


def test_pictures_of_eight_bits_beside_deep_ones_are_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(file, "PNG")
    with pytest.raises(StepFailed, match=r"b/1.png \(has 8 bits, and the column's range is one of deep greys\)"):
        build(tmp_path, {"a/1.png": png(RAMP), "b/1.png": file.getvalue()}, {"min": 600, "max": 1230})


def test_one_deep_grey_beside_eight_bits_is_not_told_to_declare_a_range(tmp_path: Path) -> None:
    data, scale = DEEP["float"]
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(file, "PNG")
    with pytest.raises(StepFailed) as caught:
        build(tmp_path, {"a/1.png": file.getvalue(), "a/2.png": file.getvalue(), "b/1.tif": data})
    text = str(caught.value)
    assert "1 picture of deep greys beside 2 pictures of eight bits or in colour" in text
    assert f"{scale.min:g} as black and {scale.max:g} as white" in text
    assert "range: {" not in text, "a range would refuse the others"


def test_signed_bytes_do_not_wrap(tmp_path: Path) -> None:
    data = tiff((np.arange(64).reshape(8, 8) - 32).astype("i1"))
    with pytest.raises(ValueError, match="int8 from -32 to 31"):
        decode(data)
    assert Decoder(Range(min=-32, max=31)).decode(data)[[0, -1], [0, -1]].tolist() == [0, 255]


def test_arrays_of_code_are_brought_into_the_range(tmp_path: Path) -> None:
    (tmp_path / "frames.py").write_text(
        "import numpy as np\n"
        "def generate():\n"
        "    for n in range(4):\n"
        "        yield {'image': np.full((4, 4), 600 + n, np.uint16), 'label': 'ab'[n % 2]}\n"
    )
    columns = {"image": {"type": "image", "range": {"min": 600, "max": 603}}, "label": {"type": "category"}}
    source = {"uri": "frames.py:generate", "format": "python"}
    split = {"train": 1, "validation": 0, "test": 0}
    built = run_dataset(tmp_path, {"source": source, "columns": columns, "split": split})
    train = load_split(built.files, built.facts, "train")
    assert (train.features[:, 0, 0, 0] * 3).round().tolist() == [0, 1, 2, 3]


def test_further_frames_are_told(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 4), n * 60, np.uint8)) for n in range(3)]
    files = {}
    for name, kind in (("a/1.webp", "WEBP"), ("b/1.tif", "TIFF")):
        file = io.BytesIO()
        frames[0].convert("RGB").save(file, kind, save_all=True, append_images=[f.convert("RGB") for f in frames[1:]])
        files[name] = file.getvalue()
    built = build(tmp_path, files)
    assert built.facts.notices[:1] == ("2 pictures have several frames, of which the first is read: a/1.webp, b/1.tif",)


def test_a_range_of_another_column_or_upside_down_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="max must be more than min"):
        build(tmp_path, {"a/1.png": png(RAMP)}, {"min": 2, "max": 1})
    columns = {"x": {"type": "number", "range": {"min": 0, "max": 1}}, "label": {"type": "category"}}
    with pytest.raises(StepFailed, match="'x' has a range and is of type number"):
        run_dataset(tmp_path, {"source": {"uri": "data.csv", "format": "csv"}, "columns": columns})
