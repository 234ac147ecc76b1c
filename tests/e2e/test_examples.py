"""Every example, from its commit to verified devices, with nothing but what a user has: the programs and the README."""

import csv
import itertools
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from PIL import Image

from e2e.fleet import EXAMPLES, Fleet
from e2e.terminal import Terminal, blocks
from edgewright_agent.handle import ModelHandle
from paths import ROOT

# One group: each of these starts a dozen processes, so no two of them at once.
pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(900)]

IDENTITY = {
    "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@example.com",
    "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@example.com",
}


def test_retail_reaches_every_lane_and_then_rests(tmp_path: Path) -> None:
    with Fleet.of_example("retail", tmp_path, edits=_four_lanes) as fleet:
        _nothing_applied_yet(fleet)
        fleet.start_agents()
        fleet.edgewright("apply", "--yes", "--timeout", "200s").expect(0)

        lanes = {"lane-01", "lane-02", "lane-04", "lane-10"}
        package = fleet.wait_verified("price-tag-reader")
        assert fleet.verified("price-tag-reader") == dict.fromkeys(lanes, package)
        assert fleet.rollout("price-tag-reader")["counts"]["verified"] == 4
        _all_gates_passed(fleet, "price-tag-reader")
        assert fleet.edgewright("plan", "--detailed-exitcode").expect(0).stdout.startswith("Nothing to do")

        images, labels = _digits(200)
        reader = ModelHandle(fleet.devices["lane-02"].folder, "price-tag-reader")
        assert reader.version == package
        assert _share_right(reader, images, labels) > 0.85
        assert reader.config is not None and b'store = "paris-1"' in reader.config


def test_queue_as_its_readme_says(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "queue", tmp_path)
    copy, look, devices, apply, again = blocks(EXAMPLES / "queue/README.md")
    with Terminal(ROOT, {**fleet.environment, **IDENTITY}) as terminal:
        terminal.type(copy, tmp_path / "block.sh")
        assert "6 resources, no problems" in terminal.type(look, tmp_path / "block.sh")
        _nothing_applied_yet(fleet)
        terminal.type(devices, tmp_path / "block.sh")
        printed = terminal.type(apply, tmp_path / "block.sh")
        assert "Reality matches commit" in printed
        assert "(lighting=night)" in printed
        assert "Nothing to do" in terminal.type(again, tmp_path / "block.sh")

    lanes = [f"checkout-{number:02d}" for number in range(1, 7)]
    verified = fleet.verified("queue-length")
    assert sorted(verified) == lanes
    assert len(set(verified.values())) == 1 and None not in verified.values()
    _all_gates_passed(fleet, "queue-length")
    _nothing_to_do(fleet)

    counter = ModelHandle(tmp_path / "devices/checkout-05", "queue-length")
    assert counter.version == verified["checkout-05"]
    assert counter.labels == ("0", "1", "2", "3", "4+")
    assert counter.config is not None and b"lane = 2\n" in counter.config
    frames, lengths = _frames_of_new_stores()
    assert _share_right(counter, frames, lengths) > 0.85

    fleet.edit("specs/rollout.yaml", 'callStaffAt: "3"', 'callStaffAt: "2"')
    fleet.commit("Call staff earlier")
    plan = fleet.plan()
    assert {step["action"] for step in plan["steps"]} == {"start-rollout"}
    assert plan["steps"][0]["configOnly"]


def test_bring_your_own_as_its_readme_says(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "wines", tmp_path)
    copy, look, devices, apply, again = blocks(EXAMPLES / "bring-your-own/README.md")
    with Terminal(ROOT, {**fleet.environment, **IDENTITY}) as terminal:
        terminal.type(copy, tmp_path / "block.sh")
        assert "8 resources, no problems" in terminal.type(look, tmp_path / "block.sh")
        _nothing_applied_yet(fleet)
        terminal.type(devices, tmp_path / "block.sh")
        assert "Reality matches commit" in terminal.type(apply, tmp_path / "block.sh")
        assert "Nothing to do" in terminal.type(again, tmp_path / "block.sh")

    rows, cultivars = _wines(fleet.root / "data/wine.csv")
    for model in ("wine-bought", "wine-own"):
        verified = fleet.verified(model)
        assert sorted(verified) == ["line-1", "line-2", "line-3"]
        assert len(set(verified.values())) == 1 and None not in verified.values()
        _all_gates_passed(fleet, model)
        handle = ModelHandle(tmp_path / "devices/line-3", model)
        assert handle.version == verified["line-3"]
        assert _share_right(handle, rows, cultivars) > 0.9
    assert fleet.verified("wine-bought") != fleet.verified("wine-own")
    _nothing_to_do(fleet)

    fleet.edit("tools/train_sklearn.py", "max_iter=1000", "max_iter=2000")
    fleet.commit("Train longer")
    assert {step["address"] for step in fleet.plan()["steps"]} == {"model/wine-own", "rollout/wine-own"}

    fleet.edit("tools/train_sklearn.py", "max_iter=2000", "max_iter=1000")
    (fleet.root / "models/bought.onnx").write_bytes(b"something else")
    fleet.commit("Put another file where the bought model is")
    _nothing_to_do(fleet)

    spec = fleet.root / "specs/bought.yaml"
    spec.write_text(re.sub("sha256:[0-9a-f]{64}", f"sha256:{'5' * 64}", spec.read_text("utf-8")), "utf-8")
    fleet.commit("Pin a file that is not there")
    refused = fleet.edgewright("apply", "--yes", "--timeout", "100s").expect(3)
    assert "models/bought.onnx is not the file the spec pins" in refused.stdout
    assert "wine-own" not in refused.stdout


def test_the_vendors_script_makes_the_files_of_bring_your_own(tmp_path: Path) -> None:
    example = EXAMPLES / "bring-your-own"
    shutil.copytree(example, tmp_path / "copy")
    made = tmp_path / "copy"
    (made / "models/bought.onnx").unlink()
    (made / "data/wine.csv").unlink()

    subprocess.run([sys.executable, made / "tools/make_model.py"], check=True, timeout=100)

    assert (made / "data/wine.csv").read_bytes() == (example / "data/wine.csv").read_bytes()
    rows, _ = _wines(made / "data/wine.csv")
    ours, theirs = (_scores(folder / "models/bought.onnx", rows) for folder in (made, example))
    # Another BLAS rounds another way while training; what comes out must mean the same.
    assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean() > 0.97


@pytest.mark.parametrize("example", ["retail", "queue", "bring-your-own"])
def test_every_yaml_file_names_a_schema_that_is_there(example: str) -> None:
    files = sorted((EXAMPLES / example).rglob("*.yaml"))
    assert files
    for file in files:
        first = file.read_text("utf-8").splitlines()[0]
        prefix, _, schema = first.partition("$schema=")
        assert prefix == "# yaml-language-server: ", file
        assert "$defs" in json.loads((file.parent / schema).read_text("utf-8")), file


# ── what all examples have in common ──────────────────────────────────────────────────────────────────────────────


def _nothing_applied_yet(fleet: Fleet) -> None:
    assert fleet.edgewright("validate", "-o", "json").expect(0).json()["valid"] is True
    plan = fleet.edgewright("plan", "--detailed-exitcode", "-o", "json").expect(2).json()
    assert {"build-dataset", "evaluate", "package", "start-rollout"} <= {step["action"] for step in plan["steps"]}


def _nothing_to_do(fleet: Fleet) -> None:
    assert fleet.edgewright("plan", "--detailed-exitcode", "-o", "json").expect(0).json()["steps"] == []


def _all_gates_passed(fleet: Fleet, model: str) -> None:
    verdict = fleet.edgewright("explain", f"model/{model}", "-o", "json").expect(0).json()["verdict"]
    assert verdict
    assert all(gate["passed"] for gate in verdict), verdict


def _share_right(handle: ModelHandle, inputs: npt.NDArray[np.float32], expected: list[str]) -> float:
    found = handle.run(inputs).argmax(axis=1)
    return float(np.mean([handle.labels[position] == label for position, label in zip(found, expected, strict=True)]))


# ── what the devices' applications would see ──────────────────────────────────────────────────────────────────────


def _four_lanes(root: Path) -> None:
    inventory = root / "fleets/stores.csv"
    lines = inventory.read_text("utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.startswith(("id,", "lane-01", "lane-02", "lane-04", "lane-10"))]
    inventory.write_text("".join(kept), "utf-8")


def _rows(path: Path, **arguments: Any) -> Any:
    return runpy.run_path(str(path))["rows"](**arguments)


def _digits(count: int) -> tuple[npt.NDArray[np.float32], list[str]]:
    made = list(itertools.islice(_rows(EXAMPLES / "retail/code/price_tags.py", stores=4, dimShare=0.5, seed=99), count))
    images = [np.asarray(Image.fromarray(row["image"]).resize((16, 16), Image.Resampling.BILINEAR)) for row in made]
    return _pixels(images), [row["label"] for row in made]


def _frames_of_new_stores() -> tuple[npt.NDArray[np.float32], list[str]]:
    made = list(_rows(EXAMPLES / "queue/code/frames.py", stores=5, framesPerStore=40, seed=99))
    equalize = runpy.run_path(str(EXAMPLES / "queue/code/steps.py"))["equalize"]
    return _pixels([equalize(row)["image"] for row in made]), [row["label"] for row in made]


def _pixels(images: list[Any]) -> npt.NDArray[np.float32]:
    stacked: npt.NDArray[np.float32] = np.stack(images)[:, np.newaxis].astype(np.float32) / np.float32(255)
    return stacked


def _wines(path: Path) -> tuple[npt.NDArray[np.float32], list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    labels = [row.pop("label") for row in found]
    return np.asarray([[float(value) for value in row.values()] for row in found], dtype=np.float32), labels


def _scores(model: Path, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    scores: npt.NDArray[np.float32] = session.run(None, {"features": rows})[0]
    return scores
