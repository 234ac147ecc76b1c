"""Labelled pictures from a repository to a contact sheet, as the how-to does it."""

import base64
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.command_line import edgewright
from paths import ROOT
from samples.repositories import make_repository

HOW_TO = ROOT / "docs/how-to/label-boxes.md"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository made by the how-to, whose dataset is built."""
    root = tmp_path_factory.mktemp("shop")
    blocks = dict(re.findall(r"```(python|yaml)\n(.*?)```", HOW_TO.read_text(), re.DOTALL))
    subprocess.run([sys.executable, "-c", blocks["python"]], cwd=root, check=True)
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    made = make_repository(root / "repository", {"specs/dataset.yaml": blocks["yaml"]})
    for name, data in files.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(data)
    subprocess.run(["git", "add", "-A"], cwd=made, check=True)
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "Add labels"],
        cwd=made,
        check=True,
    )
    edgewright(made, "apply", "--yes").expect(0, "3 objects: bottle (3); 1 picture without objects")
    return made


def test_show_counts_objects_and_negatives(shop: Path) -> None:
    ran = edgewright(shop, "show", "dataset/shelf").expect(0)
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert ["bottle", "3", "0", "0"] in lines
    assert ["(pictures", "without)", "1", "0", "0"] in lines


def test_a_page_shows_boxes_where_the_objects_are(shop: Path, tmp_path: Path) -> None:
    target = tmp_path / "sheet.html"
    edgewright(shop, "dataset", "preview", "dataset/shelf", "--file", str(target)).expect(0, "3 of 3 pictures")
    page = target.read_text()
    assert page.count("<figure>") == 3 and "no objects" in page and "2 bottle" in page
    encoded = re.findall(r'alt="([^"]*)" src="data:image/png;base64,([^"]*)"', page)
    told = {caption: np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for caption, data in encoded}
    picture = next(each for caption, each in told.items() if "1 bottle" in caption)
    outline = (picture == (0xE6, 0x19, 0x4B)).all(axis=-1)
    ys, xs = np.nonzero(outline)
    # 60, 20, 22, 34 in a picture of 96x64, letterboxed to 96x96 (16 above), drawn twice as large.
    assert (xs.min(), xs.max() + 1, ys.max() + 1) == (120, 164, 140)


def test_one_seed_gives_one_sheet(shop: Path, tmp_path: Path) -> None:
    sheets = []
    for number, seed in enumerate(("3", "3", "4")):
        target = tmp_path / f"{number}.png"
        options = ("-o", "png", "--count", "2", "--seed", seed, "--file", str(target))
        edgewright(shop, "dataset", "preview", "dataset/shelf", *options).expect(0)
        sheets.append(target.read_bytes())
    assert sheets[0] == sheets[1]
    assert Image.open(io.BytesIO(sheets[0])).size[0] > 192


def test_what_cannot_be_shown_is_said(shop: Path) -> None:
    ran = edgewright(shop, "dataset", "preview", "dataset/shelf", "--split", "dev")
    assert ran.code == 1 and "there is no split 'dev'" in ran.stderr
