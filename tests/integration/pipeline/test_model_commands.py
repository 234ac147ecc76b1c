import fcntl
import json
import os
import signal
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from edgewright.core.address import Address
from edgewright.core.artifact import Action
from edgewright.core.facts import ModelFacts
from edgewright.durable import digest_file
from edgewright.errors import Cancelled, StepFailed, Transient
from edgewright.pipeline.command.step import build
from edgewright.pipeline.executors.local import LocalExecutor
from edgewright.pipeline.runner.tasks import StagedTask
from edgewright.ports import Progress
from samples.training_data import ProgressLog, start, table_dataset

MODEL = onnx.helper.make_model(
    helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
    ),
    opset_imports=[helper.make_opsetid("", 18)],
    ir_version=10,
).SerializeToString()
WRITE = """
import os, pathlib
pathlib.Path(os.environ['EDGEWRIGHT_OUTPUT']).write_bytes(pathlib.Path('m.onnx').read_bytes())
"""


def command_task(tmp_path: Path, command: list[str], script: str = "", **spec: Any) -> StagedTask:
    """A command step in a repository with ``make.py`` and ``m.onnx``."""
    repo = tmp_path / "repo"
    repo.mkdir(exist_ok=True)
    (repo / "make.py").write_text(script)
    (repo / "m.onnx").write_bytes(MODEL)
    data = table_dataset(tmp_path / "blobs", {"a": [1.0] * 20, "b": [2.0] * 20}, ["p", "q"] * 10, ["p", "q"])
    return StagedTask(
        action=Action.COMMAND,
        address=Address("model", "m"),
        fingerprint="f" * 64,
        spec={"task": "tabular-classification", "dataset": "d", "command": command, **spec},
        checkout=repo,
        inputs={"dataset": data.files},
        facts={"dataset": data.facts},
        workdir=tmp_path / "work",
    )


def test_a_command_reads_the_dataset_and_writes_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    script = WRITE + (
        "import json, sys\n"
        "names = sorted(p.name for p in pathlib.Path(os.environ['EDGEWRIGHT_DATASET']).iterdir())\n"
        "seen = {'names': names, 'python': sys.prefix, 'cwd': os.getcwd(), 'env': dict(os.environ)}\n"
        "pathlib.Path(os.environ['EDGEWRIGHT_WORKDIR'], 'seen.json').write_text(json.dumps(seen))\n"
    )
    task = command_task(tmp_path, ["python", "make.py"], script)

    built = build(start(task))

    assert built.digest == digest_file(built.files["model.onnx"]) == digest_file(task.checkout / "m.onnx")
    assert built.facts == ModelFacts(parameters=0)
    seen = json.loads((tmp_path / "work/checkpoint/seen.json").read_text())
    assert seen["names"] == ["schema.json", "test.parquet", "train.parquet", "validation.parquet"]
    assert seen["python"] == sys.prefix
    assert Path(seen["cwd"]) == task.checkout
    assert "hunter2" not in str(seen["env"])


def test_the_output_may_have_another_name(tmp_path: Path) -> None:
    built = build(start(command_task(tmp_path, ["python", "make.py"], WRITE, output="build/best.onnx")))
    assert built.files["model.onnx"].name == "best.onnx"


@pytest.mark.parametrize("output", ["../m.onnx", "/tmp/m.onnx", "."])
def test_an_output_elsewhere_is_refused(tmp_path: Path, output: str) -> None:
    with pytest.raises(StepFailed, match="is no file below the output folder"):
        build(start(command_task(tmp_path, ["python", "make.py"], WRITE, output=output)))


def test_a_failing_command_shows_its_exit_code_and_last_lines(tmp_path: Path) -> None:
    script = "import sys\nfor i in range(50): print('line', i)\nprint('boom', file=sys.stderr)\nsys.exit(3)\n"
    with pytest.raises(StepFailed, match=r"python make\.py failed with exit code 3") as caught:
        build(start(command_task(tmp_path, ["python", "make.py"], script)))
    lines = caught.value.hint.splitlines()[1:]
    assert len(lines) == 20
    assert "boom" in "".join(lines)
    assert "line 30" not in caught.value.hint


def test_a_command_that_misses_a_file_is_told_about_inputs(tmp_path: Path) -> None:
    with pytest.raises(
        StepFailed, match="failed with exit code 2; it finds only the repository's files that are listed"
    ):
        build(start(command_task(tmp_path, ["python", "code/train.py"])))


def test_a_command_without_output_or_with_a_wrong_one_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"wrote no model\.onnx") as caught:
        build(start(command_task(tmp_path, ["python", "make.py"], "print('all done')")))
    assert "all done" in caught.value.hint
    with pytest.raises(StepFailed, match=r"model\.onnx of python make\.py is no valid ONNX model"):
        build(start(command_task(tmp_path, ["python", "make.py"], WRITE.replace("'m.onnx'", "'make.py'"))))


def test_a_program_that_is_not_there_or_not_executable_is_named(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="program 'no-such-tool' was not found"):
        build(start(command_task(tmp_path, ["no-such-tool"])))
    with pytest.raises(StepFailed, match=r"program './make\.py' cannot be started: Permission denied"):
        build(start(command_task(tmp_path, ["./make.py"])))


def test_no_shell_reads_the_arguments_and_a_script_of_the_repository_runs(tmp_path: Path) -> None:
    script = '#!/bin/sh\necho "$1"\ncat m.onnx > "$EDGEWRIGHT_OUTPUT"\n'
    task = command_task(tmp_path, ["./tool.sh", "$(exit 9); *"])
    tool = task.checkout / "tool.sh"
    tool.write_text(script)
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    assert build(start(task)).facts == ModelFacts(parameters=0)


def test_progress_lines_are_reported_and_others_are_not(tmp_path: Path) -> None:
    lines = ["edgewright: epoch 3/10 loss=0.2 valLoss=0.25", "edgewright: what", "epoch 4/10", "edgewright: row 5/6"]
    progress = ProgressLog()
    build(start(command_task(tmp_path, ["python", "make.py"], WRITE + f"print('\\n'.join({lines!r}))"), progress))
    assert progress.calls == [(3, 10, "epoch", {"loss": 0.2, "valLoss": 0.25}), (5, 6, "row", {})]


def test_a_killed_command_may_be_tried_again(tmp_path: Path) -> None:
    script = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    with pytest.raises(Transient, match="was killed"):
        build(start(command_task(tmp_path, ["python", "make.py"], script)))


def test_a_program_the_command_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    script = WRITE + "import subprocess\nprint(subprocess.Popen(['sleep', '600']).pid, file=open('pid', 'w'))\n"
    task = command_task(tmp_path, ["python", "make.py"], script)
    try:
        assert build(start(task)).facts == ModelFacts(parameters=0)
    finally:
        os.kill(int((task.checkout / "pid").read_text()), signal.SIGKILL)


def test_cancelling_ends_the_command_too(tmp_path: Path) -> None:
    script = (
        f"import os, time\nheld = os.open({str(tmp_path / 'lock')!r}, os.O_CREAT | os.O_RDWR)\n"
        "import fcntl\nfcntl.flock(held, fcntl.LOCK_EX)\nprint('edgewright: epoch 1/2', flush=True)\ntime.sleep(600)\n"
    )
    cancel = threading.Event()

    def progress(_: Progress) -> None:
        cancel.set()

    with pytest.raises(Cancelled):
        LocalExecutor(threads=1).run(command_task(tmp_path, ["python", "make.py"], script), progress, cancel)

    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # waits for as long as the command lives
