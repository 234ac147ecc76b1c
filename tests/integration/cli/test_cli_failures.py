"""What goes wrong in users' repositories, through the real program: a message, no traceback, and nothing is lost.

Each test ends with the fix, after which the next apply goes on from what there was.
"""

import io
import re
import resource
import signal
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from edgewright.core.artifact import Action, Artifact
from edgewright.errors import BlobCorrupt
from edgewright.wiring.workspace import Workspace
from harness.command_line import DATA_ONLY, DATASET, HEAD, MODEL, ROWS, edgewright, edit, ended, repository, spawn


def pixel(grey: int) -> bytes:
    """Write a PNG of one pixel; no two of a folder are copies of each other."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1), (grey, grey, grey)).save(buffer, "PNG")
    return buffer.getvalue()


IMAGES = (
    HEAD + "kind: Dataset\nmetadata: {name: tags}\nspec:\n  source: {uri: data/tags, format: image-folder}\n"
    "  columns: {image: {type: image}, label: {type: category}}\n"
)
FOLDER: dict[str, str | bytes] = {
    f"data/tags/{label}/{number}.png": pixel(number + 100 * (label == "y"))
    for label in ("x", "y")
    for number in range(12)
}
STEP = "def clean(rows):\n    return rows\n"
BROKEN_STEP = "def clean(rows):\n    return helper(rows)\n\n\ndef helper(rows):\n    raise KeyError('colour')\n"


def built(repo: Path, action: Action = Action.BUILD_DATASET) -> list[Artifact]:
    """List the artifacts of a kind."""
    return [found for found in Workspace(repo).state.artifacts().values() if found.action is action]


def with_step(code: str) -> dict[str, str]:
    return {"specs/dataset.yaml": DATASET + "  steps: [{use: code/steps.py:clean}]\n", "code/steps.py": code}


@pytest.mark.parametrize(
    ("files", "messages", "fix"),
    [
        pytest.param(
            {"specs/dataset.yaml": DATASET.replace("weight", "wieght")},
            ["wieght", "weight"],
            {"specs/dataset.yaml": DATASET},
            id="a column that is not there",
        ),
        pytest.param(
            {"data/tags.csv": "weight,label\n1,x\n"},
            ["split"],
            {"data/tags.csv": ROWS},
            id="an empty split",
        ),
        pytest.param(
            {"specs/dataset.yaml": IMAGES, **FOLDER, "data/tags/x/3.png": b"no image at all"},
            ["x/3.png"],
            {"data/tags/x/3.png": pixel(3)},
            id="a corrupt image",
        ),
        pytest.param(
            with_step(BROKEN_STEP),
            ["code/steps.py", "helper", "KeyError", "colour"],
            {"code/steps.py": STEP},
            id="user code that raises",
        ),
    ],
)
def test_data_that_cannot_be_built(
    tmp_path: Path, files: dict[str, str | bytes], messages: list[str], fix: dict[str, str | bytes]
) -> None:
    repo = repository(tmp_path / "shop", {**DATA_ONLY, **files})
    ran = ended(spawn(repo, "apply", "--yes")).expect(3, "build-dataset dataset/tags", *messages)
    assert "edgewright/build" not in ran.said, "the user's own lines only"
    edgewright(repo, "apply", "--yes").expect(3, "StepFailed")  # remembered, not tried again
    assert built(repo) == []
    edit(repo, fix)
    edgewright(repo, "apply", "--yes").expect(0, "Reality matches commit")
    assert len(built(repo)) == 1


def test_data_that_is_not_there(tmp_path: Path) -> None:
    repo = repository(tmp_path / "shop", {"specs/dataset.yaml": IMAGES, **FOLDER})
    edgewright(repo, "plan").expect(0)
    edit(repo, {"specs/dataset.yaml": IMAGES.replace("data/tags", "data/tgas")})
    edgewright(repo, "apply", "--yes").expect(3, "data/tgas")
    edit(repo, {"specs/dataset.yaml": IMAGES})
    edgewright(repo, "plan", "--detailed-exitcode").expect(2)


def test_a_step_that_failed_is_tried_again_when_asked(tmp_path: Path) -> None:
    flag = tmp_path / "there"
    code = f"from pathlib import Path\ndef clean(rows):\n    Path({str(flag)!r}).read_text()\n    return rows\n"
    repo = repository(tmp_path / "shop", {**DATA_ONLY, **with_step(code)})
    edgewright(repo, "apply", "--yes").expect(3, "FileNotFoundError")
    flag.touch()
    edgewright(repo, "apply", "--yes").expect(3, "StepFailed")
    edgewright(repo, "apply", "--yes", "--retry").expect(0)


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    rows = "weight,store,label\n" + "".join(f"{n * 7919 % 100_003},a,{'xy'[n % 2]}\n" for n in range(60_000))
    repo = repository(tmp_path / "shop", {**DATA_ONLY, "data/tags.csv": rows})
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (300_000, 300_000))
    ran = ended(spawn(repo, "apply", "--yes", preexec_fn=limit))
    assert ran.code in {1, 3}, ran.said
    assert "Traceback" not in ran.said
    assert re.search("no space|too large|disk", ran.said, re.IGNORECASE), ran.said
    assert built(repo) == []
    edgewright(repo, "apply", "--yes").expect(0)
    assert len(built(repo)) == 1


def test_a_damaged_blob_is_found_by_its_digest_and_made_again(tmp_path: Path) -> None:
    repo = repository(tmp_path / "shop", dict(DATA_ONLY))
    edgewright(repo, "apply", "--yes").expect(0)
    (data,) = built(repo)
    blobs = Workspace(repo).blobs
    file = blobs.path(data.files["train.parquet"].digest)
    file.chmod(0o644)
    file.write_bytes(bytes(len(file.read_bytes())))
    with pytest.raises(BlobCorrupt):
        Workspace(repo).blobs.read(data.files["train.parquet"].digest)
    file.parent.mkdir(exist_ok=True)
    edgewright(repo, "plan").expect(0, "build-dataset dataset/tags")
    edgewright(repo, "apply", "--yes").expect(0, "build-dataset dataset/tags: done")
    assert Workspace(repo).blobs.read(data.files["train.parquet"].digest)
    (again,) = built(repo)
    assert again.digest == data.digest


def test_a_loss_that_is_no_number(tmp_path: Path) -> None:
    wild = MODEL.replace("{epochs: 3,", "{epochs: 3, optimizer: sgd, learningRate: 1.0e+30,")
    repo = repository(tmp_path / "shop", {**DATA_ONLY, "specs/model.yaml": wild})
    ran = ended(spawn(repo, "apply", "--yes")).expect(3, "train model/reader", "build-dataset dataset/tags: done")
    assert re.search(r"loss.*(number|nan|finite)", ran.said, re.IGNORECASE), ran.said
    edit(repo, {"specs/model.yaml": MODEL})
    plan = edgewright(repo, "plan").expect(0, "train").stdout
    assert "build-dataset" not in plan, "the data is kept"


# ── interruption ──────────────────────────────────────────────────────────────────────────────────────────────


def until(process: subprocess.Popen[str], wanted: Callable[[str], bool]) -> str:
    """Read a process' progress until a line is wanted.

    Raises:
        AssertionError: It ended, or was silent for too long.
    """
    assert process.stderr is not None
    seen: list[str] = []
    timer = threading.Timer(60, process.kill)
    timer.start()
    try:
        for line in process.stderr:
            seen.append(line)
            if wanted(line):
                return line
    finally:
        timer.cancel()
    raise AssertionError("".join(seen))


def epoch(line: str) -> int:
    """Read the epoch of a line of progress; 0 where it has none."""
    found = re.search(r"epoch (\d+)/", line)
    return int(found[1]) if found else 0


def test_ctrl_c_in_a_training_leaves_what_the_next_apply_resumes(tmp_path: Path) -> None:
    long = MODEL.replace("epochs: 3", "epochs: 100000")
    repo = repository(tmp_path / "shop", {**DATA_ONLY, "specs/model.yaml": long})
    first = spawn(repo, "apply", "--yes")
    reached = epoch(until(first, lambda line: epoch(line) >= 3))
    first.send_signal(signal.SIGINT)
    ended(first).expect(130, "Stopped; apply again to go on from here.")
    assert Workspace(repo).state.failures() == {}
    second = spawn(repo, "apply", "--yes")
    resumed = epoch(until(second, lambda line: epoch(line) > 0))
    assert resumed > 1, "it went on from its checkpoint"
    assert resumed >= reached
    second.send_signal(signal.SIGTERM)
    ended(second).expect(130)
    edgewright(repo, "history", "model/reader").expect(0, "StepCancelled")


ONCE = "import os, resource, time\nfrom pathlib import Path\nTRIED = Path({!r})\ndef clean(rows):\n"
LEAK = (
    "    if not TRIED.exists():\n        TRIED.touch()\n"
    "        used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize() + (64 << 20)\n"
    "        resource.setrlimit(resource.RLIMIT_AS, (used, used))\n"
    "        held = []\n        while True:\n            held.append(bytearray(1 << 20))\n    return rows\n"
)
HANG = "    if not TRIED.exists():\n        TRIED.touch()\n        time.sleep(600)\n    return rows\n"


def test_a_worker_that_dies_fails_its_step_alone(tmp_path: Path) -> None:
    other = DATASET.replace("name: tags", "name: others")
    repo = repository(tmp_path / "shop", {**DATA_ONLY, **with_step("import os\ndef clean(rows):\n    os._exit(7)\n")})
    edit(repo, {"specs/others.yaml": other})
    edgewright(repo, "apply", "--yes").expect(3, "build-dataset for dataset/tags ended with exit code 7")
    assert [found.address.name for found in built(repo)] == ["others"]
    edit(repo, {"code/steps.py": STEP})
    edgewright(repo, "apply", "--yes").expect(0, "Reality matches commit")


def test_a_worker_that_leaks_is_followed_by_a_fresh_one(tmp_path: Path) -> None:
    code = ONCE.format(str(tmp_path / "tried")) + LEAK
    repo = repository(tmp_path / "shop", {**DATA_ONLY, **with_step(code)})
    edgewright(repo, "apply", "--yes").expect(0, "ran out of memory", "Reality matches commit")


def test_a_worker_that_hangs_is_ended_and_the_next_apply_has_a_fresh_one(tmp_path: Path) -> None:
    tried = tmp_path / "tried"
    repo = repository(tmp_path / "shop", {**DATA_ONLY, **with_step(ONCE.format(str(tried)) + HANG)})
    first = spawn(repo, "apply", "--yes")
    until(first, lambda line: "build-dataset dataset/tags: started" in line)
    first.send_signal(signal.SIGINT)
    ended(first).expect(130)
    tried.touch()  # where it was ended before it hung
    edgewright(repo, "apply", "--yes").expect(0, "Reality matches commit")


def test_watch_plans_again_on_every_save(tmp_path: Path) -> None:
    repo = repository(tmp_path / "shop", dict(DATA_ONLY))
    watching = spawn(repo, "watch")
    until(watching, lambda line: "watching" in line)
    (repo / "specs/dataset.yaml").write_text(DATASET.replace("weight", "wight: {"))
    until(watching, lambda line: "specs/dataset.yaml:" in line)
    until(watching, lambda line: "watching" in line)
    (repo / "specs/dataset.yaml").write_text(DATASET + "  split: {seed: 9}\n")
    until(watching, lambda line: "watching" in line)
    watching.send_signal(signal.SIGINT)
    ran = ended(watching).expect(0)
    assert ran.stdout.count("build-dataset dataset/tags") == 2
    assert not (repo / ".edgewright/state.db").exists()


def test_output_that_nobody_reads_ends_quietly(tmp_path: Path) -> None:
    repo = repository(tmp_path / "shop", dict(DATA_ONLY))
    process = spawn(repo, "plan", "-o", "json")
    assert process.stdout is not None
    process.stdout.close()
    ran = ended(process)
    assert ran.code != 0, ran
    assert ran.stderr == ""
